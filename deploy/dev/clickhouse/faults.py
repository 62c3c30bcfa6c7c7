"""Faults on demand, for tests of what the product does when ClickHouse misbehaves (only with `--faults`).

`POST /_faults` with a JSON object adds to what is set, `DELETE /_faults` clears it, `GET /_faults` shows it together with
the number of inserts seen, done and failed. Unknown keys are refused. The keys:

| key | meaning |
|---|---|
| `fail_inserts` | the next N inserts fail without being executed |
| `fail_queries` | the next N other statements fail |
| `status`, `code`, `message` | what they fail with (500, 241, a text naming the fault) |
| `drop_after_insert` | the next N inserts are executed and the connection is closed without an answer |
| `break_body` | on the next N inserts the connection is closed after half the body, nothing executed |
| `delay_inserts_ms` | every insert waits so long before it is executed |
| `refuse_auth` | true: every statement is answered 516 with status 403 |
| `table` | a regular expression: only inserts whose text matches are counted and struck |
"""

import re
import threading
import time

from .errors import AUTHENTICATION_FAILED, BAD_ARGUMENTS, ClickHouseError, name_of
from .request import ConnectionLost

_DEFAULTS = {
    "fail_inserts": 0,
    "fail_queries": 0,
    "status": 500,
    "code": 241,
    "message": "injected fault",
    "drop_after_insert": 0,
    "break_body": 0,
    "delay_inserts_ms": 0,
    "refuse_auth": False,
    "table": "",
}


class Faults:
    """The faults that are set and what they have done so far. Methods may be called from any thread."""

    def __init__(self):
        self._lock = threading.Lock()
        self.clear()

    def clear(self):
        """Removes every fault and starts counting anew."""
        with self._lock:
            self._set = dict(_DEFAULTS)
            self._seen = {"inserts_seen": 0, "inserts_done": 0, "inserts_failed": 0, "rows_done": 0}

    def add(self, given):
        """Sets the given keys, leaving the others; ClickHouseError (status 400) when one is unknown or of a wrong type."""
        for key, value in given.items() if isinstance(given, dict) else [("a JSON object", None)]:
            if key not in _DEFAULTS or type(value) is not type(_DEFAULTS[key]):
                known = ", ".join(f"{name} ({type(value).__name__})" for name, value in _DEFAULTS.items())
                raise ClickHouseError(BAD_ARGUMENTS, f"Unknown fault or wrong type: {key}. Known: {known}.", status=400)
        with self._lock:
            self._set.update(given)

    def state(self):
        """The faults still set and the counters."""
        with self._lock:
            return {**self._set, **self._seen}

    def body_bytes(self, text, content_length):
        """How much of an insert's body to read before cutting the connection; None for all of it."""
        if self._strikes("break_body", text):
            return content_length // 2
        return None

    def check_access(self):
        """Raises when every statement is to be refused."""
        if self._set["refuse_auth"]:
            raise ClickHouseError(AUTHENTICATION_FAILED, "default: Authentication failed: injected fault.")

    def before_insert(self, text):
        """Waits or fails as set."""
        with self._lock:
            self._seen["inserts_seen"] += 1
            delay = self._set["delay_inserts_ms"] if self._matches(text) else 0
        if delay:
            time.sleep(delay / 1000)
        if self._strikes("fail_inserts", text):
            with self._lock:
                self._seen["inserts_failed"] += 1
            raise self._error()

    def before_query(self, text):
        """Fails as set."""
        if self._strikes("fail_queries", text):
            raise self._error()

    def after_insert(self, text, rows):
        """Counts the rows; raises ConnectionLost where the answer is to be lost."""
        with self._lock:
            self._seen["inserts_done"] += 1
            self._seen["rows_done"] += rows
        if self._strikes("drop_after_insert", text):
            raise ConnectionLost

    def _strikes(self, key, text):
        with self._lock:
            if self._set[key] <= 0 or not self._matches(text):
                return False
            self._set[key] -= 1
            return True

    def _matches(self, text):
        return re.search(self._set["table"], text) is not None

    def _error(self):
        code = self._set["code"]
        text = f"Code: {code}. DB::Exception: {self._set['message']}. ({name_of(code)})"
        return ClickHouseError(code, text, status=self._set["status"])
