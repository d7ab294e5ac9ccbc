#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants one violation a law in a small clean tree and demands that exactly that law finds it."""

import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import check_laws  # noqa: E402

HEAD = """// gemm: y = x * w
// Who calls: Gemm().
// Work:      one group a column.
// Bound:     memory.
// Launch:    grid N.
// Reference: RefGemm.   Source: none.
"""

CLEAN = {
    "CMakeLists.txt": "um_library(base SOURCES src/base/a.cc src/base/a_test.cc src/main.cc\n"
                      "  src/kernels/table.cc src/kernels/check.cc src/kernels/k_test.cc)\n",
    "docs/architecture.md": "    src/main.cc\n    src/base/     a (one), status\n    src/kernels/  table, check\n"
                            "      gpu/        gemm, entries, port_cuda\n",
    "src/main.cc": '#include "cli/run.h"\nint main() { return 0; }\n',
    "src/base/a.cc": "int* Make() = delete;  // a new thing; free(x) of charge, cuda, getenv\n"
                     'const char* const kText = "new throw cuda printf(stderr)";\n'
                     "constexpr int kTable[] = {1, 2};\nstatic const int kCount = 1'000;\n",
    "src/base/a_test.cc": '#include "sim/a.h"\n'
                          "void operator delete(void* p) noexcept { ::operator delete(p, kAlign); }\n",
    "tests/sim/a.h": "",
    "src/base/status.h": "#define UM_CHECK(c)\nclass [[nodiscard]] Status {};\nclass [[nodiscard]] Result {};\n"
                         "// Use: `auto x = Open(path);`\n",
    "src/kernels/k_test.cc": "",
    "src/kernels/table.cc": '    {OpKind::kGemm, "vec", "gemm", bf16, Fits<1>, Run, 2e-3f, GemmBytes, kGemmCases},\n',
    "src/kernels/check.cc": "void F() { RefGemm(OpKind::kGemm); }\n",
    "src/kernels/gpu/entries.h": "UM_ENTRY(gemm, Args, Body, 128, 1)\n",
    "src/kernels/gpu/gemm.h": HEAD + "UM_DEVICE void Body(const Args&) {}\n",
    "src/kernels/gpu/port_cuda.h": "#define UM_DEVICE __device__\n#if defined(__CUDA_ARCH__)\n#endif\n",
}

SIX = "".join(f"int f{i}(int x) {{ return x + {i}; }}\n" for i in range(6))

# law, path, content (None: the file is taken away; a string after "+" is appended to the clean file)
PLANTED = [
    (1, "src/base/b.h", '#include "kernels/args.h"\n'),
    (1, "src/base/b.h", '#include "a.h"\n'),
    (1, "src/kernels/b.h", '#include "weights/gguf.h"\n'),
    (2, "tools/long.py", "\n" * 601),
    (2, "src/base/b.h", "const int kX = 1;" + " " * 110 + "\n"),
    (2, "src/kernels/b.h", "\n" * 301),
    (4, "src/base/a.cc", '+const char* home = std::getenv("HOME");\n'),
    (5, "src/base/a.cc", "+void F() { auto* p = new int; }\n"),
    (5, "src/base/a.cc", "+void F(int* p) { delete p; }\n"),
    (5, "src/base/a.cc", "+void F(void* p) { std::free(p); }\n"),
    (5, "src/kernels/nvidia/b.h", "inline void F(int* p) { cuMemAlloc(p, 4); }\n"),
    (6, "src/base/a.cc", "+void F() { cuInit(0); }\n"),
    (6, "src/kernels/gpu/gemm.h", "+inline void F() { __syncthreads(); }\n"),
    (6, "src/base/a.cc", '+void F() { asm volatile(""); }\n'),
    (7, "src/kernels/gpu/gemm.h", "+inline int F(int lane) { return lane & 31; }\n"),
    (8, "src/kernels/table.cc", '    {kGemm, "vec", "gemm", bf16, Fits, Run, GemmBytes, kGemmCases},\n'),
    (8, "src/kernels/table.cc", '    {kGemm, "vec", "gemm", bf16, Fits, Run, 0.0f, kGemmCases},\n'),
    (8, "src/kernels/table.cc", '    {kGemm, "vec", "gemm", bf16, Fits, Run, 0.0f, GemmBytes},\n'),
    (8, "src/kernels/table.cc", '    {kGemm, "vec", "other", bf16, Fits, Run, 0.0f, GemmBytes, kGemmCases},\n'),
    (8, "src/kernels/table.cc", '    {kOther, "vec", "gemm", bf16, Fits, Run, 0.0f, GemmBytes, kGemmCases},\n'),
    (9, "src/kernels/gpu/gemm.h", "// gemm\nUM_DEVICE void Body(const Args&) {}\n"),
    (11, "src/base/a.cc", "+#define UM_TWICE(x) x, x\n"),
    (11, "src/base/status.h", "+#define CHECK(x) x\n"),
    (11, "src/kernels/gpu/port_cuda.h", "".join(f"#define UM_{i}\n" for i in range(41))),
    (11, "src/base/a.cc", "+#ifdef __x86_64__\n#endif\n"),
    (12, "src/base/a.cc", "+template <class A, class B, class C, class D, int E, int F, int G>\nvoid H();\n"),
    (13, "src/base/a.cc", "+void F() { throw 1; }\n"),
    (13, "src/base/a.cc", "+void F() { try { Make(); } catch (...) { Make(); } }\n"),
    (14, "src/base/status.h", "class Status {};\nclass [[nodiscard]] Result {};\n"),
    (15, "src/base/a.cc", '+void F() { std::printf("x"); }\n'),
    (15, "src/base/a.cc", '+void F() { fmt::print(stderr, "x"); }\n'),
    (16, "src/base/a.cc", "+int counter = 0;\n"),
    (16, "src/base/a.cc", "+std::vector<int> g_list;\n"),
    (16, "src/base/a.cc", "+thread_local int counter = 0;\n"),
    (17, "src/base/a.cc", '+const char* const kName = "llama";\n'),
    (17, "src/base/a.cc", "+enum class Kind { kQwen3 };\n"),
    (18, "src/base/a.cc", "+int F(int http_code) { return http_code == 404; }\n"),
    (18, "src/base/a.cc", "+void F(const Request& r);\n"),
    (19, "src/base/b.cc", ""),
    (19, "CMakeLists.txt", "+file(GLOB SOURCES src/*.cc)\n"),
    (19, "src/base/unmapped.h", ""),
    (20, "src/kernels/k_test.cc", None),
    (21, "CMakeLists.txt", "+add_compile_options(-ffast-math)\n"),
    (21, "CMakeLists.txt", "+add_compile_options(-march=native)\n"),
    (22, "src/base/status.h", "+using namespace std;\n"),
    (22, "src/base/a.cc", "+void F(std::shared_ptr<int> p);\n"),
    (23, "src/base/a.cc", "+// TO" "DO: more\n"),
    (23, "src/base/a.cc", "+// counter = Next(counter);\n"),
    (23, "src/base/a.cc", "+// return Make(1);\n"),
    (23, "src/base/a.cc", "+#if 0\n#endif\n"),
    (25, "src/base/a.cc", "+" + SIX + "int Between();\n" + SIX),
]

# Things that look like violations and are none.
INNOCENT = [
    ("src/base/a.cc", "+// TO" "DO(#12): more\n"),
    ("src/base/a.cc", "+// Reads the block; when it is short, the rest (if any) counts as zero;\n"),
    ("src/base/a.cc", '+const char* const kPhi = "phi"; const char* const kRope = "llama3";\n'),
    ("src/base/a.cc", "+void Run(int status) { renew(status, 404 * 2); list.free(x); }\n"),
    ("src/base/a.cc", "+std::string_view Name(int i);\nusing Pair = std::pair<int, int>;\n"),
    ("src/base/a.cc", "+static_assert(sizeof(int) == 4);\ntemplate <class T, class U = std::map<int, T>>\nvoid F();\n"),
    ("src/kernels/gpu/gemm.h", "+// lane 31 is the last of 32\ninline int F(int k) { return k / 32 * kLanes; }\n"),
    ("src/kernels/gpu/port_cuda.h", "+inline int F(int lane) { return __shfl_xor_sync(~0u, lane, 16) & 31; }\n"),
    ("src/base/a.cc", "+" + SIX + "#include <map>\n" + SIX[:SIX.index("int f5")]),
    ("src/base/status.h", '+#include "base/a.h"\n'),
]


class Laws(unittest.TestCase):
    def setUp(self):
        self.start()

    def start(self):
        """A fresh clean tree."""
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        self.write(CLEAN)

    def write(self, files):
        for path, content in files.items():
            place = self.root / path
            if content is None:
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(CLEAN.get(path, "") + content[1:] if content.startswith("+") else content)

    def found(self, exceptions=(), **kwargs):
        return check_laws.check(self.root, list(exceptions), **kwargs)[0]

    def test_clean_tree(self):
        self.assertEqual(self.found(), [])

    def test_each_planted_violation_is_found(self):
        for law, path, content in PLANTED:
            with self.subTest(law=law, path=path, content=(content or "")[:60]):
                self.start()
                self.write({path: content})
                laws = {v[0] for v in self.found()}
                # A new file of the cases for other laws is in no list.
                self.assertEqual(laws - ({19} if law != 19 else set()), {law})

    def test_innocent_lines_stay_unreported(self):
        for path, content in INNOCENT:
            with self.subTest(path=path, content=content[:60]):
                self.start()
                self.write({path: content})
                self.assertEqual(self.found(), [])

    def test_total(self):
        with mock.patch.object(check_laws, "MAX_SRC_LINES", 10):
            self.assertEqual({v[0] for v in self.found()}, {3})

    def test_every_checkable_law_is_planted(self):
        planted = {law for law, _, _ in PLANTED} | {3, 24}
        self.assertEqual(planted, {law for law, (_, function) in check_laws.LAWS.items() if function})

    def test_exceptions_excuse_expire_and_must_be_needed(self):
        self.write({"src/base/a.cc": "+void F() { throw 1; }\n"})
        excuse = check_laws.Exempt(13, "src/base/a.cc", "a reason", "2030-01-01")
        self.assertEqual(self.found([excuse], today="2029-12-31"), [])
        self.assertIn("expired", self.found([excuse], today="2030-01-02")[0][3])
        self.write(CLEAN)
        self.assertIn("nothing needs", self.found([excuse], today="2029-12-31")[0][3])

    def test_commits(self):
        def git(*arguments):
            flags = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
            return subprocess.run(["git", "-C", self.folder.name, *flags, *arguments], check=True,
                                  capture_output=True, text=True).stdout

        def commit(message):
            git("add", "-A")
            git("commit", "--allow-empty", "-q", "-m", message)

        git("init", "-q")
        commit("Anything goes here.")
        with mock.patch.object(check_laws, "BASELINE", git("rev-parse", "HEAD").strip()):
            commit("base: add a thing")
            self.assertEqual(self.found(), [])
            commit("Added a thing")
            commit("base: " + "long " * 20 + "subject")
            self.write({"src/kernels/gpu/gemm.h": "+// more\n"})
            commit("kernels: make gemm faster")
            self.write(CLEAN)
            commit("kernels: make gemm faster again\n\nBench: 10 us -> 9 us, here, this command")
            violations = self.found()
            self.assertEqual([v[0] for v in violations], [24, 24, 24])
            self.assertIn("Bench", violations[0][3])
        with mock.patch.object(check_laws, "BASELINE", "0" * 40):
            self.assertIn("not checked", check_laws.check(self.root, [])[1][24])


if __name__ == "__main__":
    unittest.main()
