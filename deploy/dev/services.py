#!/usr/bin/env python3
"""The services of development, tests and the demo: Kafka, ClickHouse's engine, Mosquitto, on free ports of 127.0.0.1.

Everything they own is in one directory ($NUANLIU_DEV_DIR, default target/dev of this checkout): data/, logs/, run/ (ports
and process ids), `env` for the shell and `nuanliu.toml` for the product. Ports are chosen once per directory and kept. The
programs themselves come from `install` and are shared by all directories of a checkout ($NUANLIU_DEV_TOOLS). Tests also
get `s3`, an object store in memory with the bucket `nuanliu`: with `--faults`, or when it is named.
"""

import argparse
import fcntl
import json
import os
import pathlib
import pwd
import shlex
import shutil
import string
import subprocess
import sys
import time
from contextlib import contextmanager

sys.dont_write_bytecode = True  # before our own modules: no __pycache__ in the source tree

import probes
from processes import Process, free_port, is_free

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DIRECTORY = pathlib.Path(os.environ.get("NUANLIU_DEV_DIR") or ROOT / "target/dev").absolute()
TOOLS = pathlib.Path(os.environ.get("NUANLIU_DEV_TOOLS") or ROOT / "target/dev/tools").absolute()
DATA, LOGS, RUN = DIRECTORY / "data", DIRECTORY / "logs", DIRECTORY / "run"
NAMES = ("kafka", "clickhouse", "mosquitto")
KNOWN = (*NAMES, "s3")
PORTS = ("kafka", "kafka_controller", "clickhouse", "mosquitto", "http", "s3")
START_SECONDS = 240


class Failed(Exception):
    """A service that cannot be started; the text says why and where to look."""


def up(names, faults):
    """Starts what does not run, waits until it answers, and writes `env` and the configuration."""
    _require_tools(names)
    for directory in (DATA, LOGS, RUN):
        directory.mkdir(parents=True, exist_ok=True)
    state = _state(faults, "s3" in names)
    _write_environment(state)
    started = []
    for name in names:
        process, port = _process(name), state["ports"][name]
        if process.pid() is not None:
            _wait_until_ready(name, port, process)
            print(f"{name}: already running on 127.0.0.1:{port}")
            continue
        if not is_free(port):
            raise Failed(f"{name}: port {port} is taken by another program; stop it, or `make clean-dev` chooses new ports")
        command, environment = COMMANDS[name](state)
        process.start(command, LOGS / f"{name}.log", environment)
        started.append((name, port, process))
    for name, port, process in started:
        seconds = _wait_until_ready(name, port, process)
        print(f"{name}: running on 127.0.0.1:{port}, ready after {seconds:.1f} s, log {_short(LOGS / f'{name}.log')}")


def down(names, purge):
    """Stops what runs; with `purge` removes the data, logs and ports too."""
    everything = names == _all_names()
    for name in reversed(names):
        stopped = _process(name).stop()
        print(f"{name}: {'stopped' if stopped else 'not running'}")
    if not purge:
        return
    for name in names:
        shutil.rmtree(DATA / name, ignore_errors=True)
        (LOGS / f"{name}.log").unlink(missing_ok=True)
    if everything:
        for path in (DATA, LOGS, RUN):
            shutil.rmtree(path, ignore_errors=True)
        for path in ("env", "nuanliu.toml"):
            (DIRECTORY / path).unlink(missing_ok=True)
    print(f"removed the data of {', '.join(names)} under {_short(DIRECTORY)}")


def kill(names):
    """Ends services as a crash would; `up` brings them back on the same ports and data."""
    for name in names:
        print(f"{name}: {'killed' if _process(name).kill() else 'not running'}")


def pause(names, paused):
    """Halts services, so that they accept connections and answer nothing, or lets them go on."""
    for name in names:
        print(f"{name}: {('paused' if paused else 'resumed') if _process(name).pause(paused) else 'not running'}")


def status(names):
    """Says what runs; returns whether all do."""
    ports = _read_state().get("ports", {})
    running = 0
    for name in names:
        pid = _process(name).pid()
        running += pid is not None
        print(f"{name}: " + (f"process {pid} on 127.0.0.1:{ports[name]}" if pid else "not running"))
    return running == len(names)


def _kafka_command(state):
    data = DATA / "kafka"
    # After a crash the node is let in again once the session of its former life has ended.
    session = 9_000 if (data / "meta.properties").exists() else 60_000
    values = {**state["ports"], "data": data, "session": session}
    properties = _fill(HERE / "kafka/server.properties", RUN / "kafka.properties", **values)
    java = [
        str(TOOLS / "java"),
        f"-Dlog4j2.configurationFile={HERE / 'kafka/log4j2.properties'}",
        "-cp",
        f"{TOOLS / 'kafka'}/*",
    ]
    if not (data / "meta.properties").exists():
        tool = [*java[:1], "-Xmx128m", *java[1:], "kafka.tools.StorageTool"]
        cluster = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, check=True).stdout.split()[-1]
        format = [*tool, "format", "--standalone", "--cluster-id", cluster, "--config", str(properties)]
        with open(LOGS / "kafka.log", "ab") as log:
            subprocess.run(format, stdout=log, stderr=subprocess.STDOUT, check=True)
    return [*java[:1], "-Xms128m", "-Xmx512m", *java[1:], "kafka.Kafka", str(properties)], None


def _clickhouse_command(state):
    data = DATA / "clickhouse"
    data.mkdir(exist_ok=True)
    python = TOOLS / "venv/bin/python"
    command = [str(python), "-m", "clickhouse", "--path", str(data), "--port", str(state["ports"]["clickhouse"])]
    if state["faults"]:
        command.append("--faults")
    if user := os.environ.get("NUANLIU_DEV_CLICKHOUSE_USER"):  # its password is in CLICKHOUSE_PASSWORD
        command += ["--user", user]
    return command, {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1", "TZ": "UTC"}


def _mosquitto_command(state):
    data = DATA / "mosquitto"
    data.mkdir(exist_ok=True)
    user = pwd.getpwuid(os.getuid()).pw_name
    config = _fill(HERE / "mosquitto/mosquitto.conf", RUN / "mosquitto.conf", **state["ports"], data=data, user=user)
    return [shutil.which("mosquitto", path=_SYSTEM_PATH), "-c", str(config)], None


def _s3_command(state):
    command = [str(TOOLS / "s3/bin/python"), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(state["ports"]["s3"])]
    return command, {"PYTHONDONTWRITEBYTECODE": "1"}


COMMANDS = {
    "kafka": _kafka_command,
    "clickhouse": _clickhouse_command,
    "mosquitto": _mosquitto_command,
    "s3": _s3_command,
}
# Debian puts daemons where the PATH of an ordinary user does not look.
_SYSTEM_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def _require_tools(names):
    missing = [] if shutil.which("mosquitto", path=_SYSTEM_PATH) else ["mosquitto"]
    tools = ["java", "kafka", "venv/bin/python"] + (["s3/bin/python"] if "s3" in names else [])
    missing += [_short(TOOLS / name) for name in tools if not (TOOLS / name).exists()]
    if missing:
        raise Failed(f"not installed: {', '.join(missing)}; `make install` installs what is missing")


def _wait_until_ready(name, port, process):
    started, probe = time.monotonic(), getattr(probes, name)
    while True:
        try:
            probe(port)
            return time.monotonic() - started
        except (OSError, ValueError) as error:
            log = LOGS / f"{name}.log"
            if process.pid() is None:
                raise Failed(f"{name}: ended while starting\n{_tail(log)}") from error
            if time.monotonic() - started > START_SECONDS:
                raise Failed(f"{name}: no answer after {START_SECONDS} s: {error}\n{_tail(log)}") from error
        time.sleep(0.05)


def _tail(log):
    lines = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
    return "\n".join([f"the end of {_short(log)}:", *lines])


def _process(name):
    return Process(RUN / f"{name}.json")


def _read_state():
    try:
        return json.loads((RUN / "state.json").read_text())
    except (OSError, ValueError):
        return {}


def _all_names():
    """The services of this directory."""
    return KNOWN if _read_state().get("s3") else NAMES


def _state(faults, s3):
    """The ports of this directory, whether faults can be injected and s3 belongs to it; made on the first `up`."""
    state = {"ports": {}, "faults": False, "s3": False, **_read_state()}
    for name in PORTS:
        if name not in state["ports"]:
            state["ports"][name] = free_port(taken=state["ports"].values())
    state["faults"] = state["faults"] or faults
    state["s3"] = state["s3"] or s3
    (RUN / "state.json").write_text(json.dumps(state, indent=2) + "\n")
    return state


def _write_environment(state):
    """`env` for the shell, and the product's configuration for exactly these services."""
    ports = state["ports"]
    urls = {
        "kafka": f"127.0.0.1:{ports['kafka']}",
        "clickhouse": f"http://127.0.0.1:{ports['clickhouse']}",
        "mqtt": f"mqtt://127.0.0.1:{ports['mosquitto']}",
        "http": f"http://127.0.0.1:{ports['http']}",
    }
    config = DIRECTORY / "nuanliu.toml"
    _fill(HERE / "nuanliu.toml", config, **urls, http_listen=f"127.0.0.1:{ports['http']}", directory=DIRECTORY)
    variables = {f"NUANLIU_{name.upper()}": url for name, url in urls.items()}
    variables |= {"NUANLIU_CONFIG": str(config), "NUANLIU_DEV_DIR": str(DIRECTORY)}
    if state["s3"]:  # any keys do, but requests are signed
        variables |= {"NUANLIU_S3": f"http://127.0.0.1:{ports['s3']}", "AWS_DEFAULT_REGION": "us-east-1"}
        variables |= {"AWS_ACCESS_KEY_ID": "nuanliu", "AWS_SECRET_ACCESS_KEY": "nuanliu"}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    (DIRECTORY / "env").write_text("".join(lines))


def _fill(template, target, **values):
    target.write_text(string.Template(template.read_text()).substitute(values))
    return target


def _short(path):
    return os.path.relpath(path) if path.is_relative_to(pathlib.Path.cwd()) else str(path)


@contextmanager
def _alone():
    """Two `up`s of one directory at once wait for each other."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with open(DIRECTORY / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("up", "down", "restart", "kill", "pause", "resume", "status"))
    parser.add_argument("names", nargs="*", metavar="service", help=f"{', '.join(KNOWN)}; all if none is given")
    parser.add_argument("--purge", action="store_true", help="down: remove data, logs and ports too")
    parser.add_argument("--faults", action="store_true", help="up: for tests, with s3, and faults of ClickHouse at /_faults")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(KNOWN):
        parser.error(f"unknown service {', '.join(sorted(unknown))}: known are {', '.join(KNOWN)}")
    wanted = arguments.names or (KNOWN if arguments.faults else _all_names())
    names = tuple(name for name in KNOWN if name in wanted)
    try:
        with _alone():
            if arguments.action in ("down", "restart"):
                down(names, arguments.purge)
            if arguments.action in ("up", "restart"):
                up(names, arguments.faults)
            if arguments.action == "kill":
                kill(names)
            if arguments.action in ("pause", "resume"):
                pause(names, arguments.action == "pause")
            if arguments.action == "status":
                return 0 if status(names) else 3
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"{shlex.join(map(str, error.cmd))} failed; see {_short(LOGS)}\n{error.stderr or ''}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
