"""Texts a second of students on one core: with tokenising, and of the model alone; beside a linear model.

python benchmarks/static_speed.py RECIPE runs/encoder/student runs/static/student

The first student is what the others are held against. RECIPE names the data, whose test rows are read.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from setting import interleaved

from hrkd.deploy.export_folder import is_export
from hrkd.deploy.predict import Predictor
from hrkd.linear.model import fit_linear
from hrkd.recipe.loading import load_recipe
from hrkd.run.prepare import prepare_data

BATCH = 64
WHOLE, ALONE = "texts/s, tokenising included", "texts/s, model alone"
LINEAR = "TF-IDF + logistic regression"


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("students", type=Path, nargs="+")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    splits = prepare_data(load_recipe(arguments.recipe, needed=("data",)).data).splits
    texts = splits.test.rows["text"][:]
    model = fit_linear(splits.train, splits.dev)
    ways: dict[tuple[str, str], Callable[[], object]] = {}
    for folder in arguments.students:
        predictor = Predictor.from_pretrained(folder, **({"threads": 1} if is_export(folder) else {"device": "cpu"}))
        ways[str(folder), WHOLE] = partial(
            predictor.probabilities, texts, domain=predictor.facts.domains[0], batch_size=BATCH
        )
        ways[str(folder), ALONE] = _model_alone(predictor, texts)
    ways[LINEAR, WHOLE] = partial(model.predict, splits.test)
    speeds = {way: len(texts) / timing.median for way, timing in interleaved(ways, arguments.repetitions).items()}
    print(f"{len(texts)} texts, batches of {BATCH}, one thread, median of {arguments.repetitions} runs in turn\n")
    print(f"| model | {WHOLE} | times | {ALONE} | times |\n|---|---:|---:|---:|---:|")
    first = str(arguments.students[0])
    for name in dict.fromkeys(name for name, _ in speeds):
        cells = [
            f"{speeds[name, way]:,.0f} | {speeds[name, way] / speeds[first, way]:.1f}"
            if (name, way) in speeds
            else " | "
            for way in (WHOLE, ALONE)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def _model_alone(predictor: Predictor, texts: list[str]) -> Callable[[], None]:
    """A pass over all texts, tokenised beforehand."""
    columns, _ = predictor.engine.encode(texts, None)
    order = np.argsort([-len(ids) for ids in columns["input_ids"]], kind="stable")
    batches = [
        {name: [values[i] for i in order[start : start + BATCH]] for name, values in columns.items()}
        for start in range(0, len(order), BATCH)
    ]
    ids = np.zeros(BATCH, dtype=np.int64)

    def run() -> None:
        for batch in batches:
            predictor.engine.logits(batch, ids[: len(batch["input_ids"])])

    return run


if __name__ == "__main__":
    main()
