#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Row B04: ids beside the PyPI package `tokenizers`, of vocabularies that are trained here.

    tests/tokenizer_differential.py build/release/tokenizer_cases [--strings 200000] [--seed 4]

Trains a small vocabulary of every supported kind on generated text, cuts generated Unicode strings with the package
and with this project, and prints one line, "B04 mismatch=0 of 200000 ... PASS". Characters are those that this
Python's Unicode tables hold. Ends with status 77 (skipped) where the package is missing: pip install tokenizers.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from made_texts import WORDS, string  # noqa: E402  (the path comes first)

KINDS = ["gpt2", "llama3", "deepseek-coder", "metaspace", "xlm-roberta", "wordpiece", "scripts", "wordlevel"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", metavar="TOKENIZER_CASES")
    parser.add_argument("--strings", type=int, default=200000)
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()
    try:
        from tokenizers import Tokenizer
        from made_tokenizers import KINDS as MADE
    except ImportError:
        print("skipped: no package tokenizers (pip install tokenizers)")
        return 77
    rng = random.Random(args.seed)
    corpus = [" ".join(rng.choice(WORDS) for _ in range(12)) for _ in range(1500)]
    corpus += [string(rng) for _ in range(300)]
    each = -(-args.strings // len(KINDS))
    total = wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in KINDS:
            spec = MADE[name](corpus, 1500, rng).to_str()
            tokenizer = Tokenizer.from_str(spec)  # as it is read: scores are not always those that were written
            model, cases = pathlib.Path(scratch) / "tokenizer.json", pathlib.Path(scratch) / "cases.jsonl"
            model.write_text(spec, encoding="utf-8")
            texts = [string(rng) for _ in range(each)]
            with cases.open("w", encoding="utf-8") as file:
                for text, found in zip(texts, tokenizer.encode_batch(texts, add_special_tokens=False)):
                    file.write(json.dumps([text, found.ids]) + "\n")
            done = subprocess.run([args.cases, model, cases], capture_output=True, text=True, check=True)
            lines = done.stdout.splitlines()
            count, different = map(int, lines[-1].split())
            total += count
            wrong += different
            if different:
                print(f"{name}: {different} of {count}", *lines[:-1], sep="\n")
    good = wrong == 0 and total >= args.strings
    print(f"B04 mismatch={wrong} of {total} kinds={len(KINDS)} {'PASS' if good else 'FAIL'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
