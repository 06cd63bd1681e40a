"""Does a learnt graph find which domains are related? On the generated corpus, where that is known.

    python benchmarks/relatedness.py > benchmarks/results/2026-01-31-relatedness.md

Students are those of the demo recipe with 800 reviews a domain and six epochs (one teacher for all), three seeds each.
A graph that had found it would look more at the domain of the same group than at each of the others. For comparison:
whether gradients know it, by the cosines between the gradients of two domains' losses by the finished student's
encoder; whether prototypes do, by the cosines between the centred means of two domains' states; and whether what sets
the classes apart does, by the cosines between the centred differences of a domain's mean states of both classes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from bench import machine
from transformers import AutoTokenizer

from hrkd.cli.terminal import prepare
from hrkd.config import Recipe
from hrkd.data.batching import Batch, tokenize
from hrkd.data.synthetic import synthetic_reviews
from hrkd.method.prototypes import centred, prototypes
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.pipeline import distill, train_teacher
from hrkd.preparation import prepare_data
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


def similarities(model: MultiDomainClassifier, batch: Batch) -> dict[str, pd.DataFrame]:
    """Cosines between domains, (D, D): of their losses' gradients by the encoder, prototypes, and class differences."""
    domains = len(model.domains)
    levels = range(model.encoder.config.num_hidden_layers + 1)
    trace = model.eval()(**batch.inputs, domain_ids=batch.domain_ids, hidden_states=levels)
    encoder = [each for each in model.encoder.parameters() if each.requires_grad]
    found = []
    for domain in range(domains):
        own = batch.domain_ids == domain
        loss = torch.nn.functional.cross_entropy(trace.logits[own], batch.labels[own])
        gradients = torch.autograd.grad(loss, encoder, retain_graph=True, materialize_grads=True)
        found.append(torch.cat([each.flatten() for each in gradients]))
    compared = {"gradients": torch.stack(found)}
    states = [each.detach() for each in trace.hidden_states]
    means = prototypes(states, batch.mask, batch.domain_ids, domains)
    compared |= {f"prototypes, level {level}": each for level, each in enumerate(centred(means))}
    negative, positive = (
        prototypes([each[rows] for each in states], batch.mask[rows], batch.domain_ids[rows], domains)
        for rows in (batch.labels == 0, batch.labels == 1)
    )
    differences = centred(positive - negative)
    compared |= {f"class differences, level {level}": each for level, each in enumerate(differences)}
    unit = {name: torch.nn.functional.normalize(each, dim=-1) for name, each in compared.items()}
    names = model.domains
    return {kind: pd.DataFrame((each @ each.T).numpy(), names, names) for kind, each in unit.items()}


def dev_rows(teacher: Path, recipe: Recipe) -> Batch:
    """All dev rows of a recipe in one batch."""
    splits = prepare_data(recipe.data, None, None).splits
    rows = tokenize(splits.dev, AutoTokenizer.from_pretrained(teacher), recipe.data.max_length)
    return rows.batch(range(len(rows)))


def gap(cosines: pd.DataFrame, groups: tuple[tuple[str, ...], ...]) -> float:
    """Mean over pairs of the same group minus mean over the other pairs."""
    group = {name: number for number, names in enumerate(groups) for name in names}
    pairs = [(one, other) for one in cosines.index for other in cosines.columns if one != other]
    same = [cosines.loc[pair] for pair in pairs if group[pair[0]] == group[pair[1]]]
    return float(np.mean(same) - np.mean([cosines.loc[pair] for pair in pairs if group[pair[0]] != group[pair[1]]]))


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
        dev = dev_rows(teacher, load_recipe("demo", common))
        known: dict[str, list[float]] = {}
        for number, (name, method) in enumerate(GRAPHS.items()):
            runs: list[tuple[pd.DataFrame, dict[str, Any]]] = []
            for seed in range(SEEDS):
                output = Path(folder) / f"{number}-{seed}"
                changes: dict[str, Any] = {"run.seed": seed, "run.output": str(output), "student.baseline": False}
                changes |= {"student.training.epochs": EPOCHS, **common, **method}
                results = distill(load_recipe("demo", changes), teacher_folder=teacher)
                runs.append((pd.read_parquet(output / "metrics" / "student" / "relations"), results))
                student = MultiDomainClassifier.from_pretrained(output / "student")
                for kind, cosines in similarities(student, dev).items():
                    known.setdefault(kind, []).append(gap(cosines, groups))
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
    print("\nCosines between domains of one group minus those between others, of all students on the dev rows:\n")
    for kind, gaps in known.items():
        print(f"* {kind}: {np.mean(gaps):+.3f} ({min(gaps):+.3f} to {max(gaps):+.3f})")


if __name__ == "__main__":
    main()
