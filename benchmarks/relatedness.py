"""Does a learnt graph find which domains are related? On the generated corpus, where that is known.

    python benchmarks/relatedness.py > benchmarks/results/2026-01-31-relatedness.md

Students are those of the demo recipe with 800 reviews a domain and six epochs (one teacher for all), three seeds each.
A graph that had found it would look more at the domain of the same group than at each of the others; its ratios have
a reason to differ only where one domain stands against a group of two. For comparison:
whether gradients know it, by the cosines between the gradients of two domains' losses by the finished student's
encoder; whether prototypes do, by the cosines between the centred means of two domains' states; and whether what sets
the classes apart does, by the cosines between the centred differences of a domain's mean states of both classes.
"""

from __future__ import annotations

import json
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
from hrkd.data.batching import Batch, tokenize
from hrkd.data.synthetic.corpus import synthetic_reviews
from hrkd.method.prototypes import centred, prototypes
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.recipe.loading import load_recipe
from hrkd.recipe.schema import Recipe
from hrkd.run.commands import distill, train_teacher
from hrkd.run.prepare import prepare_data

SEEDS, EPOCHS, EXAMPLES = 3, 6, 800
CORPORA = ((4, 0.8), (4, 0.0), (3, 0.8))
"""Domains and their relatedness: two groups of two; the same, related by chance; one group and a domain against it."""
RELATIONAL = {"method.graph": "relational", "method.hierarchy": "none"}
GRAPHS = {
    "published, fixed": {"method.hierarchy": "none"},
    "relational, joint": {**RELATIONAL, "method.learning": "joint"},
    "relational, meta": {**RELATIONAL, "method.learning": "meta"},
}


def looks(table: pd.DataFrame, epoch: int, groups: tuple[tuple[str, ...], ...]) -> dict[int, tuple[float, float]]:
    """Mean weights given to the related domain, and to each of the others, by level, in one epoch."""
    pairs = [group for group in groups if len(group) == 2]
    partner = {name: other for one, two in pairs for name, other in ((one, two), (two, one))}
    own = table[(table["epoch"] == epoch) & (table["domain"].astype(str) != table["other"].astype(str))]
    own = own[own["domain"].astype(str).isin(partner)]
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
    means = prototypes(states, batch.mask, batch.domain_ids, domains).mean
    compared |= {f"prototypes, level {level}": each for level, each in enumerate(centred(means))}
    negative, positive = (
        prototypes([each[rows] for each in states], batch.mask[rows], batch.domain_ids[rows], domains).mean
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


def distilled(name: str, seed: int, folder: Path, teacher: Path, common: dict[str, Any]) -> Path:
    """The run of one student, without its baseline."""
    output = folder / f"{name}-{seed}"
    changes = {"run.seed": seed, "run.output": str(output), "student.baseline": False, **common, **GRAPHS[name]}
    distill(load_recipe("demo", {"student.training.epochs": EPOCHS, **changes}), teacher_folder=teacher)
    return output


def study(domains: int, relatedness: float, folder: Path) -> None:
    """All graphs on one corpus."""
    groups = synthetic_reviews(domains=domains, relatedness=relatedness, examples=40).groups
    print(f"## {'; '.join(' and '.join(group) for group in groups)}; relatedness {relatedness:g}\n")
    print("| graph | level | first epoch | last epoch | ratios | of any seed | student, test % |")
    print("|---|---:|---|---|---|---|---:|")
    corpus = {"domains": domains, "relatedness": relatedness, "examples": EXAMPLES}
    common = {"cache.folder": str(folder / "cache"), **{f"data.synthetic.{name}": v for name, v in corpus.items()}}
    teacher = train_teacher(load_recipe("demo", {"run.output": str(folder / "teacher"), **common}))
    dev = dev_rows(teacher, load_recipe("demo", common))
    known: dict[str, list[float]] = {}
    for name in GRAPHS:
        runs = [distilled(name, seed, folder, teacher, common) for seed in range(SEEDS)]
        relations = [pd.read_parquet(run / "metrics" / "student" / "relations") for run in runs]
        results = [json.loads((run / "results.json").read_text()) for run in runs]
        for run in runs:
            for kind, cosines in similarities(MultiDomainClassifier.from_pretrained(run / "student"), dev).items():
                known.setdefault(kind, []).append(gap(cosines, groups))
        accuracy = np.mean([each["models"]["student"]["test"]["mean"]["accuracy"] for each in results])
        for level in (0, 1):
            cells = []
            for epoch in (1, EPOCHS):
                gaps = [np.subtract(*looks(table, epoch, groups)[level]) for table in relations]
                cells.append(f"{np.mean(gaps):+.3f} ({', '.join(f'{gap:+.3f}' for gap in gaps)})")
            ratios = pd.DataFrame([row for each in results for row in each["ratios"] if row["level"] == level])
            means = ratios.groupby("domain", sort=False)["mean"].mean()
            shares = ", ".join(f"{domain} {share:.3f}" for domain, share in means.items())
            spread = f"{ratios['mean'].min():.3f} to {ratios['mean'].max():.3f}"
            print(f"| {name} | {level} | {cells[0]} | {cells[1]} | {shares} | {spread} | {100 * accuracy:.1f} |")
        sys.stdout.flush()
    print("\nCosines between domains of one group minus those between others, of all students on the dev rows:\n")
    for kind, gaps in known.items():
        print(f"* {kind}: {np.mean(gaps):+.3f} ({min(gaps):+.3f} to {max(gaps):+.3f})")
    print()


def main() -> None:
    """Measure and print."""
    prepare()
    print(f"# Does the graph find related domains?\n\n    {' '.join(['python', *sys.argv])}\n\n* {machine()}")
    print(f"* {EXAMPLES} reviews a domain, {EPOCHS} epochs, {SEEDS} seeds\n")
    print("Attention is the mean over heads; related minus others is the mean over seeds and domains, each seed in")
    print(
        "brackets, in the first epoch and in the last. Ratios are those of the last epoch, as means over seeds, and the"
    )
    print("least and the greatest of any seed.\n")
    for domains, relatedness in CORPORA:
        with tempfile.TemporaryDirectory() as folder:
            study(domains, relatedness, Path(folder))


if __name__ == "__main__":
    main()
