"""Starts the server: `python -m clickhouse --path DIR --port N`. SIGTERM and SIGINT stop it and keep the data."""

import argparse
import os
import pathlib
import signal
import threading


def main():
    arguments = _arguments()
    # Before the engine starts: it takes its time zone from here.
    os.environ["TZ"] = "UTC"

    from .engine import Engine
    from .faults import Faults
    from .server import Server

    engine = Engine(arguments.path, arguments.config, arguments.parallel)
    access = (arguments.user, os.environ.get("CLICKHOUSE_PASSWORD", "")) if arguments.user else None
    server = Server(arguments.port, engine, access, Faults() if arguments.faults else None, arguments.body_limit)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"engine {engine.version} on http://127.0.0.1:{server.server_port}, data in {arguments.path}", flush=True)
    stop.wait()
    print("stopping", flush=True)
    server.finish(seconds=30)
    engine.close()
    print("stopped", flush=True)
    # Threads of idle connections must not hold the process, nor run into a closed engine.
    os._exit(0)


def _arguments():
    parser = argparse.ArgumentParser(prog="clickhouse", description=__doc__)
    parser.add_argument("--path", required=True, help="directory of the data; made if missing")
    parser.add_argument("--port", type=int, default=8123, help="port on 127.0.0.1 (0: a free one, printed)")
    parser.add_argument("--config", default=str(pathlib.Path(__file__).with_name("config.xml")), help="engine configuration")
    parser.add_argument("--parallel", type=int, default=8, help="statements executed at the same time")
    parser.add_argument("--body-limit", type=int, default=1 << 29, help="bytes of a request body, also after decompression")
    parser.add_argument("--user", help="the only user let in, with the password in CLICKHOUSE_PASSWORD; without it all are")
    parser.add_argument("--faults", action="store_true", help="serve /_faults (see faults.py)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
