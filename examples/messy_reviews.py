"""Write a table as people have them: three unequal domains, empty texts, a misspelt label, a text with two labels.

python examples/messy_reviews.py reviews.csv [ROWS]      # texts are generated: what comes of them says nothing
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from hrkd import synthetic_reviews

SHARES = {"books": 0.6, "films": 0.3, "kitchen": 0.1}
STARS = {"negative": "1 star", "positive": "5 stars"}


def main() -> None:
    """Write the table."""
    target, rows = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1500
    corpus = synthetic_reviews(domains=3, examples=rows, seed=7).dataset
    draw, table = np.random.default_rng(7), []
    for number, (name, share) in enumerate(SHARES.items()):
        places = np.flatnonzero(corpus.domain_ids == number)[: int(rows * share)]
        table += [[row["text"], STARS[corpus.labels[row["label"]]], name] for row in corpus.select(places).rows]
    for place in draw.choice(len(table), 4, replace=False):
        table[place][0] = " "
    table[draw.integers(len(table))][1] = "5 sters"
    table.append([table[0][0], "5 stars" if table[0][1] == "1 star" else "1 star", table[0][2]])
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review_text", "rating", "shop_section"])
        writer.writerows(table[place] for place in draw.permutation(len(table)))


if __name__ == "__main__":
    main()
