"""The engine: chDB opened on a directory, one connection of its own for every request.

Connections are cheap (0.2 ms) and independent: each has its own database and settings and they run in parallel, so
nothing a request sets can reach another one. A connection is closed whatever happened to its request.
"""

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass

from chdb.state.sqlitelike import Connection

from .errors import from_engine

APPEND_BYTES = 8 << 20


@dataclass(frozen=True)
class Result:
    """What a statement gave: the answer's bytes and the counters of X-ClickHouse-Summary."""

    body: bytes = b""
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0


class Engine:
    """A ClickHouse engine in this process. Methods may be called from any thread; all raise ClickHouseError."""

    def __init__(self, path, config_file, parallel):
        options = f"config-file={config_file}" if config_file else ""
        self._address = f"{path}?{options}"
        self._turns = threading.BoundedSemaphore(parallel)
        self._parallel = parallel
        # The engine lives as long as any connection does.
        self._root = Connection(self._address)
        self.version, self.timezone = self._root.query("SELECT version(), timezone()", "TSV").data().strip().split("\t")

    def query(self, text, format, database, settings, read_only):
        """Runs one statement and returns its answer in `format` (unless the statement names another)."""
        with self._connection(database, settings, read_only) as connection:
            result = connection.query(text, format)
            if result is None:
                return Result()
            return Result(
                result.bytes() or b"",
                result.rows_read(),
                result.bytes_read(),
                result.rows_written(),
                result.bytes_written(),
            )

    def insert(self, head, format, data, database, settings, read_only):
        """Runs an INSERT (without its FORMAT clause) on `data`; all of it or, when it cannot be read, none."""
        with self._connection(database, settings, read_only) as connection:
            stream = connection.send_insert(head, format)
            try:
                for at in range(0, len(data), APPEND_BYTES):
                    stream.append(data if len(data) <= APPEND_BYTES else data[at : at + APPEND_BYTES])
                done = stream.finish()
            finally:
                stream.cancel()
            if done.rows_written == 0:
                # Streams keep to themselves that a table takes nothing, such as one with too many parts; statements say it.
                if nothing := _insert_nothing(head):
                    connection.query(nothing)
            return Result(written_rows=done.rows_written, written_bytes=done.bytes_written)

    @contextmanager
    def _connection(self, database, settings, read_only):
        with self._turns:
            connection = None
            try:
                connection = Connection(self._address)
                connection.query(f"USE {_identifier(database)}")
                if settings:
                    connection.query("SET " + ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items()))
                if read_only:
                    connection.query("SET readonly = 2")
                yield connection
            except Exception as error:  # the bindings raise RuntimeError and their own classes
                raise from_engine(error) from error
            finally:
                if connection is not None:
                    connection.close()

    def close(self):
        """Waits for running requests, stops merges and closes the directory. Nothing may be called afterwards."""
        for _ in range(self._parallel):
            self._turns.acquire(timeout=30)
        self._root.query("SYSTEM STOP MERGES")
        self._root.close()


def _insert_nothing(head):
    """The INSERT of that head, of no rows; None when the head has more than a table and columns."""
    match = re.fullmatch(r"\s*INSERT\s+INTO\s+(?:TABLE\s+)?([^\s(]+)\s*(?:\((.*)\))?\s*", head, re.IGNORECASE | re.DOTALL)
    if match is None:
        return None
    table, columns = match.groups()
    into = f"{table} ({columns})" if columns else table
    return f"INSERT INTO {into} SELECT {columns or '*'} FROM {table} LIMIT 0"


def _literal(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _identifier(text):
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"
