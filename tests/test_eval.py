#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`unimax eval --perplexity` and `--measure-phi` against a forward pass in plain Python, and `eval --determinism`.

    tests/test_eval.py PATH_OF_UNIMAX [unittest's own arguments]
"""

import array
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest
from operator import mul

DATA = pathlib.Path(__file__).resolve().parent / "data"
LLAMA3 = DATA / "models" / "llama3"

UNIMAX = ""  # set by main
SCRATCH = pathlib.Path()


def unimax(*arguments, stdin=""):
    return subprocess.run([UNIMAX, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=200,
                          env={"HOME": str(SCRATCH)}, check=False)


def dot(a, b):
    return sum(map(mul, a, b))


class Llama:
    """A Llama in double precision, one token after the other; shares nothing with the program under test."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        data = (folder / "model.safetensors").read_bytes()
        size, = struct.unpack_from("<Q", data)
        self.tensors = {}
        for name, t in json.loads(data[8:8 + size]).items():
            if name == "__metadata__":
                continue
            assert t["dtype"] == "F32"
            begin, end = t["data_offsets"]
            flat = array.array("f", data[8 + size + begin:8 + size + end])
            cols = t["shape"][-1]
            self.tensors[name] = [list(flat[i:i + cols]) for i in range(0, len(flat), cols)]
        self.frequencies = self.scaled_frequencies()
        self.tops = {}  # (layer, KV head): the largest score of each row and query head

    def scaled_frequencies(self):
        c, scaling = self.config, self.config["rope_scaling"]
        dim = c["hidden_size"] // c["num_attention_heads"]
        old = scaling["original_max_position_embeddings"]
        found = []
        for i in range(dim // 2):
            f = c["rope_theta"] ** (-2 * i / dim)
            wave = 2 * math.pi / f
            low, high = old / scaling["low_freq_factor"], old / scaling["high_freq_factor"]
            smooth = (old / wave - scaling["low_freq_factor"])
            smooth /= scaling["high_freq_factor"] - scaling["low_freq_factor"]
            slow = f / scaling["factor"]
            found.append(slow if wave > low else f if wave < high else (1 - smooth) * slow + smooth * f)
        return found

    def norm(self, x, name):
        scale = 1 / math.sqrt(dot(x, x) / len(x) + self.config["rms_norm_eps"])
        return [a * scale * w for a, w in zip(x, self.tensors[name][0])]

    def linear(self, x, name):
        return [dot(row, x) for row in self.tensors[name]]

    def turn(self, head, position):
        half = len(head) // 2
        turned = list(head)
        for i, f in enumerate(self.frequencies):
            cosine, sine = math.cos(position * f), math.sin(position * f)
            turned[i] = head[i] * cosine - head[half + i] * sine
            turned[half + i] = head[half + i] * cosine + head[i] * sine
        return turned

    def logits(self, ids):
        """Yields the logits behind each of the ids."""
        c = self.config
        heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        dim = c["hidden_size"] // heads
        cache = [([], []) for _ in range(c["num_hidden_layers"])]
        for position, token in enumerate(ids):
            x = list(self.tensors["model.embed_tokens.weight"][token])
            for layer, (keys, values) in enumerate(cache):
                at = f"model.layers.{layer}."
                h = self.norm(x, at + "input_layernorm.weight")
                cut = lambda v: [v[i:i + dim] for i in range(0, len(v), dim)]
                q = [self.turn(v, position) for v in cut(self.linear(h, at + "self_attn.q_proj.weight"))]
                keys.append([self.turn(v, position) for v in cut(self.linear(h, at + "self_attn.k_proj.weight"))])
                values.append(cut(self.linear(h, at + "self_attn.v_proj.weight")))
                mixed = []
                for head in range(heads):
                    kv = head * kv_heads // heads
                    scores = [dot(q[head], k[kv]) / math.sqrt(dim) for k in keys]
                    top = max(scores)
                    self.tops.setdefault((layer, kv), []).append(top)
                    weights = [math.exp(s - top) for s in scores]
                    total = sum(weights)
                    mixed += [sum(w * v[kv][d] for w, v in zip(weights, values)) / total for d in range(dim)]
                x = [a + b for a, b in zip(x, self.linear(mixed, at + "self_attn.o_proj.weight"))]
                h = self.norm(x, at + "post_attention_layernorm.weight")
                gate = self.linear(h, at + "mlp.gate_proj.weight")
                up = self.linear(h, at + "mlp.up_proj.weight")
                act = [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up)]
                x = [a + b for a, b in zip(x, self.linear(act, at + "mlp.down_proj.weight"))]
            yield self.linear(self.norm(x, "model.norm.weight"), "lm_head.weight")

    def perplexity(self, ids, begin, window):
        losses = []
        for w in range(len(ids) // window):
            part = ids[w * window:(w + 1) * window]
            part[:len(begin)] = begin
            for position, logits in enumerate(self.logits(part[:-1])):
                if position + 1 < window // 2:
                    continue
                top = max(logits)
                log_sum = top + math.log(sum(math.exp(x - top) for x in logits))
                losses.append(log_sum - logits[part[position + 1]])
        return math.exp(sum(losses) / len(losses)), len(losses)


class Perplexity(unittest.TestCase):
    TEXT = "The quick brown fox jumps over the lazy dog. 日本語 and café. " * 8

    def setUp(self):
        self.path = SCRATCH / "text.txt"
        self.path.write_text(self.TEXT, encoding="utf-8")

    def measured(self, *more):
        done = unimax("eval", LLAMA3, "--perplexity", self.path, "--json", "--device", "cpu", *more)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return json.loads(done.stdout)

    def test_is_that_of_an_independent_computation(self):
        window = 40
        tokens = unimax("tokenize", LLAMA3, "--file", self.path, "--json")
        self.assertEqual(tokens.returncode, 0, tokens)
        ids = json.loads(tokens.stdout)["ids"]
        config = json.loads((LLAMA3 / "config.json").read_text(encoding="utf-8"))
        begin = [config["bos_token_id"]]
        self.assertEqual(ids[:1], begin)
        value, scored = Llama(LLAMA3).perplexity(ids[1:], begin, window)
        for way in (("--dtype", "f32"), ("--executor", "reference"), ()):
            found = self.measured("--window", window, *way)
            self.assertEqual((found["tokens"], found["windows"], found["window"]), (scored, scored // 20, window))
            self.assertAlmostEqual(found["perplexity"] / value, 1, delta=1e-2 if way == () else 1e-5)
            self.assertAlmostEqual(found["log_loss"], math.log(found["perplexity"]), delta=1e-6)

    def test_text_and_errors(self):
        done = unimax("eval", LLAMA3, "--perplexity", "-", "--window", "64", "--device", "cpu", stdin=self.TEXT)
        self.assertEqual(done.returncode, 0, done)
        self.assertRegex(done.stdout, r"^perplexity \d+\.\d+ \(log loss .*\) of \d+ tokens in \d+ windows of 64, at ")
        for more, words in ((("--window", "100000"), "context"), (("--check",), "one of")):
            wrong = unimax("eval", LLAMA3, "--perplexity", self.path, "--device", "cpu", *more)
            self.assertEqual(wrong.returncode, 2, wrong)
            self.assertIn(words, wrong.stderr)
        short = unimax("eval", LLAMA3, "--perplexity", "-", "--device", "cpu", stdin="a few words")
        self.assertEqual(short.returncode, 2)
        self.assertIn("--window", short.stderr)
        self.assertEqual(unimax("eval", LLAMA3, "--perplexity", SCRATCH / "none", "--device", "cpu").returncode, 74)


class Phi(unittest.TestCase):
    WINDOW = 24

    def setUp(self):
        self.text = SCRATCH / "phi.txt"
        self.text.write_text(Perplexity.TEXT[:200], encoding="utf-8")
        self.out = SCRATCH / "tiny.phi"

    def measure(self, *more):
        return unimax("eval", LLAMA3, "--measure-phi", self.text, "--window", self.WINDOW, *more)

    def test_is_that_of_an_independent_computation(self):
        done = self.measure("--device", "emulator", "--dtype", "bf16", "--out", self.out, "--json")
        self.assertEqual(done.returncode, 0, done)
        said = json.loads(done.stdout)
        ids = json.loads(unimax("tokenize", LLAMA3, "--file", self.text, "--json").stdout)["ids"][1:]
        model = Llama(LLAMA3)
        windows = len(ids) // self.WINDOW
        self.assertGreater(windows, 1)
        for w in range(windows):
            list(model.logits(ids[w * self.WINDOW:(w + 1) * self.WINDOW]))
        lines = self.out.read_text(encoding="utf-8").splitlines()
        self.assertEqual(lines[:2], ["unimax phi 1", f"layers {said['layers']} kv_heads {said['kv_heads']} "
                                     f"tokens {windows * self.WINDOW}"])
        self.assertEqual(len(lines) - 2, len(model.tops))
        for line in lines[2:]:
            layer, head, *found = line.split()
            tops = model.tops[int(layer), int(head)]
            for got, want in zip(map(float, found), (sum(tops) / len(tops), min(tops), max(tops))):
                self.assertAlmostEqual(got, want, delta=0.03 * (1 + abs(want)), msg=line)

        how = ("bench", LLAMA3, "--device", "emulator", "--dtype", "bf16", "--context", "40", "--steps", "4")
        unified = (*how, "--force", "attention=unified", "--phi", self.out)
        step = json.loads(unimax(*unified, "--json").stdout.splitlines()[1])
        self.assertGreater(step["softmax_blocks"], 0)
        self.assertEqual((step["softmax_redone"], step["softmax_redone_share"]), (0, 0))
        self.assertRegex(unimax(*unified).stdout, r"unified softmax: 0 of \d+ blocks done again \(0\.00 %\)")
        self.assertNotIn("softmax_blocks", unimax(*how, "--json").stdout)

    def test_errors(self):
        wrong = self.measure("--device", "emulator", "--dtype", "bf16")
        self.assertEqual((wrong.returncode, "--out" in wrong.stderr), (2, True), wrong)
        for device, dtype, word in (("cpu", "auto", "--device"), ("emulator", "f32", "--dtype bf16")):
            wrong = self.measure("--device", device, "--dtype", dtype, "--out", SCRATCH / "none.phi")
            self.assertEqual((wrong.returncode, word in wrong.stderr), (2, True), wrong)
            self.assertFalse((SCRATCH / "none.phi").exists())
        bad = SCRATCH / "bad.phi"
        bad.write_text("unimax phi 1\nlayers 99 kv_heads 1 tokens 5\n", encoding="utf-8")
        wrong = unimax("run", LLAMA3, "--device", "emulator", "--dtype", "bf16", "-p", "x", "--phi", bad)
        self.assertEqual((wrong.returncode, "99 layers" in wrong.stderr), (65, True), wrong)


class Determinism(unittest.TestCase):
    def test_the_command(self):
        how = ("eval", LLAMA3, "--device", "cpu", "--determinism", "--prompts", "12", "--orders", "1",
               "--batches", "1,5")
        done = unimax(*how)
        self.assertEqual(done.returncode, 0, done)
        for row in ("D02", "D03"):
            self.assertRegex(done.stdout, rf"{row} differing_rows=0 runs=\d+ rows=\d+ .*PASS")
        found = json.loads(unimax(*how, "--json").stdout)
        self.assertEqual(found["differing_rows"], 0)
        self.assertGreater(found["rows"], found["histories"])


def main():
    global UNIMAX, SCRATCH
    UNIMAX = str(pathlib.Path(sys.argv.pop(1)).resolve())
    with tempfile.TemporaryDirectory() as scratch:
        SCRATCH = pathlib.Path(scratch)
        unittest.main()


if __name__ == "__main__":
    main()
