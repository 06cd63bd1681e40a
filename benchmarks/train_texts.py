"""Write the texts of a recipe's training rows, without labels, as a table for ``data.unlabelled``.

python benchmarks/train_texts.py my.yaml unlabelled.csv
"""

from __future__ import annotations

import sys

import numpy as np

from hrkd.recipe.loading import load_recipe
from hrkd.run.prepare import prepare_data


def main() -> None:
    """Read the recipe's data section and write the table."""
    recipe, target = sys.argv[1:]
    train = prepare_data(load_recipe(recipe, needed=("data",)).data).drawn.train
    domains = np.asarray(train.domains)[train.domain_ids]
    train.rows.to_pandas()[["text"]].assign(domain=domains).to_csv(target, index=False)


if __name__ == "__main__":
    main()
