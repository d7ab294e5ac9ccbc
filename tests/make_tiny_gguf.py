#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a golden model of tests/data/models as GGUF, in the layout of llama.cpp's converter: f32, names by gguf-py.

    tests/make_tiny_gguf.py FAMILY_FOLDER OUT.gguf [--plain]

--plain leaves out what llama.cpp would not read (the scale of Gemma's scores), to compare with it. Needs the packages
gguf, numpy and safetensors.
"""

import json
import math
import pathlib
import sys

import gguf
import numpy as np
from safetensors.numpy import load_file

ARCHITECTURES = {"gemma3_text": "gemma3", "gpt_neox": "gptneox"}


def permute(w, heads):
    """Rows of rotary pairs (i, i + half) side by side, as files of this architecture have them."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def by_head(w, heads, kv_heads):
    """Fused q, k, v that alternate by key head, as three runs."""
    group, dim = heads // kv_heads, w.shape[0] // (heads + 2 * kv_heads)
    w = w.reshape(kv_heads, group + 2, dim, *w.shape[1:])
    return np.concatenate([part.reshape(-1, *w.shape[3:]) for part in (w[:, :group], w[:, group], w[:, group + 1])])


def changed(name, w, kind, c):
    if kind == "granite" and ("q_proj" in name or "k_proj" in name):
        return permute(w, c["num_attention_heads"] if "q_proj" in name else c["num_key_value_heads"])
    if kind.startswith("gemma") and "norm" in name:
        return w + 1
    if kind == "gpt2" and w.ndim == 2 and ".h." in name:
        return w.T
    if "query_key_value" in name:
        return by_head(w, c["num_attention_heads"], 1 if kind == "falcon" else c["num_attention_heads"])
    return w


def add_keys(out, c, kind, plain):
    get = lambda *names: next((c[n] for n in names if c.get(n) is not None), None)
    heads = get("num_attention_heads", "n_head")
    hidden = get("hidden_size", "n_embd")
    dim = get("head_dim") or hidden // heads
    layers = get("num_hidden_layers", "n_layer")
    out.add_block_count(layers)
    out.add_context_length(get("max_position_embeddings", "n_positions"))
    out.add_embedding_length(hidden)
    out.add_feed_forward_length(get("intermediate_size", "n_inner", "ffn_hidden_size"))
    out.add_head_count(heads)
    out.add_head_count_kv(1 if kind == "falcon" else get("num_key_value_heads") or heads)
    out.add_vocab_size(c["vocab_size"])
    if get("head_dim"):
        out.add_key_length(dim)
        out.add_value_length(dim)
    if get("rms_norm_eps"):
        out.add_layer_norm_rms_eps(c["rms_norm_eps"])
    else:
        out.add_layer_norm_eps(get("layer_norm_epsilon", "layer_norm_eps"))
    if kind != "gpt2":
        share = get("partial_rotary_factor", "rotary_pct") or 1.0
        out.add_rope_dimension_count(int(dim * share))
        out.add_rope_freq_base(float(get("rope_theta", "rotary_emb_base")))
    if kind == "gpt_neox":
        out.add_parallel_residual(c["use_parallel_residual"])
    if kind in ("gemma2", "gemma3_text", "phi3") and get("sliding_window"):
        out.add_sliding_window(c["sliding_window"])
    if kind == "gemma3_text":
        out.add_sliding_window_pattern(c["sliding_window_pattern"])
    if kind == "gemma2":
        out.add_attn_logit_softcapping(c["attn_logit_softcapping"])
        out.add_final_logit_softcapping(c["final_logit_softcapping"])
    if kind.startswith("gemma") and not plain:
        out.add_attention_scale(c["query_pre_attn_scalar"] ** -0.5)
    if kind == "granite":
        out.add_attention_scale(c["attention_multiplier"])
        out.add_embedding_scale(c["embedding_multiplier"])
        out.add_residual_scale(c["residual_multiplier"])
        out.add_logit_scale(c["logits_scaling"])
    scaling = get("rope_scaling") or {}
    if scaling.get("rope_type") == "linear":
        out.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        out.add_rope_scaling_factor(scaling["factor"])
    if scaling.get("type") == "longrope":
        original = c["original_max_position_embeddings"]
        out.add_rope_scaling_orig_ctx_len(original)
        stretch = c["max_position_embeddings"] / original
        out.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(stretch) / math.log(original)))
        out.add_tensor("rope_factors_long.weight", np.array(scaling["long_factor"], dtype=np.float32))
        out.add_tensor("rope_factors_short.weight", np.array(scaling["short_factor"], dtype=np.float32))
    return layers


def add_tokenizer(out, folder):
    tokenizer = json.loads((folder.parent / "qwen3" / "tokenizer.json").read_text())
    tokens = dict(tokenizer["model"]["vocab"])
    special = {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    tokens.update(special)
    names = [name for name, _ in sorted(tokens.items(), key=lambda item: item[1])]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(names)
    out.add_token_types([3 if name in special else 1 for name in names])
    out.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_bos_token(False)


def main():
    folder, path = pathlib.Path(sys.argv[1]), sys.argv[2]
    c = json.loads((folder / "config.json").read_text())
    kind = c["model_type"]
    architecture = ARCHITECTURES.get(kind, kind)
    out = gguf.GGUFWriter(path, architecture)
    out.add_name(f"tiny {kind}")
    layers = add_keys(out, c, kind, "--plain" in sys.argv)
    add_tokenizer(out, folder)
    number = next(n for n, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(number, layers)
    for name, w in load_file(folder / "model.safetensors").items():
        own = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if own is None:
            sys.exit(f"no name for {name}")
        out.add_tensor(own, np.ascontiguousarray(changed(name, w.astype(np.float32), kind, c)))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


main()
