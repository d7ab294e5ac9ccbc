# SPDX-License-Identifier: Apache-2.0
"""Tokenizers that a seed draws and PyPI's tokenizers and sentencepiece train: each kind that models use, and mixtures.

`trained(rng, corpus, count)` yields (name, tokenizers.Tokenizer): one of each row of KINDS, with options that the seed
draws, then `count` mixtures of any normalizer, pre-tokenizer, model, post-processor, decoder and added tokens.
"""

import base64
import json
import re
import tempfile

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + TAIL
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + TAIL
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTIONS + "?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTIONS + "?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+"]  # deepseek-coder's published expressions
DEEPSEEK_V3 = [r"\p{N}{1,3}", "[一-龥\u3040-\u30ff]+",
               r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
               r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
SCHEMES = ["always", "never", "first"]


def split(*expressions, behavior="isolated", invert=False):
    return [pre_tokenizers.Split(Regex(e), behavior, invert=invert) for e in expressions]


def bytes_after(*first, prefix=False):
    """A byte-level pre-tokenizer, which cuts by its own expression where nothing stands before it."""
    return pre_tokenizers.Sequence(
        [*first, pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not first)])


def byte_level(pre, corpus, size, specials=("<s>",), normalizer=None, **options):
    made = Tokenizer(models.BPE(**options))
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = pre
    made.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=list(specials),
        show_progress=False))
    made.decoder = decoders.ByteLevel()
    return made


def byte_fallback(corpus, size, **options):
    """BPE over characters whose vocabulary begins <unk> <s> </s> and one piece a byte, as SentencePiece lays it out."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(corpus, trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"], limit_alphabet=220, show_progress=False))
    spec = json.loads(made.to_str())
    pieces = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)
    names = pieces[:3] + [f"<0x{b:02X}>" for b in range(256)] + pieces[3:]
    spec["model"].update({"vocab": {n: i for i, n in enumerate(names)}, "byte_fallback": True, **options})
    made = Tokenizer.from_str(json.dumps(spec))
    made.add_special_tokens(["<unk>", "<s>", "</s>"])
    return made


def unigram(corpus, size, normalizer, pre, fallback=False, specials=("<unk>", "<s>", "</s>")):
    made = Tokenizer(models.Unigram())
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = pre
    made.train_from_iterator(corpus, trainers.UnigramTrainer(
        vocab_size=max(size, len(set("".join(corpus))) + 400), special_tokens=list(specials), unk_token="<unk>",
        shrinking_factor=0.6, show_progress=False))
    if fallback:
        spec = json.loads(made.to_str())
        pieces = spec["model"]["vocab"]
        spec["model"]["vocab"] = (pieces[:len(specials)] + [[f"<0x{b:02X}>", 0.0] for b in range(256)] +
                                  pieces[len(specials):])
        spec["model"]["byte_fallback"] = True
        made = Tokenizer.from_str(json.dumps(spec))
    return made


def words(model, trainer, corpus, normalizer, pre, **options):
    made = Tokenizer(model(unk_token="[UNK]"))
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = pre
    made.train_from_iterator(corpus, trainer(special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False,
                                             **options))
    return made


def word_pieces(corpus, size, normalizer, pre):
    return words(models.WordPiece, trainers.WordPieceTrainer, corpus, normalizer, pre, vocab_size=size,
                 limit_alphabet=250)


def word_level(corpus, size, normalizer, pre):
    return words(models.WordLevel, trainers.WordLevelTrainer, corpus, normalizer, pre, vocab_size=size)


def template(made, single, *names):
    """`single` such as "<s> $A": what stands around a text."""
    return processors.TemplateProcessing(single=single, pair=f"{single} $B",
                                         special_tokens=[(n, made.token_to_id(n)) for n in names])


def precompiled():
    """The normalizer that SentencePiece writes into its models (nmt_nfkc)."""
    import sentencepiece
    with tempfile.NamedTemporaryFile(suffix=".model") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f"] * 20), model_prefix=file.name[:-6], vocab_size=20, minloglevel=2,
            hard_vocab_limit=False, model_type="char")
        with open(file.name, "rb") as model:
            data = model.read()
    table = field(field(data, 3), 2)  # ModelProto.normalizer_spec.precompiled_charsmap
    spec = json.loads(Tokenizer(models.BPE()).to_str())
    spec["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    return Tokenizer.from_str(json.dumps(spec)).normalizer


def field(message, number):
    """The last value of a length-delimited field of a protobuf message."""
    at, found = 0, b""

    def integer():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(message):
        key = integer()
        if key & 7 == 2:
            size = integer()
            if key >> 3 == number:
                found = message[at:at + size]
            at += size
        elif key & 7 == 0:
            integer()
        else:
            at += 4 if key & 7 == 5 else 8
    return found


def llama_decoder(strip=True):
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                              *([decoders.Strip(" ", 1, 0)] if strip else [])])


def with_parts(made, normalizer=None, pre=None, decoder=None, single=None, names=()):
    made.normalizer, made.pre_tokenizer = normalizer, pre
    if decoder is not None:
        made.decoder = decoder
    if single is not None:
        made.post_processor = template(made, single, *names)
    return made


def marked(prefix=True):
    mark = normalizers.Replace(" ", "▁")
    return normalizers.Sequence([normalizers.Prepend("▁"), mark]) if prefix else mark


def digits():
    return pre_tokenizers.Digits(individual_digits=True)


# Each row: (corpus, size, rng) -> Tokenizer, as published tokenizers of that kind are made.
KINDS = {
    "gpt2": lambda c, n, r: byte_level(bytes_after(), c, n, ["<|endoftext|>"]),
    "roberta": lambda c, n, r: roberta(byte_level(bytes_after(prefix=True), c, n, ["<s>", "<pad>", "</s>", "<unk>"])),
    "llama3": lambda c, n, r: byte_level(bytes_after(*split(LLAMA3)), c, n, ignore_merges=True),
    "qwen2": lambda c, n, r: byte_level(bytes_after(*split(QWEN2)), c, n, normalizer=normalizers.NFC()),
    "deepseek-coder": lambda c, n, r: byte_level(bytes_after(*split(*CODER), digits()), c, n),
    "deepseek-v3": lambda c, n, r: byte_level(bytes_after(*split(*DEEPSEEK_V3)), c, n),
    "starcoder": lambda c, n, r: byte_level(
        pre_tokenizers.Sequence([digits(), pre_tokenizers.ByteLevel(add_prefix_space=False)]), c, n),
    "gpt-4o": lambda c, n, r: byte_level(bytes_after(*split(O200K)), c, n),
    "falcon": lambda c, n, r: byte_level(pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
         pre_tokenizers.Digits(individual_digits=False), *split("[0-9][0-9][0-9]")]), c, n),
    "bytes normalizer": lambda c, n, r: byte_level(
        split(r"\s+|\w+|[^\w\s]+")[0], c, n,
        normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.ByteLevel()])),
    "llama2": lambda c, n, r: with_parts(byte_fallback(c, n, fuse_unk=True), marked(), None, llama_decoder(), "<s> $A",
                                         ["<s>"]),
    "metaspace": lambda c, n, r: metaspace(byte_fallback(c, n, fuse_unk=r.random() < 0.5), r),
    "gemma": lambda c, n, r: with_parts(byte_fallback(c, n), marked(False),
                                        pre_tokenizers.Split(" ", "merged_with_previous"), llama_decoder(False)),
    "t5": lambda c, n, r: with_parts(
        unigram(c, n, precompiled(), pre_tokenizers.Metaspace(), specials=["<pad>", "</s>", "<unk>"]), precompiled(),
        pre_tokenizers.Metaspace(), decoders.Metaspace(), "$A </s>", ["</s>"]),
    "xlm-roberta": lambda c, n, r: xlm_roberta(c, n),
    "unigram bytes": lambda c, n, r: with_parts(
        unigram(c, n, None, pre_tokenizers.Metaspace(), fallback=True), normalizers.Strip(left=False),
        pre_tokenizers.Metaspace(prepend_scheme=r.choice(SCHEMES), split=r.random() < 0.5),
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]), "<s> $A", ["<s>"]),
    "bert": lambda c, n, r: bert(c, n, lowercase=True),
    "bert cased": lambda c, n, r: bert(c, n, lowercase=False),
    "wordpiece": lambda c, n, r: with_decoder(word_pieces(
        c, n, normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]),
        pre_tokenizers.Whitespace()), decoders.WordPiece()),
    "scripts": lambda c, n, r: word_level(c, n, None, pre_tokenizers.UnicodeScripts()),
    "wordlevel": lambda c, n, r: word_level(
        c, n, normalizers.Sequence([normalizers.NFKD(), normalizers.Strip()]), pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(r.choice(BEHAVIORS)), digits()])),
}


def with_decoder(made, decoder):
    made.decoder = decoder
    return made


def roberta(made):
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    made.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return made


def metaspace(made, rng):
    scheme = rng.choice(SCHEMES)
    return with_parts(made, None, pre_tokenizers.Metaspace(prepend_scheme=scheme, split=rng.random() < 0.5),
                      decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme=scheme)]))


def xlm_roberta(corpus, size):
    normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    pre = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return with_parts(unigram(corpus, size, normalizer, pre), normalizer, pre, decoders.Metaspace(), "<s> $A </s>",
                      ["<s>", "</s>"])


def bert(corpus, size, lowercase):
    made = word_pieces(corpus, size, normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer())
    made.decoder = decoders.WordPiece(cleanup=lowercase)
    made.post_processor = processors.BertProcessing(("[SEP]", made.token_to_id("[SEP]")),
                                                    ("[CLS]", made.token_to_id("[CLS]")))
    return made


def random_normalizer(rng):
    """None, or one to three steps."""
    expressions = [r"\s+", " {2,}", "[0-9]{2}|(?<=a)b", r"[^\w\s]", r"(?<!\S)e"]
    pool = [normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD, normalizers.Lowercase,
            normalizers.StripAccents, normalizers.Nmt, precompiled,
            lambda: normalizers.Strip(left=rng.random() < 0.5, right=rng.random() < 0.5),
            lambda: normalizers.Replace(rng.choice([" ", "a", "``", "."]), rng.choice(["▁", "", "bb", "\""])),
            lambda: normalizers.Replace(Regex(rng.choice(expressions)), rng.choice([" ", "#", ""])),
            lambda: normalizers.Prepend(rng.choice(["▁", "_ "])),
            lambda: normalizers.BertNormalizer(
                clean_text=rng.random() < 0.5, handle_chinese_chars=rng.random() < 0.5,
                strip_accents=rng.choice([None, True, False]), lowercase=rng.random() < 0.5)]
    steps = [rng.choice(pool)() for _ in range(rng.randint(0, 3))]
    return None if not steps else steps[0] if len(steps) == 1 else normalizers.Sequence(steps)


def random_cut(rng):
    """A pre-tokenizer that cuts text and leaves its characters as they are."""
    expressions = [GPT2, LLAMA3, QWEN2, O200K, *CODER, *DEEPSEEK_V3, r"\s+|[0-9]", r"\w+|[^\w\s]+", "[A-Z]",
                   r"\p{N}{2}", r"(?<=[a-z])(?=[A-Z])", r"(?<!\d)\d{2}(?!\d)", r"\p{Lu}\p{Ll}*", r"[\p{P}\p{S}]",
                   r"\p{M}+", ".", r"\h+", r"[\p{Han}\p{Hiragana}]+|\p{Cyrillic}+",
                   r"[[:upper:]][[:lower:]]*|[[:punct:]]"]
    pool = [lambda: pre_tokenizers.Split(Regex(rng.choice(expressions)), rng.choice(BEHAVIORS), rng.random() < 0.3),
            lambda: pre_tokenizers.Split(rng.choice([" ", "a", "th", "\n"]), rng.choice(BEHAVIORS), rng.random() < 0.3),
            lambda: pre_tokenizers.Digits(rng.random() < 0.5), pre_tokenizers.Whitespace,
            lambda: pre_tokenizers.Punctuation(rng.choice(BEHAVIORS)), pre_tokenizers.BertPreTokenizer,
            pre_tokenizers.WhitespaceSplit,
            pre_tokenizers.UnicodeScripts, lambda: pre_tokenizers.CharDelimiterSplit(rng.choice("-e ")),
            lambda: pre_tokenizers.FixedLength(rng.randint(1, 9))]
    return rng.choice(pool)()


def random_added(rng, made):
    """Adds tokens with any flags; some are spelled by the vocabulary already, some begin others.

    Left to chance by the package, or refused by unimax, and so not made: two tokens that are normalized to the same,
    and control tokens that the model itself can spell.
    """
    vocabulary = sorted(made.get_vocab())
    normal_forms = {""}
    pool = ["<|im_start|>", "<|im_end|>", "<think>", "<mask>", "<tool>", "WORD", "NormTok", "Ab", "Abc", "new tok", "é",
            "  ", "\n\n", "</s>", "ÉCOLE", "e\u0301", "▁x", "the", "[SEP]", "ſ", "1", "....", rng.choice(vocabulary)]
    for content in rng.sample(pool, rng.randint(0, 10)):
        flags = {name: rng.random() < 0.25 for name in ("lstrip", "rstrip", "single_word")}
        normal = made.normalizer.normalize_str(content) if made.normalizer is not None else content
        token = AddedToken(content, normalized=rng.random() < 0.5 and normal not in normal_forms, **flags)
        normal_forms.add(normal)
        special = rng.random() < 0.4 and content not in vocabulary
        made.add_special_tokens([token]) if special else made.add_tokens([token])


def random_post(rng, made):
    names = rng.sample(sorted(made.get_vocab()), 2)
    pair = [(n, made.token_to_id(n)) for n in names]
    kinds = [lambda: template(made, *rng.choice([(f"{names[0]} $A", names[0]), (f"$A {names[0]}", names[0]),
                                                 (f"{names[0]} $A {names[1]}", *names)]))
             if not any(re.search(r"[\s$:]", n) for n in names) else None,
             lambda: processors.BertProcessing(*pair), lambda: processors.ByteLevel(trim_offsets=rng.random() < 0.5),
             lambda: processors.RobertaProcessing(*pair), lambda: None]
    found = rng.choice(kinds)()
    if found is not None:
        made.post_processor = found


def random_decoder(rng, kind):
    if kind == "bytes":
        return decoders.ByteLevel()
    pool = [lambda: decoders.Metaspace(prepend_scheme=rng.choice(SCHEMES)), decoders.ByteFallback, decoders.Fuse,
            lambda: decoders.Strip(rng.choice(" _a"), rng.randint(0, 2), rng.randint(0, 2)), decoders.WordPiece,
            lambda: decoders.Replace(rng.choice(["▁", "e", "th"]), rng.choice([" ", "", "E"])),
            lambda: decoders.Replace(Regex(rng.choice(["[0-9]+", r"\s+", "a|b"])), rng.choice(["N", ""])),
            lambda: decoders.WordPiece(cleanup=False), decoders.BPEDecoder,
            lambda: decoders.CTC(cleanup=rng.random() < 0.5)]
    steps = [rng.choice(pool)() for _ in range(rng.randint(0, 3))]
    # What stands behind Fuse sees the whole text, and CTC behind others compares what they make of neighbours: what
    # becomes of that cannot be known while the text comes.
    steps = [s for i, s in enumerate(steps) if not (isinstance(s, decoders.Fuse) and i + 1 < len(steps))]
    steps = [s for i, s in enumerate(steps) if not (isinstance(s, decoders.CTC) and i > 0)]
    return None if not steps else steps[0] if len(steps) == 1 else decoders.Sequence(steps)


def mixture(rng, corpus):
    """Any model behind any parts."""
    kind = rng.choice(["bytes", "bytes", "fallback", "bpe", "unigram", "unigram bytes", "wordpiece", "wordlevel"])
    normalizer, size = random_normalizer(rng), rng.randint(500, 1600)
    cuts = [random_cut(rng) for _ in range(rng.randint(0, 2))]
    space = pre_tokenizers.Metaspace(prepend_scheme=rng.choice(SCHEMES), split=rng.random() < 0.7)
    if kind not in ("wordpiece", "wordlevel"):
        cuts.append(space)
    pre = pre_tokenizers.Sequence(cuts or [random_cut(rng)])
    if kind == "bytes":
        pre = bytes_after(*cuts[:-1], prefix=rng.random() < 0.5)
        made = byte_level(pre, corpus, size, normalizer=normalizer, ignore_merges=rng.random() < 0.5)
    elif kind == "fallback":
        made = byte_fallback(corpus, size, fuse_unk=rng.random() < 0.5, ignore_merges=rng.random() < 0.5)
        with_parts(made, normalizer, pre)
    elif kind == "bpe":
        marks = rng.choice([{}, {"end_of_word_suffix": "</w>"}, {"continuing_subword_prefix": "##"}])
        made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=rng.random() < 0.5, **marks))
        made.pre_tokenizer = pre
        made.train_from_iterator(corpus, trainers.BpeTrainer(
            vocab_size=size, special_tokens=["<unk>", "<s>"], limit_alphabet=rng.choice([60, 300]), show_progress=False,
            **marks))
        made.normalizer = normalizer
    elif kind.startswith("unigram"):
        made = unigram(corpus, size, normalizer, pre, fallback="bytes" in kind)
    else:
        made = (word_pieces if kind == "wordpiece" else word_level)(corpus, size, normalizer, pre)
    if (decoder := random_decoder(rng, kind)) is not None:
        made.decoder = decoder
    random_added(rng, made)
    random_post(rng, made)
    return made


def trained(rng, corpus, mixtures):
    for name, make in KINDS.items():
        made = make(corpus, rng.randint(700, 1500), rng)
        if rng.random() < 0.5:
            random_added(rng, made)
        yield name, made
    for i in range(mixtures):
        yield f"mixture {i + 1}", mixture(rng, corpus)


def sentence_pieces(rng, corpus):
    """(name, SentencePieceProcessor, bytes of its file, what made_gguf.pieces wants: "" where it cannot be a GGUF)"""
    import sentencepiece
    for index in range(8):
        kind = ("bpe", "unigram")[index % 2]
        rule = rng.choice(["identity", "identity", "nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf"])
        options = {"add_dummy_prefix": rng.random() < 0.6, "remove_extra_whitespaces": rng.random() < 0.4,
                   "byte_fallback": rng.random() < 0.6, "split_digits": rng.random() < 0.5,
                   "split_by_unicode_script": rng.random() < 0.7, "allow_whitespace_only_pieces": rng.random() < 0.5}
        symbols = rng.sample(["<mask>", "<|im_start|>", "\n\n", "▁▁", "WORD", "<tool>", "é"], rng.randint(0, 3))
        if index == 0:  # as the first Llama's
            rule, symbols = "identity", []
            options.update(remove_extra_whitespaces=False, byte_fallback=True)
        with tempfile.TemporaryDirectory() as folder:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(line for line in corpus if "\0" not in line), model_prefix=f"{folder}/m",
                model_type=kind, vocab_size=rng.randint(900, 1300), character_coverage=rng.choice([0.98, 0.995]),
                normalization_rule_name=rule, user_defined_symbols=symbols, hard_vocab_limit=False, num_threads=1,
                minloglevel=2, max_sentence_length=20000, **options)
            with open(f"{folder}/m.model", "rb") as file:
                data = file.read()
        plain = kind == "bpe" and rule == "identity" and not symbols and not options["remove_extra_whitespaces"]
        plain = plain and options["byte_fallback"]
        said = ", ".join([rule, *(name for name, value in options.items() if value), *symbols[:1]])
        model = sentencepiece.SentencePieceProcessor(model_proto=data)
        prefix = "yes" if options["add_dummy_prefix"] else "no"
        yield f"sentencepiece {kind} {index + 1} ({said})", model, data, prefix if plain else ""
