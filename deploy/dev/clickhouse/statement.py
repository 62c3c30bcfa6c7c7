"""Splits the text of a request into a statement and, for an INSERT, the data that follows it.

Only as much of the SQL is understood as the HTTP interface needs: which format an INSERT's data is in and where it
begins, and which format a query names for its answer. Everything else is the engine's business.
"""

import re
from dataclasses import dataclass

from .errors import SYNTAX_ERROR, ClickHouseError

_TOKEN = re.compile(
    rb"""(?P<space>\s+|--[^\n]*|\#[!\ ][^\n]*|/\*.*?\*/)
       | (?P<quoted>'(?:\\.|''|[^'\\])*' | `(?:\\.|``|[^`\\])*` | "(?:\\.|""|[^"\\])*")
       | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
       | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_AFTER_FORMAT = re.compile(rb"[ \t]*;?[ \t]*(?:\r?\n)?")
_OPEN, _CLOSE = (b"(", b"[", b"{"), (b")", b"]", b"}")


@dataclass(frozen=True)
class Insert:
    """An INSERT whose data comes with the request: `head` ends before FORMAT or VALUES."""

    head: str
    format: str | None
    data: bytes


@dataclass(frozen=True)
class Query:
    """Any other statement; `format` is the one it names for its answer."""

    text: str
    format: str | None


def parse(in_url, body):
    """The statement of a request from its `query` parameter and its body.

    As in ClickHouse the statement is the one followed by the other, so that an INSERT in the URL has its data in the
    body and a body alone may carry both.
    """
    text = in_url.encode() if in_url.strip() else b""
    if text and (insert := _insert(text)) is not None:
        data = insert.data + b"\n" + body if insert.data.strip() else body
        return Insert(insert.head, insert.format, data)
    if not text and (insert := _insert(body)) is not None:
        return insert
    text = text + b"\n" + body if text and body else text or body
    if (insert := _insert(text)) is not None:
        return insert
    _require_one_statement(text)
    text = text.decode("utf-8", "replace")
    return Query(text, _named_format(text))


def _require_one_statement(text):
    """chDB would run several; a server refuses them, and so must we, or a mistake shows only in production."""
    count, inside = 0, False
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "other" and token[0] == b";":
            inside = False
        elif token.lastgroup != "space" and not inside:
            count, inside = count + 1, True
    if count != 1:
        message = "Syntax error (Multi-statements are not allowed)." if count else "Syntax error: Empty query."
        raise ClickHouseError(SYNTAX_ERROR, message)


def _words(text):
    """The words of `text` outside quotes, comments and brackets, in upper case, with their places."""
    depth = 0
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "other":
            depth += (token[0] in _OPEN) - (token[0] in _CLOSE)
        elif token.lastgroup == "word" and depth == 0:
            yield token[0].upper(), token


def _insert(text):
    words = _words(text)
    if next(words, (b"", None))[0] != b"INSERT":
        return None
    for word, token in words:
        if word in (b"SELECT", b"WITH", b"INFILE", b"WATCH"):
            return None
        if word == b"VALUES":
            return Insert(_head(text, token), "Values", text[token.end() :].rstrip(b" \t\r\n;"))
        if word == b"FORMAT" and (name := next(words, None)) is not None:
            format = name[1][0].decode()
            if format == "Values":
                return Insert(_head(text, token), format, text[name[1].end() :].rstrip(b" \t\r\n;"))
            return Insert(_head(text, token), format, text[_AFTER_FORMAT.match(text, name[1].end()).end() :])
    return Insert(text.decode("utf-8", "replace").rstrip(" \t\r\n;"), None, b"")


def _head(text, token):
    return text[: token.start()].decode("utf-8", "replace").rstrip()


def _named_format(text):
    format, after = None, False
    for word, token in _words(text.encode()):
        if after:
            format = token[0].decode()
        after = word == b"FORMAT"
    return format
