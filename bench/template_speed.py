#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rendering of chat templates beside Python's jinja2: the same template and messages, in interleaved pairs.

    bench/template_speed.py TEMPLATE.jinja... [--messages 10000] [--pairs 7] [--record]

Each pair renders with unimax (`unimax render --repeat 3 --json`, its median) and with jinja2 in this process (median
of 3), so that a change in the machine's load meets both. ms and peer_ms go from the JSON of the messages to the text,
with a template that is compiled already; render_ms and peer_render_ms are without reading the JSON, which for unimax is
what the same chat costs with an empty template. The texts must be equal byte for byte. Two chats: plain turns, and
turns with tool calls and results. Prints medians and ratios; --record appends one JSON line a template and chat to
bench/results/text.jsonl. Takes jinja2 from build/venv (tests/requirements.txt).
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import packages  # noqa: E402  (the path comes first)

BOS, EOS = "<|bos|>", "<|eos|>"
TOOLS = [{"type": "function", "function": {
    "name": f"lookup_{i}", "description": f"Looks up record {i} in the \"archive\".",
    "parameters": {"type": "object", "required": ["key"], "properties": {
        "key": {"type": "string", "description": "The record's key"},
        "limit": {"type": "integer", "description": "At most so many", "default": 5}}}}} for i in range(4)]


def plain(count):
    """Turns of user and assistant; the last message is the user's."""
    return [{"role": "user", "content": f"Question {i}: what is {i} times {i + 1}, and why?\n"} if i % 2 == 0 else
            {"role": "assistant", "content": f"It is {i * i}.  Because multiplication is repeated addition. \n"}
            for i in range(count - count % 2 + 1)]


def with_tools(count):
    """Every fourth turn asks for a tool, and a result follows."""
    messages = []
    while len(messages) < count:
        i = len(messages)
        call = {"id": f"call{i:05d}", "type": "function", "function": {
            "name": f"lookup_{i % 4}", "arguments": {"key": f"record <{i}> & 'more'", "limit": i % 9}}}
        messages += [{"role": "user", "content": f"Find record {i}."},
                     {"role": "assistant", "content": "", "tool_calls": [call]},
                     {"role": "tool", "content": f"{{\"found\": {i}}}", "name": f"lookup_{i % 4}",
                      "tool_call_id": f"call{i:05d}"},
                     {"role": "assistant", "content": f"Record {i} is there."}]
    return messages + [{"role": "user", "content": "Thanks!"}]


def unimax(args, reference, template, folder, tools):
    """Median milliseconds and the text; None and the error when it does not render."""
    command = [args.unimax, "render", "--template", template, "--messages", str(folder / "messages.json"), "--now",
               str(reference.NOW_SECONDS), "--repeat", "3", "--json", "--bos", BOS, "--eos", EOS]
    if tools:
        command += ["--tools", str(folder / "tools.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None, done.stderr.strip()
    found = json.loads(done.stdout)
    return found["ms"], found["text"]


def peer(reference, template, request):
    """Median milliseconds with and without reading the request's JSON, and the text; None and the error otherwise."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        context = json.loads(request)
        read = time.perf_counter()
        text, error = reference.render(template, context)
        ended = time.perf_counter()
        times.append((1e3 * (ended - started), 1e3 * (ended - read)))
        if error:
            return None, None, error
    return *(statistics.median(t) for t in zip(*times)), text


def measure(args, reference, path, name, messages, tools):
    context = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": True,
               "bos_token": BOS, "eos_token": EOS}
    request = json.dumps(context)
    template = reference.compiled(pathlib.Path(path).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for file, value in (("messages", messages), ("tools", tools)):
            (folder / f"{file}.json").write_text(json.dumps(value), encoding="utf-8")
        (folder / "empty.jinja").write_text("", encoding="utf-8")
        pairs = []
        for _ in range(args.pairs):
            ours, text = unimax(args, reference, path, folder, tools)
            theirs, bare, peer_text = peer(reference, template, request)
            reading, _ = unimax(args, reference, folder / "empty.jinja", folder, tools)
            if ours is None or theirs is None:
                over = re.search(r"runs for too long|too much memory", text)  # this project's budget, jinja2 has none
                assert over or (ours is None and theirs is None), f"{path}: {text[:200]} | {peer_text[:200]}"
                print(f"{pathlib.Path(path).stem:<48} {name:<6} {text[:80]}")
                return None
            assert text == peer_text, f"{path}: the texts differ"
            pairs.append((ours, theirs, ours - reading, bare))
    ours, theirs, render, bare = (statistics.median(p[i] for p in pairs) for i in range(4))
    ratios = sorted(p[1] / p[0] for p in pairs)
    render_ratio = statistics.median(p[3] / p[2] for p in pairs)
    return {"bench": "template", "model": pathlib.Path(path).stem, "chat": name, "messages": len(messages),
            "bytes": len(peer_text.encode()), "pairs": len(pairs), "ms": round(ours, 2), "render_ms": round(render, 2),
            "peer": f"jinja2 {reference.jinja2.__version__}", "peer_ms": round(theirs, 2),
            "peer_render_ms": round(bare, 2),
            "ratio": round(statistics.median(ratios), 3), "ratio_spread": [round(ratios[0], 3), round(ratios[-1], 3)],
            "render_ratio": round(render_ratio, 3), "device": packages.processor(),
            "load": round(os.getloadavg()[0], 1), "commit": packages.output("git", "rev-parse", "--short", "HEAD"),
            "date": datetime.date.today().isoformat(), "command": " ".join(
                ["bench/template_speed.py", pathlib.Path(path).name, "--messages", str(args.messages), "--pairs",
                 str(args.pairs)])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("templates", nargs="+")
    parser.add_argument("--messages", type=int, default=10000)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--unimax", default=str(ROOT / "build" / "release" / "unimax"))
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    packages.require()
    import jinja_reference  # only here, so that --help needs nothing
    lines = []
    for path in args.templates:
        for name, messages, tools in (("plain", plain(args.messages), None),
                                      ("tools", with_tools(args.messages), TOOLS)):
            line = measure(args, jinja_reference, path, name, messages, tools)
            if line is None:
                continue
            lines.append(line)
            print(f"{line['model']:<48} {name:<6} {line['ms']:8.1f} ms, jinja2 {line['peer_ms']:8.1f} ms "
                  f"(without JSON {line['render_ms']:.1f} and {line['peer_render_ms']:.1f}), "
                  f"{line['ratio']:6.2f} times as fast {line['ratio_spread']}", flush=True)
    if args.record:
        with open(ROOT / "bench" / "results" / "text.jsonl", "a", encoding="utf-8") as out:
            out.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
