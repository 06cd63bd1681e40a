"""What a student says of texts whose domain it is not told: accuracy by domain, also of domains that it never learnt.

python benchmarks/unknown_domains.py RECIPE STUDENT      # RECIPE names the data of all domains, whose test rows count

`known`: the domain's own head. `auto`: all heads, by the likeness of a text to their domains' prototypes. `alike`: all
heads alike. `others`: the mean accuracy of single heads of other domains.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hrkd.deploy.predict import Predictor
from hrkd.recipe.loading import load_recipe
from hrkd.run.prepare import prepare_data


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("student", type=Path)
    arguments = parser.parse_args()
    test = prepare_data(load_recipe(arguments.recipe, needed=("data",)).data).splits.test
    predictor = Predictor.from_pretrained(arguments.student)
    texts, known = test.rows["text"][:], predictor.facts.domains
    labels = np.array([predictor.facts.labels.index(test.labels[i]) for i in test.label_ids])
    heads = {name: predictor.probabilities(texts, domain=name) for name in known}
    right = {name: said.argmax(axis=1) == labels for name, said in heads.items()}
    auto = predictor.probabilities(texts, domain="auto").argmax(axis=1) == labels
    alike = np.mean(list(heads.values()), axis=0).argmax(axis=1) == labels
    print("| domain | rows | known | auto | alike | others |\n|---|---:|---:|---:|---:|---:|")
    table = []
    for number, name in enumerate(test.domains):
        here = test.domain_ids == number
        others = [100 * right[other][here].mean() for other in known if other != name]
        own = 100 * right[name][here].mean() if name in known else float("nan")
        table.append([own, 100 * auto[here].mean(), 100 * alike[here].mean(), float(np.mean(others))])
        cells = ["-" if np.isnan(cell) else f"{cell:.1f}" for cell in table[-1]]
        print(f"| {name}{'' if name in known else ' (never learnt)'} | {here.sum()} | {' | '.join(cells)} |")
    means = ["-" if np.isnan(cell) else f"{cell:.2f}" for cell in np.mean(table, axis=0)]
    print(f"| mean | {len(texts)} | {' | '.join(means)} |")


if __name__ == "__main__":
    main()
