#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Black-box tests of `unimax chat`, through pipes and through a terminal, and of what the engine gives run and bench.

    tests/test_chat.py PATH_OF_UNIMAX [unittest's own arguments]
"""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

DATA = pathlib.Path(__file__).resolve().parent / "data"
LLAMA3 = str(DATA / "models" / "llama3")  # has a tokenizer and a chat template
TINY = str(DATA / "gguf" / "tiny-llama-f32.gguf")
CPU = ("--device", "cpu", "--threads", "2")

UNIMAX = ""  # set by main
SCRATCH = pathlib.Path()


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS") or name == "PATH"}
    return {**kept, "HOME": str(SCRATCH), "XDG_CACHE_HOME": str(SCRATCH), "TERM": "xterm", **more}


def unimax(*arguments, stdin=""):
    return subprocess.run([UNIMAX, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=200,
                          env=environment(), check=False)


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *arguments, columns=100):
        self.seen = ""
        self.process, self.master = pty.fork()
        if self.process == 0:
            os.environ.clear()
            os.environ.update(environment(COLUMNS=str(columns)))
            os.execv(UNIMAX, [UNIMAX, *map(str, arguments)])

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, seconds):
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the other side is closed
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, pattern, seconds=60):
        """Reads until the output since the last call matches; returns the match."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen, re.DOTALL)):
            if time.monotonic() > end or not self.read(max(0.05, min(1.0, end - time.monotonic()))):
                if time.monotonic() > end:
                    raise AssertionError(f"no {pattern!r} in {self.seen!r}")
                if os.waitpid(self.process, os.WNOHANG)[0] != 0:
                    raise AssertionError(f"it ended; no {pattern!r} in {self.seen!r}")
        self.seen = self.seen[found.end():]
        return found

    def status(self, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(0.05)
            pid, status = os.waitpid(self.process, os.WNOHANG)
            if pid:
                os.close(self.master)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        raise AssertionError(f"it does not end: {self.seen!r}")


class Pipes(unittest.TestCase):
    def chat(self, stdin, *more, status=0):
        done = unimax("chat", LLAMA3, *CPU, "-n", "8", "--temperature", "0", *more, stdin=stdin)
        self.assertEqual(done.returncode, status, done)
        return done

    def test_a_line_is_a_message(self):
        once = self.chat("Hello\n", "-q")
        self.assertEqual(once.stderr, "")
        self.assertNotEqual(once.stdout.strip(), "")
        twice = self.chat("Hello\n\n  \nHello\n", "-q")  # empty lines are none
        self.assertTrue(twice.stdout.startswith(once.stdout))
        self.assertGreater(len(twice.stdout), len(once.stdout))
        self.assertEqual(self.chat("Hello", "-q").stdout, once.stdout)  # without an end of line
        self.assertEqual(self.chat("Hello\r\n", "-q").stdout, once.stdout)
        self.assertEqual(self.chat("", "-q").stdout, "")

    def test_the_first_answer_is_that_of_run(self):
        ran = unimax("run", LLAMA3, *CPU, "-n", "8", "--temperature", "0", "-p", "Hello", "-q")
        self.assertEqual(self.chat("Hello\n", "-q").stdout, ran.stdout)

    def test_reset_and_system(self):
        first = self.chat("Hello\n", "-q").stdout
        both = self.chat("Hello\n/reset\nHello\n", "-q").stdout
        self.assertEqual(both, first + first)
        system = self.chat("/system Speak like a pirate.\nHello\n", "-q").stdout
        self.assertNotEqual(system, first)
        self.assertEqual(self.chat("Hello\n", "-q", "--system", "Speak like a pirate.").stdout, system)
        self.assertEqual(self.chat("/system x\n/system\nHello\n", "-q").stdout, first)
        self.assertEqual(self.chat("Hello\n/retry\n", "-q").stdout, first + first)

    def test_later_turns_find_their_prefix_cached(self):
        done = self.chat("Tell me a long story about a fox and a very lazy dog, please, and take your time.\nGo on\n",
                         "--stats")
        cached = [int(n) for n in re.findall(r"prompt tokens, (\d+) of them cached", done.stderr)]
        self.assertEqual(len(cached), 2, done.stderr)
        self.assertEqual(cached[0], 0)
        self.assertGreaterEqual(cached[1], 32)

    def test_save(self):
        path = SCRATCH / "talk.json"
        done = self.chat(f"/system Be kind.\nHello \"you\"\n/save {path}\n")
        messages = json.loads(path.read_text(encoding="utf-8"))
        self.assertEqual([m["role"] for m in messages], ["system", "user", "assistant"])
        self.assertEqual(messages[1]["content"], 'Hello "you"')
        self.assertEqual(messages[2]["content"], done.stdout[:-1])
        self.assertIn("3 messages saved", done.stderr)

    def test_what_is_wrong_is_said_and_the_talk_goes_on(self):
        first = self.chat("Hello\n", "-q").stdout
        for line, words in (("/fly", "/help"), ("/save", "file name"), ("/save /no/such/folder/x", "/no/such/folder/x"),
                            ("/retry", "no message"), ("long " * 3000, "/reset")):
            done = self.chat(f"{line}\nHello\n", "-q", status=74 if "folder" in line else 2)
            self.assertEqual(done.stdout, first, line)
            self.assertIn(words, done.stderr)
            self.assertTrue(done.stderr.startswith("unimax: "), done.stderr)
            self.assertRegex(done.stderr, r"^unimax: .*\nunimax: 1 of the lines failed, as said above\n$")

    def test_slashes_help_and_quit(self):
        self.assertIn("/system", self.chat("/help\n").stderr)
        self.assertEqual(self.chat("/quit\nHello\n", "-q").stdout, "")
        self.assertNotEqual(self.chat("//quit\n", "-q").stdout, "")


class OnATerminal(unittest.TestCase):
    def setUp(self):
        self.at = None

    def open(self, *more):
        self.at = Terminal("chat", LLAMA3, *CPU, "--temperature", "0", *more)
        self.at.wait_for(r"/help shows the commands.*> ")
        return self.at

    def leave(self):
        self.at.type("/quit\r")
        self.assertEqual(self.at.status(), 0)

    def answer(self, line, expected=None):
        """Types a line and returns what the terminal showed up to the next prompt."""
        self.at.type(line + "\r")
        shown = self.at.wait_for(r"\x1b\[\?2004l\r\n(.*?)\x1b\[\?2004h")[1]
        if expected is not None:
            self.assertEqual(shown.replace("\r\n", "\n"), expected)
        return shown.replace("\r\n", "\n")

    def command(self, line, pattern):
        """Types a command of the program's own and waits for its answer and the next prompt: what is typed before that
        is edited by the terminal and not by the program."""
        self.at.type(line + "\r")
        self.at.wait_for(pattern)
        self.at.wait_for(r"\x1b\[\?2004h")

    def test_the_answer_is_that_of_the_pipe(self):
        piped = unimax("chat", LLAMA3, *CPU, "--temperature", "0", "-n", "8", "-q", stdin="Hello\n").stdout
        self.open("-n", "8")
        shown = self.answer("Hello")
        plain = "".join("?" if ord(c) < 32 or ord(c) == 127 else c for c in piped[:-1])
        self.assertTrue(shown.startswith(plain), (shown, piped))
        self.leave()

    def test_ctrl_c_stops_the_answer_and_not_the_program(self):
        self.open("--min-new-tokens", "400", "-n", "450", "--executor", "reference")
        self.at.type("Hello\r")
        self.at.wait_for(r"\x1b\[\?2004l\r\n.")  # it has begun
        self.at.type("\x03")
        self.at.wait_for(r"\(stopped\)\r\n", 20)
        self.at.wait_for(r"> ")
        self.at.type("half a line\x03")  # at the prompt it forgets the line
        self.at.wait_for(r"Ctrl-D or /quit leaves")
        self.leave()

    def test_editing_and_history(self):
        self.open("-n", "4")
        first = self.answer("Hello")
        self.command("/reset", r"begins anew")
        # Hxello, then the x is deleted: end, home, right, right, backspace.
        self.assertEqual(self.answer("Hxello\x01\x1b[C\x1b[C\x7f"), first)
        self.command("/reset", r"begins anew")
        self.assertEqual(self.answer("\x1b[A\x1b[A"), first)  # up: /reset, Hello
        self.command("/save " + str(SCRATCH / "edit.json"), r"2 messages saved")
        messages = json.loads((SCRATCH / "edit.json").read_text(encoding="utf-8"))
        self.assertEqual(messages[0]["content"], "Hello")
        self.leave()

    def test_several_lines_in_one_message(self):
        self.open("-n", "2")
        path = SCRATCH / "lines.json"
        self.at.type("one\\\rtwo\r")            # a backslash at the end
        self.at.wait_for(r"\. .*two.*\x1b\[\?2004l\r\n(.*?)\x1b\[\?2004h")
        self.answer("three\x1b\rfour")          # Alt-Enter
        self.answer("\x1b[200~five\nsix\n\x1b[201~")  # pasted
        self.answer("日本\x7f")                 # a character of several bytes is deleted whole
        self.command(f"/save {path}", r"messages saved")
        said = [m["content"] for m in json.loads(path.read_text(encoding="utf-8")) if m["role"] == "user"]
        self.assertEqual(said, ["one\ntwo", "three\nfour", "five\nsix", "日"])
        self.leave()

    def test_ctrl_d_leaves_and_the_terminal_is_as_before(self):
        self.open()
        self.at.type("\x04")
        self.assertEqual(self.at.status(), 0)


class Run(unittest.TestCase):
    def run_json(self, *more, model=LLAMA3):
        done = unimax("run", model, *CPU, "-p", "Hello there", "--raw", "--json", *more)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return json.loads(done.stdout)

    def test_stop_strings_and_ids(self):
        free = self.run_json("-n", "24", "--temperature", "0", "--ignore-end")
        stop = free["text"][3:6]
        cut = self.run_json("-n", "24", "--temperature", "0", "--ignore-end", "--stop", stop)
        self.assertEqual((cut["text"], cut["finish"]), (free["text"][:free["text"].index(stop)], "stop"))
        self.assertLessEqual(cut["new_tokens"], free["new_tokens"])
        at = free["ids"][5]
        ended = self.run_json("-n", "24", "--temperature", "0", "--stop-ids", str(at))
        self.assertEqual((ended["ids"], ended["finish"]), (free["ids"][:free["ids"].index(at) + 1], "stop"))

    def test_choices_are_independent_and_repeatable(self):
        how = ("-n", "12", "--temperature", "1.2", "--seed", "5", "--ignore-end")
        many = self.run_json(*how, "--choices", "4")
        self.assertEqual(len(many["choices"]), 4)
        self.assertEqual(len({tuple(c["ids"]) for c in many["choices"]}), 4)
        self.assertEqual(many["choices"][0]["ids"], many["ids"])
        self.assertEqual(self.run_json(*how, "--choices", "4")["choices"], many["choices"])
        self.assertEqual(self.run_json(*how)["ids"], many["ids"])

    def test_the_best_of_many_draws(self):
        how = ("-n", "6", "--temperature", "1.2", "--seed", "5", "--ignore-end")
        draws = self.run_json(*how, "--choices", "6", "--logprobs", "0")["choices"]
        means = [sum(t["logprob"] for t in draw["logprobs"]) / 6 for draw in draws]
        order = sorted(range(6), key=lambda i: -means[i])
        self.assertNotEqual(order[:2], [0, 1])  # or this would show nothing
        best = self.run_json(*how, "--best-of", "6")
        self.assertEqual(best["ids"], draws[order[0]]["ids"])
        self.assertAlmostEqual(best["mean_logprob"], means[order[0]], places=5)
        two = self.run_json(*how, "--best-of", "6", "--choices", "2")["choices"]
        self.assertEqual([c["ids"] for c in two], [draws[i]["ids"] for i in order[:2]])
        spoken = unimax("run", LLAMA3, *CPU, "-p", "Hello there", "--raw", *how, "--best-of", "6", "-q")
        self.assertEqual(spoken.stdout, best["text"] + "\n")
        for wrong in (("--best-of", "2", "--choices", "3"), ("--best-of", "2", "--temperature", "0")):
            done = unimax("run", LLAMA3, *CPU, "-p", "x", "-q", *wrong)
            self.assertEqual((done.returncode, done.stdout), (2, ""), done)
            self.assertIn("--best-of 2", done.stderr)

    def test_without_a_seed_it_varies(self):
        runs = [self.run_json("-n", "16", "--temperature", "1.5", "--ignore-end") for _ in range(2)]
        self.assertNotEqual(runs[0]["ids"], runs[1]["ids"])
        again = self.run_json("-n", "16", "--temperature", "1.5", "--ignore-end", "--seed", str(runs[0]["seed"]))
        self.assertEqual(again["ids"], runs[0]["ids"])

    def test_logprobs(self):
        found = self.run_json("-n", "6", "--temperature", "0", "--logprobs", "3", "--ignore-end")
        self.assertEqual(len(found["logprobs"]), 6)
        for token, i in zip(found["logprobs"], found["ids"]):
            self.assertEqual((token["id"], token["rank"]), (i, 1))
            self.assertEqual([t["id"] for t in token["top"]][0], i)
            self.assertEqual(len(token["top"]), 3)
            self.assertLessEqual(token["logprob"], 0)

    def test_the_models_own_defaults(self):
        model = SCRATCH / "defaults"
        shutil.copytree(LLAMA3, model)
        how = ("-n", "16", "--ignore-end", "--seed", "3")
        greedy = self.run_json(*how, "--temperature", "0", model=model)
        self.assertEqual(self.run_json(*how, model=model)["ids"], greedy["ids"])  # nothing is said: greedy
        path = model / "generation_config.json"
        path.write_text(json.dumps({"do_sample": True, "temperature": 1.5, "top_k": 40, "max_new_tokens": 5}))
        drawn = self.run_json("--ignore-end", "--seed", "3", model=model)
        self.assertEqual(drawn["new_tokens"], 5)
        same = self.run_json("--ignore-end", "--seed", "3", "-n", "5", "--temperature", "1.5", "--top-k", "40")
        self.assertEqual(drawn["ids"], same["ids"])
        self.assertEqual(self.run_json(*how, "--temperature", "0", model=model)["ids"], greedy["ids"])

    def test_penalties_and_filters(self):
        free = self.run_json("-n", "24", "--temperature", "0", "--ignore-end")["ids"]
        no_repeat = self.run_json("-n", "24", "--temperature", "0", "--ignore-end", "--no-repeat-ngram", "1")["ids"]
        self.assertEqual(len(set(no_repeat)), 24)
        top_1 = self.run_json("-n", "24", "--temperature", "2", "--ignore-end", "--top-k", "1")["ids"]
        self.assertEqual(top_1, free)
        for flag in ("--top-p", "--typical-p"):
            self.assertEqual(unimax("run", TINY, *CPU, "-p", "x", "-q", flag, "0").returncode, 2)


class Bench(unittest.TestCase):
    def load(self, *more):
        done = unimax("bench", LLAMA3, *CPU, "--requests", "24", "--prompt-tokens", "40", "--new-tokens", "12",
                      "--json", *more)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return json.loads(done.stdout)

    def test_fields_and_sums(self):
        found = self.load("--concurrency", "6")
        self.assertEqual((found["completed"], found["failed"]), (24, 0))
        self.assertEqual((found["total_input_tokens"], found["total_output_tokens"]), (24 * 40, 24 * 12))
        self.assertEqual(found["max_concurrent_requests"], 6)
        for measure in ("ttft", "tpot", "itl", "e2el"):
            for kind in ("mean", "median", "p99"):
                self.assertGreater(found[f"{kind}_{measure}_ms"], 0)
        self.assertLess(found["mean_ttft_ms"], found["mean_e2el_ms"])
        self.assertAlmostEqual(found["output_throughput"], 24 * 12 / found["duration"],
                               delta=found["output_throughput"] * 0.02)  # the duration is rounded
        self.assertGreater(found["total_token_throughput"], found["output_throughput"])

    def test_the_names_are_vllms(self):
        names = ("date backend model_id num_prompts request_rate burstiness max_concurrency duration completed failed "
                 "total_input_tokens total_output_tokens request_throughput output_throughput total_token_throughput "
                 "max_concurrent_requests").split()
        kinds, measures = ("mean", "median", "std", "p99"), ("ttft", "tpot", "itl", "e2el")
        names += [f"{kind}_{measure}_ms" for kind in kinds for measure in measures]
        found = self.load()
        self.assertEqual([name for name in names if name not in found], [])
        self.assertEqual((found["request_rate"], found["max_concurrency"], found["num_prompts"]), ("inf", None, 24))
        bound = self.load("--rate", "500", "--concurrency", "3")
        self.assertEqual((bound["request_rate"], bound["max_concurrency"]), (500, 3))

    def test_the_seed_decides_whatever_the_load(self):
        one = self.load("--concurrency", "1", "--temperature", "1", "--dtype", "f32", "--seed", "9")
        many = self.load("--concurrency", "12", "--temperature", "1", "--dtype", "f32", "--seed", "9")
        other = self.load("--concurrency", "12", "--temperature", "1", "--dtype", "f32", "--seed", "10")
        self.assertEqual(one["ids_hash"], many["ids_hash"])
        self.assertNotEqual(one["ids_hash"], other["ids_hash"])

    def test_arrivals_and_shared_prefixes(self):
        found = self.load("--rate", "60", "--shared-prefix", "35", "--spread", "0.3")
        self.assertEqual(found["completed"], 24)
        self.assertGreater(found["duration"], 24 / 60 / 4)
        self.assertGreaterEqual(found["cached_input_tokens"], 10 * 32)

    def test_the_table(self):
        done = unimax("bench", TINY, *CPU, "--requests", "3", "--prompt-tokens", "9", "--new-tokens", "4")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("time to first token", done.stdout)
        wrong = unimax("bench", TINY, *CPU, "--requests", "3", "--shared-prefix", "200")
        self.assertEqual(wrong.returncode, 2)


def main():
    global UNIMAX, SCRATCH
    UNIMAX = os.path.abspath(sys.argv.pop(1))
    with tempfile.TemporaryDirectory() as scratch:
        SCRATCH = pathlib.Path(scratch)
        unittest.main()


if __name__ == "__main__":
    main()
