#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Decode speed beside llama.cpp: the same GGUF, threads and cached tokens, in interleaved pairs.

    bench/llama_cpp_decode.py model.gguf [--threads 2] [--contexts 16,512] [--pairs 10] [--realtime]

Each pair times unimax (`unimax bench --json`, wall-clock median of whole steps) and llama.cpp (llama-cpp-python's
low-level API: one llama_decode of one token and the greedy choice, median of the same number of steps) one after the
other, so that a change in the machine's load meets both. Prints medians, spread and ratio; appends one JSON line a
context to bench/results/cpu.jsonl. --realtime runs both under `chrt -f 50`, which keeps other programs off the cores.
"""

import argparse
import ctypes
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def cpu_name():
    found = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return "{} family {} model {}".format(found.get("model name", "?"), found.get("cpu family"), found.get("model"))


def run_peer(args):
    """Child process: decode times of llama.cpp as one JSON line."""
    import llama_cpp
    import numpy

    llama_cpp.llama_backend_init()
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    model = llama_cpp.llama_model_load_from_file(args.model.encode(), llama_cpp.llama_model_default_params())
    vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    results = {}
    for context in args.contexts:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = context + args.steps + 8
        params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = args.threads
        handle = llama_cpp.llama_init_from_model(model, params)
        ids = [(17 + 31 * i) % vocab for i in range(context)]
        started = time.perf_counter()
        for at in range(0, context, 512):
            part = ids[at:at + 512]
            tokens = (llama_cpp.llama_token * len(part))(*part)
            assert llama_cpp.llama_decode(handle, llama_cpp.llama_batch_get_one(tokens, len(part))) == 0
        prefill = time.perf_counter() - started
        token, times = 5, []
        for _ in range(args.steps):
            started = time.perf_counter()
            one = (llama_cpp.llama_token * 1)(token)
            assert llama_cpp.llama_decode(handle, llama_cpp.llama_batch_get_one(one, 1)) == 0
            logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits(handle), shape=(vocab,))
            token = int(logits.argmax())  # the end token is one like any other here
            times.append(time.perf_counter() - started)
        results[context] = {"tok_s": 1 / statistics.median(times), "prefill_tok_s": context / prefill}
        llama_cpp.llama_free(handle)
    system = llama_cpp.llama_print_system_info().decode().strip()
    print(json.dumps({"version": llama_cpp.__version__, "system": system, "results": results}))


def last_json(command):
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    if run.returncode != 0 or not lines:
        sys.exit(f"{' '.join(command)} failed: {run.stderr[-2000:]}")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--binary", default=str(ROOT / "build/release/unimax"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--contexts", default="16,512", type=lambda s: [int(c) for c in s.split(",")])
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--isa", default="auto")
    parser.add_argument("--name", default="demo", help="the model's name in the results")
    parser.add_argument("--realtime", action="store_true")
    parser.add_argument("--results", default=str(ROOT / "bench/results/cpu.jsonl"))
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return run_peer(args)

    contexts = ",".join(map(str, args.contexts))
    shared = ["--threads", str(args.threads), "--steps", str(args.steps)]
    front = ["chrt", "-f", "50"] if args.realtime else []
    own = front + [args.binary, "bench", args.model, "--device", "cpu", "--isa", args.isa, "--json",
                   "--context", contexts] + shared
    peer = front + [sys.executable, __file__, args.model, "--peer", "--contexts", contexts] + shared
    rows = {context: [] for context in args.contexts}
    executor = version = system = ""
    for pair in range(args.pairs):
        ours = last_json(own)
        theirs = last_json(peer)[0]
        version, system = theirs["version"], theirs["system"]
        for context in args.contexts:
            decode = next(r for r in ours if r["bench"] == "decode" and r["context"] == context)
            prefill = next(r for r in ours if r["bench"] == "prefill" and r["context"] == context)
            executor = decode["executor"]
            other = theirs["results"][str(context)]
            rows[context].append((decode["tok_s"], other["tok_s"], prefill["tok_s"], other["prefill_tok_s"],
                                  decode["gbps"], decode["roofline_share"]))
            print("pair {:2} context {:5}: unimax {:7.1f}  llama.cpp {:7.1f} tok/s".format(pair, context,
                                                                                          *rows[context][-1]))
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            check=False).stdout.strip()
    results = pathlib.Path(args.results)
    results.parent.mkdir(parents=True, exist_ok=True)
    for context, pairs in rows.items():
        column = [statistics.median(row[i] for row in pairs) for i in range(6)]
        ratios = [row[0] / row[1] for row in pairs]
        line = {"bench": "decode", "model": args.name, "device": cpu_name(), "isa": executor, "threads": args.threads,
                "context": context, "pairs": len(pairs), "tok_s": round(column[0], 1),
                "peer": f"llama-cpp-python {version}", "peer_isa": system, "peer_tok_s": round(column[1], 1),
                "ratio": round(statistics.median(ratios), 3),
                "ratio_spread": [round(min(ratios), 3), round(max(ratios), 3)],
                "prefill_tok_s": round(column[2], 1), "peer_prefill_tok_s": round(column[3], 1),
                "gbps": round(column[4], 1), "roofline_share": round(column[5], 3), "realtime": args.realtime,
                "load": round(os.getloadavg()[0], 1), "commit": commit, "date": str(datetime.date.today()),
                "command": "bench/llama_cpp_decode.py MODEL --threads {} --contexts {} --pairs {}{}{}".format(
                    args.threads, contexts, args.pairs, "" if args.isa == "auto" else f" --isa {args.isa}",
                    " --realtime" if args.realtime else "")}
        with results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print("context {}: unimax {:.1f} tok/s ({:.1f} to {:.1f}), llama.cpp {:.1f} ({:.1f} to {:.1f}), ratio {:.2f}; "
              "prefill {:.0f} and {:.0f} tok/s".format(
                  context, column[0], min(r[0] for r in pairs), max(r[0] for r in pairs), column[1],
                  min(r[1] for r in pairs), max(r[1] for r in pairs), line["ratio"], column[2], column[3]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
