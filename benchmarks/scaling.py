"""Measure what a step costs against the number of domains, student layers, tokens and rows; print tables, draw a plot.

    python benchmarks/scaling.py [--plot scaling.svg] > benchmarks/results/2026-01-31-scaling.md

One size is varied at a time around 64 rows of 4 domains, 64 tokens and 4 student layers. What the teacher says is at
hand (random numbers), as from a cache, so that the student's side alone is measured. In each table fine-tuning and HRKD
are timed in turns.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from bench import LAYER_MAP, TEACHER, distillation, machine, optimiser_of, steps
from setting import STUDENT, VOCABULARY, bert, interleaved

from hrkd.data.batching import Batch
from hrkd.method.build import build_domain_ratios
from hrkd.models.trace import EncoderTrace, QueriesKeys
from hrkd.recipe.schema import MethodConfig
from hrkd.support.allocator import keep_freed_memory
from hrkd.training.fine_tune import FineTuning

REPETITIONS = 5


@dataclass(frozen=True)
class Size:
    """Of a step."""

    domains: int = 4
    layers: int = 4
    tokens: int = 64
    rows: int = 64


SIZES = {
    "domains": (4, 16, 64),
    "layers": (2, 4, 8),
    "tokens": (32, 64, 128, 256),
    "rows": (16, 64, 256),
}


def batch_of(size: Size) -> Batch:
    """Random tokens, all valid, rows grouped by domain."""
    inputs = {
        "input_ids": torch.randint(5, VOCABULARY, (size.rows, size.tokens)),
        "attention_mask": torch.ones(size.rows, size.tokens, dtype=torch.long),
    }
    domain_ids = torch.arange(size.rows) * size.domains // size.rows
    return Batch(inputs, domain_ids, torch.randint(2, (size.rows,)), torch.arange(size.rows))


def trace_of(size: Size) -> EncoderTrace:
    """Random numbers in the place of a teacher."""
    heads, width = TEACHER["heads"], TEACHER["width"]
    factors = (size.rows, heads, size.tokens, width // heads)
    return EncoderTrace(
        torch.randn(size.rows, 2),
        tuple(torch.randn(size.rows, size.tokens, width) for _ in range(size.layers + 1)),
        tuple(QueriesKeys(torch.randn(factors), torch.randn(factors)) for _ in range(size.layers)),
        tuple(torch.rand(size.rows) for _ in range(size.layers)),
    )


def times_of(size: Size) -> dict[str, float]:
    """Seconds of a step of fine-tuning, of HRKD, and of the graph with its hierarchy alone, in two widths."""
    torch.manual_seed(0)
    names = [f"domain {d}" for d in range(size.domains)]
    sizes = {**STUDENT, "layers": size.layers}
    batch, trace = batch_of(size), trace_of(size)
    tuning = FineTuning(bert(sizes, names, tokens=size.tokens))
    hrkd = distillation(bert(sizes, names, tokens=size.tokens), lambda _: trace, size.domains, levels=size.layers + 1)
    graphs = [
        build_domain_ratios(
            MethodConfig(preset="published", graph_width=width),
            levels=size.layers + 1,
            domains=size.domains,
            width=TEACHER["width"],
        )
        for width in (None, "hidden")
    ]
    means = torch.randn(size.layers + 1, size.domains, TEACHER["width"])
    ways = {}
    for name, module in {"fine-tuning": tuning, "HRKD": hrkd}.items():
        optimiser = optimiser_of(module)
        ways[name] = lambda module=module, optimiser=optimiser: steps(module, optimiser, [batch])
    for name, graph in zip(("graph", "graph of the paper's width"), graphs, strict=True):
        ways[name] = torch.no_grad()(lambda graph=graph: graph(means))
    return {name: timing.median for name, timing in interleaved(ways, REPETITIONS).items()}


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, help="file for the plot, .svg or .png")
    arguments = parser.parse_args()
    keep_freed_memory()
    print(f"# Cost of a step by size\n\n    {' '.join(['python', *sys.argv])}\n")
    print(f"* {machine()}")
    print(f"* student {STUDENT}, teacher's width {TEACHER['width']}, {len(LAYER_MAP)} levels unless layers vary")
    print(f"* otherwise {Size()}; medians of {REPETITIONS} turns, milliseconds")
    _, axes = plt.subplots(1, len(SIZES), figsize=(4 * len(SIZES), 3.5), layout="constrained")
    for axis, (name, values) in zip(axes, SIZES.items(), strict=True):
        print(f"\n## {name}\n")
        print(f"| {name} | fine-tuning | HRKD | ratio | graph alone | graph of the paper's width |")
        print("|---:|---:|---:|---:|---:|---:|")
        found = [times_of(replace(Size(), **{name: value})) for value in values]
        for value, times in zip(values, found, strict=True):
            tuning, ours, *graphs = (1000 * each for each in times.values())
            print(f"| {value} | {tuning:.0f} | {ours:.0f} | {ours / tuning:.2f} | {graphs[0]:.1f} | {graphs[1]:.1f} |")
        sys.stdout.flush()
        for way in found[0]:
            axis.plot(values, [1000 * times[way] for times in found], marker="o", label=way)
        axis.set(xlabel=name, ylabel="ms a step", xscale="log", yscale="log", xticks=values, xticklabels=values)
        axis.minorticks_off()
    axes[0].legend(fontsize="small")
    if arguments.plot is not None:
        plt.savefig(arguments.plot)


if __name__ == "__main__":
    main()
