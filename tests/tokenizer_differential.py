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
import unicodedata

try:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
except ImportError:
    print("skipped: no package tokenizers (pip install tokenizers)")
    sys.exit(77)

WORDS = ("the of and to in that it was for on are with as they at be this from have or by one had not but what all "
         "were when we there can an your which their said if do will each about how out them then she many some so "
         "straße größe naïve œuvre été привет мир как дела ещё 世界 你好 今天 天気 こんにちは 안녕 한국어 مرحبا שלום "
         "नमस्ते ไทย ελληνικά I'll don't we've HE'S 1984 3.14 12345 x=y; ({[]}) != -> // foo_bar CamelCase").split()
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+"]  # deepseek-coder's published expressions


def characters():
    """Characters that have a category, in groups from which strings are drawn."""
    groups = {}
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category not in ("Cn", "Cs", "Co"):
            groups.setdefault(category, []).append(chr(code))
    return list(groups.values())


def string(rng, groups):
    parts = []
    for _ in range(rng.randint(1, 7)):
        kind = rng.random()
        if kind < 0.5:
            parts.append(rng.choice(WORDS))
        elif kind < 0.65:
            parts.append(rng.choice([" ", "  ", "\n", "\r\n", "\t", " \n ", "\u3000", "\u00a0"]))
        elif kind < 0.8:
            parts.append("".join(rng.choice("abcXYZ 0129.,'!-_/\u0301") for _ in range(rng.randint(1, 6))))
        else:
            group = rng.choice(groups)
            parts.append("".join(rng.choice(group) for _ in range(rng.randint(1, 4))))
        if rng.random() < 0.5:
            parts.append(" ")
    return "".join(parts)


def split(*expressions):
    return [pre_tokenizers.Split(Regex(e), "isolated") for e in expressions]


def byte_level(*first):
    found = Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.Sequence(
        [*first, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not first)])
    found.decoder = decoders.ByteLevel()
    return found, trainers.BpeTrainer(vocab_size=1500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                      special_tokens=["<s>"], show_progress=False)


def kinds():
    """(name, untrained tokenizer, trainer)"""
    yield "gpt2", *byte_level()
    yield "llama3", *byte_level(*split(LLAMA3))
    yield "deepseek-coder", *byte_level(*split(*CODER), pre_tokenizers.Digits(individual_digits=True))
    bpe = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace()
    yield "metaspace BPE", bpe, trainers.BpeTrainer(vocab_size=1200, special_tokens=["<unk>", "<s>"],
                                                    show_progress=False)
    unigram = Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.NFC()
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    yield "unigram", unigram, trainers.UnigramTrainer(vocab_size=3000, special_tokens=["<unk>"], unk_token="<unk>",
                                                      show_progress=False)
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.Lowercase()
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    yield "wordpiece", pieces, trainers.WordPieceTrainer(vocab_size=900, special_tokens=["[UNK]"], show_progress=False)
    scripts = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    scripts.pre_tokenizer = pre_tokenizers.UnicodeScripts()
    yield "scripts", scripts, trainers.WordLevelTrainer(vocab_size=500, special_tokens=["[UNK]"], show_progress=False)
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    yield "wordlevel", words, trainers.WordLevelTrainer(vocab_size=500, special_tokens=["[UNK]"], show_progress=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", metavar="TOKENIZER_CASES")
    parser.add_argument("--strings", type=int, default=200000)
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    groups = characters()
    corpus = [" ".join(rng.choice(WORDS) for _ in range(12)) for _ in range(1500)]
    corpus += [string(rng, groups) for _ in range(300)]
    made = list(kinds())
    each = -(-args.strings // len(made))
    total = wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, tokenizer, trainer in made:
            tokenizer.train_from_iterator(corpus, trainer)
            model, cases = pathlib.Path(scratch) / "tokenizer.json", pathlib.Path(scratch) / "cases.jsonl"
            model.write_text(tokenizer.to_str(), encoding="utf-8")
            texts = [string(rng, groups) for _ in range(each)]
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
    print(f"B04 mismatch={wrong} of {total} kinds={len(made)} {'PASS' if good else 'FAIL'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
