#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/text/tokenizers/bbpe_deepseek_coder: a vocabulary trained here behind the pre-tokenizer of
DeepSeek-Coder's published tokenizer.json, and what the package `tokenizers` makes of the texts of bbpe_gpt2.

    pip install tokenizers==0.23.3
    tests/make/deepseek_coder.py
"""

import gzip
import json
import pathlib

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "data" / "text" / "tokenizers"
EXPRESSIONS = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]


def main():
    given = [json.loads(line) for line in gzip.open(FOLDER / "bbpe_gpt2" / "expected.jsonl.gz")]
    texts = [line["text"] for line in given if "text" in line]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*(pre_tokenizers.Split(Regex(e), "isolated") for e in EXPRESSIONS),
         pre_tokenizers.Digits(individual_digits=True),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts * 3, trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<|endoftext|>"],
        show_progress=False))
    rows = []
    for i, line in enumerate(given):
        if "text" in line:
            ids = tokenizer.encode(line["text"], add_special_tokens=False).ids
            row = {"i": i, "text": line["text"], "ids": ids, "ids_special": ids}
        else:
            ids = [k % tokenizer.get_vocab_size() for k in line["decode_only"]]
            row = {"i": i, "decode_only": ids}
        rows.append({**row, "decode": tokenizer.decode(ids, skip_special_tokens=False),
                     "decode_skip": tokenizer.decode(ids, skip_special_tokens=True)})
    out = FOLDER / "bbpe_deepseek_coder"
    out.mkdir(exist_ok=True)
    (out / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (out / "expected.jsonl.gz").write_bytes(gzip.compress(lines.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
