#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole program on an AMD GPU that is a stand-in: how it answers, and how it ends where the driver fails.

    tests/test_hip.py PATH_OF_UNIMAX PATH_OF_STAND_IN [unittest's own arguments]

The stand-in (tests/stand_in) takes the place of libamdhip64 through the loader's search path, reads the code objects
of this build and runs their kernels on the emulator. Without such code objects (no clang-22) only the ends are tested
that come before them.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

DATA = pathlib.Path(__file__).resolve().parent / "data"
TINY = str(DATA / "gguf" / "tiny-llama-f32.gguf")
TARGETS = {"gfx942": "major=9,minor=4", "gfx1100": "major=11,minor=0", "gfx1201": "major=12,minor=0"}
BF16 = str(DATA / "models" / "llama3_bf16")
UNIMAX = BLAS = ""  # set by main
SCRATCH = pathlib.Path()


def unimax(*arguments, stand_in="", libraries=None):
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(SCRATCH), "UNIMAX_STAND_IN": stand_in,
                   "LD_LIBRARY_PATH": str(libraries or SCRATCH)}
    for name, value in os.environ.items():
        if name.endswith("SAN_OPTIONS"):
            environment[name] = value
    return subprocess.run([UNIMAX, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env=environment, timeout=200, check=False)


def on(target, more=""):
    return f"runs={target},{TARGETS[target]}" + (f",{more}" if more else "")


RUN = ("run", TINY, "-p", "Hello there", "-n", "6", "--raw", "--temperature", "0", "--ignore-end", "--dtype", "f32",
       "--json")


class Stand(unittest.TestCase):
    def ends(self, ended, status, *words):
        self.assertEqual(ended.returncode, status, ended.stderr)
        self.assertEqual(ended.stdout, "")
        last = ended.stderr.strip().splitlines()[-1]
        self.assertTrue(last.startswith("unimax: "), ended.stderr)
        for word in words:
            self.assertIn(word, last)

    def needs_code(self):
        if "no code object" in unimax("run", TINY, "-p", "x", "-q", "--device", "hip", stand_in=on("gfx942")).stderr:
            self.skipTest("this build has no code objects for AMD GPUs (no clang-22)")

    def test_no_gpu(self):
        for stand_in in ("devices=0", "fail_at=1,fail_code=101", "fail_at=1,fail_code=100"):
            self.ends(unimax("run", TINY, "-p", "x", "-q", "--device", "hip", stand_in=stand_in), 69, "no AMD GPU")

    def test_a_library_without_gpu(self):
        """Debian's own library, where it is installed and there is no card."""
        found = [p for p in pathlib.Path("/usr/lib").glob("*/libamdhip64.so.5")]
        if not found or os.path.exists("/dev/kfd"):
            self.skipTest("no libamdhip64-5 here, or a card")
        self.ends(unimax("run", TINY, "-p", "x", "-q", "--device", "hip", libraries=found[0].parent), 69, "no AMD GPU")

    def test_no_code_for_it(self):
        self.ends(unimax("run", TINY, "-p", "x", "-q", "--device", "hip", stand_in="runs=gfx803,major=8,minor=0"), 69,
                  "no code object")

    def test_answers_as_the_cpu_does(self):
        self.needs_code()
        wanted = json.loads(unimax(*RUN, "--device", "cpu").stdout)["ids"]
        for target in TARGETS:
            with self.subTest(target):
                ended = unimax(*RUN, "--device", "hip", stand_in=on(target))
                self.assertEqual(ended.returncode, 0, ended.stderr)
                self.assertEqual(json.loads(ended.stdout)["ids"], wanted)

    def test_faults(self):
        self.needs_code()
        wrong = 0
        for at in list(range(1, 30, 4)) + [50, 90, 140, 200, 300]:
            ended = unimax(*RUN, "--device", "hip", stand_in=on("gfx942", f"fail_at={at},fail_code=700"))
            told = ended.returncode == 69 and ended.stderr.count("unimax: ") == 1
            if not told and ended.returncode != 0:  # a call whose failure is nobody's business ends in an answer
                wrong += 1
                print(at, ended.returncode, ended.stderr)
        self.assertEqual(wrong, 0)

    def test_report_of_a_failing_card(self):
        self.needs_code()
        path = SCRATCH / "report.json"
        ended = unimax("selftest", "--device", "hip", "--only", "add_f32", "--report", path,
                       stand_in=on("gfx942", "fail_at=120,fail_code=719,fail_on=1"))
        report = json.loads(path.read_text())
        self.assertEqual(ended.returncode, 69, ended.stderr)
        self.assertFalse(report["pass"])
        self.assertTrue(report["errors"])
        self.assertNotIn(str(SCRATCH), path.read_text())
        self.assertEqual(report["device"]["target"], "gfx942")

    TUNE = ("--device", "hip", "--batches", "1", "--prompts", "16", "--context", "64", "--repeats", "1")

    def test_tunes(self):
        """Times of the stand-in mean nothing: every row is right there, and the table is for such a device."""
        self.needs_code()
        path = SCRATCH / "x.plan"
        ended = unimax("tune", BF16, *self.TUNE, "--out", path, "--json", stand_in=on("gfx942"))
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertIn("target gfx942 ", path.read_text())
        for line in map(json.loads, ended.stdout.splitlines()):
            for row in line["rows"]:
                self.assertEqual(row["dropped"], "", line["case"])
                self.assertGreater(row["error"], 0)
        ended = unimax("tune", BF16, *self.TUNE, "--out", path,
                       stand_in=on("gfx942", "fail_at=400,fail_code=700"))
        self.assertEqual(ended.returncode, 69, ended.stderr)

    def test_products_beside_a_library(self):
        """hipBLASLt and rocBLAS are stand-ins, too (tests/stand_in/blas.cc)."""
        self.needs_code()
        for peer in ("hipblaslt", "rocblas"):
            absent = unimax("tune", BF16, *self.TUNE, "--peer", peer, stand_in=on("gfx942"))
            self.ends(absent, 69, "to compare with")
        for peer, name in (("hipblaslt", "libhipblaslt.so.1"), ("rocblas", "librocblas.so.5")):
            (SCRATCH / name).symlink_to(BLAS)
            ended = unimax("tune", BF16, *self.TUNE, "--peer", peer, "--json", stand_in=on("gfx942"))
            (SCRATCH / name).unlink()
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))
            lines = [json.loads(line) for line in ended.stdout.splitlines()]
            self.assertEqual({line["bench"] for line in lines}, {"linear", "linear_mean"})
            self.assertTrue(all(line["us"] > 0 for line in lines if line["bench"] == "linear"))
        self.ends(unimax("tune", BF16, *self.TUNE, "--peer", "cublas", stand_in=on("gfx942")), 2, "does not run on")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    UNIMAX, library = (os.path.abspath(sys.argv.pop(1)) for _ in range(2))
    with tempfile.TemporaryDirectory(prefix="unimax-hip-") as scratch:
        SCRATCH = pathlib.Path(scratch)
        (SCRATCH / "libamdhip64.so.7").symlink_to(library)
        BLAS = os.path.join(os.path.dirname(library), "libblas_stand_in.so")
        unittest.main(verbosity=2)
