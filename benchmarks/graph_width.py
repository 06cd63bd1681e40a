"""Compare the graph's two widths, H / 8 and the paper's H: weights, how far ratios are from 1/D, students.

    python benchmarks/graph_width.py > benchmarks/results/2026-01-31-graph-width.md

Students are those of the demo recipe (generated corpus, one teacher for all), three seeds each.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import torch
from bench import machine

from hrkd.cli.terminal import prepare
from hrkd.method.build import build_domain_ratios
from hrkd.method.ratios import DomainRatios
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import MethodConfig
from hrkd.run.commands import distill, train_teacher

WIDTHS = {"H / 8": 8, "H": 1}
"""Of each head, as what H is divided by."""
OF_DEMO = 64
"""The H of its teacher."""
LEVELS, SEEDS, DRAWS = 5, 3, 20


def ratios(width: int, domains: int, hidden: int) -> DomainRatios:
    """A published graph with its hierarchy."""
    return build_domain_ratios(
        MethodConfig(preset="published", graph_width=width), levels=LEVELS, domains=domains, width=hidden
    )


def distances(width: int, domains: int, hidden: int, noise: float) -> torch.Tensor:
    """|ratio - 1/D| over drawn graphs and prototypes that differ between domains by ``noise``."""
    found = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        graph = ratios(width, domains, hidden).eval()
        means = torch.randn(LEVELS, 1, hidden) + noise * torch.randn(LEVELS, domains, hidden)
        with torch.no_grad():
            found.append((graph(means).domains - 1 / domains).abs())
    return torch.stack(found)


def main() -> None:
    """Measure and print."""
    prepare()
    print(f"# Width of the graph's heads\n\n    {' '.join(['python', *sys.argv])}\n\n* {machine()}\n")
    print(f"## Untrained ratios ({DRAWS} drawn graphs of {LEVELS} levels, evaluation mode)\n")
    print("| head width | H | D | prototypes differ by | weights, millions | mean of abs(r - 1/D) | largest |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for hidden, domains in ((384, 4), (768, 4), (768, 16)):
        for noise in (0.1, 1.0):
            for name, width in ((name, hidden // divisor) for name, divisor in WIDTHS.items()):
                graph = ratios(width, domains, hidden).graph
                weights = sum(parameter.numel() for parameter in graph.parameters()) / 1e6
                far = distances(width, domains, hidden, noise)
                print(
                    f"| {name} | {hidden} | {domains} | {noise} | {weights:.1f} | {far.mean():.5f} | {far.max():.4f} |"
                )
    print(f"\n## Students of the demo, accuracy on test in % ({SEEDS} seeds)\n")
    print("| head width | mean | of each seed |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        teacher = train_teacher(load_recipe("demo", {"run.output": f"{folder}/teacher"}))
        for name, width in ((name, OF_DEMO // divisor) for name, divisor in WIDTHS.items()):
            scores = []
            for seed in range(SEEDS):
                changes = {"run.seed": seed, "run.output": f"{folder}/{width}-{seed}", "student.baseline": False}
                changes |= {
                    "method.preset": "published",
                    "method.graph_width": width,
                    "cache.folder": str(Path(folder) / "cache"),
                }
                results = distill(load_recipe("demo", changes), teacher_folder=teacher)
                scores.append(100 * results["models"]["student"]["test"]["mean"]["accuracy"])
            print(f"| {name} | {statistics.mean(scores):.1f} | {', '.join(f'{score:.1f}' for score in scores)} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
