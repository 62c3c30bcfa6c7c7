"""The interface as clients meet it: every test speaks HTTP to a running front."""

import base64
import gzip
import signal
import socket
import struct
import threading
import time
import unittest

from clickhouse import blocks
from clickhouse.tests.running import Front

TABLE = "CREATE OR REPLACE TABLE t (a UInt32, s String) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"


def row_binary(rows):
    return b"".join(struct.pack("<I", a) + bytes([len(s)]) + s.encode() for a, s in rows)


class Case(unittest.TestCase):
    """One front for all tests of a class, and an empty table for each."""

    @classmethod
    def setUpClass(cls):
        cls.front = Front("--faults", "--body-limit", "20000000")

    @classmethod
    def tearDownClass(cls):
        cls.front.close()

    def setUp(self):
        self.front.ask(method="DELETE", path="/_faults")
        self.front.run(TABLE)

    def count(self):
        return int(self.front.run("SELECT count() FROM t"))

    def assert_error(self, answer, status, code, name):
        got, headers, body = answer
        self.assertEqual((got, headers["X-ClickHouse-Exception-Code"]), (status, str(code)), body)
        self.assertRegex(body.decode(), rf"(?s)^Code: {code}\. DB::Exception: (?!Code:).*\({name}\) \(version [0-9.]+ ")


class Server(Case):
    """What a ClickHouse server does."""

    def test_health(self):
        for path in ("/ping", "/replicas_status", "/"):
            self.assertEqual(self.front.ask(method="GET", path=path)[::2], (200, b"Ok.\n"))
        self.assertEqual(self.front.ask(path="/ping", body=b"x")[::2], (200, b"Ok.\n"))
        self.assertEqual(self.front.ask(method="HEAD", path="/ping")[::2], (200, b""))
        self.assertEqual(self.front.ask(method="GET", path="/nowhere")[0], 404)

    def test_query_places_and_headers(self):
        for query, body in (("SELECT 1+1", b""), (None, b"SELECT 1+1"), ("SELECT", b"1+1"), ("SELECT 1+1 FORMAT CSV", b"")):
            status, headers, answer = self.front.ask(query, body)
            self.assertEqual((status, answer), (200, b"2\n"))
        self.assertEqual(headers["X-ClickHouse-Format"], "CSV")
        self.assertEqual(headers["X-ClickHouse-Timezone"], "UTC")
        self.assertIn('"read_rows":"1"', headers["X-ClickHouse-Summary"])
        self.assertEqual(self.front.ask("SELECT 1", query_id="mine")[1]["X-ClickHouse-Query-Id"], "mine")

    def test_formats(self):
        self.assertEqual(self.front.run("SELECT 1 AS a", default_format="JSONEachRow"), b'{"a":1}\n')
        header = {"X-ClickHouse-Format": "CSVWithNames"}
        self.assertEqual(self.front.ask("SELECT 1 AS a", headers=header)[2], b'"a"\n1\n')
        self.assertEqual(self.front.run("SELECT 1 AS a FORMAT RowBinaryWithNamesAndTypes"), b"\x01\x01a\x05UInt8\x01")

    def test_database(self):
        self.front.run("CREATE DATABASE IF NOT EXISTS other")
        self.assertEqual(self.front.run("SELECT currentDatabase()", database="other"), b"other\n")
        header = {"X-ClickHouse-Database": "other"}
        self.assertEqual(self.front.ask("SELECT currentDatabase()", headers=header)[2], b"other\n")
        self.assertEqual(self.front.run("SELECT currentDatabase()"), b"default\n")
        self.assert_error(self.front.ask("SELECT 1", database="nowhere"), 404, 81, "UNKNOWN_DATABASE")

    def test_parameters_and_settings(self):
        query = "SELECT {x:UInt8} + 1, {y:String}, {z:Array(Int32)}"
        self.assertEqual(self.front.run(query, param_x="5", param_y="a'\\\\b", param_z="[1,-2]"), b"6\ta\\'\\\\b\t[1,-2]\n")
        self.assertEqual(self.front.run("SELECT getSetting('max_threads')", max_threads="3"), b"3\n")
        self.assertNotEqual(self.front.run("SELECT getSetting('max_result_rows')"), b"3\n")
        self.assert_error(self.front.ask("SELECT 1", no_such_setting="1"), 404, 115, "UNKNOWN_SETTING")
        self.assert_error(self.front.ask("SELECT 1", **{"a' = 1": "1"}), 400, 36, "BAD_ARGUMENTS")
        self.assert_error(self.front.ask("SELECT {x:UInt8}"), 500, 456, "UNKNOWN_QUERY_PARAMETER")

    def test_form(self):
        """Clients send parameters as a form where they may be too long for a URL."""

        def form(*parts):
            body = "".join(f'--edge\r\nContent-Disposition: form-data; {part[0]}\r\n\r\n{part[1]}\r\n' for part in parts)
            headers = {"Content-Type": "multipart/form-data; boundary=edge"}
            return self.front.ask(None, (body + "--edge--\r\n").encode(), headers=headers, default_format="CSV")

        fields = (('name="query"', "SELECT {x:UInt32},\n{y:String}"), ('name="param_x"', "5"), ('name="param_y"', "汉"))
        self.assertEqual(form(*fields)[::2], (200, '5,"汉"\n'.encode()))
        self.assert_error(form(('name="query"', "SELECT 1"), ('name="t"; filename="t"', "1")), 501, 48, "NOT_IMPLEMENTED")

    def test_errors(self):
        self.assert_error(self.front.ask("SELECT * FROM nowhere"), 404, 60, "UNKNOWN_TABLE")
        self.assert_error(self.front.ask("SELEC 1"), 400, 62, "SYNTAX_ERROR")
        self.assert_error(self.front.ask("SELECT 1; SELECT 2"), 400, 62, "SYNTAX_ERROR")
        self.assert_error(self.front.ask(None, b""), 400, 62, "SYNTAX_ERROR")
        self.assert_error(self.front.ask("SELECT 1 FORMAT Nothing"), 404, 73, "UNKNOWN_FORMAT")
        self.assert_error(self.front.ask("SELECT nothing"), 404, 47, "UNKNOWN_IDENTIFIER")
        self.assert_error(self.front.ask("SELECT throwIf(1)"), 500, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO")
        self.assert_error(self.front.ask("INSERT INTO nowhere FORMAT CSV", b"1"), 404, 60, "UNKNOWN_TABLE")
        self.assert_error(self.front.ask("INSERT INTO t FORMAT Nothing", b"1"), 404, 73, "UNKNOWN_FORMAT")
        self.assert_error(self.front.ask("INSERT INTO t FORMAT RowBinary", b"123"), 500, 33, "CANNOT_READ_ALL_DATA")
        self.assert_error(self.front.ask("INSERT INTO t FORMAT JSONEachRow", b'{"a": "x"}'), 400, 27, "CANNOT_PARSE_.*")
        self.assertEqual(self.count(), 0)

    def test_get_is_read_only(self):
        self.assert_error(self.front.ask("DROP TABLE t", method="GET"), 500, 164, "READONLY")
        self.assertEqual(self.front.ask("SELECT 1", method="GET", max_threads="1")[0], 200)

    def test_insert_formats(self):
        rows = [(1, "x"), (2, "yy")]
        self.front.run("INSERT INTO t FORMAT RowBinary", row_binary(rows))
        native = self.front.run("SELECT * FROM t ORDER BY a FORMAT Native")
        arrow = self.front.run("SELECT * FROM t ORDER BY a FORMAT ArrowStream")
        typed = self.front.run("SELECT * FROM t ORDER BY a FORMAT RowBinaryWithNamesAndTypes")
        bodies = {
            "RowBinary": row_binary(rows),
            "RowBinaryWithNamesAndTypes": typed,
            "Native": native,
            "ArrowStream": arrow,
            "JSONEachRow": b'{"a":1,"s":"x"}\n{"a":2,"s":"yy"}\n',
            "CSV": b"1,x\n2,yy\n",
            "Values": b"(1,'x'),(2,upper('YY'))".replace(b"upper('YY')", b"lower('YY')"),
        }
        for format, body in bodies.items():
            with self.subTest(format):
                self.front.run(TABLE)
                status, headers, _ = self.front.ask(f"INSERT INTO t (a, s) FORMAT {format}", body)
                self.assertEqual(status, 200)
                self.assertIn('"written_rows":"2"', headers["X-ClickHouse-Summary"])
                self.assertEqual(self.front.run("SELECT * FROM t ORDER BY a"), b"1\tx\n2\tyy\n")

    def test_insert_without_format_or_data(self):
        self.front.run("INSERT INTO t", b"(1,'x')")
        self.front.run("INSERT INTO t VALUES (2,'y')")
        self.front.run("INSERT INTO t SELECT 3, 'z'")
        self.front.run("INSERT INTO t FORMAT RowBinary", b"")
        self.assertEqual(self.count(), 3)

    def test_bodies(self):
        data = row_binary([(k, "x" * (k % 100)) for k in range(50_000)])
        lz4 = blocks.compress(data)
        chunks = (data[at : at + 70_001] for at in range(0, len(data), 70_001))
        insert = "INSERT INTO t FORMAT RowBinary"
        # Without tokens the engine would take the second body for a repetition of the first.
        self.front.run(insert, data, insert_deduplication_token="plain")
        self.front.run(insert, lz4, decompress="1", insert_deduplication_token="lz4")
        zipped = {"headers": {"Content-Encoding": "gzip"}, "insert_deduplication_token": "gzip"}
        self.front.run(insert, gzip.compress(data, 1), **zipped)
        self.front.run(insert, chunks, insert_deduplication_token="chunked")
        self.assertEqual(self.count(), 200_000)
        broken = lz4[:100] + bytes([lz4[100] ^ 1]) + lz4[101:]
        self.assert_error(self.front.ask(insert, broken, decompress="1"), 500, 40, "CHECKSUM_DOESNT_MATCH")
        self.assert_error(
            self.front.ask(insert, gzip.compress(data)[:-9], headers={"Content-Encoding": "gzip"}), 500, 3, "UNEXPECTED_END_OF_FILE"
        )
        self.assert_error(self.front.ask(insert, data, headers={"Content-Encoding": "br"}), 500, 89, "UNKNOWN_COMPRESSION_METHOD")
        bomb = gzip.compress(bytes(30_000_000))
        self.assert_error(self.front.ask(insert, bomb, headers={"Content-Encoding": "gzip"}), 413, 223, "QUERY_IS_TOO_LARGE")
        self.assertEqual(self.count(), 200_000)

    def test_compressed_answers(self):
        query, plain = "SELECT number FROM numbers(300000)", self.front.run("SELECT number FROM numbers(300000)")
        self.assertEqual(blocks.decompress(self.front.run(query, compress="1"), 1 << 24), plain)
        status, headers, body = self.front.ask(query, enable_http_compression="1", headers={"Accept-Encoding": "gzip"})
        self.assertEqual((status, headers["Content-Encoding"]), (200, "gzip"))
        self.assertEqual(gzip.decompress(body), plain)
        # Errors are plain, as from a server that has sent nothing yet.
        self.assert_error(self.front.ask("SELECT * FROM nowhere", compress="1"), 404, 60, "UNKNOWN_TABLE")

    def test_same_token_inserts_once(self):
        insert = "INSERT INTO t FORMAT RowBinary"
        for token in ("a", "a", "b", "a"):
            self.front.run(insert, row_binary([(1, "x")]), insert_deduplication_token=token)
        self.assertEqual(self.count(), 2)
        # The token decides, not the data.
        self.front.run(insert, row_binary([(7, "other")]), insert_deduplication_token="a")
        self.assertEqual(self.count(), 2)

    def test_a_table_that_takes_nothing_says_so(self):
        self.front.run("SYSTEM STOP MERGES t")
        self.front.run("INSERT INTO t FORMAT RowBinary", row_binary([(1, "x")]))
        self.front.run("ALTER TABLE t MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1")
        for columns in ("", "(`a`, s)"):
            refused = self.front.ask(f"INSERT INTO t {columns} FORMAT RowBinary", row_binary([(2, "y")]))
            self.assert_error(refused, 500, 252, "TOO_MANY_PARTS")
        self.assertEqual(self.count(), 1)

    def test_clients_at_once(self):
        def work(number, failures):
            connection = self.front.connect()
            try:
                for k in range(20):
                    self.front.run("INSERT INTO t FORMAT RowBinary", row_binary([(number * 100 + k, "x")]), connection=connection)
                    if self.front.run("SELECT {n:UInt32}", connection=connection, param_n=str(number)) != b"%d\n" % number:
                        failures.append(number)
            except Exception as error:
                failures.append(error)
            connection.close()

        failures = []
        threads = [threading.Thread(target=work, args=(number, failures)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.count(), 240)

    def test_queries_run_in_parallel(self):
        started = time.monotonic()
        threads = [threading.Thread(target=self.front.run, args=("SELECT sleep(1)",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertLess(time.monotonic() - started, 3.5)

    def test_connection_is_kept_after_errors(self):
        connection = self.front.connect()
        connection.connect()
        port = connection.sock.getsockname()
        for query in ("SELECT 1", "SELEC 1", "SELECT * FROM nowhere", "SELECT 2"):
            self.front.ask(query, b"", connection=connection)
            self.assertEqual(connection.sock.getsockname(), port)
        connection.close()

    def test_client_leaves_in_the_middle(self):
        head = b"POST /?query=INSERT+INTO+t+FORMAT+CSV HTTP/1.1\r\nHost: x\r\n"
        for rest in (b"Content-Length: 100\r\n\r\n1,a\n", b"Transfer-Encoding: chunked\r\n\r\n4\r\n1,a\n\r\n"):
            with socket.create_connection(("127.0.0.1", self.front.port)) as client:
                client.sendall(head + rest)
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(client.recv(100), b"")
        self.assertEqual(self.count(), 0)

    def test_too_large_body(self):
        with self.assertRaises((ConnectionError, AssertionError)) as raised:
            self.front.run("INSERT INTO t FORMAT RowBinary", bytes(20_000_001))
        if isinstance(raised.exception, AssertionError):
            self.assertIn("413", str(raised.exception))


class Faults(Case):
    """What tests of the product can make it do."""

    def setUp(self):
        super().setUp()
        self.insert = ("INSERT INTO t FORMAT RowBinary", row_binary([(1, "x")]))

    def test_failing_inserts(self):
        self.front.fault(fail_inserts=2, status=503, code=252, message="Too many parts")
        for _ in range(2):
            self.assert_error(self.front.ask(*self.insert), 503, 252, "TOO_MANY_PARTS")
        self.front.run(*self.insert)
        state = self.front.fault()
        self.assertEqual((state["inserts_seen"], state["inserts_done"], state["inserts_failed"]), (3, 1, 2))

    def test_only_matching_inserts(self):
        self.front.fault(fail_inserts=1, table=r"\balarms\b")
        self.front.run(*self.insert)
        self.assertEqual(self.front.fault()["fail_inserts"], 1)

    def test_lost_answer(self):
        self.front.fault(drop_after_insert=1)
        with self.assertRaises(ConnectionError):
            self.front.ask(*self.insert, insert_deduplication_token="k")
        self.assertEqual(self.count(), 1)
        self.front.run(*self.insert, insert_deduplication_token="k")
        self.assertEqual(self.count(), 1)

    def test_broken_body(self):
        for body in (row_binary([(1, "x")] * 1000), iter([row_binary([(1, "x")] * 1000)])):
            self.front.fault(break_body=1)
            with self.assertRaises(ConnectionError):
                self.front.ask(self.insert[0], body)
        self.assertEqual(self.count(), 0)

    def test_delay_refusal_and_query_failure(self):
        self.front.fault(delay_inserts_ms=300)
        started = time.monotonic()
        self.front.run(*self.insert)
        self.assertGreaterEqual(time.monotonic() - started, 0.3)
        self.front.fault(refuse_auth=True)
        self.assert_error(self.front.ask("SELECT 1"), 403, 516, "AUTHENTICATION_FAILED")
        self.front.fault(refuse_auth=False, fail_queries=1)
        self.assert_error(self.front.ask("SELECT 1"), 500, 241, "MEMORY_LIMIT_EXCEEDED")
        self.assertEqual(self.front.run("SELECT 1"), b"1\n")

    def test_unknown_fault(self):
        for faults in ({"nothing": 1}, {"fail_inserts": "1"}, {"fail_inserts": True}):
            self.assertEqual(self.front.ask(body=str(faults).replace("'", '"').replace("True", "true").encode(), path="/_faults")[0], 400)


class Access(unittest.TestCase):
    def test_credentials(self):
        front = Front("--user", "nuanliu", password="warm")
        self.addCleanup(front.close)
        basic = {"Authorization": "Basic " + base64.b64encode(b"nuanliu:warm").decode()}
        keys = {"X-ClickHouse-User": "nuanliu", "X-ClickHouse-Key": "warm"}
        for given in ({"headers": basic}, {"headers": keys}, {"user": "nuanliu", "password": "warm"}):
            self.assertEqual(front.ask("SELECT 1", **given)[0], 200)
        wrong = {"X-ClickHouse-User": "nuanliu", "X-ClickHouse-Key": "cold"}
        for given in ({}, {"headers": wrong}, {"user": "other", "password": "warm"}):
            status, headers, _ = front.ask("SELECT 1", **given)
            self.assertEqual((status, headers["X-ClickHouse-Exception-Code"]), (403, "516"))
        # Refusals are logged, passwords are not.
        self.assertIn("403 /?query=SELECT+1&user=other&password=: Code: 516", front.logged())
        self.assertEqual(front.ask(method="GET", path="/ping")[0], 200)
        self.assertEqual(front.ask(path="/_faults", body=b"{}")[0], 404)


class Restart(unittest.TestCase):
    def test_data_outlives_the_process(self):
        first = Front()
        self.addCleanup(first.close)
        first.run(TABLE)
        first.run("INSERT INTO t FORMAT CSV", b"1,x\n", insert_deduplication_token="k")
        self.assertEqual(first.stop(signal.SIGTERM), 0)
        second = Front(path=first.path)
        self.addCleanup(second.close)
        self.assertEqual(second.run("SELECT * FROM t"), b"1\tx\n")
        second.run("INSERT INTO t FORMAT CSV", b"2,y\n", insert_deduplication_token="l")
        second.stop(signal.SIGKILL)
        third = Front(path=first.path)
        self.addCleanup(third.close)
        # What was acknowledged is there, and the tokens are remembered, across a clean stop and a crash.
        for token in ("k", "l"):
            third.run("INSERT INTO t FORMAT CSV", b"3,z\n", insert_deduplication_token=token)
        self.assertEqual(third.run("SELECT * FROM t ORDER BY a"), b"1\tx\n2\ty\n")

    def test_stop_waits_for_a_running_insert(self):
        front = Front("--faults")
        self.addCleanup(front.close)
        front.run(TABLE)
        answers = []
        query = "INSERT INTO t SELECT number + sleepEachRow(0.1), 'x' FROM numbers(10) SETTINGS max_block_size = 1"
        thread = threading.Thread(target=lambda: answers.append(front.ask(query)[0]))
        thread.start()
        while b"1\n" != front.run("SELECT count() FROM system.processes WHERE query LIKE '%sleepEach%' AND query NOT LIKE '%processes%'"):
            pass
        self.assertEqual(front.stop(signal.SIGTERM), 0)
        thread.join()
        self.assertEqual(answers, [200])


if __name__ == "__main__":
    unittest.main()
