#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Row C07: the same chats through Python's jinja2 and through this project, byte for byte.

    tests/jinja_differential.py --write                      records tests/data/text/jinja_chats.jsonl.gz (for the test)
    tests/jinja_differential.py --check build/release/jinja_cases [--chats 500] [--seed 1]
    tests/jinja_differential.py --check build/release/jinja_cases --random 2000 [--seed 1]

--chats renders so many generated chats with each of the templates below (and with --folder those of a folder);
--random compares as many random templates, whose expressions, filters, loops and macros are drawn by a seed. Ends with
status 77 (skipped) where the package is missing: pip install jinja2.
"""

import argparse
import gzip
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
try:
    import jinja_reference  # noqa: E402  (the path comes first)
except ImportError:
    print("skipped: no package jinja2 (pip install jinja2)")
    sys.exit(77)
from jinja_templates import TEMPLATES, random_context, random_template  # noqa: E402

GOLDEN = HERE / "data" / "text" / "jinja_chats.jsonl.gz"
GOLDEN_CHATS = 12
ADDRESS = re.compile(r"0x[0-9a-fo]{6}|<generator|<bound|<built|<method|<class|jinja2", re.I)  # as Python shows


def text(rng):
    """Message texts: words, markup, Unicode, white space, template syntax."""
    parts = ["Hello", "what is", " ", "\n", "\n\n", "  ", "é", "日本", "😀", "<|im_end|>", "</s>", "[INST]", "{{ x }}",
             "{% if %}", "\"q\"", "it's", "\\n", "\t", "<b>&</b>", "1.5", "-7", "<think>", "</think>", "a_b", "\u2028",
             "Straße", "ΑΣ", "\u00a0", "end.", "|", "\r\n", "x" * 30]
    return "".join(rng.choice(parts) for _ in range(rng.randint(0, 8)))


def value(rng, depth=0):
    """A JSON value as tools have them."""
    kinds = ["int", "float", "text", "bool", "none"] + (["list", "dict"] if depth < 3 else [])
    kind = rng.choice(kinds)
    if kind == "int":
        return rng.choice([0, 1, -1, 7, 2**31, 10**15])
    if kind == "float":
        return rng.choice([0.5, -1.25, 1e-7, 3.0, 1e16])
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "none":
        return None
    if kind == "list":
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    if kind == "dict":
        return {rng.choice(["city", "unit", "n", "späße", "a b"]) + str(i): value(rng, depth + 1)
                for i in range(rng.randint(0, 3))}
    return text(rng)


def tool(rng):
    return {"type": "function", "function": {
        "name": rng.choice(["search", "get_weather", "ping"]), "description": text(rng),
        "parameters": {"type": "object", "properties": {
            name: {"type": rng.choice(["string", "integer", ["string", "null"]]), "description": text(rng)}
            for name in rng.sample(["query", "limit", "unit"], rng.randint(0, 3))}, "required": []}}}


def message(rng, role):
    found = {"role": role}
    kind = rng.random()
    if kind < 0.8:
        found["content"] = text(rng)
    elif kind < 0.87:
        found["content"] = None
    elif kind < 0.95:
        found["content"] = [{"type": "text", "text": text(rng)} for _ in range(rng.randint(0, 3))]
    if role == "assistant" and rng.random() < 0.4:
        found["tool_calls"] = [{"id": f"call{i}", "type": "function", "function": {
            "name": "search", "arguments": value(rng) if rng.random() < 0.5 else {"q": value(rng)}}}
            for i in range(rng.randint(0, 2))]
    if role == "assistant" and rng.random() < 0.2:
        found["reasoning_content"] = text(rng)
    if role == "tool":
        found["tool_call_id"] = "call0"
        found["name"] = "search"
    return found


def chat(rng):
    messages = [message(rng, "system")] if rng.random() < 0.5 else []
    role = "user" if rng.random() < 0.9 else "assistant"
    for _ in range(rng.randint(0, 6)):
        messages.append(message(rng, role if rng.random() < 0.9 else rng.choice(["tool", "developer", "system"])))
        role = "assistant" if role == "user" else "user"
    context = {"messages": messages, "tools": [tool(rng) for _ in range(rng.randint(1, 3))] if rng.random() < 0.4
               else None, "documents": None, "add_generation_prompt": rng.random() < 0.7, "bos_token": "<s>",
               "eos_token": "</s>"}
    if rng.random() < 0.3:
        context["enable_thinking"] = rng.random() < 0.5
    return context


def cases(source, contexts):
    """The lines of one template; contexts whose text shows an object of Python are left out."""
    yield {"template": source}
    try:
        template = jinja_reference.compiled(source)
    except Exception:  # a template that does not compile: every rendering is an error
        template = None
    for context in contexts:
        expected = None
        if template is not None:
            expected, _ = jinja_reference.render(template, json.loads(json.dumps(context)))
        if expected is not None and ADDRESS.search(expected):
            continue
        yield {"context": context, "expected": expected}


def all_lines(args, chats):
    rng = random.Random(args.seed)
    if args.random:
        for _ in range(args.random):
            yield from cases(random_template(rng), [random_context(rng) for _ in range(3)])
        return
    sources = list(TEMPLATES)
    if args.folder:
        sources = [p.read_text(encoding="utf-8") for p in sorted(pathlib.Path(args.folder).glob("*.jinja"))]
    for source in sources:
        yield from cases(source, [chat(rng) for _ in range(chats)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", metavar="JINJA_CASES")
    parser.add_argument("--chats", type=int, default=500)
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--folder")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.write:
        lines = "".join(json.dumps(line) + "\n" for line in all_lines(args, GOLDEN_CHATS))
        GOLDEN.write_bytes(gzip.compress(lines.encode(), 9, mtime=0))
        print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")
    if args.check:
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
            count = errors = 0
            for line in all_lines(args, args.chats):
                file.write(json.dumps(line) + "\n")
                count += "context" in line
                errors += "context" in line and line["expected"] is None
            file.flush()
            print(f"{count} cases, {errors} of them errors in jinja2, too", flush=True)
            sys.exit(subprocess.run([args.check, file.name], check=False).returncode)


if __name__ == "__main__":
    main()
