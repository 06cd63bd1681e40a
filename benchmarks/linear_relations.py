"""Does relating domains pay for a linear model on the generated corpus, where it is known which are related?

python benchmarks/linear_relations.py > benchmarks/results/2026-01-31-linear-relations.md

What `hrkd data` checks on dev, here on test, where the regularisation is chosen too, for all alike.
"""

from __future__ import annotations

import numpy as np
from bench import machine

from hrkd.linear.relations import RelatedRows, permuted, right_by_relations, smoothed_cosines
from hrkd.recipe.loading import load_recipe
from hrkd.run.prepare import prepare_data

DOMAINS, EXAMPLES, SPLITS = 8, 800, 3


def main() -> None:
    """Measure and print a table in Markdown."""
    print(f"# Relations between domains, a linear check\n\n    python benchmarks/linear_relations.py\n\n* {machine()}")
    print(
        f"* {DOMAINS} domains in groups of two, {EXAMPLES} reviews each, {SPLITS} splits; test accuracy in % (each)\n"
    )
    print("| relatedness | labels | training rows | equal relations | theirs | the same between other domains |")
    print("|---:|---:|---:|---:|---:|---:|")
    for relatedness in (0.8, 0.0):
        for fraction in (0.1, 0.3):
            reached: dict[str, list[float]] = {}
            for split in range(SPLITS):
                corpus = {"domains": DOMAINS, "examples": EXAMPLES, "relatedness": relatedness}
                data = {"format": "synthetic", "synthetic": corpus, "fraction": fraction, "split_seed": split}
                parts = prepare_data(load_recipe({"data": data}, needed=("data",)).data, None, None).splits
                rows = RelatedRows.of(parts.train, parts.test)
                relations = smoothed_cosines(rows.products[:, :, None])
                compared = {
                    "equal": np.ones_like(relations[0]),
                    "related": relations[0],
                    "permuted": permuted(relations, split)[0],
                }
                for name, right in right_by_relations(rows, compared).items():
                    reached.setdefault(name, []).append(100 * right.mean())
            cells = [f"{np.mean(each):.1f} ({', '.join(f'{x:.1f}' for x in each)})" for each in reached.values()]
            print(f"| {relatedness:g} | {fraction:.0%} | {len(parts.train):,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
