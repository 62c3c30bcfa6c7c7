"""Where an INSERT's data begins and which format an answer has."""

import unittest

from clickhouse.errors import ClickHouseError
from clickhouse.statement import Insert, Query, parse


class Statements(unittest.TestCase):
    def test_inserts(self):
        data = b"\x00 FORMAT x\n"
        cases = [
            ("INSERT INTO t FORMAT RowBinary", data, Insert("INSERT INTO t", "RowBinary", data)),
            ("insert into t(a, b) format RowBinary\n", data, Insert("insert into t(a, b)", "RowBinary", data)),
            ("INSERT INTO `format`(`values`) FORMAT Native;", data, Insert("INSERT INTO `format`(`values`)", "Native", data)),
            ("INSERT INTO t SETTINGS a=1 FORMAT CSV", data, Insert("INSERT INTO t SETTINGS a=1", "CSV", data)),
            ("INSERT INTO t", data, Insert("INSERT INTO t", None, data)),
            ("", b"INSERT INTO t FORMAT CSV\n1,2\n", Insert("INSERT INTO t", "CSV", b"1,2\n")),
            ("", b"INSERT INTO t FORMAT CSV 1,2\n", Insert("INSERT INTO t", "CSV", b"1,2\n")),
            ("", b"INSERT INTO t FORMAT RowBinary\n\n\x01", Insert("INSERT INTO t", "RowBinary", b"\n\x01")),
            ("", b"-- why\nINSERT INTO t VALUES (1, ';');\n", Insert("-- why\nINSERT INTO t", "Values", b" (1, ';')")),
            ("INSERT INTO t VALUES", b"(1)", Insert("INSERT INTO t", "Values", b"(1)")),
            ("INSERT INTO t VALUES (1),", b"(2)", Insert("INSERT INTO t", "Values", b" (1),\n(2)")),
            ("INSERT INTO t /* FORMAT x */ FORMAT TSV", b"1", Insert("INSERT INTO t /* FORMAT x */", "TSV", b"1")),
        ]
        for in_url, body, expected in cases:
            with self.subTest(in_url=in_url, body=body):
                self.assertEqual(parse(in_url, body), expected)

    def test_queries(self):
        cases = [
            ("SELECT 1", b"", "SELECT 1", None),
            ("SELECT 1 FORMAT JSON", b"", "SELECT 1 FORMAT JSON", "JSON"),
            ("", b"SELECT 'x FORMAT y' FORMAT Native;", "SELECT 'x FORMAT y' FORMAT Native;", "Native"),
            ("SELECT *", b"FROM t", "SELECT *\nFROM t", None),
            ("INSERT INTO t SELECT 1", b"", "INSERT INTO t SELECT 1", None),
            ("", b"INSERT INTO t WITH 1 AS a SELECT a", "INSERT INTO t WITH 1 AS a SELECT a", None),
            ("SELECT format('{}', 1)", b"", "SELECT format('{}', 1)", None),
            ("SELECT 'it''s \\' FORMAT x'", b"", "SELECT 'it''s \\' FORMAT x'", None),
        ]
        for in_url, body, text, format in cases:
            with self.subTest(in_url=in_url, body=body):
                self.assertEqual(parse(in_url, body), Query(text, format))

    def test_not_one_statement(self):
        for text in (b"", b" ; -- nothing", b"SELECT 1; SELECT 2", b"CREATE TABLE a (b Int8); -- c\nSELECT ';'"):
            with self.subTest(text=text), self.assertRaises(ClickHouseError) as raised:
                parse("", text)
            self.assertEqual(raised.exception.code, 62)


if __name__ == "__main__":
    unittest.main()
