#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tokenizing English, this project against the PyPI package `tokenizers`, taking turns in one run.

    ninja -C build/release text_speed
    bench/text_speed.py TOKENIZER.json [TEXT] [--pairs 5] [--out bench/results/text.jsonl]
    bench/text_speed.py llama3:128000              trains one of so many entries, and keeps it in build/

One thread each, times on the processor. TEXT is by default made of the English documentation under /usr/share. Both
must give the same ids. Kinds to train are those of tests/made_tokenizers.py. Takes `tokenizers` from build/venv
(tests/requirements.txt). Prints medians and the spread of the ratio, and appends one JSON line to --out.
"""

import argparse
import datetime
import glob
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))
import packages  # noqa: E402  (the path comes first)

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = pathlib.Path(__file__).resolve().parent.parent
PLACES = ["/usr/share/perl/**/*.pod", "/usr/share/vim/*/doc/*.txt", "/usr/share/common-licenses/*"]


def english(limit):
    text = ""
    for place in PLACES:
        for name in sorted(glob.glob(place, recursive=True)):
            try:
                text += pathlib.Path(name).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if len(text) >= limit:
                return text[:limit]
    return text


def trained(kind, size):
    """A tokenizer.json: of the documentation, and of invented words where that does not fill the vocabulary."""
    path = ROOT / "build" / f"{kind}_{size}.json"
    if not path.exists():
        from made_tokenizers import KINDS
        rng = random.Random(size)
        syllables = [a + b for a in "bcdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "ai", "ou", "an", "er")]
        words = ["".join(rng.choice(syllables) for _ in range(rng.randint(2, 5))) for _ in range(size)]
        lines = english(8 << 20).splitlines() + [" ".join(words[i:i + 12]) for i in range(0, size, 12)]
        path.parent.mkdir(exist_ok=True)
        path.write_text(KINDS[kind](lines, size, rng).to_str(), encoding="utf-8")
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer")
    parser.add_argument("text", nargs="?")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--mib", type=float, default=4)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--out")
    args = parser.parse_args()
    packages.require()
    import tokenizers  # only here, so that --help needs nothing

    asked = args.tokenizer
    if ":" in asked:
        kind, size = asked.split(":")
        args.tokenizer = trained(kind, int(size))
    source = pathlib.Path(args.tokenizer).read_text(encoding="utf-8")
    text = pathlib.Path(args.text).read_text(encoding="utf-8") if args.text else english(int(args.mib * 2**20))
    size = len(text.encode())
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        ours = subprocess.Popen([args.build / "text_speed", args.tokenizer, file.name], text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def ask(what):
            ours.stdin.write(what + "\n")
            ours.stdin.flush()
            ms, ids = ours.stdout.readline().split()
            return float(ms), int(ids)

        peer = tokenizers.Tokenizer.from_str(source)
        times = {"encode": [], "peer_encode": [], "load": [], "peer_load": []}
        for pair in range(args.pairs + 1):  # the first warms up
            ms, ids = ask("encode")
            start = time.process_time()
            peer_ids = len(peer.encode(text, add_special_tokens=False).ids)
            peer_ms = 1e3 * (time.process_time() - start)
            if ids != peer_ids:
                sys.exit(f"{ids} ids here, {peer_ids} from tokenizers")
            load_ms, _ = ask("load")
            start = time.process_time()
            tokenizers.Tokenizer.from_str(source)
            peer_load_ms = 1e3 * (time.process_time() - start)
            if pair:
                for name, value in zip(times, (ms, peer_ms, load_ms, peer_load_ms)):
                    times[name].append(value)
        ours.stdin.close()
        ours.wait()

    middle = {name: statistics.median(values) for name, values in times.items()}
    ratios = [b / a for a, b in zip(times["encode"], times["peer_encode"])]
    row = {
        "bench": "tokenize", "model": pathlib.Path(args.tokenizer).stem, "device": packages.processor(), "threads": 1,
        "mib": round(size / 2**20, 2), "ids": ids, "vocab": peer.get_vocab_size(), "pairs": args.pairs,
        "ms": round(middle["encode"], 1), "mb_s": round(size / middle["encode"] / 1e3, 1),
        "peer": "tokenizers " + tokenizers.__version__, "peer_ms": round(middle["peer_encode"], 1),
        "peer_mb_s": round(size / middle["peer_encode"] / 1e3, 1), "ratio": round(statistics.median(ratios), 2),
        "ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)], "load_ms": round(middle["load"], 1),
        "peer_load_ms": round(middle["peer_load"], 1), "load": round(os.getloadavg()[0], 1),
        "commit": packages.output("git", "rev-parse", "--short", "HEAD"),
        "date": datetime.date.today().isoformat(), "command": "bench/text_speed.py " + " ".join(
            [pathlib.Path(asked).name] + ([pathlib.Path(args.text).name] if args.text else [])
            + ["--pairs", str(args.pairs), "--mib", str(args.mib)]),
    }
    print(json.dumps(row))
    if args.out:
        with open(args.out, "a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
