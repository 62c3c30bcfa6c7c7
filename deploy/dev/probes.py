"""Readiness by a real request: each function returns when the service answers as it should and raises otherwise."""

import os
import socket
import struct
import urllib.error
import urllib.request

SECONDS = 3


def kafka(port):
    """A Metadata request (version 1) whose answer names at least one broker and a controller."""
    client = b"dev"
    body = struct.pack(">hhih", 3, 1, 7, len(client)) + client + struct.pack(">i", 0)
    with _connect(port) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", _exactly(connection, 4))
        answer = _exactly(connection, size)
    correlation, brokers = struct.unpack_from(">ii", answer)
    if correlation != 7 or brokers < 1:
        raise ConnectionError(f"kafka answers with {brokers} brokers")


def clickhouse(port):
    """`/ping`, then a query, as the user of the environment where it names one."""
    headers = {}
    if user := os.environ.get("NUANLIU_DEV_CLICKHOUSE_USER"):
        headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": os.environ.get("CLICKHOUSE_PASSWORD", "")}
    for path, expected in (("/ping", b"Ok.\n"), ("/?query=SELECT%201", b"1\n")):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            if answer.read() != expected:
                raise ConnectionError(f"clickhouse answers {path} wrongly")


def mosquitto(port):
    """CONNECT (3.1.1, clean session), which CONNACK must accept."""
    name = b"nuanliu-dev-probe"
    variable = b"\x00\x04MQTT\x04\x02\x00\x0a" + struct.pack(">H", len(name)) + name
    with _connect(port) as connection:
        connection.sendall(bytes([0x10, len(variable)]) + variable)
        if _exactly(connection, 4)[:1] != b"\x20":
            raise ConnectionError("mosquitto does not acknowledge a connection")
        connection.sendall(b"\xe0\x00")


def s3(port):
    """The bucket `nuanliu` is listed; made where it is missing, since the store keeps nothing when it ends."""
    bucket = f"http://127.0.0.1:{port}/nuanliu"
    try:
        urllib.request.urlopen(bucket, timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        urllib.request.urlopen(urllib.request.Request(bucket, method="PUT"), timeout=SECONDS).close()
        urllib.request.urlopen(bucket, timeout=SECONDS).close()


def _connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def _exactly(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("connection closed in the middle of an answer")
        data += part
    return data
