"""What a part of a text is worth: TF-IDF with logistic regression on heads, tails and both ends of long texts.

python benchmarks/what_is_read.py RECIPE... > benchmarks/results/2026-01-31-what-is-read.md

RECIPE is a file whose data section is read. A stand-in for encoders, which take minutes where this takes seconds, as
far as they are alike in what words tell them. One model of all domains; C is chosen on dev.
"""

from __future__ import annotations

import argparse

import numpy as np
from bench import machine
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from hrkd.data.types import MultiDomainDataset
from hrkd.recipe.loading import load_recipe
from hrkd.run.prepare import prepare_data

WORDS = (50, 100, 200)
STRENGTHS = (1, 3, 10, 30)
WAYS = {
    "head": lambda words, count: words[:count],
    "tail": lambda words, count: words[-count:],
    "head_tail": lambda words, count: words[: count // 2] + words[-(count - count // 2) :],
}


def read(text: str, way: str, count: int) -> str:
    """What is left of a text of more than ``count`` words."""
    words = text.split()
    return text if len(words) <= count else " ".join(WAYS[way](words, count))


def scores(parts: dict[str, MultiDomainDataset], way: str | None, count: int) -> tuple[float, float]:
    """Mean accuracy over domains on dev and on test, with the C that is best on dev."""
    texts = {
        name: [text if way is None else read(text, way, count) for text in part.rows["text"]]
        for name, part in parts.items()
    }
    counts = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    inputs = {"train": counts.fit_transform(texts["train"])}
    inputs |= {name: counts.transform(texts[name]) for name in ("dev", "test")}
    found = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=200).fit(inputs["train"], parts["train"].label_ids)
        reached = []
        for name in ("dev", "test"):
            right = model.predict(inputs[name]) == parts[name].label_ids
            ids = parts[name].domain_ids
            reached.append(float(np.mean([right[ids == d].mean() for d in np.unique(ids)])))
        found.append((reached[0], reached[1]))
    return max(found)


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+")
    recipes = parser.parse_args().recipes
    print(f"# What is read of a text\n\n    python benchmarks/what_is_read.py {' '.join(recipes)}\n\n* {machine()}\n")
    print("Accuracy on test (on dev), %, of TF-IDF with logistic regression.\n")
    print("| data | whole | words | " + " | ".join(WAYS) + " |\n|---|---:|---:|" + "---:|" * len(WAYS))
    for recipe in recipes:
        parts = dict(prepare_data(load_recipe(recipe, needed=("data",)).data, None, None).splits)

        def cell(way: str | None, count: int, parts: dict[str, MultiDomainDataset] = parts) -> str:
            dev, test = scores(parts, way, count)
            return f"{100 * test:.1f} ({100 * dev:.1f})"

        whole = cell(None, 0)
        for count in WORDS:
            print(f"| {recipe} | {whole} | {count} | {' | '.join(cell(way, count) for way in WAYS)} |", flush=True)


if __name__ == "__main__":
    main()
