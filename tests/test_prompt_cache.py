#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Black-box tests of `--prompt-cache` of run and chat: row K10 as a user meets it.

    tests/test_prompt_cache.py PATH_OF_UNIMAX [unittest's own arguments]
"""

import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

DATA = pathlib.Path(__file__).resolve().parent / "data"
LLAMA3 = str(DATA / "models" / "llama3")
GGUF = str(DATA / "gguf" / "tiny-llama-f32.gguf")
TEXT = "The quick brown fox jumps over the lazy dog, and then it does so again, until all pages are full of it. "
FLIPS = 12 if os.environ.get("UM_SANITIZERS") else 40

UNIMAX = ""  # set at the end
SCRATCH = pathlib.Path()


def unimax(*arguments, stdin="", limit=None):
    kept = {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS") or name == "PATH"}

    def small_files():  # a disk that is full after so many bytes
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run([UNIMAX, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=200,
                          env={**kept, "HOME": str(SCRATCH), "XDG_CACHE_HOME": str(SCRATCH)}, check=False,
                          preexec_fn=None if limit is None else small_files)


class PromptCache(unittest.TestCase):
    def setUp(self):
        self.folder = SCRATCH / self.id().rsplit(".", 1)[-1]
        self.folder.mkdir()
        self.file = self.folder / "prompt.kv"

    def ended(self, *more, model=LLAMA3, prompt=TEXT, device="cpu", keep=True, **how):
        kept = ("--prompt-cache", self.file) if keep else ()
        return unimax("run", model, "--device", device, "--threads", "2", "--deterministic", "-p", prompt, "--raw",
                      "-n", "12", "--ignore-end", *kept, *more, **how)

    def json(self, *more, warned=False, **how):
        done = self.ended("--json", *more, **how)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (0, 1 if warned else 0), done)
        found = json.loads(done.stdout)
        if how.get("keep", True):
            self.assertEqual(found["restored_tokens"], found["cached_tokens"])
        return found

    def test_a_second_start_reuses_the_prompt_and_answers_the_same(self):
        for how in (("--temperature", "0"), ("--temperature", "1", "--seed", "4")):
            self.file.unlink(missing_ok=True)
            alone = self.json(*how, keep=False)
            first = self.json(*how)
            second = self.json(*how)
            whole = (first["prompt_tokens"] - 1) // 32 * 32
            self.assertGreaterEqual(whole, 64)
            self.assertEqual([found["cached_tokens"] for found in (alone, first, second)], [0, 0, whole])
            self.assertEqual([alone["ids"]] * 2, [first["ids"], second["ids"]])
            self.assertNotIn("restored_tokens", alone)
        self.assertEqual(os.listdir(self.folder), ["prompt.kv"])
        self.assertEqual(self.file.stat().st_mode & 0o077, 0)  # it holds the prompt: nobody else reads it

    def test_it_says_what_it_does(self):
        first, second = self.ended("--temperature", "0"), self.ended("--temperature", "0")
        self.assertEqual((first.returncode, second.returncode, first.stdout), (0, 0, second.stdout))
        self.assertRegex(first.stderr, r"prompt cache: .*prompt.kv: not there yet\n")
        self.assertRegex(first.stderr, r"prompt cache: .*: (\d+) of \d+ prompt tokens are kept\n")
        self.assertRegex(second.stderr, r"prompt cache: .*: (\d+) of \d+ prompt tokens restored\n")
        self.assertEqual(self.ended("--temperature", "0", "-q").stderr, "")

    def test_another_prompt_reuses_what_it_shares(self):
        first = self.json("--temperature", "0")
        longer, again = (self.json("--temperature", "0", prompt=TEXT + TEXT) for _ in range(2))
        self.assertEqual(longer["cached_tokens"], (first["prompt_tokens"] - 1) // 32 * 32)
        self.assertEqual(again["cached_tokens"], (longer["prompt_tokens"] - 1) // 32 * 32)
        self.assertEqual([longer["ids"]] * 2,
                         [again["ids"], self.json("--temperature", "0", prompt=TEXT + TEXT, keep=False)["ids"]])
        self.assertEqual(self.json("--temperature", "0", prompt="Another " + TEXT)["cached_tokens"], 0)

    def test_every_choice_reuses_it(self):
        how = ("--temperature", "1", "--seed", "6", "--choices", "3")
        first, second = self.json(*how), self.json(*how)
        self.assertGreaterEqual(second["cached_tokens"], 64)
        self.assertEqual([c["ids"] for c in first["choices"]], [c["ids"] for c in second["choices"]])

    def test_other_models_and_ways_are_a_miss_of_one_line(self):
        self.json("--temperature", "0")
        kept = self.file.read_bytes()
        touched, changed = self.folder / "touched", self.folder / "changed"
        for model in (touched, changed):
            shutil.copytree(LLAMA3, model)  # with the files' times: the same model
            self.assertGreaterEqual(self.json("--temperature", "0", model=model)["cached_tokens"], 64)
        weights = touched / "model.safetensors"
        os.utime(weights)
        weights = changed / "model.safetensors"
        content, times = bytearray(weights.read_bytes()), weights.stat()
        content[-1] ^= 1
        weights.write_bytes(content)
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
        for way in ({"model": GGUF}, {"model": touched}, {"model": changed}, {"more": ("--executor", "reference")},
                    {"device": "emulator"}):
            self.file.write_bytes(kept)
            more = ("--temperature", "0", *way.pop("more", ()))
            found = self.json(*more, warned=True, **way)
            self.assertEqual(found["cached_tokens"], 0, way)
            self.assertEqual(found["ids"], self.json(*more, keep=False, **way)["ids"])
            self.assertNotEqual(self.file.read_bytes(), kept)
            self.assertGreater(self.json(*more, **way)["cached_tokens"], 32)  # it took the other's place

    def test_damaged_files_are_a_miss_of_one_line(self):
        right = self.json("--temperature", "0")
        kept = self.file.read_bytes()
        draw = random.Random(5)
        for i in range(FLIPS):
            content = bytearray(kept)
            content[draw.randrange(len(kept) if i % 2 else 700)] ^= 1 << draw.randrange(8)
            if i % 8 == 7:
                content = kept[:draw.randrange(len(kept))]
            self.file.write_bytes(content)
            found = self.json("--temperature", "0", warned=True)
            self.assertEqual((found["cached_tokens"], found["ids"]), (0, right["ids"]))
            self.assertEqual(self.file.read_bytes(), kept)  # and it is right again
        self.file.write_bytes(b"")
        done = self.ended("--temperature", "0", "-q")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"^unimax: prompt cache not used: .*prompt.kv: no file of keys and values\n$")

    def test_a_file_that_cannot_be_made_is_said_before_the_model_is_loaded(self):
        for path in (self.folder / "no" / "x.kv", self.folder, "/dev/null"):
            done = unimax("run", "no-such-model", "-p", "x", "--prompt-cache", path)
            self.assertEqual((done.returncode, done.stdout), (74, ""), done)
            self.assertIn("cannot create the prompt cache", done.stderr)

    def test_a_full_disk_leaves_the_old_file(self):
        right = self.json("--temperature", "0")
        kept = self.file.read_bytes()
        done = self.ended("--temperature", "0", "-q", prompt="Another " + TEXT, limit=4096)
        self.assertEqual(done.returncode, 74, done)
        self.assertRegex(done.stderr, r"prompt.kv: cannot write the prompt cache: File too large")
        self.assertNotEqual(done.stdout.strip(), "")  # the answer came all the same
        self.assertEqual((self.file.read_bytes(), os.listdir(self.folder)), (kept, ["prompt.kv"]))
        self.assertEqual(self.json("--temperature", "0")["ids"], right["ids"])

    def chat(self, lines, *more):
        done = unimax("chat", LLAMA3, "--device", "cpu", "--threads", "2", "--deterministic", "--temperature", "0",
                      "-n", "8", "--system", TEXT, "--stats", "--prompt-cache", self.file, *more, stdin=lines)
        self.assertEqual(done.returncode, 0, done)
        cached = [int(n) for n in re.findall(r"prompt tokens, (\d+) of them cached", done.stderr)]
        return cached, done.stdout

    def test_a_chat_finds_its_system_message_again(self):
        first, said = self.chat("Hello there\nGo on\n")
        again, repeated = self.chat("Hello there\nGo on\n")
        self.assertEqual((said, first[0]), (repeated, 0))
        self.assertGreaterEqual(again[0], 64)
        other, answer = self.chat("Something else\n")
        self.assertGreaterEqual(other[0], 64)
        self.file.unlink()
        self.assertEqual(self.chat("Something else\n")[1], answer)

    def test_a_chat_that_began_anew_keeps_what_was_said_last(self):
        one, two = "Tell me of foxes in the woods.\n", "Tell me of ravens on a tree.\n"
        long = "".join(f"{i} is a number. " for i in range(20))
        self.chat(f"/system {long}\n{one}")
        self.chat(f"/system {long}\n{one}/system Other words: {long}\n{two}")
        cached, _ = self.chat(f"/system Other words: {long}\n{two}")
        self.assertGreater(cached[0], 64)


if __name__ == "__main__":
    UNIMAX = os.path.abspath(sys.argv.pop(1))
    with tempfile.TemporaryDirectory() as scratch:
        SCRATCH = pathlib.Path(scratch)
        unittest.main()
