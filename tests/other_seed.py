#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers and chat templates that nobody has seen: made from a seed, and compared with PyPI's packages exactly.

    tests/other_seed.py --seed 1                       trains some 60 tokenizers and draws 1,600 templates
    tests/other_seed.py --seed 1 2 3 --only templates
    tests/other_seed.py --seed 1 --only tokenizers --mixtures 40 --texts 400
    tests/other_seed.py --seed 7 --write               records a small set in tests/data/text/other_seed, for ctest

Tokenizers: one of each kind that models use and --mixtures of any parts (tests/made_tokenizers.py), trained by
`tokenizers`; models of `sentencepiece`; the byte-level and the sentencepiece ones as GGUF vocabularies, too. Texts are
drawn as well (tests/made_texts.py). Compared are ids with and without special tokens, texts of ids with and without
them, also of ids that no text gives, and the text of a decoder that is given one id at a time.
Templates: --templates of any statements and expressions of the language, each with three contexts, and --chats chat
templates, each with six chats, rendered by `jinja2` (tests/jinja_differential.py says how).

Prints counts and the first differences; exit status 1 where there are any. Takes the packages from a virtual
environment build/venv, which it makes (tests/requirements.txt), and the programs tokenizer_cases and jinja_cases
from --build.
"""

import argparse
import contextlib
import gzip
import itertools
import json
import os
import pathlib
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import packages  # noqa: E402  (the path comes first)

KEPT = HERE / "data" / "text" / "other_seed"
MOST_KEPT = 50_000  # bytes of a tokenizer
MEMORY = 8 << 30  # what the packages may take: some odd tokenizers make them take all there is


def safe(call):
    """What `call` gives; None where the package panics, which is no Exception."""
    try:
        return call()
    except BaseException as error:  # pylint: disable=broad-except
        if isinstance(error, (KeyboardInterrupt, MemoryError)):
            raise
        return None


@contextlib.contextmanager
def quiet():
    """Without what panics of the package print."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def rows(tokenizer, texts, rng):
    """Recorded results of a tokenizers.Tokenizer, in the form of src/text/test_cases.h.

    Left out are texts on which the package panics, and those that spell a control token only once they are normalized:
    unimax does not let the model make that token of them, whoever wrote the text.
    """
    found = []
    size = tokenizer.get_vocab_size()
    control = {i: token.content for i, token in tokenizer.get_added_tokens_decoder().items()
               if token.special and not token.normalized and token.content not in ("<unk>", "[UNK]")}
    lists = [[rng.randrange(size if rng.random() < 0.5 else min(size, 262)) for _ in range(rng.randint(1, 14))]
             for _ in range(len(texts) // 6)]
    with quiet():
        for text in texts:
            ids = safe(lambda: tokenizer.encode(text, add_special_tokens=False).ids)
            special = safe(lambda: tokenizer.encode(text, add_special_tokens=True).ids)
            if ids is None or special is None:
                continue
            if all(ids.count(i) <= text.count(content) for i, content in control.items()):
                found.append({"text": text, "ids": ids, "ids_special": special})
        found += [{"decode_only": ids} for ids in lists]
        for row in found:
            ids = row.get("ids_special", row.get("decode_only"))
            decoded = [safe(lambda s=s: tokenizer.decode(ids, skip_special_tokens=s)) for s in (False, True)]
            if None not in decoded:
                row["decode"], row["decode_skip"] = decoded
    return [row for row in found if "text" in row or "decode" in row]


def piece_rows(model, texts, rng):
    """The same of a SentencePieceProcessor. NUL ends a string in parts of that package."""
    texts = [text.replace("\0", "\x01") for text in texts]
    lists = [[rng.randrange(model.vocab_size()) for _ in range(rng.randint(1, 14))] for _ in range(len(texts) // 6)]
    found = [{"text": text, "ids": model.encode(text), "ids_special": model.encode(text, add_bos=True, add_eos=True)}
             for text in texts]
    found += [{"decode_only": ids} for ids in lists]
    for row in found:
        row["decode"] = model.decode(row.get("ids", row.get("decode_only")))
    return found


def ids_only(found):
    return [{"text": row["text"], "ids": row["ids"]} for row in found if "text" in row]


def lines_of(found):
    return "".join(json.dumps(row) + "\n" for row in found).encode()


def made_tokenizers(seed, args):
    """(name, file name, bytes of the file, rows)"""
    import made_gguf
    import made_texts
    import made_tokenizers as kinds
    from tokenizers import Tokenizer
    rng = random.Random(f"tokenizers {seed}")
    corpus = made_texts.corpus(rng)
    for name, tokenizer in kinds.trained(rng, corpus, args.mixtures):
        spec = tokenizer.to_str()
        tokenizer = Tokenizer.from_str(spec)  # as it is read: scores are not always those that were written
        found = rows(tokenizer, made_texts.texts(rng, args.texts), rng)
        yield name, "tokenizer.json", spec.encode(), found
        if name in made_gguf.KINDS:
            plain = made_gguf.without_flags(json.loads(spec))
            kept = ids_only(rows(Tokenizer.from_str(json.dumps(plain)), made_texts.texts(rng, args.texts), rng))
            for kind in made_gguf.KINDS[name]:
                yield f"{name} as GGUF {kind}", "vocab.gguf", made_gguf.byte_level(plain, kind), kept
    for name, model, data, plain in kinds.sentence_pieces(rng, corpus):
        found = piece_rows(model, made_texts.texts(rng, args.texts), rng)
        yield name, "tokenizer.model", data, found
        if plain:
            spelled = [model.id_to_piece(i) for i in range(model.vocab_size())
                       if model.is_control(i) or model.is_unknown(i)]  # in a GGUF text may spell these
            kept = [row for row in ids_only(found) if not any(s in row["text"] for s in spelled)]
            yield f"{name} as GGUF", "vocab.gguf", made_gguf.pieces(model, plain), kept


def check_tokenizers(seed, args):
    """(tokenizers, cases, differences)"""
    made = cases = different = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, file, data, found in made_tokenizers(seed, args):
            path, recorded = pathlib.Path(scratch) / file, pathlib.Path(scratch) / "cases.jsonl"
            path.write_bytes(data)
            recorded.write_bytes(lines_of(found))
            done = subprocess.run([args.build / "tokenizer_cases", path, recorded], capture_output=True, text=True,
                                  check=False)
            *shown, last = done.stdout.splitlines() or [f"status {done.returncode}"]
            count, wrong = map(int, last.split()) if done.returncode == 0 else (len(found), len(found))
            made, cases, different = made + 1, cases + count, different + wrong
            if wrong:
                shown = [line[:600] for line in shown or [last]]
                print(f"seed {seed}, {name}: {wrong} of {count} differ", *shown, sep="\n", flush=True)
                if args.keep:
                    args.keep.mkdir(parents=True, exist_ok=True)
                    for kept in (path, recorded):
                        shutil.copy(kept, args.keep / f"{seed}-{name.replace(' ', '_')}-{kept.name}")
    return made, cases, different


def made_templates(seed, args):
    """Lines for jinja_cases."""
    import jinja_differential as differ
    import jinja_templates as draw
    rng = random.Random(f"templates {seed}")
    for _ in range(args.templates):
        yield from differ.cases(draw.random_template(rng), [draw.random_context(rng) for _ in range(3)])
    for _ in range(args.chats):
        yield from differ.cases(draw.random_chat_template(rng), [differ.chat(rng) for _ in range(6)])


def check_templates(seed, args):
    """(templates, renderings, of them errors, differences)"""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        lines = list(made_templates(seed, args))
        file.write(lines_of(lines))
        file.flush()
        done = subprocess.run([args.build / "jinja_cases", file.name, str(args.shown)], capture_output=True, text=True,
                              check=False)
    *shown, last = done.stdout.splitlines() or [f"C07 diff=1 of 1: status {done.returncode}"]
    different = int(last.split("diff=")[1].split()[0])
    if different:
        print(f"seed {seed}, templates:", *shown, sep="\n", flush=True)
    renderings = [line for line in lines if "context" in line]
    return len(lines) - len(renderings), len(renderings), sum(r["expected"] is None for r in renderings), different


def write(seed, args):
    """Records what ctest compares: tokenizers with few texts, and few templates."""
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    size = 0
    for number, (name, file, data, found) in enumerate(made_tokenizers(seed, args)):
        packed = gzip.compress(data, 9, mtime=0)
        if len(packed) > MOST_KEPT:  # the normalizer of `sentencepiece`, which other data holds
            continue
        folder = KEPT / f"{number:02} {re.sub(r' [(].*[)]', '', name)}".replace(" ", "_")
        folder.mkdir()
        (folder / f"{file}.gz").write_bytes(packed)
        (folder / "expected.jsonl.gz").write_bytes(gzip.compress(lines_of(found), 9, mtime=0))
        size += sum(path.stat().st_size for path in folder.iterdir())
    templates = KEPT / "templates.jsonl.gz"
    templates.write_bytes(gzip.compress(lines_of(made_templates(seed, args)), 9, mtime=0))
    print(f"{KEPT}: {size + templates.stat().st_size} bytes of seed {seed}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, nargs="+", required=True)
    parser.add_argument("--only", choices=["tokenizers", "templates"])
    parser.add_argument("--mixtures", type=int, default=20)
    parser.add_argument("--texts", type=int, default=300, help="of each tokenizer")
    parser.add_argument("--templates", type=int, default=1500)
    parser.add_argument("--chats", type=int, default=100)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build" / "release")
    parser.add_argument("--keep", type=pathlib.Path, metavar="FOLDER", help="copies what differs there")
    parser.add_argument("--shown", type=int, default=5, help="differences of templates, at most")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    packages.require()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    if args.write:
        args.mixtures, args.texts, args.templates, args.chats = 12, 60, 300, 30
        write(args.seed[0], args)
        return 0
    bad = 0
    for seed, part in itertools.product(args.seed, ("tokenizers", "templates")):
        if args.only not in (None, part):
            continue
        if part == "tokenizers":
            made, cases, different = check_tokenizers(seed, args)
            print(f"seed {seed}: {made} tokenizers, {cases} cases, {different} differ", flush=True)
        else:
            made, cases, errors, different = check_templates(seed, args)
            print(f"seed {seed}: {made} templates, {cases} renderings ({errors} of them errors), {different} differ",
                  flush=True)
        bad += different
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
