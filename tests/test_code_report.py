#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/code_report turns red for planted kernels: one that spills, one that lost its matrix instructions, ...

    tests/test_code_report.py PLAN     PLAN: the program amd_plan

Planted twice: into a copy of docs/amd_code.md, and, where clang-22 is present, as objects that it compiles (one target
a family).
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORT = ROOT / "scripts" / "code_report"
PAGE = ROOT / "docs" / "amd_code.md"
HEADS = ["VGPR", "SGPR", "threads", "of", "LDS", "private", "spilled V", "spilled S", "waves", "matrix", "16 B loads",
         "to LDS", "in flight", "cache control", "calls"]

# More values alive at once than there are registers; and matrix instructions, or plain sums in their place.
SOURCE = """
constexpr int kValues = 240;
typedef float Four __attribute__((ext_vector_type(COUNT)));
typedef OPERAND Operand __attribute__((ext_vector_type(LANES)));
extern "C" __attribute__((global, amdgpu_flat_work_group_size(1024, 1024))) void SPILLS(const float* x, float* y) {
  float v[kValues];
#pragma unroll
  for (int i = 0; i < kValues; ++i) v[i] = x[i * 1024 + __builtin_amdgcn_workitem_id_x()];
  __builtin_amdgcn_s_barrier();
#pragma unroll
  for (int i = 0; i < kValues; ++i) y[i] = v[i] + v[(i * 7 + 3) % kValues];
}
extern "C" __attribute__((global)) void MATRIX(const Operand* a, Four* c) {
#ifdef LOST
  for (int i = 0; i < COUNT; ++i) (*c)[i] += (float)a[0][i] * (float)a[1][i];
#else
  *c = INSTRUCTION;
#endif
}
"""
FAMILIES = {
    "gfx942": ["-DCOUNT=4", "-DLANES=4", "-DOPERAND=_Float16",
               "-DINSTRUCTION=__builtin_amdgcn_mfma_f32_16x16x16f16(a[0], a[1], *c, 0, 0, 0)"],
    "gfx1100": ["-DCOUNT=8", "-DLANES=16", "-DOPERAND=_Float16",
                "-DINSTRUCTION=__builtin_amdgcn_wmma_f32_16x16x16_f16_w32(a[0], a[1], *c)"],
}

FAILED = []


def expect(what, ok, output=""):
    print(f"{'ok' if ok else 'FAILED'}: {what}")
    if not ok:
        FAILED.append(what)
        print(output)


def check(*arguments):
    done = subprocess.run([sys.executable, REPORT, "--check", *map(str, arguments)], capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout + done.stderr


def replace_cell(text, target, kernel, cells):
    """The page with other cells in one row."""
    out, current = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            current = line[3:]
        if current == target and line.startswith(f"| {kernel} |"):
            row = [cell.strip() for cell in line.strip("|").split("|")]
            for head, value in cells.items():
                row[1 + HEADS.index(head)] = str(value)
            line = "| " + " | ".join(row) + " |"
        out.append(line)
    return "\n".join(out) + "\n"


def recorded_tests(plan, folder):
    text = PAGE.read_text(encoding="utf-8")
    planted = folder / "page.md"

    def run_with(target, kernel, cells):
        planted.write_text(replace_cell(text, target, kernel, cells), encoding="utf-8")
        return check("--recorded", "--plan", plan, "--page", planted)

    status, output = check("--recorded", "--plan", plan)
    expect("the recorded page keeps the rules", status == 0 and "no fault" in output, output)
    for kernel, cells, words in [
            ("linear_flat_bf16_4", {"spilled V": 9}, "spills 9 vector registers"),
            ("attention_rows_f16_128", {"private": 16}, "16 bytes of private memory"),
            ("norm_bf16", {"calls": 1}, "1 calls"),
            ("linear_tiled_f16", {"of": 64}, "compiled for 64"),
            ("linear_flat_f16_1", {"waves": 0}, "does not fit")]:
        status, output = run_with("gfx1100", kernel, cells)
        lines = [line for line in output.splitlines() if line.startswith("gfx")]
        expect(f"a recorded row with {cells} is one clear line",
               status == 1 and len(lines) == 1 and lines[0].startswith(f"gfx1100 {kernel}: ") and words in lines[0],
               output)
    status, output = run_with("gfx1100", "linear_flat_bf16_8", {"spilled V": 999})
    expect("a row that the plan never chooses may spill", status == 0, output)


def other_list_test(folder, clang):
    """An object for NVIDIA GPUs with another list of kernels: one is missing, one too many."""
    header = (ROOT / "src/kernels/gpu/entries.h").read_text(encoding="utf-8")
    names = re.findall(r"^UM_ENTRY\((\w+),", header, re.M)
    source = folder / "cuda.cc"
    source.write_text("".join(f"extern \"C\" void {name}() {{}}\n" for name in [*names[1:], "stray"]), encoding="utf-8")
    done = subprocess.run([clang, "-c", "-ffunction-sections", str(source), "-o", str(folder / "entries.sm_80")],
                          capture_output=True, text=True, check=False)
    expect("an object with one section a kernel compiles", done.returncode == 0, done.stderr)
    built = ROOT / "build/release/code/um_device"
    for path in built.glob("entries.gfx90a"):  # any object will do
        shutil.copy(path, folder)
        _, output = check("--objects", folder)
        lines = [line for line in output.splitlines() if line.startswith("sm_80 ")]
        wanted = [f"sm_80 {names[0]}: not in the code object", "sm_80 stray: not in kernels/gpu/entries.h"]
        expect("kernels that only one vendor's objects have are a line each", lines == wanted, output)
        (folder / path.name).unlink()
    (folder / "entries.sm_80").unlink()


def compiled_tests(folder):
    clang = shutil.which("clang++-22") or shutil.which("/usr/lib/llvm-22/bin/clang++")
    if clang is None or not (shutil.which("llvm-readelf-22") or shutil.which("/usr/lib/llvm-22/bin/llvm-readelf")):
        print("skipped: planted objects (no clang-22)")
        return
    other_list_test(folder, clang)
    source, plan, page = folder / "planted.hip", folder / "plan", folder / "page.md"
    source.write_text(SOURCE, encoding="utf-8")
    spills, matrix = "linear_flat_bf16_1", "linear_flat_bf16_2"  # names that the rules know
    for target, flags in FAMILIES.items():
        plan.write_text(f"#!/bin/sh\necho {target} {matrix} 64 0\n", encoding="utf-8")
        plan.chmod(0o755)

        def compile_it(*more, target=target, flags=flags):
            done = subprocess.run(
                [clang, "-x", "hip", "--cuda-device-only", "--no-gpu-bundle-output", "-nogpuinc", "-nogpulib",
                 "-mcode-object-version=5", f"--offload-arch={target}", "-std=c++20", "-O3", f"-DSPILLS={spills}",
                 f"-DMATRIX={matrix}", *flags, *more, str(source), "-o", str(folder / f"entries.{target}")],
                capture_output=True, text=True, check=False)
            expect(f"{target}: the planted source compiles", done.returncode == 0, done.stderr)

        def faults():
            _, output = check("--objects", folder, "--plan", plan, "--page", page)
            return [line for line in output.splitlines()
                    if re.match(rf"{target} ({spills}|{matrix}): ", line)], output
        compile_it()
        sound = subprocess.run([sys.executable, REPORT, "--objects", folder, "--plan", plan], capture_output=True,
                               text=True, check=False).stdout
        page.write_text(sound, encoding="utf-8")
        lines, output = faults()
        expect(f"{target}: a known spilling kernel that the plan never chooses is no fault", not lines, output)
        page.write_text(replace_cell(sound, target, spills, {"spilled V": 0, "private": 0}), encoding="utf-8")
        lines, output = faults()
        expect(f"{target}: a new one is one line", len(lines) == 1 and f"{spills}: starts to spill" in lines[0], output)
        page.write_text(sound, encoding="utf-8")
        compile_it("-DLOST")
        lines, output = faults()
        expect(f"{target}: a lost matrix instruction is one line",
               len(lines) == 1 and f"{matrix}: lost its matrix instructions" in lines[0], output)
        compile_it()
        with plan.open("a", encoding="utf-8") as file:
            file.write(f"echo {target} {spills} 1024 0\n")
        lines, output = faults()
        expect(f"{target}: a spilling kernel that the plan chooses is one line",
               len(lines) == 1 and re.search(rf"{spills}: spills [1-9]\d* vector registers", lines[0]), output)
        (folder / f"entries.{target}").unlink()


def main():
    with tempfile.TemporaryDirectory() as folder:
        recorded_tests(sys.argv[1], pathlib.Path(folder))
        compiled_tests(pathlib.Path(folder))
    print(f"{len(FAILED)} failed")
    return 1 if FAILED else 0


if __name__ == "__main__":
    sys.exit(main())
