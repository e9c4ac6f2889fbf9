"""`python3 -m unittest`, with TREEHEAD_LIBRARY or from a wheel; TREEHEAD_FIXTURES names fixtures/verify."""

import concurrent.futures
import os
import pathlib
import tempfile
import unittest

import treehead

FIXTURES = pathlib.Path(os.environ.get("TREEHEAD_FIXTURES") or pathlib.Path(__file__).parents[3] / "fixtures/verify")
NOW = 1770000060


class Tests(unittest.TestCase):
    def setUp(self):
        self.trust = treehead.Trust.from_file(FIXTURES / "witnessed.trust")

    def test_verdicts(self):
        verdict = treehead.verify(self.trust, FIXTURES / "scanner.sh", now=NOW, channel="stable", kind="build")
        self.assertTrue(verdict, verdict)
        self.assertEqual(("pkg:generic/example/scanner@2.0", "vendor", 2), (verdict.purl, verdict.publisher, verdict.sequence))
        self.assertEqual(["w1"], [witness["name"] for witness in verdict.witnesses])
        refused = treehead.verify(self.trust, FIXTURES / "tampered.sh", now=NOW)
        self.assertFalse(refused)
        self.assertEqual((622, "artifact-mismatch"), (refused.reason, refused.code))
        self.assertIn("not the one that was logged", refused.message)
        many = treehead.verify_many(self.trust, [FIXTURES / "scanner.sh", FIXTURES / "tampered.sh"], now=NOW)
        self.assertEqual([True, False], [bool(one) for one in many])

    def test_errors(self):
        with self.assertRaises(treehead.Error) as raised:
            treehead.Trust(b"{}")
        self.assertEqual(treehead.MALFORMED, raised.exception.status)
        with self.assertRaises(treehead.Error):
            treehead.verify(self.trust, FIXTURES / "scanner.sh", now=NOW, kind="built")
        with self.assertRaises(treehead.Error) as raised:
            treehead.Memory(b"damaged")
        self.assertEqual(treehead.COULD_NOT_TELL, raised.exception.status)
        with self.assertRaises(AttributeError):
            treehead.verify(self.trust, FIXTURES / "tampered.sh", now=NOW).purl

    def test_memory(self):
        memory = treehead.Memory()
        self.assertTrue(treehead.verify(self.trust, FIXTURES / "scanner.sh", now=NOW, memory=memory))
        self.assertTrue(memory.is_changed)
        again = treehead.Memory(memory.to_bytes())
        self.assertTrue(treehead.verify(self.trust, FIXTURES / "scanner.sh", now=NOW, memory=again))
        with tempfile.TemporaryDirectory() as directory:
            for _ in range(2):
                memory = treehead.Memory(directory=directory)
                self.assertTrue(treehead.verify(self.trust, FIXTURES / "scanner.sh", now=NOW, memory=memory))
            self.assertIn("state.json", os.listdir(directory))

    def test_online(self):
        head = (FIXTURES / "checkpoint").read_bytes()
        answers = {"checkpoint": (200, head)}
        verdict = treehead.verify_online(
            self.trust, FIXTURES / "scanner.sh", lambda path: answers.get(path, (404, b"")), now=NOW
        )
        self.assertTrue(verdict, verdict)
        self.assertEqual("not-asked", verdict.withdrawals)
        nothing = (200, b'{"tree_size":5,"releases":[],"next":null}')
        verdict = treehead.verify_online(
            self.trust, FIXTURES / "scanner.sh", lambda path: answers.get(path, nothing), now=NOW
        )
        self.assertEqual("learnt", verdict.withdrawals)
        silent = treehead.verify_online(self.trust, FIXTURES / "scanner.sh", lambda path: (0, b""), now=NOW)
        self.assertEqual(treehead.COULD_NOT_TELL, silent.status)

    def test_threads(self):
        def judge(_):
            return bool(treehead.verify(self.trust, FIXTURES / "scanner.sh", now=NOW))

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertTrue(all(pool.map(judge, range(64))))


if __name__ == "__main__":
    unittest.main()
