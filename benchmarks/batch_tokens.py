"""How many tokens an engine should get at a time: texts a second by the tokens of a forward pass, on one core.

python benchmarks/batch_tokens.py RECIPE FOLDER...     # students and exports; RECIPE names the data, whose test texts

Whole texts, and the first 15 words of each; tokenising is not in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hrkd.deploy.export_folder import is_export
from hrkd.deploy.predict import Predictor
from hrkd.recipe.loading import load_recipe
from hrkd.run.prepare import prepare_data

TOKENS = (1, 256, 512, 1024, 2048, 4096, 8192)
MOST_ROWS = 64


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = prepare_data(load_recipe(arguments.recipe, needed=("data",)).data).splits.test.rows["text"][:]
    kinds = {"whole": texts, "15 words": [" ".join(text.split()[:15]) for text in texts]}
    print(f"| model | texts | {' | '.join(f'{n:,}' for n in TOKENS)} |\n|---|---|{'---:|' * len(TOKENS)}")
    for folder in arguments.folders:
        how = {"threads": 1} if is_export(folder) else {"device": "cpu"}
        predictor = Predictor.from_pretrained(folder, **how)
        for kind, asked in kinds.items():
            speeds = [_speeds(predictor, asked) for _ in range(1 + arguments.rounds)][1:]
            cells = " | ".join(f"{speed:,.0f}" for speed in np.median(speeds, axis=0))
            print(f"| {folder.name} | {kind} | {cells} |", flush=True)


def _speeds(predictor: Predictor, texts: Sequence[str]) -> list[float]:
    columns, _ = predictor.engine.encode(texts, None)
    lengths = list(map(len, columns["input_ids"]))
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    found = []
    for tokens in TOKENS:
        start, began = 0, time.perf_counter()
        while start < len(order):
            chosen = order[start : start + max(1, min(MOST_ROWS, tokens // lengths[order[start]]))]
            start += len(chosen)
            batch = {name: [values[i] for i in chosen] for name, values in columns.items()}
            predictor.engine.logits(batch, np.zeros(len(chosen), dtype=np.int64))
        found.append(len(order) / (time.perf_counter() - began))
    return found


if __name__ == "__main__":
    main()
