"""ClickHouse's compressed blocks, as in `decompress=1` bodies and `compress=1` answers.

A block is 16 bytes of CityHash128 (version 1.0.2, high half first) over what follows: a method byte (0x82 is LZ4, 0x02
is not compressed), the compressed size including these 9 bytes, the size of the data, and the data.
"""

import struct

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128

from .errors import CANNOT_DECOMPRESS, CHECKSUM_DOESNT_MATCH, QUERY_IS_TOO_LARGE, UNKNOWN_COMPRESSION_METHOD, ClickHouseError

LZ4 = 0x82
STORED = 0x02
BLOCK_BYTES = 1 << 20

_CHECKSUM = struct.Struct("<QQ")
_HEADER = struct.Struct("<BII")


def compress(data):
    """The data as a sequence of LZ4 blocks of at most 1 MiB of data each; no data gives no block."""
    data = memoryview(data)
    return b"".join(_compress_block(data[at : at + BLOCK_BYTES]) for at in range(0, len(data), BLOCK_BYTES))


def _compress_block(data):
    packed = lz4.block.compress(data, store_size=False)
    rest = _HEADER.pack(LZ4, len(packed) + _HEADER.size, len(data)) + packed
    return _checksum(rest) + rest


def decompress(body, limit):
    """The data of the blocks in `body`; ClickHouseError when a block is damaged, cut off, or the data exceeds `limit`."""
    body = memoryview(body)
    parts, at, total = [], 0, 0
    while at < len(body):
        if len(body) - at < _CHECKSUM.size + _HEADER.size:
            raise ClickHouseError(CANNOT_DECOMPRESS, f"Compressed block at byte {at} is cut off.")
        checksum, rest_at = bytes(body[at : at + _CHECKSUM.size]), at + _CHECKSUM.size
        method, packed_bytes, data_bytes = _HEADER.unpack_from(body, rest_at)
        total += data_bytes
        if total > limit:
            raise ClickHouseError(QUERY_IS_TOO_LARGE, f"Request body is larger than {limit} bytes after decompression.")
        end = rest_at + packed_bytes
        if packed_bytes < _HEADER.size or end > len(body):
            raise ClickHouseError(CANNOT_DECOMPRESS, f"Compressed block at byte {at} is cut off.")
        rest = bytes(body[rest_at:end])
        if _checksum(rest) != checksum:
            raise ClickHouseError(
                CHECKSUM_DOESNT_MATCH,
                f"Checksum doesn't match: corrupted data. Reference: {checksum.hex()}. Actual: {_checksum(rest).hex()}."
                f" Size of compressed block: {packed_bytes}.",
            )
        parts.append(_unpack(method, memoryview(rest)[_HEADER.size :], data_bytes))
        at = end
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _unpack(method, packed, data_bytes):
    if method == STORED:
        return bytes(packed)
    if method != LZ4:
        raise ClickHouseError(UNKNOWN_COMPRESSION_METHOD, f"Unknown compression method 0x{method:02x}: LZ4 (0x82) is spoken.")
    try:
        return lz4.block.decompress(packed, uncompressed_size=data_bytes)
    except lz4.block.LZ4BlockError as error:
        raise ClickHouseError(CANNOT_DECOMPRESS, f"Cannot decompress a block: {error}.") from error


def _checksum(data):
    value = CityHash128(data)
    return _CHECKSUM.pack(value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF)
