"""Processes are known by id and start time, stopped by id, and a reused id is never touched."""

import json
import pathlib
import socket
import tempfile
import unittest

from processes import Process, free_port, is_free

IGNORES_TERM = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


class Processes(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.record = pathlib.Path(directory.name) / "service.json"
        self.log = pathlib.Path(directory.name) / "service.log"
        self.process = Process(self.record)

    def start(self, script):
        self.process.start(["bash", "-c", script], self.log)
        self.addCleanup(self.process.kill)

    def test_start_and_stop(self):
        self.assertIsNone(self.process.pid())
        self.start("exec sleep 100")
        # Another program sees the same process through the record alone.
        self.assertEqual(Process(self.record).pid(), json.loads(self.record.read_text())["pid"])
        self.assertTrue(Process(self.record).stop())
        self.assertIsNone(self.process.pid())
        self.assertFalse(self.process.stop())

    def test_stop_ends_what_does_not_want_to(self):
        self.start(IGNORES_TERM)
        while not self.log.exists() or "ready" not in self.log.read_text():
            pass
        self.assertTrue(self.process.stop(seconds=0.2))
        self.assertIsNone(self.process.pid())

    def test_paused_process_can_be_stopped(self):
        self.start("exec sleep 100")
        self.assertTrue(self.process.pause(True))
        self.assertIsNotNone(self.process.pid())
        self.assertTrue(self.process.stop(seconds=20))
        self.assertFalse(self.process.pause(False))

    def test_kill_keeps_the_record(self):
        self.start("exec sleep 100")
        self.assertTrue(self.process.kill())
        self.assertIsNone(self.process.pid())
        self.assertTrue(self.record.exists())

    def test_reused_id_is_not_ours(self):
        self.start("exec sleep 100")
        other = Process(self.record.with_name("other.json"))
        record = json.loads(self.record.read_text())
        self.record.with_name("other.json").write_text(json.dumps({**record, "started": record["started"] - 1}))
        self.assertIsNone(other.pid())
        self.assertFalse(other.stop())
        self.assertIsNotNone(self.process.pid())

    def test_damaged_record(self):
        self.record.write_text("{")
        self.assertIsNone(self.process.pid())

    def test_free_port(self):
        port = free_port()
        self.assertTrue(is_free(port))
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            listener.listen()
            self.assertFalse(is_free(port))


if __name__ == "__main__":
    unittest.main()
