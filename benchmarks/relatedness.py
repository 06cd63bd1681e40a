"""Does a learnt graph find which domains are related? On the generated corpus, where that is known.

    python benchmarks/relatedness.py > benchmarks/results/2026-01-31-relatedness.md

Students are those of the demo recipe with 800 reviews a domain and six epochs (one teacher for all), three seeds each.
A graph that had found it would look more at the domain of the same group than at each of the others.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench import machine

from hrkd.cli.terminal import prepare
from hrkd.data.synthetic import synthetic_reviews
from hrkd.pipeline import distill, train_teacher
from hrkd.recipe import load_recipe

SEEDS, EPOCHS, EXAMPLES = 3, 6, 800
RELATIONAL = {"method.graph": "relational", "method.hierarchy": "none"}
GRAPHS = {
    "published, fixed": {"method.hierarchy": "none"},
    "relational, joint": {**RELATIONAL, "method.learning": "joint"},
    "relational, meta": {**RELATIONAL, "method.learning": "meta"},
}


def looks(table: pd.DataFrame, epoch: int, groups: tuple[tuple[str, ...], ...]) -> dict[int, tuple[float, float]]:
    """Mean weights given to the related domain, and to each of the others, by level, in one epoch."""
    partner = {name: other for one, two in groups for name, other in ((one, two), (two, one))}
    own = table[(table["epoch"] == epoch) & (table["domain"].astype(str) != table["other"].astype(str))]
    related = own["other"].astype(str) == own["domain"].astype(str).map(partner)
    means = own.assign(related=related).groupby(["level", "related"])["weight"].mean().unstack()
    return {int(level): (float(row[True]), float(row[False])) for level, row in means.iterrows()}


def main() -> None:
    """Measure and print."""
    prepare()
    groups = synthetic_reviews(domains=4, examples=40).groups
    print(f"# Does the graph find related domains?\n\n    {' '.join(['python', *sys.argv])}\n\n* {machine()}")
    print(f"* groups: {'; '.join(' and '.join(group) for group in groups)}")
    print(f"* {EXAMPLES} reviews a domain, {EPOCHS} epochs, {SEEDS} seeds\n")
    print("Attention is the mean over heads; related minus others is the mean over seeds and domains, each seed in")
    print("brackets, in the first epoch and in the last. Ratios are those of the last epoch.\n")
    print("| graph | level | first epoch | last epoch | ratios, least to most | student, test % |")
    print("|---|---:|---|---|---|---:|")
    with tempfile.TemporaryDirectory() as folder:
        common = {"cache.folder": f"{folder}/cache", "data.synthetic.examples": EXAMPLES}
        teacher = train_teacher(load_recipe("demo", {"run.output": f"{folder}/teacher", **common}))
        for number, (name, method) in enumerate(GRAPHS.items()):
            runs: list[tuple[pd.DataFrame, dict[str, Any]]] = []
            for seed in range(SEEDS):
                output = Path(folder) / f"{number}-{seed}"
                changes: dict[str, Any] = {"run.seed": seed, "run.output": str(output), "student.baseline": False}
                changes |= {"student.training.epochs": EPOCHS, **common, **method}
                results = distill(load_recipe("demo", changes), teacher_folder=teacher)
                runs.append((pd.read_parquet(output / "metrics" / "student" / "relations"), results))
            accuracy = np.mean([results["models"]["student"]["test"]["mean"]["accuracy"] for _, results in runs])
            for level in (0, 1):
                cells = []
                for epoch in (1, EPOCHS):
                    gaps = [np.subtract(*looks(table, epoch, groups)[level]) for table, _ in runs]
                    cells.append(f"{np.mean(gaps):+.3f} ({', '.join(f'{gap:+.3f}' for gap in gaps)})")
                ratios = [row["mean"] for _, results in runs for row in results["ratios"] if row["level"] == level]
                spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
                print(f"| {name} | {level} | {cells[0]} | {cells[1]} | {spread} | {100 * accuracy:.1f} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
