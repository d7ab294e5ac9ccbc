#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the laws of this code base. Exit status 0 when none is broken, 1 otherwise.

    tools/check_laws.py              all laws: a table, the exceptions, one line a violation
    tools/check_laws.py --format     clang-format over the C++ sources (exit status 77 where version 14 is missing)
    tools/check_laws.py --root DIR   another tree

A law is one function below that yields (path, line, text); LAWS at the end numbers them. It may be broken only by an
entry of EXCEPTIONS, which is printed on every run and fails once it has expired or is no longer needed.
"""

import argparse
import collections
import datetime
import functools
import pathlib
import re
import shutil
import subprocess
import sys

Exempt = collections.namedtuple("Exempt", "law path reason expires")  # expires: "YYYY-MM-DD"
EXCEPTIONS = []

MAX_SRC_LINES = 68000  # raising it is a commit of its own
BASELINE = "bbb17be"  # commits after this one are held to law 24

# Law 1: what a folder of src/ may include besides itself and base. A test may reach through several arrows.
ARROWS = {
    "base": set(), "program": set(), "device": set(), "text": set(),
    "weights": {"device"},
    "kernels": {"program", "device"},
    "models": {"program", "weights"},
    "exec": {"kernels", "program", "weights", "device"},
    "engine": {"exec", "models", "text", "program", "weights", "device"},
    "server": {"engine", "text"},
    "cli": {"program", "device", "text", "weights", "kernels", "models", "exec", "engine", "server"},
    "main.cc": {"cli"},
}

# Law 13: the places that may catch, each with its reason.
CATCH = {
    "src/main.cc": "last resort: an exception of a library becomes an exit status",
}

PORT = r"src/kernels/(?:gpu|nvidia|amd)/port"
VENDOR_PLACES = PORT + r"|src/kernels/(nvidia|amd|cpu)/|src/device/(cuda|hip|cpu|open)"  # open chooses among them
CPP = (".h", ".cc", ".cu", ".hip")
TEXTS = CPP + (".py", ".sh", ".cmake", ".js", ".css", ".html")


# ---- reading ----

TOKEN = re.compile(r"""
    (?P<comment> //[^\n]* | /\*.*?\*/ )
  | (?P<string> R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)" | "(?:\\.|[^"\\\n])*" | (?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+' )
""", re.S | re.X)


class Source:
    """A text file: `raw` lines; `spoken` ones without comments; `code`, without comments and contents of strings."""

    def __init__(self, root, path):
        self.path = path
        self.text = (root / path).read_text(encoding="utf-8", errors="replace")
        self.raw = self.text.splitlines()
        self.is_test = path.endswith("_test.cc")

    def _without(self, strings):
        def blank(match):
            if match["comment"] is None and not strings:
                return match[0]
            lines = "\n" * match[0].count("\n")
            return lines if match["comment"] is not None else '""' + lines
        return TOKEN.sub(blank, self.text)

    @functools.cached_property
    def spoken(self):
        return self._without(strings=False).splitlines()

    @functools.cached_property
    def code_text(self):  # the paths of includes stay
        lines = self._without(strings=True).split("\n")
        return "\n".join(raw if raw.lstrip().startswith("#include") else line for raw, line in zip(self.raw, lines))

    @functools.cached_property
    def code(self):
        return self.code_text.split("\n")


class Tree:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.notes = {}  # law -> why it was not, or only partly, checked
        self.files = {}
        for path in self._paths():
            name = path.rsplit("/", 1)[-1]
            if path.endswith(TEXTS) or name in ("CMakeLists.txt", "CMakePresets.json") or self._is_script(path):
                self.files[path] = Source(self.root, path)

    def _paths(self):
        listed = self.git("ls-files", "-co", "--exclude-standard") if (self.root / ".git").exists() else None
        if listed is None:
            found = (p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file())
            return sorted(p for p in found if not re.match(r"build/|\.git/|.*__pycache__/", p))
        return sorted(p for p in listed.splitlines() if (self.root / p).is_file())

    def _is_script(self, path):
        if "." in path.rsplit("/", 1)[-1]:
            return False
        with open(self.root / path, "rb") as file:
            return file.read(2) == b"#!"

    def git(self, *arguments):
        """What git says, or None when it refuses."""
        if shutil.which("git") is None:
            return None
        run = subprocess.run(["git", "-C", str(self.root), *arguments], capture_output=True, text=True, check=False)
        return run.stdout if run.returncode == 0 else None

    def select(self, pattern, suffixes=CPP):
        """Files whose path matches the pattern at its start."""
        return [f for p, f in self.files.items() if re.match(pattern, p) and p.endswith(suffixes)]

    @property
    def build_files(self):
        return [f for p, f in self.files.items() if p == "CMakeLists.txt" or p.endswith(".cmake")]


def grep(files, pattern, text, except_in=None, lines="code"):
    """Yields a violation for each line that matches; `text` may hold {0}, what was found."""
    finder = re.compile(pattern)
    for file in files:
        if except_in and re.match(except_in, file.path):
            continue
        for number, line in enumerate(getattr(file, lines), 1):
            if found := finder.search(line):
                yield file.path, number, text.format(found[0].strip())


def folder(path):
    """The folder of src/ that a file belongs to; main.cc is one of its own."""
    return path.split("/")[1]


# ---- the laws ----

def includes(tree):
    reach = {}

    def closure(name):
        if name not in reach:
            reach[name] = set(ARROWS.get(name, ()))
            for below in ARROWS.get(name, ()):
                reach[name] |= closure(below)
        return reach[name]

    for file in tree.select("src/"):
        own = folder(file.path)
        if own not in ARROWS:
            yield file.path, 1, f"folder src/{own} is not in ARROWS"
            continue
        allowed = {own, "base"} | (closure(own) if file.is_test else ARROWS[own])
        for number, line in enumerate(file.raw, 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not found:
                continue
            target = found[1].split("/")[0]
            if file.is_test and (tree.root / "tests" / found[1]).is_file():  # what several tests share
                continue
            if target not in ARROWS or "/" not in found[1]:
                yield file.path, number, f'"{found[1]}" does not start at src/'
            elif target not in allowed:
                yield file.path, number, f"{own} may not include {target}"


def sizes(tree):
    for path, file in tree.files.items():
        limit = 600
        if re.match(r"src/kernels/.*\.h$", path):
            limit = 300
        elif re.match(r"src/models/.*\.cc$", path) and not file.is_test:
            limit = 250
        if len(file.raw) > limit:
            yield path, len(file.raw), f"{len(file.raw)} lines, at most {limit}"
        for number, line in enumerate(file.raw, 1):
            if len(line) > 120:
                yield path, number, f"{len(line)} columns, at most 120"


def total(tree):
    lines = sum(len(f.raw) for f in tree.select("src/", TEXTS))
    tree.notes[3] = f"{lines} lines now"
    if lines > MAX_SRC_LINES:
        yield "src", 0, f"{lines} lines, at most {MAX_SRC_LINES}"


def environment(tree):
    files = tree.select("src/|bench/|fuzz/|tests/|tools/")
    return grep(files, r"\b(secure_)?getenv\b", "{0}: ask base/flags.h", "src/base/flags.cc")


def allocation(tree):
    files = tree.select("src/|bench/|fuzz/|tests/")
    for file in files:
        for number, line in enumerate(file.code, 1):
            if line.lstrip().startswith("#include"):
                continue
            bare = re.sub(r"=\s*delete\b", "", line)
            if file.path.startswith("src/device/"):  # raw memory of a device
                bare = re.sub(r"::operator (new|delete)\b", "", bare)
            if file.is_test:  # counts allocations by replacing the operators
                bare = re.sub(r"\boperator (new|delete)\b", "", bare)
            found = re.search(r"\bnew\b|\bdelete\b|(?<![.>\w])(?:std::)?\b(malloc|calloc|realloc|free|aligned_alloc|"
                              r"posix_memalign)\s*\(", bare)
            if found:
                yield file.path, number, f"naked {found[0].strip(' (')}"
    yield from grep(files, r"\b(cu|cuda|hip)(Mem)?(Host)?(Alloc|Malloc)\w*\s*\(", "{0} outside device/", "src/device/")


def vendor_words(tree):
    words = (r"\b(cuda\w*|cu[A-Z]\w*|CU(device|context|module|stream|function|result|graph\w*|event)|hip|hip[A-Z_]\w*"
             r"|__(CUDA|HIP|AMDGCN|NVCC)\w*|__(shfl|syncthreads|syncwarp)\w*|__(global|device|shared|launch_bounds)__"
             r"|__nv_\w+|__builtin_amdgcn\w*|_mm\d*_\w+|__m(128|256|512)\w*|vld1\w*|vst1\w*|asm|__asm__"
             r"|threadIdx|blockIdx|blockDim|gridDim|warpSize)\b")
    for path, number, text in grep(tree.select("src/"), words, "vendor word {0}", VENDOR_PLACES):
        if not re.match(r'\s*#\s*include\s+"', tree.files[path].raw[number - 1]):
            yield path, number, text


def lane_numbers(tree):
    near = r"(?i)(?=.*((?<!k)lane|warp|wave|mask|shift|shuffle)).*\b(31|32|63|64|0x1f|0x3f)u?(l|ll)?\b"
    for path, number, _ in grep(tree.select("src/kernels/gpu/", (".h",)), near, "", PORT):
        yield path, number, "a lane count as a number: use kLanes"


def rows(tree):
    tables = [f for f in tree.select(r"src/kernels/.*table") if f.path.endswith(".cc") and not f.is_test]
    if not tables:
        tree.notes[8] = "not yet checked: src/kernels has no table*.cc"
        return
    check = tree.files.get("src/kernels/check.cc")
    pattern = r"UM_(?:CLUSTER_)?ENTRY\((\w+),"
    entries = {name for f in tree.select("src/kernels/") for name in re.findall(pattern, f.code_text)}
    count = 0
    for file in tables:
        for number, line in enumerate(file.spoken, 1):
            row = re.match(r'\s*\{(OpKind::)?(k\w+),\s*"[^"]*",\s*"(\w+)",', line)
            if not row:
                continue
            count += 1
            for what, pattern in (("tolerance", r"\b\d[\d.]*(e-?\d+)?f,"), ("byte count", r"\b\w*Bytes\w*,"),
                                  ("test shapes", r"\bk\w*Cases\b")):
                if not re.search(pattern, line):
                    yield file.path, number, f"row {row[3]} without {what}"
            if entries and row[3] not in entries:
                yield file.path, number, f"row {row[3]} names no UM_ENTRY"
            if check and not re.search(rf"\b{row[2]}\b", check.code_text):
                yield file.path, number, f"row {row[3]}: check.cc has no reference for {row[2]}"
    tree.notes[8] = f"{count} rows now"


def body_heads(tree):
    for file in tree.select(r"src/kernels/(gpu|nvidia|amd)/.*\.h$"):
        if re.match(PORT, file.path) or "UM_DEVICE" not in file.code_text:
            continue
        head = "\n".join(file.raw[:40])
        for word in ("Who calls", "Work", "Bound", "Launch", "Reference", "Source"):
            if f"{word}:" not in head:
                yield file.path, 1, f"head lacks '{word}:'"


def macros(tree):
    files = tree.select("src/")
    define = r"^\s*#\s*define\s+\w+"
    yield from grep(files, define, "{0}: macros live in the port, base/status.h, base/log.h",
                    PORT + r"|src/base/(status|log)\.h")
    found = list(grep(files, define, "{0}"))
    tree.notes[11] = f"{len(found)} macros now"
    for path, number, text in found:
        if re.match(r"src/base/", path) and not re.search(r"define\s+UM_", text):
            yield path, number, f"{text}: a macro's name starts with UM_"
    if len(found) > 40:
        yield "src", 0, f"{len(found)} macros, at most 40"
    target = (r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*\b(UM_PORT_\w+|__(CUDA|HIP|AMDGCN|NVCC|AVX|SSE|ARM|FMA|F16C)\w*"
              r"|__x86_64__|__aarch64__)")
    yield from grep(files, target, "{0}: conditions on the target live in the port and device/",
                    PORT + r"|src/kernels/cpu/|src/device/")


def templates(tree):
    for file in tree.select("src/|bench/|tests/"):
        for found in re.finditer(r"\btemplate\s*<", file.code_text):
            depth, count, position = 1, 1, found.end()
            while depth > 0 and position < len(file.code_text):
                letter = file.code_text[position]
                depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(letter, 0)
                count += letter == "," and depth == 1
                position += 1
            if count > 6:
                yield file.path, file.code_text.count("\n", 0, found.start()) + 1, f"{count} template parameters"


def exceptions_thrown(tree):
    files = tree.select("src/")
    yield from grep(files, r"\bthrow\b", "throw: return a Status")
    yield from grep(files, r"\bcatch\s*\(", "catch outside the places in CATCH", "|".join(map(re.escape, CATCH)))


def nodiscard(tree):
    status = tree.files.get("src/base/status.h")
    for name in ("Status", "Result") if status else ():
        if not re.search(rf"class \[\[nodiscard\]\] {name}\b", status.text):
            yield status.path, 1, f"{name} is not [[nodiscard]]"
    yield from grep(tree.build_files, r"-Wno-(error|unused-result)\b|-w\b", "{0} hides dropped results", lines="raw")


def output(tree):
    files = [f for f in tree.select("src/") if not f.is_test]
    words = (r"\bstd::(cout|cerr|clog)\b|\b(v?printf|puts|putchar|perror)\s*\(|\bfmt::print\s*\(|\b(stdout|stderr)\b"
             r"|\bSTD(OUT|ERR)_FILENO\b")
    # status.cc: a failed check speaks without the log, whose state may be what failed.
    return grep(files, words, "{0}: output belongs to the log and to cli/",
                r"src/base/log\.|src/base/status\.cc|src/main\.cc|src/cli/")


def globals_(tree):
    variable = re.compile(
        r"^(?:static\s+|inline\s+|thread_local\s+|extern\s+)*"
        r"(?!(?:const|constexpr|constinit|using|typedef|struct|class|enum|union|template|namespace|return|friend|extern"
        r"|static_assert|public|private|protected|case|default|concept|requires|goto|operator|else|UM_\w+)\b)"
        r"[A-Za-z_][\w:]*(?:<[^;=()]*>)?[\s*&]+\w+(?:\[\w*\])*\s*(?:=[^=].*|\{.*)?(?:;|\{)$")
    for file in tree.select("src/"):
        if file.is_test:
            continue
        for number, line in enumerate(file.code, 1):
            match = variable.match(line.rstrip())
            if match and not re.search(r"\bconst\b|\bconstexpr\b", line) and "(" not in line.split("=")[0]:
                yield file.path, number, "mutable global"
            elif re.match(r"\s*(static\s+)?thread_local\b", line):
                yield file.path, number, "thread_local state"


def model_names(tree):
    # llama3 is also the name of a rope kind in config.json; phi is the centre of the softmax.
    names = (r"(?i)(?<![a-z])(llama(?!3)|qwen|mistral|mixtral|gemma|smollm|deepseek|falcon|starcoder|gpt-?2|gpt_?neox"
             r"|olmo|granite|opt-\d|phi-?[34]\b)|(?<=k)(Llama(?!3)|Qwen|Mistral|Mixtral|Gemma|Smol|Opt\b)|OPTFor")
    files = [f for f in tree.select("src/") if not f.is_test]
    return grep(files, names, "model name {0}", r"src/(models|text|cli)/|src/server/tools", lines="spoken")


def http_and_requests(tree):
    files = [f for f in tree.select("src/") if not f.is_test]
    code = r"(?i)\bhttp::status\b|\bHttpStatus\b|^(?=.*(http|status_?code))(?=.*\b(4[0-4]\d|50[0-4])\b)"
    yield from grep(files, code, "an HTTP code outside server/", "src/server/")
    yield from grep(files, r"\bRequest\b", "Request outside engine/, server/, cli/", "src/(engine|server|cli)/")


def listed(tree):
    yield from grep(tree.build_files, r"\bfile\s*\(\s*GLOB|\baux_source_directory\b", "GLOB: list sources by name",
                    lines="raw")
    text = "\n".join(f.text for f in tree.build_files)
    for file in tree.select("src/|tests/|bench/|fuzz/|tools/", (".cc", ".cu", ".hip")):
        if file.path not in text:
            yield file.path, 1, "not in CMakeLists.txt"
    architecture = tree.root / "docs/architecture.md"
    if not architecture.exists():
        tree.notes[19] = "the map is not yet checked: docs/architecture.md is missing"
        return
    lines = architecture.read_text(encoding="utf-8").splitlines()
    words = {}  # folder -> words of its part of the map: its own line and those below it that name no other folder
    current = None
    for line in lines:
        if found := re.match(r"[\s|`*-]*(?:src/)?((?:\w+/)+|main\.cc)", line):
            current = found[1].rstrip("/")
            current = f"kernels/{current}" if current in ("gpu", "nvidia", "amd", "cpu") else current
        elif not line.strip():
            current = None
        words.setdefault(current, set()).update(re.findall(r"\w+", line))
    for file in tree.select("src/", CPP):
        place, name = file.path[len("src/"):].rsplit("/", 1) if file.path.count("/") > 1 else ("main.cc", "main.cc")
        stem = name.split(".")[0]
        if not file.is_test and stem not in words.get(place, set()):
            yield file.path, 1, f"not in the map of docs/architecture.md under {place}"


def tests_exist(tree):
    folders = {folder(f.path) for f in tree.select("src/.*/")}
    for name in sorted(folders - {folder(f.path) for f in tree.select("src/.*/") if f.is_test}):
        yield f"src/{name}", 0, "no _test.cc in this folder"


def flags(tree):
    files = tree.build_files + [f for p, f in tree.files.items() if p == "CMakePresets.json"]
    yield from grep(files, r"-ffast-math|-Ofast|-funsafe-math\w*|use_fast_math", "{0}", lines="raw")
    yield from grep(files, r"-march=native", "{0} outside a preset", r"CMakePresets\.json", lines="raw")


def namespaces_and_sharing(tree):
    yield from grep(tree.select("src/|tests/|bench/", (".h",)), r"\busing\s+namespace\b", "{0} in a header")
    files = tree.select("src/")
    shared = r"\b(shared_ptr|make_shared|enable_shared_from_this)\b"
    yield from grep(files, shared, "{0} outside server/", "src/server/")


def leftovers(tree):
    mark = "TO" + "DO|FIX" + "ME"
    for file in tree.files.values():
        for number, line in enumerate(file.raw, 1):
            if found := re.search(rf"\b({mark})\b(?!\(#\d+\))", line):
                yield file.path, number, f"{found[0]} without an issue number: {found[0]}(#12)"
    files = tree.select("src/|tests/|bench/|fuzz/|tools/")
    yield from grep(files, r"^\s*#\s*if\s+(0|false)\b", "{0}: delete it, git remembers", lines="raw")
    dead = (r"^\s*//\s*(#\s*(include|define|if)\b|(if|for|while|switch)\s*\(.*[;{]\s*$|return\b[^`]*;\s*$"
            r"|[\w:<>*&\s]*\w[\w.\->\[\]:]*\([^`]*\);\s*$|(auto|int|float|bool|const|std::)\b[^`]*=[^`]*;\s*$"
            r"|[\w.\->\[\]]+\s*[+*/-]?=[^`=]*;\s*$)")
    yield from grep(files, dead, "commented-out code", lines="raw")


def subjects(tree):
    if (tree.git("merge-base", BASELINE, "HEAD") or "").strip() != BASELINE:
        tree.notes[24] = "not checked: the history here does not reach back to the baseline"
        return
    log = tree.git("log", "--no-merges", "--format=%h%x1f%s%x1f%b%x1e", "--name-only", f"{BASELINE}..HEAD")
    # With --name-only, a commit's files follow its message and precede the next one's record.
    parts = (log or "").split("\x1e")
    for here, after in zip(parts, parts[1:]):
        commit, subject, body = (here.split("\x1f") + ["", ""])[:3]
        commit = commit.split()[-1] if commit.split() else ""
        place = f"commit {commit}"
        if len(subject) > 72:
            yield place, 0, f"subject of {len(subject)} columns, at most 72"
        if not re.match(r"[a-z0-9_./, -]+: [a-z][\w-]* ?.*[^.]$", subject):
            yield place, 0, f"subject '{subject}' is not 'folder: verb what'"
        touched = after.split("\x1f")[0]
        speed = re.search(r"\b(fast|faster|speed|speed up|tune|optimi[sz]e)\b", subject)
        if speed and re.search(r"^src/kernels/", touched, re.M) and not re.search(r"^Bench: ", body, re.M):
            yield place, 0, "changes the speed of a kernel without a 'Bench:' line"


def duplicates(tree):
    run = 6
    seen = {}
    for file in tree.select("src/|tests/|bench/|fuzz/|tools/", CPP + (".py",)):
        python = file.path.endswith(".py")
        lines = []  # (number, text) of the lines that count
        for number, line in enumerate(file.raw if python else file.spoken, 1):
            text = " ".join(line.split())
            if not re.match(r"$|#|import |from \S+ import |namespace\b|[{}()\[\];, ]*$", text):
                lines.append((number, text))
        inside = False  # in a run that was already told
        for i in range(len(lines) - run + 1):
            key = tuple(text for _, text in lines[i:i + run])
            first = seen.setdefault(key, (file.path, i, lines[i][0]))
            again = first[0] != file.path or i - first[1] >= run
            if again and not inside:
                yield file.path, lines[i][0], f"{run} or more lines equal to {first[0]}:{first[2]}"
            inside = again


# number: (text, function or None while it cannot be checked)
LAWS = {
    1: ("includes follow the arrows", includes),
    2: ("files <= 600 lines (kernel headers 300, models 250), lines <= 120 columns", sizes),
    3: (f"src/ <= {MAX_SRC_LINES} lines", total),
    4: ("getenv only in base/flags.cc", environment),
    5: ("no naked new, delete, malloc, free; device memory only in device/", allocation),
    6: ("vendor words only in ports, hand-tuned rows and drivers", vendor_words),
    7: ("no lane counts as numbers in kernel bodies", lane_numbers),
    8: ("a table row has entry, reference, tolerance, byte count and test shapes", rows),
    9: ("a kernel body has the six words in its head", body_heads),
    10: ("each row is reachable by a plan (needs --print-plan)", None),
    11: ("macros only in ports, status.h, log.h; <= 40; no #if on targets elsewhere", macros),
    12: ("<= 6 template parameters (recursion is not checked)", templates),
    13: ("no throw; catch only where listed", exceptions_thrown),
    14: ("Status and Result are [[nodiscard]]", nodiscard),
    15: ("output only from the log, main.cc and cli/", output),
    16: ("no mutable globals (static constructors are not yet checked)", globals_),
    17: ("model names only in models/, text/, server/tools*, cli/", model_names),
    18: ("HTTP codes only in server/; Request only in engine/, server/, cli/", http_and_requests),
    19: ("no GLOB; sources are in CMakeLists.txt and in the map", listed),
    20: ("each folder of src/ has a test (its 30 s are not yet checked)", tests_exist),
    21: ("no fast-math; -march=native only in presets", flags),
    22: ("no using namespace in headers; shared_ptr only in server/", namespaces_and_sharing),
    23: ("marks carry issue numbers; no dead code", leftovers),
    24: ("commit subjects 'folder: verb what'; Bench: lines", subjects),
    25: ("no six equal lines in two places", duplicates),
}


def check(root, exceptions=None, today=None):
    """All violations as (law, path, line, text), and the notes of the laws."""
    exceptions = EXCEPTIONS if exceptions is None else exceptions
    today = today or datetime.date.today().isoformat()
    tree = Tree(root)
    violations, used = [], set()
    for law, (_, function) in LAWS.items():
        if function is None:
            tree.notes[law] = "not yet checked"
            continue
        for path, line, text in function(tree):
            excuse = next((e for e in exceptions if e.law == law and e.path == path), None)
            used.add(excuse)
            if excuse is None:
                violations.append((law, path, line, text))
    for e in exceptions:
        if e not in used:
            violations.append((e.law, e.path, 0, "an exception that nothing needs: remove it"))
        elif e.expires < today:
            violations.append((e.law, e.path, 0, f"an exception that expired on {e.expires}"))
    return violations, tree.notes


def report(violations, notes):
    counts = collections.Counter(v[0] for v in violations)
    for law, (text, function) in LAWS.items():
        state = "-" if function is None else counts[law] or "ok"
        print(f"{law:>3} {state:>4}  {text}{': ' + notes[law] if law in notes else ''}")
    for e in EXCEPTIONS:
        print(f"exception: law {e.law} {e.path} until {e.expires}: {e.reason}")
    for law, path, line, text in violations:
        print(f"law {law} {path}:{line} {text}")
    print(f"{len(violations)} violations")


def check_format(root):
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    version = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout if tool else ""
    if "version 14." not in version:
        print("skipped: clang-format 14 is not installed (another version formats differently)")
        return 77
    files = [str(pathlib.Path(root) / f.path) for f in Tree(root).select("src/|tests/|bench/|fuzz/|tools/")]
    return 1 if files and subprocess.run([tool, "--dry-run", "-Werror", *files], check=False).returncode else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--format", action="store_true", help="check the layout of the C++ sources instead")
    arguments = parser.parse_args()
    if arguments.format:
        return check_format(arguments.root)
    violations, notes = check(arguments.root)
    report(violations, notes)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
