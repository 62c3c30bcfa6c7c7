"""Compressed blocks: against the engine's own, round trips, and every kind of damage."""

import os
import pathlib
import unittest

from clickhouse import blocks, errors
from clickhouse.tests.running import Front

ONE = blocks.compress(b"1\n")
LIMIT = 1 << 24


class Blocks(unittest.TestCase):
    def test_blocks_written_by_the_engine(self):
        """The engine's own files are made of the same blocks, one file per column of a TinyLog table."""
        front = Front()
        self.addCleanup(front.close)
        front.run("CREATE TABLE t (a String CODEC(LZ4), b String CODEC(NONE)) ENGINE = TinyLog")
        front.run("INSERT INTO t VALUES ('" + "warm" * 100 + "', 'stream')")
        for column, method, data in (("a", blocks.LZ4, b"\x90\x03" + b"warm" * 100), ("b", blocks.STORED, b"\x06stream")):
            (file,) = pathlib.Path(front.path).glob(f"store/*/*/{column}.bin")
            written = file.read_bytes()
            self.assertEqual(written[16], method)
            self.assertEqual(blocks.decompress(written, LIMIT), data)

    def test_round_trip(self):
        for size in (0, 1, 15, 16, 1000, blocks.BLOCK_BYTES, blocks.BLOCK_BYTES + 1, 3 * blocks.BLOCK_BYTES + 7):
            for data in (os.urandom(size), b"a" * size):
                with self.subTest(size=size):
                    self.assertEqual(blocks.decompress(blocks.compress(data), LIMIT), data)

    def test_stored_block(self):
        rest = b"\x02" + (9 + 3).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
        self.assertEqual(blocks.decompress(blocks._checksum(rest) + rest, LIMIT), b"abc")

    def test_damage(self):
        unknown = b"\x90" + ONE[17:25] + b"xyz"
        too_large = ONE[:21] + (LIMIT + 1).to_bytes(4, "little") + ONE[25:]
        cases = {
            "checksum": (bytes([ONE[0] ^ 1]) + ONE[1:], errors.CHECKSUM_DOESNT_MATCH),
            "data": (ONE[:-1] + b"x", errors.CHECKSUM_DOESNT_MATCH),
            "cut in the header": (ONE[:20], errors.CANNOT_DECOMPRESS),
            "cut in the data": (ONE[:-1], errors.CANNOT_DECOMPRESS),
            "second block cut": (ONE + ONE[:-1], errors.CANNOT_DECOMPRESS),
            "method": (blocks._checksum(unknown) + unknown, errors.UNKNOWN_COMPRESSION_METHOD),
            "size": (too_large, errors.QUERY_IS_TOO_LARGE),
        }
        for name, (body, code) in cases.items():
            with self.subTest(name), self.assertRaises(errors.ClickHouseError) as raised:
                blocks.decompress(body, LIMIT)
            self.assertEqual(raised.exception.code, code)


if __name__ == "__main__":
    unittest.main()
