# SPDX-License-Identifier: Apache-2.0
"""GGUF files that hold a vocabulary and nothing else, of tokenizers made by tests/made_tokenizers.py."""

import struct

# The kinds of `tokenizer.ggml.pre` that cut as a row of made_tokenizers.KINDS does.
KINDS = {"gpt2": ["gpt-2", "default", "phi-2"], "llama3": ["llama-bpe"], "qwen2": ["qwen2"],
         "deepseek-coder": ["deepseek-coder"], "deepseek-v3": ["deepseek-v3"], "starcoder": ["starcoder", "smollm"],
         "gpt-4o": ["gpt-4o"], "deepseek-llm": ["deepseek-llm"]}
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def scalar(kind, value):
    return text(value) if kind == STRING else struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def file_of(keys):
    """`keys`: (name, type, value); a list's type is that of its items."""
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys))
    for name, kind, value in keys:
        out += text(f"tokenizer.ggml.{name}")
        if isinstance(value, list):
            out += struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(scalar(kind, v) for v in value)
        else:
            out += struct.pack("<I", kind) + scalar(kind, value)
    return out


def without_flags(spec):
    """A tokenizer.json whose added tokens match as those of a GGUF file do, which has no flags for them."""
    for token in spec["added_tokens"]:
        token.update(single_word=False, lstrip=False, rstrip=False, normalized=False)
    return spec


def byte_level(spec, pre):
    """Of the content of a tokenizer.json."""
    ids = {piece: i for piece, i in spec["model"]["vocab"].items()}
    types = {}
    for token in spec["added_tokens"]:
        ids[token["content"]] = token["id"]
        types[token["id"]] = CONTROL if token["special"] else USER
    pieces = {i: piece for piece, i in ids.items()}
    count = max(pieces) + 1
    merges = [" ".join(m) if isinstance(m, list) else m for m in spec["model"]["merges"]]
    return file_of([("model", STRING, "gpt2"), ("pre", STRING, pre),
                    ("tokens", STRING, [pieces.get(i, f"[UNUSED{i}]") for i in range(count)]),
                    ("token_type", I32, [types.get(i, NORMAL if i in pieces else UNUSED) for i in range(count)]),
                    ("merges", STRING, merges)])


def pieces(model, prefix):
    """Of a SentencePieceProcessor of type BPE; `prefix`: text begins with a space ("yes" or "no")."""
    def kind(i):
        return (UNKNOWN if model.is_unknown(i) else CONTROL if model.is_control(i) else BYTE if model.is_byte(i) else
                UNUSED if model.is_unused(i) else NORMAL)
    count = model.vocab_size()
    return file_of([("model", STRING, "llama"), ("tokens", STRING, [model.id_to_piece(i) for i in range(count)]),
                    ("scores", F32, [model.get_score(i) for i in range(count)]),
                    ("token_type", I32, [kind(i) for i in range(count)]), ("bos_token_id", U32, model.bos_id()),
                    ("unknown_token_id", U32, model.unk_id()), ("add_space_prefix", BOOL, prefix == "yes")])
