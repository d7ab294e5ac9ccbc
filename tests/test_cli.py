#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Black-box tests of the command line: what each command prints, and how it ends.

    tests/test_cli.py PATH_OF_UNIMAX [unittest's own arguments]

Needs nothing but the binary and tests/data: no network, no GPU, no demo model. The test of the ends prints one line,
"L10 wrong=0 of N PASS".
"""

import ctypes
import getpass
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

DATA = pathlib.Path(__file__).resolve().parent / "data"
GGUF = DATA / "gguf"
LLAMA3 = DATA / "models" / "llama3"  # has a tokenizer
TINY = str(GGUF / "tiny-llama-f32.gguf")  # a context of 256 tokens
COMMANDS = ("tokenize", "render", "verify", "run", "chat", "inspect", "eval", "bench", "selftest", "tune")
NOBODY = 65534

UNIMAX = ""  # set by main
SCRATCH = pathlib.Path()  # an empty folder, removed at the end


class Ended:
    """How one call of the program ended."""

    def __init__(self, done):
        self.status = done.returncode
        self.out = done.stdout.decode("utf-8")  # strict: what is printed is UTF-8
        self.err = done.stderr.decode("utf-8")

    def __str__(self):
        return f"status {self.status}\nstdout: {self.out[:1500]}\nstderr: {self.err[:1500]}"


def unimax(*arguments, stdout=subprocess.PIPE, user=None):
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(SCRATCH), "XDG_CACHE_HOME": str(SCRATCH / "cache")}
    for name, value in os.environ.items():  # of sanitizers and their suppressions
        if name.endswith("SAN_OPTIONS"):
            environment[name] = value
    done = subprocess.run([UNIMAX, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=stdout,
                          stderr=subprocess.PIPE, env=environment, timeout=200, check=False, user=user)
    if done.stdout is None:
        done.stdout = b""
    return Ended(done)


def has_library(*names):
    for name in names:
        try:
            ctypes.CDLL(name)
            return True
        except OSError:
            pass
    return False


def isas():
    """The instruction sets this machine has, as the program names them."""
    ended = unimax("run", TINY, "-p", "x", "-q", "--device", "cpu", "--isa", "none")
    found = re.search(r"this machine has ([a-z0-9, ]+)", ended.err)
    return found[1].split(", ") if found else []


def tensor_type_at(data, name):
    """Where the type of the tensor called `name` stands in a GGUF file."""
    at = data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
    dimensions, = struct.unpack_from("<I", data, at)
    return at + 4 + 8 * dimensions


def write(name, data):
    path = SCRATCH / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


class End:
    """A call that must fail: with `status`, and with one line on stderr in which each of `words` stands."""

    def __init__(self, name, status, arguments, words=(), parser=False, log=False, **how):
        self.name, self.status, self.arguments, self.words = name, status, arguments, words
        self.parser = parser  # the parser of the command line words this one itself, perhaps in several lines
        self.log = log        # the log may say something before
        self.how = how        # for unimax()

    def wrong(self):
        """What is wrong with how it ended; "" when nothing is."""
        ended = unimax(*self.arguments, **self.how)
        if ended.status != self.status:
            return f"status {ended.status}, not {self.status}\n{ended}"
        if ended.out:
            return f"printed to stdout\n{ended}"
        lines = ended.err.splitlines()[-1 if self.log else 0:]
        for trace in ("Sanitizer", "terminate called", "Aborted", "src/", "what():", "stack"):
            if trace in ended.err:
                return f"speaks of its inside: {trace}\n{ended}"
        if not self.parser and (len(lines) != 1 or not lines[0].startswith("unimax: ")):
            return f"not one line 'unimax: ...'\n{ended}"
        for word in self.words:
            if word.lower() not in ended.err.lower():
                return f"does not say '{word}'\n{ended}"
        return "" if ended.err else "says nothing"


def run(model, *more):
    """A quiet run of `model` on the CPU."""
    return ["run", model, "-p", "Hello", "-n", "4", "-q", "--device", "cpu", *more]


def ends_of_usage():
    bench = ["bench", TINY, "--device", "cpu", "--steps", "4"]
    return [
        End("no arguments", 2, [], parser=True),
        End("unknown command", 2, ["fly"], ["fly"], parser=True),
        End("unknown option", 2, run(TINY, "--no-such-option"), ["--no-such-option"], parser=True),
        End("a number that is none", 2, run(TINY, "--seed", "many"), ["--seed"], parser=True),
        End("no tokens wanted", 2, ["run", TINY, "-p", "x", "--max-new-tokens", "0"], ["--max-new-tokens"],
            parser=True),
        End("temperature below 0", 2, run(TINY, "--temperature", "-1"), ["--temperature"], parser=True),
        End("run without a prompt", 2, ["run", TINY], ["prompt", "-p"]),
        End("two prompts", 2, run(TINY, "--ids", "1,2"), ["--ids", "--prompt"], parser=True),
        End("an id beyond the vocabulary", 2, ["run", TINY, "--ids", "1,384", "-q", "--device", "cpu"],
            ["384", "vocabulary"]),
        End("run without a model", 2, ["run", "-p", "x"], ["model"], parser=True),
        End("unknown device", 2, ["run", TINY, "-p", "x", "-q", "--device", "abacus"], ["abacus", "use auto, cpu"]),
        End("unknown device index", 2, ["run", TINY, "-p", "x", "-q", "--device", "cuda:one"],
            ["cuda:one", "cuda[:N]"]),
        End("unknown instruction set", 2, run(TINY, "--isa", "mmx"), ["mmx", "this machine has", "generic"]),
        End("unknown instruction set, device that needs none", 2,
            ["run", TINY, "-p", "x", "-q", "--device", "emulator", "--isa", "mmx"], ["mmx"]),
        End("unknown type", 2, run(TINY, "--dtype", "f8"), ["f8", "bf16"]),
        End("unknown executor", 2, run(TINY, "--executor", "magic"), ["magic", "reference"]),
        End("less than no threads", 2, run(TINY, "--threads", "-1"), ["--threads"], parser=True),
        End("less than no context", 2, run(TINY, "--context", "-1"), ["--context"], parser=True),
        End("context beyond the model's", 2, run(TINY, "--context", "100000"), ["--context 100000", "256"]),
        End("prompt beyond the context", 2, ["run", TINY, "-p", "a b c d e " * 40, "--raw", "-q", "--device", "cpu",
                                             "--context", "32"], ["prompt", "32", "--context"]),
        End("empty prompt", 2, ["run", TINY, "-p", "", "-q", "--device", "cpu"], ["prompt", "-p"]),
        End("eval of nothing", 2, ["eval", TINY, "--device", "cpu"], ["--check"]),
        End("eval beyond the context", 2, ["eval", TINY, "--device", "cpu", "--check", "--tokens", "300"],
            ["--tokens", "256"], log=True),
        End("inspect nothing", 2, ["inspect"], ["--config"]),
        End("inspect less than no tokens", 2, ["inspect", TINY, "--program", "--tokens", "-1"], ["--tokens"],
            parser=True),
        End("a kernel row on the CPU", 2, ["run", TINY, "-p", "x", "-q", "--force", "attention=lazy"],
            ["--force attention=lazy", "--device"]),
        End("a kernel row that is not there", 2, ["run", TINY, "-p", "x", "-q", "--device", "emulator", "--force",
                                                  "attention=quick"], ["quick", "lazy", "unified"]),
        End("a plan on the CPU", 2, ["run", TINY, "-p", "x", "-q", "--device", "cpu", "--plan", "x.plan"],
            ["--plan x.plan", "--device"]),
        End("the plan of the CPU", 2, ["bench", TINY, "--device", "cpu", "--context", "40", "--print-plan"],
            ["--print-plan", "cpu"], log=True),
        End("the times within a step of the CPU", 2, ["bench", TINY, "--device", "cpu", "--context", "40", "--steps",
                                                      "4", "--trace", "t.jsonl"], ["--trace", "cpu"], log=True),
        End("a kernel table of nothing", 2, ["selftest", "--device", "emulator", "--only", "no_such"], ["no_such"]),
        End("tokenize what is no id", 2, ["tokenize", TINY, "--decode", "-p", "1 two"], ["two", "token id"]),
        End("tokenize an id beyond", 2, ["tokenize", TINY, "--decode", "-p", "99999999"], ["99999999"]),
        End("render nothing", 2, ["render", "--messages", "x.json"], ["--template"]),
        End("render what is no list", 2, ["render", LLAMA3, "--messages", write("object.json", b"{}")],
            ["object.json", "list"]),
        End("verify against nothing", 2, ["verify", TINY], ["digest", "--sha256"]),
        End("verify against what is no digest", 2, ["verify", TINY, "abc"], ["abc", "64"]),
        End("verify another digest", 65, ["verify", TINY, "0" * 64], ["SHA-256", "tiny-llama-f32"]),
        End("verify with a list that leads outside", 65,
            ["verify", GGUF, "--sha256", write("evil.sums", b"0" * 64 + b"  ../x\n")], ["evil.sums", "outside"]),
        End("tokenize a file that is not there", 74, ["tokenize", TINY, "--file", "/nowhere.txt"], ["/nowhere.txt"]),
        End("render with a broken template", 65, ["render", "--template", write("cut.jinja", b"a\n{{ 1 + }}"),
                                                  "--messages", write("no_messages.json", b"[]")],
            ["cut.jinja", "line 2, column"]),
        End("bench of nothing", 2, ["bench", "--device", "cpu"], ["--config"]),
        End("bench of two things", 2, [*bench, "--config", LLAMA3 / "config.json"], ["--config"]),
        End("bench beyond the context", 2, [*bench, "--context", "300", "--json"], ["--context", "256"]),
    ]


def ends_of_files():
    whole = (GGUF / "tiny-llama-q4_0.gguf").read_bytes()
    name = b"general.architecture" + struct.pack("<IQ", 8, 5)
    assert whole.count(name + b"llama") == 1
    other_type = bytearray(whole)
    struct.pack_into("<I", other_type, tensor_type_at(whole, b"token_embd.weight"), 20)  # IQ4_NL, as large as Q4_0
    weights = (LLAMA3 / "model.safetensors").read_bytes()
    config = (LLAMA3 / "config.json").read_bytes()

    def folder(name, **files):
        for file, data in files.items():
            write(f"{name}/{file.replace('__', '.')}", data)
        (SCRATCH / name).mkdir(exist_ok=True)
        return str(SCRATCH / name)

    model = {"model__safetensors": weights, "config__json": config}
    cut_tokenizer = folder("cut_tokenizer", **model, tokenizer__json=(LLAMA3 / "tokenizer.json").read_bytes()[:500])
    two = folder("two", a__gguf=whole, b__gguf=whole)
    return [
        End("missing model", 74, run(str(SCRATCH / "nowhere.gguf")), ["nowhere.gguf", "no such file"]),
        End("model that is not in the cache", 74, run("nowhere"), ["nowhere", "cache", "./setup.sh"]),
        End("a device file", 74, run("/dev/null"), ["/dev/null", "not a plain file"]),
        End("empty file", 65, run(write("empty.gguf", b"")), ["empty.gguf"]),
        End("truncated header", 65, run(write("cut.gguf", whole[:3000])), ["cut.gguf", "offset"]),
        End("truncated data", 65, run(write("short.gguf", whole[:-4000])), ["short.gguf"]),
        End("a text", 65, run(write("notes.txt", b"Dear model,\nhow are you?\n" * 9)),
            ["notes.txt", "neither GGUF nor"]),
        End("a pickle", 65, run(write("pytorch_model.bin", b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01u." * 9)),
            ["pytorch_model.bin", "pickle", "use safetensors or GGUF"]),
        End("unknown architecture", 65, run(write("flame.gguf", whole.replace(name + b"llama", name + b"flame"))),
            ["flame.gguf", "flame", "supported", "llama"]),
        End("unsupported tensor type", 65, run(write("iq4.gguf", bytes(other_type))), ["token_embd.weight", "IQ4_NL"]),
        End("no tokenizer", 65, run(DATA / "models" / "llama"), ["tokenizer"]),
        End("broken tokenizer", 65, run(cut_tokenizer), ["tokenizer"]),
        End("no config", 65, run(folder("no_config", model__safetensors=weights)), ["config.json is missing"]),
        End("broken config", 65, run(folder("cut_config", model__safetensors=weights, config__json=config[:90])),
            ["cut_config"]),
        End("config of other weights", 65,
            run(folder("other_config", **{**model, "config__json": config.replace(b'"vocab_size": 384',
                                                                                  b'"vocab_size": 385')})), ["385"]),
        End("empty folder", 65, run(folder("empty")), ["empty", "model.safetensors"]),
        End("a folder of two models", 65, run(two), ["name one of them"]),
        End("missing plan", 74, ["run", TINY, "-p", "x", "-q", "--device", "emulator", "--plan", "nowhere.plan"],
            ["nowhere.plan", "plan"]),
        End("missing config", 74, ["bench", "--config", str(SCRATCH / "none.json"), "--device", "cpu"], ["none.json"]),
    ]


def ends_of_machines():
    large = ["bench", "--config", DATA / "shapes" / "llama-2-7b.json", "--device", "emulator", "--json"]
    ends = [
        End("weights beyond the device's memory", 69, [*large, "--dtype", "f32"],
            ["GiB free", "weights", "KV cache", "workspace", "--device cpu"]),
        End("KV cache beyond the device's memory", 69, [*large, "--batch", "8", "--context", "1024"],
            ["GiB free", "weights", "KV cache", "workspace", "--context"]),
        End("a report into no folder", 74, ["selftest", "--device", "cpu", "--only", "Norm", "--failures", "--report",
                                            SCRATCH / "absent" / "r.json"], ["r.json"]),
        End("a result that differs", 70, ["eval", TINY, "--device", "cpu", "--check", "--tolerance", "1e-30"],
            ["op ", "differs from the reference", "tolerance"], log=True),
    ]
    if not has_library("libcuda.so.1"):
        ends += [End("no NVIDIA driver", 69, ["run", TINY, "-p", "x", "-q", "--device", "cuda"], ["libcuda.so.1"]),
                 End("no NVIDIA driver for the kernel table", 69, ["selftest", "--device", "cuda:1"],
                     ["libcuda.so.1"])]
    if not has_library("libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5", "libamdhip64.so"):
        ends.append(End("no AMD driver", 69, ["run", TINY, "-p", "x", "-q", "--device", "hip"], ["libamdhip64.so"]))
    if os.path.exists("/dev/full"):
        full = open("/dev/full", "wb")  # lives as long as the list
        ends.append(End("a full disk", 74, ["inspect", TINY], ["stdout"], stdout=full))
    return ends + ends_without_rights()


def ends_without_rights():
    """Files that may not be read. Root may read everything, so its calls run as nobody, where nobody may run at all."""
    user = NOBODY if os.geteuid() == 0 else None
    try:
        if unimax("--version", user=user).status != 0:
            return []
    except (PermissionError, ValueError):
        return []
    secret = SCRATCH / "secret"
    secret.mkdir(exist_ok=True)
    file = pathlib.Path(write("locked.gguf", (GGUF / "tiny-llama-f32.gguf").read_bytes()))
    shutil.copy(file, secret / "model.gguf")
    file.chmod(0)
    secret.chmod(0)
    return [End("a file that may not be read", 74, run(str(file)), ["locked.gguf", "ermission"], user=user),
            End("a folder that may not be read", 74, run(str(secret)), ["secret", "ermission"], user=user)]


def hostile():
    """The rows of tests/data/hostile, each with the call that opens its file."""
    for line in (DATA / "hostile" / "expected.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        path = DATA / "hostile" / row["file"]
        if row["kind"] == "config":
            yield row, ["inspect", "--config", path]
        elif row["kind"] in ("tokenizer", "safetensors-index"):
            folder = SCRATCH / "hostile" / path.stem
            folder.mkdir(parents=True)
            shutil.copy(LLAMA3 / "config.json", folder)
            if row["kind"] == "tokenizer":
                shutil.copy(LLAMA3 / "model.safetensors", folder)
            shutil.copy(path, folder / ("tokenizer.json" if row["kind"] == "tokenizer" else
                                        "model.safetensors.index.json"))
            yield row, ["inspect", folder]
        else:
            yield row, ["inspect", path]


class Ends(unittest.TestCase):
    """L10 of the reliability table: exit statuses mean something, and an error is one sentence that helps."""

    def test_every_end(self):
        ends = ends_of_usage() + ends_of_files() + ends_of_machines()
        self.assertGreaterEqual(len(ends), 20)
        wrong = [(end, what) for end in ends if (what := end.wrong())]
        print(f"\nL10 wrong={len(wrong)} of {len(ends)} {'FAIL' if wrong else 'PASS'}", flush=True)
        for end, what in wrong:
            with self.subTest(end.name):
                self.fail(what)

    def test_the_context_that_would_fit(self):
        ended = unimax("bench", "--config", DATA / "shapes" / "llama-2-7b.json", "--device", "emulator", "--batch", "8",
                       "--context", "1024", "--json")
        found = re.search(r"--context (\d+) would fit", ended.err)
        self.assertTrue(found, ended)
        self.assertTrue(0 < int(found[1]) < 1024, ended)

    def test_malformed_files(self):
        for row, call in hostile():
            with self.subTest(row["file"]):
                ended = unimax(*call)
                if row.get("ok") or row.get("may_load"):
                    self.assertIn(ended.status, (0, 65), ended)
                    continue
                self.assertEqual((ended.status, ended.out), (65, ""), ended)
                self.assertRegex(ended.err, r"\Aunimax: [^\n]+\n\Z")
                for word in row["words"]:
                    self.assertTrue(any(w in ended.err.lower() for w in word.lower().split("|")), f"{word}\n{ended}")

    def test_help_shows_examples(self):
        listed = unimax("--help")
        self.assertEqual(listed.status, 0, listed)
        for command in COMMANDS:
            self.assertIn(command, listed.out)
            ended = unimax(command, "--help")
            self.assertEqual((ended.status, ended.err), (0, ""), ended)
            self.assertIn("Examples:", ended.out, command)
            self.assertIn(f"unimax {command} ", ended.out)

    def test_version(self):
        ended = unimax("--version")
        self.assertEqual(ended.status, 0)
        self.assertRegex(ended.out, r"^\d+\.\d+\.\d+\n$")


class Case(unittest.TestCase):
    def printed(self, *arguments):
        """What a call that must succeed printed."""
        ended = unimax(*arguments)
        self.assertEqual(ended.status, 0, f"{' '.join(map(str, arguments))}\n{ended}")
        return ended.out

    def json(self, *arguments):
        """The one JSON object that such a call printed; nothing else may be printed."""
        ended = unimax(*arguments, "--json")
        self.assertEqual((ended.status, ended.err), (0, ""), f"{' '.join(map(str, arguments))}\n{ended}")
        self.assertEqual(ended.out.count("\n"), 1, ended)
        return json.loads(ended.out)

    def keys(self, found, **kinds):
        """`found` has exactly these keys, of these kinds."""
        self.assertEqual(set(found), set(kinds))
        for key, kind in kinds.items():
            self.assertIsInstance(found[key], kind, key)

    def ids(self, model, *more):
        return self.json("run", model, "-p", "Hello there", "-n", "16", "--raw", "--temperature", "0",
                         "--ignore-end", "--dtype", "f32", *more)["ids"]


NUMBER = (int, float)


class Json(Case):
    def test_run(self):
        found = self.json("run", TINY, "-p", "Hello", "-n", "5", "--device", "cpu", "--temperature", "0")
        self.keys(found, text=str, ids=list, finish=str, prompt_tokens=int, new_tokens=int, prefill_tok_s=NUMBER,
                  decode_tok_s=NUMBER, first_token_ms=NUMBER, peak_resident_bytes=int, kv_bytes=int, executor=str,
                  cached_tokens=int)
        self.assertEqual(found["new_tokens"], len(found["ids"]))
        self.assertIn(found["finish"], ("length", "stop"))
        self.assertTrue(found["finish"] == "stop" or found["new_tokens"] == 5)
        self.assertTrue(found["prompt_tokens"] > 0 < found["kv_bytes"])

    def test_run_prints_the_same_text_without_json(self):
        arguments = ["run", TINY, "-p", "Hello", "-n", "12", "--device", "cpu", "--temperature", "0"]
        text = self.json(*arguments)["text"]
        quiet = unimax(*arguments, "-q")
        self.assertEqual((quiet.status, quiet.out, quiet.err), (0, text + "\n", ""))
        spoken = unimax(*arguments)
        self.assertEqual((spoken.status, spoken.out), (0, text + "\n"))
        for line in spoken.err.splitlines():
            self.assertTrue(line.startswith("unimax: "), line)
        self.assertRegex(spoken.err.splitlines()[-1], r"\d+ prompt tokens at .* tok/s, \d+ new tokens at .* tok/s")

    def test_prompts_of_any_bytes(self):
        for prompt in (b"\xff\xfe\x80", "日本語 🦙".encode(), b"\x01\t\r\n", b"<|im_end|><|bos|>", b" " * 50):
            found = self.json("run", TINY, "-p", os.fsdecode(prompt), "-n", "3", "--device", "cpu")
            self.assertGreater(found["prompt_tokens"], 0)

    def test_inspect(self):
        found = self.json("inspect", TINY)
        self.keys(found, architecture=str, layers=int, hidden=int, heads=int, kv_heads=int, head_dim=int,
                  intermediate=int, vocab=int, context=int, parameters=int, file_bytes=int, tokenizer=dict,
                  chat_template=dict, sampling=dict)
        self.assertEqual((found["architecture"], found["layers"], found["hidden"], found["heads"], found["kv_heads"],
                          found["head_dim"], found["intermediate"], found["vocab"], found["context"]),
                         ("llama", 2, 64, 2, 1, 16, 32, 384, 256))
        self.assertEqual(found["file_bytes"], os.path.getsize(TINY))

    def test_eval(self):
        found = self.json("eval", TINY, "--check", "--device", "cpu", "--dtype", "f32")
        self.keys(found, ops=int, worst_error=NUMBER, tolerance=NUMBER, executor=str)
        self.assertLessEqual(found["worst_error"], found["tolerance"])

    def test_the_plan_is_printed_and_forced(self):
        plan = lambda *more: self.printed("bench", TINY, "--device", "emulator", "--dtype", "bf16", "--batch", "2",
                                          "--context", "40", "--print-plan", *more)
        own = plan()
        self.assertIn("decode of 2 rows with up to 40 tokens", own)
        self.assertRegex(own, r"Attention .* attention_rows_bf16")
        self.assertNotIn("_lazy_", own)
        self.assertRegex(plan("--force", "attention=lazy"), r"Attention .* decode +attention_lazy_bf16")

    def test_bench(self):
        lines = self.printed("bench", TINY, "--device", "cpu", "--batch", "1,2", "--context", "8", "--steps", "4",
                             "--json", "--name", "tiny", "--commit", "abc").splitlines()
        self.assertEqual(len(lines), 4)
        common = dict(bench=str, model=str, device=str, driver=str, executor=str, batch=int, context=int, ms=NUMBER,
                      tok_s=NUMBER, commit=str, date=str, command=str)
        for line, kind in zip(map(json.loads, lines), ("prefill", "decode") * 2):
            more = dict(ms_quartiles=list, gbps=NUMBER, read_gbps=NUMBER, roofline_share=NUMBER)
            self.keys(line, **common, **(more if kind == "decode" else {}))
            self.assertEqual((line["bench"], line["model"], line["commit"], line["context"]), (kind, "tiny", "abc", 8))
            self.assertGreater(line["ms"], 0)
            self.assertIn("bench", line["command"])

    def test_selftest(self):
        lines = self.printed("selftest", "--device", "emulator", "--only", "norm", "--json").splitlines()
        self.assertGreater(len(lines), 2)
        for line in map(json.loads, lines):
            self.keys(line, bench=str, kernel=str, case=str, error=NUMBER, norm=NUMBER, tolerance=NUMBER, us=NUMBER,
                      **{"pass": bool})
            self.assertIn("norm", line["kernel"])
            self.assertTrue(line["pass"], line)

    def test_selftest_report(self):
        folder = SCRATCH / "report of a person"
        folder.mkdir()
        path = folder / "report.json"
        path.write_text("an older one")
        for device, kernel, precisions in (("cpu", "Norm", 1), ("emulator64", "linear_flat_bf16", 3)):
            self.printed("selftest", "--device", device, "--only", kernel, "--report", path)
            text = path.read_text()
            report = json.loads(text)
            self.keys(report, report=str, format=int, version=str, date=str, device=dict, kernels=list, models=list,
                      tune=list, bench=dict, errors=list, **{"pass": bool})
            self.assertTrue(report["pass"], report["errors"])
            self.assertEqual(len(report["models"]), 3 * precisions)
            for found in report["models"]:
                self.keys(found, model=str, precision=str, executor=str, steps=int, same_ids=int, error=NUMBER,
                          tolerance=NUMBER, **{"pass": bool})
                self.assertGreater(found["error"], 0)
            self.assertGreater(len(report["kernels"]), 2)
            self.assertEqual(len(report["tune"]) > 0, device != "cpu")
            for row in (row for case in report["tune"] for row in case["rows"]):
                self.assertTrue(row["us"] > 0 and row["error"] > 0, row)
            if device == "cpu":
                self.assertGreater(report["bench"]["decode_ms"], 0)
                self.assertGreater(report["bench"]["read_gbps"], 0)
            for personal in (socket.gethostname(), str(SCRATCH), "person", os.environ.get("HOME", SCRATCH.name),
                             getpass.getuser() + "/"):
                self.assertNotIn(personal, text)
        self.assertEqual(os.listdir(folder), ["report.json"])


class SameIds(Case):
    """In f32, every way to run a model gives the ids of the reference."""

    def same(self, model):
        wanted = self.ids(model, "--device", "cpu", "--executor", "reference")
        self.assertEqual(len(wanted), 16)
        ways = [("--device", "cpu", "--isa", isa) for isa in isas()] + [("--device", "emulator"),
                                                                        ("--device", "emulator64")]
        self.assertIn(("--device", "cpu", "--isa", "generic"), ways)
        for way in ways:
            with self.subTest(way=" ".join(way)):
                self.assertEqual(self.ids(model, *way), wanted)

    def test_safetensors(self):
        for path in sorted((DATA / "models").glob("*/tokenizer.json")):
            with self.subTest(path.parent.name):
                self.same(path.parent)

    def test_gguf(self):
        for path in sorted(GGUF.glob("tiny-llama-*.gguf")):
            with self.subTest(path.name):
                self.same(path)

    def test_any_number_of_threads(self):
        wanted = self.ids(TINY, "--device", "cpu", "--threads", "1")
        for threads in ("2", "3"):
            self.assertEqual(self.ids(TINY, "--device", "cpu", "--threads", threads), wanted)


class Golden(Case):
    """The greedy ids that another implementation recorded, also from models without a tokenizer."""

    def follow(self, model, cases):
        for case in cases:
            found = self.json("run", model, "--ids", ",".join(map(str, case["prompt"])), "-n", len(case["greedy"]),
                              "--ignore-end", "--device", "cpu", "--dtype", "f32")
            self.assertEqual(found["ids"], case["greedy"], model)
            self.assertEqual((found["finish"], found["prompt_tokens"]), ("length", len(case["prompt"])))

    def test_safetensors(self):
        for path in sorted((DATA / "models").glob("*/golden.json")):
            with self.subTest(path.parent.name):
                self.follow(path.parent, json.loads(path.read_text(encoding="utf-8"))["cases"])

    def test_gguf(self):
        for file in json.loads((GGUF / "golden.json").read_text(encoding="utf-8"))["files"]:
            with self.subTest(file["file"]):
                self.follow(GGUF / file["file"], file["cases"])


class Draws(Case):
    def draw(self, seed, temperature="1.5"):
        return self.json("run", LLAMA3, "-p", "Hello", "-n", "16", "--raw", "--device", "cpu", "--ignore-end",
                         "--temperature", temperature, "--seed", seed)["ids"]

    def test_the_seed_decides(self):
        first = self.draw("7")
        self.assertEqual(self.draw("7"), first)
        self.assertNotEqual(self.draw("8"), first)

    def test_without_temperature_it_does_not(self):
        self.assertEqual(self.draw("7", "0"), self.draw("8", "0"))


class Check(Case):
    """eval --check: every op agrees with the reference."""

    def test_devices(self):
        for device in ("cpu", "emulator", "emulator64"):
            for model in (TINY, LLAMA3):
                with self.subTest(device=device, model=str(model)):
                    text = self.printed("eval", model, "--check", "--device", device)
                    self.assertRegex(text, r"^\d+ ops agree with the reference: worst error \S+, tolerance \S+; ")

    def test_integer_weights_and_16_bit_types(self):
        self.printed("eval", GGUF / "tiny-llama-q4_1.gguf", "--check", "--device", "cpu")
        for dtype in ("bf16", "f16"):
            self.printed("eval", GGUF / "tiny-llama-q8_0.gguf", "--check", "--device", "emulator", "--dtype", dtype)


class Inspect(Case):
    def test_text(self):
        self.assertRegex(self.printed("inspect", TINY), r"architecture llama, \d+ parameters\nlayers 2, hidden 64")

    def test_program(self):
        lines = self.printed("inspect", TINY, "--program", "--context", "64").splitlines()
        ops = [line for line in lines if re.match(r"\s*\d+\s+[A-Z]\w+", line)]
        self.assertEqual(len(ops), 27, "\n".join(lines))  # the embedding, two layers of 11, the four of the head
        for line in ops:
            self.assertRegex(line, r" \d+ +\d+$")  # bytes and FLOPs
        text = "\n".join(lines)
        for word in ("Embed", "Norm", "Linear", "RopeAndStore", "Attention", "ActMul", "Add", "Select", "Sample",
                     "layers.1.qkv", "bytes", "FLOPs"):
            self.assertIn(word, text)

    def test_config_alone(self):
        shape = DATA / "shapes" / "llama-2-7b.json"
        found = self.json("inspect", "--config", shape)
        self.assertEqual((found["layers"], found["hidden"], found["file_bytes"]), (32, 4096, 0))
        self.assertIn("layers.31.down", self.printed("inspect", "--config", shape, "--program"))

    def test_tensors(self):
        text = self.printed("inspect", GGUF / "tiny-llama-q4_1.gguf", "--tensors")
        self.assertRegex(text, r"token_embd\.weight +Q4_1 +\[384, 64\]")


def main():
    global UNIMAX, SCRATCH
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    UNIMAX = os.path.abspath(sys.argv.pop(1))
    SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="unimax-cli-"))
    SCRATCH.chmod(0o755)
    try:
        unittest.main(argv=sys.argv, verbosity=2)
    finally:
        for folder in [SCRATCH, *SCRATCH.rglob("*")]:
            folder.chmod(0o700)
        shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main()
