#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws where the time of a decode step in one launch goes, from files that `unimax bench --trace` wrote: for each
operation of a layer the time that its bytes take at the read rate, and what it takes beyond that. Needs matplotlib.

  unimax bench --config llama-2-7b.json --device cuda --batch 1 --context 1024 --trace b1.jsonl --json
  bench/step_chart.py --rate 4690 --title "Llama-2-7B, H200" b1.jsonl --out step     step.svg, step.png

An operation's time runs from the last block's end of the one before to the last block's own; of all layers but the
first and last two the median is drawn."""
import argparse
import json
import pathlib
import statistics


def operations(path, rate):
    """Of a layer, in the order in which they run: (name, us at the read rate, us it took); and the step's share."""
    rows = [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
    first = next(i for i, row in enumerate(rows) if row["stage"].startswith("linear"))
    # A layer's length: from one attention to the next.
    attentions = [i for i, row in enumerate(rows) if row["stage"] == "attention"]
    length = attentions[1] - attentions[0]
    layers = range(2, len(attentions) - 2)
    result = []
    for op in range(length):
        stages = [first + layer * length + op for layer in layers]
        took = statistics.median(rows[s]["last_us"] - rows[s - 1]["last_us"] for s in stages)
        floor = rows[stages[0]]["bytes"] / rate * 1e-3
        result.append((rows[stages[0]]["stage"], floor, took))
    whole = sum(row["bytes"] for row in rows) / rate * 1e-3 / rows[-1]["last_us"]
    return result, whole, rows[0]["batch"], rows[0]["context"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="+", help="files of unimax bench --trace")
    parser.add_argument("--rate", type=float, required=True, help="read rate of the same process in GB/s (read_gbps)")
    parser.add_argument("--title", default="", help="model and device")
    parser.add_argument("--out", required=True, help="the pictures' name without .svg and .png")
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "unimax", "svg.fonttype": "none"})  # small, and the same every time
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(options.traces), figsize=(6.4 * len(options.traces), 3.4), squeeze=False,
                                layout="constrained")
    for axis, path in zip(axes[0], options.traces):
        ops, whole, batch, context = operations(path, options.rate)
        names = [name for name, _, _ in ops]
        reads = [min(floor, took) for _, floor, took in ops]  # less than its floor: it was fetched ahead
        axis.barh(names, reads, color="#4878a8", label="its bytes at the read rate")
        axis.barh(names, [took - read for (_, _, took), read in zip(ops, reads)], left=reads, color="#e08a3c",
                  label="beyond that")
        for y, (_, floor, took) in enumerate(ops):
            share = f"{100 * floor / took:.0f} %" if floor > 0 else ""
            axis.text(took, y, f" {took:.1f} us  {share}", va="center", fontsize=8)
        axis.invert_yaxis()
        axis.set_xlim(0, max(took for _, _, took in ops) * 1.3)
        axis.set_xlabel("us of a layer")
        axis.set_title(f"{options.title}, batch {batch}, context {context}: kernel at {100 * whole:.1f} %", fontsize=9)
        axis.legend(fontsize=8, loc="lower right")
        axis.spines[["top", "right"]].set_visible(False)
    for suffix, extra in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": 110})):
        figure.savefig(options.out + suffix, **extra)
        print(options.out + suffix)


if __name__ == "__main__":
    main()
