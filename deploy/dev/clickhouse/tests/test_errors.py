"""The engine's messages, as the bindings hand them out, become what a server sends."""

import unittest

from clickhouse.errors import ClickHouseError, from_engine

CODE = "Code: 60. DB::Exception: Unknown table t. (UNKNOWN_TABLE)"


class Errors(unittest.TestCase):
    def test_texts(self):
        wrapped = [
            CODE,
            CODE + " (version 26.9.2.1)",
            "Streaming insert finish failed: " + CODE + " (version 26.9.2.1 (official build))\n",
            "Code: 60. DB::Exception: " + CODE + " (version 26.9.2.1). (UNKNOWN_TABLE)",
            "Code: 60. DB::Exception: Code: 60. DB::Exception: " + CODE + " (version 26.9.2.1). (UNKNOWN_TABLE) (version 26.9.2.1)",
        ]
        for text in wrapped:
            with self.subTest(text):
                error = from_engine(RuntimeError(text))
                self.assertEqual((error.text, error.code, error.status), (CODE, 60, 404))

    def test_no_code(self):
        error = from_engine(ValueError("out of luck"))
        self.assertEqual((error.code, error.status), (1001, 500))
        self.assertEqual(error.text, "Code: 1001. DB::Exception: out of luck (STD_EXCEPTION)")

    def test_own(self):
        self.assertEqual(ClickHouseError(516, "no").status, 403)


if __name__ == "__main__":
    unittest.main()
