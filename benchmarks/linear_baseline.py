"""What TF-IDF with logistic regression reaches on the rows of grids, beside what was recorded of distillation.

python benchmarks/linear_baseline.py benchmarks/grids/amazon_full.yaml [data.fraction=0.5 ...] [GRID.yaml ...]

Overrides hold for the grid before them. Runs from the folder that the grids run from.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import yaml

from hrkd.linear.model import fit_linear
from hrkd.recipe.loading import load_recipe
from hrkd.run.prepare import prepare_data

HEAD = "| grid | training rows | form | C | dev, % | test, mean over domains, % | fit, s | texts/s, one core | MB |"


def main() -> None:
    """Fit one model for each grid and print a table in Markdown."""
    asked: list[tuple[str, dict[str, object]]] = []
    for argument in sys.argv[1:]:
        if "=" in argument:
            name, _, value = argument.partition("=")
            asked[-1][1][name] = yaml.safe_load(value)
        else:
            asked.append((argument, {}))
    print(f"{HEAD}\n|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for path, changes in asked:
        recipe = load_recipe(yaml.safe_load(Path(path).read_text(encoding="utf-8"))["recipe"], changes)
        splits = prepare_data(recipe.data).splits
        model = fit_linear(splits.train, splits.dev)
        of_dev, of_test = (_accuracy(model.predict(part), part) for part in (splits.dev, splits.test))
        told = " ".join([Path(path).stem, *(f"{name}={value}" for name, value in changes.items())])
        rows, seconds, speed = f"{len(splits.train):,}", model.seconds, _speed(model, splits.test)
        print(
            f"| {told} | {rows} | {model.form} | {model.strength:g} | {of_dev:.1f} | {of_test:.1f} | {seconds:.1f} | "
            f"{speed:,.0f} | {model.megabytes:.1f} |",
            flush=True,
        )


def _accuracy(probabilities: np.ndarray, part) -> float:
    right = probabilities.argmax(axis=1) == part.label_ids
    return 100 * float(np.mean([right[part.domain_ids == d].mean() for d in range(len(part.domains))]))


def _speed(model, part) -> float:
    from time import perf_counter

    start = perf_counter()
    model.predict(part)
    return len(part) / (perf_counter() - start)


if __name__ == "__main__":
    main()
