"""Measure steps of fine-tuning in bf16 against those in 32-bit, as ratios in one run, and print a Markdown record.

    OMP_NUM_THREADS=1 python benchmarks/precisions.py [--repetitions 3]

Times are those of the processor in one thread, so that other work on the machine disturbs little; ways take turns.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

from bench import machine
from kernel_sizes import fine_tuning_step, ratios

from hrkd.models import cpu_kernels
from hrkd.models.dropout import without_dropout

MODELS = [(384, 6, 12, 1536), (768, 12, 12, 3072), (192, 3, 12, 768), (192, 3, 3, 768), (312, 4, 12, 1200)]
"""Width, layers, heads, feed-forward width."""
BATCHES = [(8, 64), (8, 256)]
PRODUCTS = ("amx_bf16", "avx512_bf16")
"""What a processor that multiplies in bf16 calls it."""


def step_ratios(
    model: tuple[int, int, int, int], rows: int, tokens: int, *, dropout: bool, repetitions: int
) -> tuple[float, dict[str, float]]:
    """Milliseconds of a step in 32-bit with the package's kernels, and what those in bf16 take of it."""
    classifier, step = fine_tuning_step(model, rows, tokens)

    def of_torch() -> None:
        with cpu_kernels.use_kernels("torch"):
            step(bf16=True)

    ways = {
        "torch": step,  # what the others are multiples of
        "bf16, kernels of torch": of_torch,
        "bf16": lambda: step(bf16=True),
    }
    if dropout:
        return ratios(ways, repetitions)
    with without_dropout(classifier):
        return ratios(ways, repetitions)


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    there = [flag for flag in PRODUCTS if flag in flags]
    print(f"# Steps in bf16\n\n    {' '.join(['python', *sys.argv])}\n")
    print(f"* {machine()}, {platform.machine()}; products in bf16: {', '.join(there) or 'none'}; "
          f"load {os.getloadavg()[0]:.1f} at the start")  # fmt: skip
    print(
        "* the processor's time in the median of the turns; random weights, AdamW, clipping; 32-bit: the kernels of the"
    )
    print("  package; bf16: autocast, dropout and attention with it by torch or by the package\n")
    print("| width x layers x heads x feed-forward | rows x tokens | dropout | 32-bit, ms | bf16, torch / 32-bit "
          "| bf16 / 32-bit |\n|---|---:|---:|---:|---:|---:|")  # fmt: skip
    for model in MODELS:
        for rows, tokens in BATCHES:
            for dropout in (True, False):
                base, found = step_ratios(model, rows, tokens, dropout=dropout, repetitions=arguments.repetitions)
                print(f"| {' x '.join(map(str, model))} | {rows} x {tokens} | {0.1 if dropout else 0} | {base:.0f} | "
                      f"{found['bf16, kernels of torch']:.2f} | {found['bf16']:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
