"""The HTTP side: one thread per connection, requests in, answers as a ClickHouse server gives them out."""

import gzip
import hmac
import json
import re
import socket
import sys
import threading
import time
import traceback
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from . import blocks, request, statement
from .errors import AUTHENTICATION_FAILED, STD_EXCEPTION, ClickHouseError
from .request import ConnectionLost

DEFAULT_FORMAT = "TabSeparated"
_CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8; header=present",
    "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8; header=present",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "ArrowStream": "application/vnd.apache.arrow.stream",
}
_PASSWORD = re.compile(r"(\bpassword=)[^&]*")
_BINARY = ("RowBinary", "Native", "Parquet", "Arrow")


class Server(ThreadingHTTPServer):
    """Listens on loopback; `access` is None or (user, password), `faults` None or a Faults."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port, engine, access=None, faults=None, body_limit=1 << 29):
        self.engine, self.access, self.faults, self.body_limit = engine, access, faults, body_limit
        self._answering, self._answered = 0, threading.Condition()
        super().__init__(("127.0.0.1", port), Handler)

    @contextmanager
    def answering(self):
        """Held while a request is executed and answered."""
        with self._answered:
            self._answering += 1
        try:
            yield
        finally:
            with self._answered:
                self._answering -= 1
                self._answered.notify_all()

    def finish(self, seconds):
        """Stops listening and waits until every request that was being answered has its answer."""
        self.shutdown()
        self.server_close()
        with self._answered:
            self._answered.wait_for(lambda: self._answering == 0, timeout=seconds)

    def handle_error(self, _request, _address):
        error = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            super().handle_error(_request, _address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 1 << 18
    wbufsize = 1 << 16
    timeout = 600

    def do_GET(self):  # noqa: N802 (names given by the base class)
        self._answer(self._route_get)

    def do_HEAD(self):  # noqa: N802
        self._answer(self._route_get)

    def do_POST(self):  # noqa: N802
        self._answer(self._route_post)

    def do_DELETE(self):  # noqa: N802
        self._answer(self._route_delete)

    def log_message(self, format, *arguments):
        pass

    def _answer(self, route):
        self._started = time.monotonic_ns()
        self._body_read = False
        self._query_id = str(uuid.uuid4())
        try:
            with self.server.answering():
                self._answer_or_refuse(route)
        except ConnectionLost:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        except ConnectionError:
            self.close_connection = True

    def _answer_or_refuse(self, route):
        try:
            route(urlsplit(self.path))
        except ClickHouseError as error:
            self._send_error(error)
        except (ConnectionLost, ConnectionError):
            raise
        except Exception as error:  # a fault of ours must not look like a lost connection
            traceback.print_exc()
            self._send_error(ClickHouseError(STD_EXCEPTION, f"{type(error).__name__}: {error}"))

    def _route_get(self, url):
        if url.path in ("/ping", "/replicas_status") or (url.path == "/" and not url.query):
            self._send(200, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})
        elif url.path == "/_faults" and self.server.faults is not None:
            self._send_faults()
        elif url.path == "/":
            self._execute(url, read_only=True)
        else:
            self._no_such_path(url)

    def _route_post(self, url):
        if url.path in ("/ping", "/replicas_status"):
            self._read_body()
            self._send(200, b"Ok.\n", {"Content-Type": "text/html; charset=UTF-8"})
        elif url.path == "/_faults" and self.server.faults is not None:
            try:
                self.server.faults.add(json.loads(self._read_body()))
            except json.JSONDecodeError as error:
                raise ClickHouseError(36, f"Faults are not JSON: {error}.", status=400) from error
            self._send_faults()
        elif url.path == "/":
            self._execute(url, read_only=False)
        else:
            self._read_body()
            self._no_such_path(url)

    def _route_delete(self, url):
        if url.path != "/_faults" or self.server.faults is None:
            self._no_such_path(url)
            return
        self.server.faults.clear()
        self._send_faults()

    def _no_such_path(self, url):
        text = f"There is no handle {url.path}\n\nUse / or /ping for health checks, and POST / with a query.\n"
        self._send(404, text.encode(), {"Content-Type": "text/plain; charset=UTF-8"})

    def _send_faults(self):
        self._send(200, json.dumps(self.server.faults.state()).encode() + b"\n", {"Content-Type": "application/json"})

    def _execute(self, url, read_only):
        given = request.in_url(url.query)
        self._query_id = given.get("query_id", self._query_id)
        body = self._read_body(given.get("query", ""))
        if request.is_form(self.headers):
            given, body = {**request.in_form(body, self.headers), **given}, b""
        parameters = request.parameters(given, self.headers)
        self._check_access(parameters)
        encoding = self.headers.get("Content-Encoding", "").lower()
        body = request.decode_body(body, encoding, parameters.decompress, self.server.body_limit)
        what = statement.parse(parameters.query, body)
        if isinstance(what, statement.Insert):
            self._send_result(self._insert(what, parameters, read_only), None, parameters)
        else:
            format = parameters.format or DEFAULT_FORMAT
            self._send_result(self._query(what, format, parameters, read_only), what.format or format, parameters)

    def _insert(self, what, parameters, read_only):
        faults, format = self.server.faults, what.format or parameters.format or "Values"
        if faults is not None:
            faults.before_insert(what.head)
        result = self.server.engine.insert(what.head, format, what.data, parameters.database, parameters.settings, read_only)
        if faults is not None:
            faults.after_insert(what.head, result.written_rows)
        return result

    def _query(self, what, format, parameters, read_only):
        if self.server.faults is not None:
            self.server.faults.before_query(what.text)
        return self.server.engine.query(what.text, format, parameters.database, parameters.settings, read_only)

    def _check_access(self, parameters):
        if self.server.faults is not None:
            self.server.faults.check_access()
        if self.server.access is None:
            return
        given = f"{parameters.user}\0{parameters.password}".encode()
        if not hmac.compare_digest(given, "\0".join(self.server.access).encode()):
            message = f"{parameters.user}: Authentication failed: password is incorrect, or there is no user with such name."
            raise ClickHouseError(AUTHENTICATION_FAILED, message)

    def _read_body(self, query=""):
        at_most = None
        if self.server.faults is not None and query[:6].upper() == "INSERT":
            at_most = self.server.faults.body_bytes(query, int(self.headers.get("Content-Length") or 0))
        body = request.read_body(self.rfile, self.headers, self.server.body_limit, at_most)
        self._body_read = True
        return body

    def _send_result(self, result, format, parameters):
        headers = {"X-ClickHouse-Summary": self._summary(result)}
        if format is not None:
            headers["X-ClickHouse-Format"] = format
            binary = "application/octet-stream" if format.startswith(_BINARY) else "text/plain; charset=UTF-8"
            headers["Content-Type"] = _CONTENT_TYPES.get(format, binary)
        body = result.body
        if parameters.compress:
            body = blocks.compress(body)
        if parameters.http_compression and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        self._send(200, body, headers)

    def _summary(self, result):
        return json.dumps(
            {
                "read_rows": str(result.read_rows),
                "read_bytes": str(result.read_bytes),
                "written_rows": str(result.written_rows),
                "written_bytes": str(result.written_bytes),
                "total_rows_to_read": "0",
                "result_rows": str(result.written_rows),
                "result_bytes": str(len(result.body) or result.written_bytes),
                "elapsed_ns": str(time.monotonic_ns() - self._started),
            },
            separators=(",", ":"),
        )

    def _send_error(self, error):
        # What is left of a body nobody reads would be taken for the next request.
        self.close_connection = self.close_connection or not self._body_read and self.command == "POST"
        text = f"{error.text} (version {self.server.engine.version} (chDB))\n"
        path = _PASSWORD.sub(r"\1", self.path)[:200]
        print(f"{self.log_date_time_string()} {error.status} {path}: {error.text[:500]}", file=sys.stderr, flush=True)
        headers = {"X-ClickHouse-Exception-Code": str(error.code), "Content-Type": "text/plain; charset=UTF-8"}
        self._send(error.status, text.encode("utf-8", "replace"), headers)

    def _send(self, status, body, headers):
        self.send_response(status)
        self.send_header("X-ClickHouse-Server-Display-Name", "nuanliu-dev")
        self.send_header("X-ClickHouse-Query-Id", self._query_id)
        self.send_header("X-ClickHouse-Timezone", self.server.engine.timezone)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
