"""What a request asks: its parameters, credentials, settings and body, read from the HTTP message."""

import base64
import email.parser
import re
import urllib.parse
import zlib
from dataclasses import dataclass

from . import blocks
from .errors import (
    BAD_ARGUMENTS,
    CANNOT_DECOMPRESS,
    INCORRECT_DATA,
    NOT_IMPLEMENTED,
    QUERY_IS_TOO_LARGE,
    UNEXPECTED_END_OF_FILE,
    UNKNOWN_COMPRESSION_METHOD,
    ClickHouseError,
)

# Parameters of the interface; every other one is a setting of the engine (or `param_*`, which it also takes as one).
_RESERVED = frozenset(
    "query database default_format user password compress decompress session_id session_timeout session_check"
    " query_id quota_key wait_end_of_query buffer_size stacktrace role"
    " client_protocol_version enable_http_compression http_zlib_compression_level close_session".split()
)
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


class ConnectionLost(Exception):
    """The client went away, or was cut off, in the middle of its body: there is nobody to answer."""


@dataclass(frozen=True)
class Parameters:
    """The parameters of one request, from its URL and its headers (the URL wins, as in ClickHouse)."""

    query: str
    database: str
    format: str | None
    user: str
    password: str
    compress: bool
    decompress: bool
    http_compression: bool
    settings: dict


def in_url(url_query):
    """The parameters of the URL."""
    return dict(urllib.parse.parse_qsl(url_query, keep_blank_values=True))


def is_form(headers):
    """Whether the body is a form, whose fields are parameters like those of the URL."""
    return headers.get_content_type() == "multipart/form-data"


def in_form(body, headers):
    """The fields of a form; ClickHouseError when it is malformed or brings a file (a table of external data)."""
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser().parsebytes(head + body)
    if not message.is_multipart() or message.defects:
        raise ClickHouseError(INCORRECT_DATA, "The form is malformed.", status=400)
    fields = {}
    for part in message.get_payload():
        name = part.get_param("name", header="content-disposition")
        if name is None or part.get_filename() is not None:
            raise ClickHouseError(NOT_IMPLEMENTED, "Tables of external data are not spoken.")
        fields[name] = part.get_payload(decode=True).decode("utf-8", "replace")
    return fields


def parameters(given, headers):
    """Reads the parameters; ClickHouseError when a setting's name cannot be one or basic auth is malformed."""
    settings = {name: value for name, value in given.items() if name not in _RESERVED}
    for name in settings:
        if _SETTING.fullmatch(name) is None:
            raise ClickHouseError(BAD_ARGUMENTS, f"Parameter name {name!r} cannot be the name of a setting.")
    user, password = _credentials(given, headers)
    return Parameters(
        query=given.get("query", ""),
        database=given.get("database") or headers.get("X-ClickHouse-Database") or "default",
        format=given.get("default_format") or headers.get("X-ClickHouse-Format"),
        user=user,
        password=password,
        compress=given.get("compress") == "1",
        decompress=given.get("decompress") == "1",
        http_compression=given.get("enable_http_compression") == "1",
        settings=settings,
    )


def _credentials(given, headers):
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    kind, _, encoded = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError as error:
            raise ClickHouseError(BAD_ARGUMENTS, "Authorization header is not valid basic authentication.") from error
        return user, password
    return given.get("user", "default"), given.get("password", "")


def read_body(stream, headers, limit, at_most=None):
    """The body as it came over the wire. `at_most` cuts the connection after so many bytes (a fault for tests)."""
    if headers.get("Transfer-Encoding", "").lower() == "chunked":
        return _read_chunked(stream, limit, at_most)
    try:
        length = int(headers.get("Content-Length") or 0)
    except ValueError as error:
        raise ClickHouseError(BAD_ARGUMENTS, "Content-Length is not a number.", status=400) from error
    _check_size(length, limit)
    if at_most is not None and length > at_most:
        stream.read(at_most)
        raise ConnectionLost
    return _read_exactly(stream, length)


def _read_chunked(stream, limit, at_most):
    parts, total = [], 0
    while True:
        line = stream.readline(1024)
        if not line:
            raise ConnectionLost
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError as error:
            raise ClickHouseError(INCORRECT_DATA, "Chunk size is not a hexadecimal number.", status=400) from error
        if size == 0:
            while stream.readline(1024).strip():  # trailers
                pass
            return parts[0] if len(parts) == 1 else b"".join(parts)
        total += size
        _check_size(total, limit)
        if at_most is not None and total > at_most:
            raise ConnectionLost
        parts.append(_read_exactly(stream, size))
        stream.readline(1024)


def _read_exactly(stream, length):
    data = stream.read(length)
    if len(data) != length:
        raise ConnectionLost
    return data


def _check_size(length, limit):
    if length > limit:
        raise ClickHouseError(QUERY_IS_TOO_LARGE, f"Request body is larger than {limit} bytes.")


def decode_body(body, content_encoding, decompress, limit):
    """Undoes Content-Encoding and then ClickHouse's own compression."""
    if content_encoding in ("gzip", "x-gzip", "deflate"):
        body = _inflate(body, zlib.MAX_WBITS | (16 if "gzip" in content_encoding else 0), limit)
    elif content_encoding not in ("", "identity"):
        raise ClickHouseError(UNKNOWN_COMPRESSION_METHOD, f"Unknown Content-Encoding {content_encoding}: use gzip or deflate.")
    return blocks.decompress(body, limit) if decompress and body else body


def _inflate(body, window_bits, limit):
    unpacker = zlib.decompressobj(window_bits)
    try:
        data = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise ClickHouseError(CANNOT_DECOMPRESS, f"Cannot decompress the body: {error}.") from error
    _check_size(len(data), limit)
    if not unpacker.eof:
        raise ClickHouseError(UNEXPECTED_END_OF_FILE, "Compressed body is cut off.")
    return data
