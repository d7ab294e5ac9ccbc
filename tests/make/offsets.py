#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records offsets of the PyPI package `tokenizers` 0.23.3 for the trained tokenizers of tests/data/text: writes
tests/data/text/tokenizers/offsets.jsonl.gz with lines [tokenizer, line of its expected.jsonl.gz, offsets in bytes].
Offsets are compared before post-processing, which may trim white space from them."""

import gzip
import json
import pathlib

import tokenizers

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "data/text/tokenizers"
NAMES = ["bbpe_gpt2", "bbpe_llama3", "bbpe_qwen2", "bbpe_deepseek_v3", "bbpe_starcoder", "spbpe_llama2", "spbpe_gemma",
         "spbpe_metaspace_first", "wordpiece_bert_uncased", "wordpiece_plain", "unigram_xlmr", "wordlevel"]


def byte_offsets(text, offsets):
    at = [0]
    for char in text:
        at.append(at[-1] + len(char.encode()))
    return [number for begin, end in offsets for number in (at[begin], at[end])]


def main():
    rows = []
    for name in NAMES:
        spec = json.loads((FOLDER / name / "tokenizer.json").read_text(encoding="utf-8"))
        spec["post_processor"] = None
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))
        for number, line in enumerate(gzip.open(FOLDER / name / "expected.jsonl.gz")):
            text = json.loads(line).get("text")
            if text is None or len(text) > 120:
                continue
            found = tokenizer.encode(text, add_special_tokens=False)
            rows.append(json.dumps([name, number, byte_offsets(text, found.offsets)], separators=(",", ":")))
    with open(FOLDER / "offsets.jsonl.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as out:
        out.write(("\n".join(rows) + "\n").encode())


if __name__ == "__main__":
    main()
