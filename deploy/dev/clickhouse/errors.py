"""Errors as ClickHouse reports them: a code, a text ending in the code's name, and the HTTP status that goes with it."""

import re

SYNTAX_ERROR = 62
BAD_ARGUMENTS = 36
INCORRECT_DATA = 117
CHECKSUM_DOESNT_MATCH = 40
CANNOT_DECOMPRESS = 271
UNKNOWN_COMPRESSION_METHOD = 89
NOT_IMPLEMENTED = 48
QUERY_IS_TOO_LARGE = 223
UNEXPECTED_END_OF_FILE = 3
AUTHENTICATION_FAILED = 516
STD_EXCEPTION = 1001

_NAMES = {
    SYNTAX_ERROR: "SYNTAX_ERROR",
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    INCORRECT_DATA: "INCORRECT_DATA",
    CHECKSUM_DOESNT_MATCH: "CHECKSUM_DOESNT_MATCH",
    CANNOT_DECOMPRESS: "CANNOT_DECOMPRESS",
    UNKNOWN_COMPRESSION_METHOD: "UNKNOWN_COMPRESSION_METHOD",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    QUERY_IS_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    UNEXPECTED_END_OF_FILE: "UNEXPECTED_END_OF_FILE",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    STD_EXCEPTION: "STD_EXCEPTION",
    241: "MEMORY_LIMIT_EXCEEDED",
    242: "TABLE_IS_READ_ONLY",
    252: "TOO_MANY_PARTS",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
}

# Which codes are answered with something else than 500, by status.
_CODES_BY_STATUS = {
    400: (6, 7, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 167, 168, 190, 321, 376, 427, 441, 675, 676),
    401: (194,),
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 81, 85, 115, 336, 511),
    408: (159,),
    411: (381,),
    413: (223,),
    501: (48,),
    503: (76, 209, 439),
}
_STATUS_BY_CODE = {code: status for status, codes in _CODES_BY_STATUS.items() for code in codes}

_CODE = re.compile(r"Code: (\d+)\. (?:DB::Exception|DB::ErrnoException|std::exception)")
# Wrapped messages: every "Code: N. DB::Exception: " but the last goes, and all that follows the first name at the end.
_REPEATED = re.compile(r"^(?:Code: \d+\. DB::Exception: )+(?=Code: \d+\. DB::Exception: )")
_TAIL = re.compile(r"(\([A-Z][A-Z0-9_]+\))(?: \(version [^)]*\)+|\. \([A-Z][A-Z0-9_]+\))*\s*$")


class ClickHouseError(Exception):
    """One failed request: `code` and `text` are what the client sees, `status` the HTTP status."""

    def __init__(self, code, message, status=None):
        self.code = code
        self.text = message if message.startswith("Code: ") else f"Code: {code}. DB::Exception: {message} ({name_of(code)})"
        self.status = status or status_of(code)
        super().__init__(self.text)


def name_of(code):
    """The name ClickHouse prints after a message with this code (only for codes raised outside the engine)."""
    return _NAMES.get(code, "UNKNOWN_EXCEPTION")


def status_of(code):
    """The HTTP status a ClickHouse server answers an error code with."""
    return _STATUS_BY_CODE.get(code, 500)


def from_engine(error):
    """Turns an exception of the chDB bindings into the text a server would have sent.

    The bindings put their own words before the engine's message, sometimes wrap a message twice, and sometimes leave
    the version out.
    """
    text = str(error).strip()
    start = _CODE.search(text)
    if start is None:
        return ClickHouseError(STD_EXCEPTION, text or type(error).__name__)
    text = _REPEATED.sub("", text[start.start() :])
    text = _TAIL.sub(r"\1", text)
    code = int(_CODE.match(text).group(1))
    return ClickHouseError(code, text)
