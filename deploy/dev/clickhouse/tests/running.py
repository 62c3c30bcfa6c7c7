"""A front of its own for a test case: started on a free port, spoken to over HTTP."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import urllib.parse

SOURCES = pathlib.Path(__file__).resolve().parents[2]


class Front:
    """Starts `python -m clickhouse` on `path` (a directory of its own if None) with the given options."""

    def __init__(self, *options, path=None, password=None):
        self._directory = None if path else tempfile.TemporaryDirectory(prefix="clickhouse-front-")
        self.path = path or self._directory.name
        self.log = tempfile.TemporaryFile("a+b")
        environment = {**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1"}
        if password is not None:
            environment["CLICKHOUSE_PASSWORD"] = password
        command = [sys.executable, "-m", "clickhouse", "--path", self.path, "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, env=environment, text=True)
        # The line that says it listens: "engine … on http://127.0.0.1:PORT, data in …".
        self.port = int(self.process.stdout.readline().split("http://127.0.0.1:")[1].split(",")[0])

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, query=None, body=b"", connection=None, method="POST", path="/", headers=(), **parameters):
        """One request; returns (status, headers, body)."""
        if query is not None:
            parameters = {"query": query, **parameters}
        url = path + ("?" + urllib.parse.urlencode(parameters) if parameters else "")
        client = connection or self.connect()
        try:
            client.request(method, url, body=body, headers=dict(headers), encode_chunked=not hasattr(body, "__len__"))
            answer = client.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            if connection is None:
                client.close()

    def run(self, query, body=b"", **parameters):
        """A statement that must succeed; returns its answer."""
        status, _, answer = self.ask(query, body, **parameters)
        if status != 200:
            raise AssertionError(f"{query}: {status} {answer.decode(errors='replace')}")
        return answer

    def fault(self, **faults):
        """Sets faults and returns their state."""
        return json.loads(self.ask(None, json.dumps(faults).encode(), path="/_faults")[2])

    def stop(self, number=signal.SIGTERM):
        """Ends the process with a signal, waits, returns its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        return code

    def logged(self):
        """What it has logged."""
        self.log.seek(0)
        return self.log.read().decode()

    def close(self):
        if self.process.poll() is None:
            self.stop()
        self.log.close()
        if self._directory is not None:
            self._directory.cleanup()
