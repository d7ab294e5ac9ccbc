#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decode attention with the online, the lazy and the unified softmax, in turn, on shapes that are little else: 4
layers of the heads of a 7B and an 8B model over narrow products. Prints the JSON lines of `unimax bench`; a table goes
to stderr.

  bench/softmax_variants.py --device cuda > softmax.jsonl"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

HEADS = {"7b": 32, "8b": 8}  # KV heads of 32
LAYERS = 4
CASES = [("1,8,32", "1024"), ("1,8", "32768"), ("1", "131000")]
VARIANTS = {"online": [], "lazy": ["--force", "attention=lazy"], "unified": ["--force", "attention=unified"]}


def config(kv_heads):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 256,
            "num_hidden_layers": LAYERS, "num_attention_heads": 32, "num_key_value_heads": kv_heads, "head_dim": 128,
            "vocab_size": 1024, "max_position_embeddings": 132000, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="build/release/unimax")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", default="32")
    options = parser.parse_args()
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        for shape, kv_heads in HEADS.items():
            path = pathlib.Path(folder) / f"attention-{shape}.json"
            path.write_text(json.dumps(config(kv_heads)), encoding="utf-8")
            for batches, contexts in CASES:
                for variant, force in VARIANTS.items():
                    command = [options.binary, "bench", "--config", path, "--device", options.device, "--executor",
                               "graph", "--batch", batches, "--context", contexts, "--steps", options.steps, "--json",
                               "--name", f"attention-{shape}-{variant}", *force]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode != 0:
                        print(f"{shape} {variant} {contexts}: {done.stderr.strip()}", file=sys.stderr)
                        continue
                    for line in done.stdout.splitlines():
                        row = json.loads(line)
                        if row["bench"] != "decode":
                            continue
                        print(line, flush=True)
                        times.setdefault((shape, row["batch"], row["context"]), {})[variant] = row["ms"]
    for (shape, batch, context), by in times.items():
        print(f"{shape} batch {batch} context {context}: us a layer " +
              ", ".join(f"{v} {ms * 1e3 / LAYERS:.1f}" for v, ms in by.items()), file=sys.stderr)


if __name__ == "__main__":
    main()
