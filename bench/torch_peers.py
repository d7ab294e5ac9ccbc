#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decode beside PyTorch on an NVIDIA GPU: whole steps beside transformers, attention alone beside cuDNN.

    bench/torch_peers.py steps [--models llama-2-7b,llama-3.1-8b] [--batches 1,8] [--pairs 3]
    bench/torch_peers.py attention [--cases 1x1024,8x1024,32x4096] [--pairs 3]

steps: transformers' Llama with random weights in bf16, static cache, compiled (CUDA graphs), one token a sequence after
1,024 cached ones, greedy choice included; unimax: `unimax bench --config`, wall-clock medians of whole steps.
attention: cuDNN's scaled dot product attention over contiguous keys and values; unimax: `unimax tune`, its rows over
pages in random order. Both read keys and values that no cache holds (as many sets as 4 GB hold, at most 16, in turn).
Both programs run one after the other in each pair, so that clocks and neighbours meet both. Prints medians and ratios
and appends one JSON line a case to bench/results/torch_peers.jsonl. Needs torch and transformers beside the driver.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHAPES = ROOT / "tests" / "data" / "shapes"
CONTEXT = 1024
STEPS = 48
HEADS = {"llama-2-7b": (32, 32), "llama-3.1-8b": (32, 8)}  # head 128; what tune measures the same heads with
CASES = "1x1024,1x8192,1x65536,8x1024,32x1024,32x4096,64x2048"


def child(*words):
    """This file once more, in a process of its own: memory and compiled graphs go with it."""
    done = subprocess.run([sys.executable, __file__, *map(str, words)], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        return {"error": (done.stderr.strip() or "no output").splitlines()[-1][:300]}
    return json.loads(lines[-1])


def unimax(binary, *words):
    done = subprocess.run([binary, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{binary} {' '.join(map(str, words))}: {done.stderr.strip().splitlines()[-1]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


# ---- the peers ----

def peer_steps(model_name, batch):
    import torch
    import transformers
    config = transformers.AutoConfig.for_model(**json.loads((SHAPES / f"{model_name}.json").read_text()))
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    torch.set_default_dtype(torch.float32)
    cache = transformers.StaticCache(config=config, max_cache_len=CONTEXT + STEPS + 16)
    with torch.inference_mode():
        ids = torch.randint(0, config.vocab_size, (batch, CONTEXT), device="cuda")
        out = model(input_ids=ids, past_key_values=cache, cache_position=torch.arange(CONTEXT, device="cuda"))
        token = out.logits[:, -1:].argmax(-1)
        del out
        step = torch.compile(model, mode="reduce-overhead", fullgraph=False)
        position = torch.tensor([CONTEXT], device="cuda")
        times = []
        for i in range(STEPS):
            torch.cuda.synchronize()
            began = time.perf_counter()
            logits = step(input_ids=token, past_key_values=cache, cache_position=position).logits
            token = logits[:, -1:].argmax(-1).clone()
            torch.cuda.synchronize()
            if i >= 12:  # the first ones compile and record
                times.append(time.perf_counter() - began)
            position += 1
    print(json.dumps({"ms": statistics.median(times) * 1e3, "torch": torch.__version__,
                      "transformers": transformers.__version__, "device": torch.cuda.get_device_name()}))


def peer_attention(batch, tokens, heads, kv_heads):
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    dim = 128
    set_bytes = 2 * batch * kv_heads * tokens * dim * 2
    sets = max(1, min(16, (4 << 30) // set_bytes))
    torch.manual_seed(1)
    q = torch.randn(batch, heads, 1, dim, device="cuda", dtype=torch.bfloat16)
    keys = [torch.randn(batch, kv_heads, tokens, dim, device="cuda", dtype=torch.bfloat16) for _ in range(sets)]
    values = [torch.randn_like(k) for k in keys]

    def run():
        for k, v in zip(keys, values):
            torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=heads != kv_heads)

    with torch.inference_mode(), sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        times = []
        for _ in range(11):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end) * 1e3 / sets)
    print(json.dumps({"us": statistics.median(times), "torch": torch.__version__, "sets": sets,
                      "cudnn": torch.backends.cudnn.version(), "device": torch.cuda.get_device_name()}))


# ---- unimax ----

def own_step(binary, model, batch):
    for line in unimax(binary, "bench", "--config", SHAPES / f"{model}.json", "--device", "cuda", "--batch", batch,
                       "--context", CONTEXT, "--json"):
        if line["bench"] == "decode":
            return line
    sys.exit("unimax bench gave no decode line")


def own_attention(binary, model, batch, tokens):
    """The fastest row's time of the case, of those that tune measures for a model with such heads."""
    config = json.loads((SHAPES / f"{model}.json").read_text())
    config["max_position_embeddings"] = max(config["max_position_embeddings"], tokens)  # the heads count here
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / f"{model}.json"
        file.write_text(json.dumps(config))
        lines = unimax(binary, "tune", "--config", file, "--device", "cuda", "--batches", batch, "--prompts", 128,
                       "--context", tokens, "--no-steps", "--fresh", "--out", file.with_suffix(".plan"), "--json")
    for line in lines:
        case = line["case"]
        if case.startswith(f"Attention BF16 m={batch} ") and f" tokens={tokens} " in case and "decode=1" in case:
            return line
    return None


# ---- pairs ----

def report(results, line, unit, ours, theirs, command):
    ratios = [b / a for a, b in zip(ours, theirs)]
    line.update({unit: round(statistics.median(ours), 4), f"peer_{unit}": round(statistics.median(theirs), 4),
                 "ratio": round(statistics.median(ratios), 3), "ratio_spread": [round(min(ratios), 3),
                                                                                round(max(ratios), 3)],
                 "pairs": len(ratios), "date": str(datetime.date.today()), "command": command})
    with results.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(f"{line['case']:<34} unimax {line[unit]:>9.3f} {unit}, {line['peer']} {line[f'peer_{unit}']:>9.3f} {unit}, "
          f"ratio {line['ratio']:.3f} ({line['ratio_spread'][0]:.3f} to {line['ratio_spread'][1]:.3f})", flush=True)
    return line["ratio"]


def whole_steps(args):
    for model in args.models.split(","):
        for batch in map(int, args.batches.split(",")):
            ours, theirs, found = [], [], {}
            for _ in range(args.pairs):
                own = own_step(args.binary, model, batch)
                found = child("peer-steps", model, batch)
                if "error" in found:
                    print(f"{model} batch {batch}: transformers: {found['error']}", flush=True)
                    break
                ours.append(own["ms"])
                theirs.append(found["ms"])
            if theirs:
                report(args.results, {"bench": "decode", "case": f"{model} batch {batch} context {CONTEXT}",
                                      "device": found["device"],
                                      "peer": f"transformers {found['transformers']} compiled",
                                      "torch": found["torch"]}, "ms", ours, theirs,
                       f"bench/torch_peers.py steps --models {model} --batches {batch}")


def attention(args):
    ratios = []
    for case in args.cases.split(","):
        batch, tokens = map(int, case.split("x"))
        for model, (heads, kv_heads) in HEADS.items():
            ours, theirs, found = [], [], {}
            for _ in range(args.pairs):
                own = own_attention(args.binary, model, batch, tokens)
                found = child("peer-attention", batch, tokens, heads, kv_heads)
                if own is None or "error" in found:
                    print(f"{case} {model}: {found.get('error') or 'unimax has no such case'}", flush=True)
                    break
                ours.append(own["us"])
                theirs.append(found["us"])
            if theirs:
                name = f"attention {heads}/{kv_heads} batch {batch} tokens {tokens}"
                ratios.append(report(args.results, {"bench": "attention", "case": name, "row": own["row"],
                                                    "device": found["device"], "peer": f"cuDNN {found['cudnn']}",
                                                    "torch": found["torch"]}, "us", ours, theirs,
                                     f"bench/torch_peers.py attention --cases {case}"))
    if ratios:
        print(f"{len(ratios)} cases: geometric mean {statistics.geometric_mean(ratios):.3f}, least {min(ratios):.3f}")


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "peer-steps":
        return peer_steps(sys.argv[2], int(sys.argv[3]))
    if len(sys.argv) > 1 and sys.argv[1] == "peer-attention":
        return peer_attention(*map(int, sys.argv[2:6]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("steps", "attention"))
    parser.add_argument("--binary", default=str(ROOT / "build/release/unimax"))
    parser.add_argument("--models", default=",".join(HEADS))
    parser.add_argument("--batches", default="1,8")
    parser.add_argument("--cases", default=CASES, help="batch x cached tokens, a list")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "bench/results/torch_peers.jsonl")
    args = parser.parse_args()
    return whole_steps(args) if args.what == "steps" else attention(args)


if __name__ == "__main__":
    sys.exit(main())
