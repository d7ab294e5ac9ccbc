#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Black-box tests of the commands about text and files: tokenize, render, verify, and models by their names.

    tests/test_cli_text.py PATH_OF_UNIMAX [unittest's own arguments]

The test of `verify` prints one line, "A11 missed=0 of 1000 PASS".
"""

import hashlib
import os
import pathlib
import pickle
import random
import shutil
import subprocess

import test_cli
from test_cli import GGUF, LLAMA3, NUMBER, TINY, Case, unimax, write


class Texts(Case):
    """tokenize, render and verify."""

    TEMPLATE = ("{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
                "{% if add_generation_prompt %}<bot>{% endif %}{% if tools %}{{ tools | length }}{% endif %}")

    def test_tokenize_and_back(self):
        for model in (TINY, LLAMA3, LLAMA3 / "tokenizer.json"):
            found = self.json("tokenize", model, "-p", "Hello there, world")
            self.keys(found, tokens=int, bytes=int, ms=NUMBER, mb_s=NUMBER, ids=list, pieces=list)
            self.assertEqual((found["tokens"], len(found["pieces"])), (len(found["ids"]),) * 2)
            ids = " ".join(map(str, found["ids"]))
            self.assertEqual(self.printed("tokenize", model, "-p", "Hello there, world"), ids + "\n")
            self.assertEqual(self.printed("tokenize", model, "--count", "-p", "Hello there, world"),
                             f"{found['tokens']}\n")
            self.assertEqual(self.printed("tokenize", model, "--decode", "--no-special", "-p", ids).strip(),
                             "Hello there, world")

    def test_tokenize_a_file(self):
        path = write("text.txt", "line\n".encode() * 100)
        self.assertIn("MB/s", self.printed("tokenize", TINY, "--file", path, "--repeat", "3"))

    def test_render(self):
        template = write("chat.jinja", self.TEMPLATE.encode())
        messages = write("messages.json", b'[{"role": "user", "content": "Hi <bot>"}]')
        tools = write("tools.json", b"[1, 2]")
        call = ["render", "--template", template, "--messages", messages, "--bos", "<s>"]
        self.assertEqual(self.printed(*call), "<s><user>Hi <bot><bot>")
        self.assertEqual(self.printed(*call, "--no-generation-prompt", "--tools", tools), "<s><user>Hi <bot>2")
        found = self.json(*call)
        self.keys(found, text=str, untrusted=list, ms=NUMBER, best_ms=NUMBER)
        self.assertEqual(found["untrusted"], [[4, 8], [9, 17]])
        ids = self.json(*call, "--ids", LLAMA3)["ids"]
        self.assertTrue(ids and all(isinstance(i, int) for i in ids))

    def test_inspect_says_what_there_is_of_text(self):
        found = self.json("inspect", LLAMA3)
        self.keys(found["tokenizer"], kind=str, vocab=int, bos=str, eos=str, before=list, after=list, special=list)
        self.assertEqual((found["tokenizer"]["kind"], found["tokenizer"]["vocab"]), ("tokenizer.json", 384))
        self.assertIn({"id": 1, "text": "<|bos|>"}, found["tokenizer"]["special"])
        self.assertEqual(found["chat_template"]["from"], "tokenizer_config.json")
        self.assertEqual(found["sampling"], {"do_sample": False})
        text = self.printed("inspect", LLAMA3)
        self.assertIn("tokenizer tokenizer.json, 384 tokens, 8 special: <|pad|> 0, <|bos|> 1", text)
        self.assertIn("\nchat template from tokenizer_config.json\nsampling defaults do_sample false\n", text)

    def test_verify(self):
        data = (GGUF / "tiny-llama-q4_0.gguf").read_bytes()
        path = pathlib.Path(write("sums/model.gguf", data))
        digest = hashlib.sha256(data).hexdigest()
        write("sums/other.bin", b"x")
        other = hashlib.sha256(b"x").hexdigest()
        sums = write("sums/SHA256SUMS", f"{digest}  model.gguf\n{other} *other.bin\n".encode())
        self.assertEqual(self.printed("verify", path, digest.upper()), f"{path}: OK\n")
        self.assertEqual(self.printed("verify", path, "--sha256", sums), f"{path}: OK\n")
        self.assertEqual(self.printed("verify", path.parent, "--sha256", sums).count(": OK\n"), 2)
        found = self.json("verify", path, "sha256:" + digest)
        self.assertEqual((found["compared"], found["failed"], found["files"][0]["sha256"]), (1, 0, digest))

    def test_verify_finds_every_flipped_byte(self):
        rng = random.Random(11)
        data = bytearray((GGUF / "tiny-llama-q4_0.gguf").read_bytes())
        digest = hashlib.sha256(data).hexdigest()
        missed, runs = 0, 100 if os.environ.get("UM_SANITIZERS") else 1000
        for _ in range(runs):
            at, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
            data[at] ^= bit
            ended = unimax("verify", write("flipped.gguf", bytes(data)), digest)
            data[at] ^= bit
            missed += ended.status != 65 or "SHA-256" not in ended.err
        print(f"\nA11 missed={missed} of {runs} {'FAIL' if missed else 'PASS'}", flush=True)
        self.assertEqual(missed, 0)


class Foreign(Case):
    """Row A06: what can run code is refused, and nothing is run or connected to while it is looked at."""

    def test_pickles_run_nothing(self):
        strace = shutil.which("strace")
        mark = pathlib.Path(write("pickles/mark", b"")).with_name("ran")

        class Payload:
            def __reduce__(self):
                return os.system, (f"touch {mark}",)

        refused = calls = files = 0
        for protocol in range(4):
            data = pickle.dumps(Payload(), protocol)
            for name in ("model.gguf", "model.safetensors", "model.bin"):
                path = write(f"pickles/{protocol}/{name}", data)
                files += 1
                ended = unimax("inspect", path)
                refused += ended.status == 65 and bool(ended.err)
                if strace is None:
                    continue
                log = path + ".strace"
                done = subprocess.run([strace, "-f", "-qq", "-e", "trace=execve,connect", "-o", log, test_cli.UNIMAX,
                                       "inspect", path], capture_output=True, check=False,
                                      env=os.environ | {"ASAN_OPTIONS": "detect_leaks=0"})  # it cannot under ptrace
                self.assertEqual(done.returncode, 65, done.stderr)
                lines = pathlib.Path(log).read_text(encoding="utf-8").splitlines()
                calls += sum("execve(" in line or "connect(" in line for line in lines) - 1  # the program's own start
        self.assertFalse(mark.exists())
        good = refused == files and calls == 0
        watched = f"execve+connect={calls}" if strace else "execve+connect=unwatched (no strace)"
        print(f"\nA06 refused={refused}/{files} {watched} {'PASS' if good else 'FAIL'}", flush=True)
        self.assertTrue(good)


class Names(Case):
    """A model by its name: in the model cache, and in the hub's cache, which is only read."""

    def test_names(self):
        data = (GGUF / "tiny-llama-f32.gguf").read_bytes()
        write("cache/unimax/small.gguf", data)
        write("cache/unimax/owner/little.gguf", data)
        repository = "cache/huggingface/hub/models--owner--hubbed"
        write(f"{repository}/refs/main", b"abc123")
        for file in LLAMA3.iterdir():
            if file.is_file():
                write(f"{repository}/snapshots/abc123/{file.name}", file.read_bytes())
        for name in ("small", "owner/little", "owner/hubbed"):
            self.assertEqual(self.json("inspect", name)["architecture"], "llama", name)
        write("cache/huggingface/hub/models--owner--broken/refs/main", b"../../..")
        ended = unimax("inspect", "owner/broken")
        self.assertEqual(ended.status, 74, ended)
        self.assertIn("snapshot", ended.err)


if __name__ == "__main__":
    test_cli.main()
