"""Processes known by id and start time, so that a reused id is never taken for one of ours, and free ports."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time


class Process:
    """One background process, recorded in a file that outlives the program which started it."""

    def __init__(self, record):
        self._record = pathlib.Path(record)

    def start(self, command, log, environment=None):
        """Starts `command` in a session of its own with both outputs appended to `log`."""
        with open(log, "ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        child.returncode = 0  # It outlives this program on purpose: nobody waits for it.
        self._record.write_text(json.dumps({"pid": child.pid, "started": _start_time(child.pid)}))

    def pid(self):
        """The process id while it runs, else None."""
        try:
            record = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return None
        started = _start_time(record["pid"])
        return record["pid"] if started is not None and started == record["started"] else None

    def stop(self, seconds=30):
        """Asks it to end, and after `seconds` ends it; returns whether it was running."""
        pid = self.pid()
        if pid is None:
            self._record.unlink(missing_ok=True)
            return False
        _signal(pid, signal.SIGTERM)
        _signal(pid, signal.SIGCONT)  # a paused process hears nothing
        if not self._wait(seconds):
            _signal(pid, signal.SIGKILL)
            self._wait(10)
        self._record.unlink(missing_ok=True)
        return True

    def kill(self):
        """Ends it at once, as a crash would; returns whether it was running."""
        pid = self.pid()
        if pid is not None:
            _signal(pid, signal.SIGKILL)
            self._wait(10)
        return pid is not None

    def pause(self, paused):
        """Halts it without ending it, as an overloaded or unreachable machine seems to clients, or lets it go on."""
        pid = self.pid()
        if pid is not None:
            _signal(pid, signal.SIGSTOP if paused else signal.SIGCONT)
        return pid is not None

    def _wait(self, seconds):
        until = time.monotonic() + seconds
        while self.pid() is not None:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _start_time(pid):
    """When the process started, in clock ticks since boot; None when it is gone or only waits to be reaped."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def free_port(taken=()):
    """A port on 127.0.0.1 nobody listens on, below those the system gives to outgoing connections.

    A service that was killed must find its port again, so it must not be one that a client may get meanwhile.
    """
    first_of_clients = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    low, high = (10_000, first_of_clients) if first_of_clients > 11_000 else (61_000, 65_535)
    for port in random.sample(range(low, high), 200):
        if port not in taken and is_free(port):
            return port
    raise RuntimeError(f"no free port found between {low} and {high}")


def is_free(port):
    """Whether one can listen on the port now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
