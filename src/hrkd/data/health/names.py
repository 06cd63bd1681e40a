"""Names of labels and domains that may be one, and classes that domains lack or hardly have."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from hrkd.data.alike import read_alike, slips
from hrkd.data.health.finding import Example, Finding, example_at
from hrkd.data.health.sides import nearly_empty
from hrkd.data.types import PARTS, MultiDomainDataset, Splits
from hrkd.support.messages import count_of, first_of

__all__ = ["find_classes", "find_names"]

ALIKE = {"label": "D101", "domain": "D301"}
MISSPELT = {"label": "D102", "domain": "D302"}
TO_LEARN, TO_MEASURE = 10, 5
"""Rows of a class in a domain below which it is rare: in train; in dev or test."""
MOSTLY = 0.9


def find_names(role: str, counts: Mapping[str, int], first: Mapping[str, str]) -> list[Finding]:
    """Labels or domains that read alike, or look misspelt.

    Args:
        role: "label" or "domain".
        counts: rows by name.
        first: where the first row of each name stands.
    """
    found = []
    for names in read_alike(counts):
        told = " and ".join(f"{shown} ({count_of(counts[name])})" for name, shown in names)
        rarest = min((name for name, _ in names), key=lambda name: counts[name])
        rows = sum(counts[name] for name, _ in names)
        what = f"{told} are {len(names)} {role}s and read alike"
        found.append(Finding(ALIKE[role], what, rows=rows, example=Example(first[rarest])))
    for rare, frequent in slips(counts):
        told = f"{rare!r} ({count_of(counts[rare])}) may be {frequent!r} ({count_of(counts[frequent])}) misspelt"
        found.append(Finding(MISSPELT[role], told, rows=counts[rare], example=Example(first[rare])))
    return found


def find_classes(dataset: MultiDomainDataset, splits: Splits | None, doubtful: Collection[str] = ()) -> list[Finding]:
    """One class alone; and in each domain, classes that are rare, absent, or nearly all there is.

    Args:
        dataset: all rows.
        splits: their parts, where they could be split.
        doubtful: labels that may be others, misspelt; they are not told again.
    """
    tables = {"all": _table(dataset)} if splits is None else {name: _table(part) for name, part in splits}
    whole = np.sum(list(tables.values()), axis=0)
    labels = np.array([repr(label) for label in dataset.labels])
    found: list[Finding] = []
    if len(labels) < 2:
        return [Finding("D108", f"all {count_of(len(dataset))} have the label {labels[0]}", rows=len(dataset))]
    domain_ids, label_ids = dataset.domain_ids, dataset.label_ids
    sure = [y for y, label in enumerate(dataset.labels) if label not in doubtful]
    if len(dataset.domains) > 1:
        shared = (whole > 0).sum(axis=0) > 1
        for d, domain in enumerate(dataset.domains):
            absent = labels[(whole[d] == 0) & shared]
            if len(absent) and whole[d].sum():
                found.append(Finding("D105", f"no row has the label {first_of(list(absent))}", domain, 0))
    told = nearly_empty((dataset if splits is None else splits.train).rows_by_domain())
    listed_labels: set[int] = set()
    for d, domain in enumerate(dataset.domains):
        rare = [] if domain in told else [y for y in sure if whole[d, y] and _is_rare(tables, d, y)]
        if rare:
            rare.sort(key=lambda y: whole[d, y])
            listed_labels |= set(rare)
            listed = first_of([f"{labels[y]} ({_rows(tables, d, y)})" for y in rare], "; ")
            row = np.flatnonzero((domain_ids == d) & (label_ids == rare[0]))[0]
            rows = int(whole[d, rare].sum())
            found.append(Finding("D104", f"few rows of {listed}", domain, rows, example_at(dataset, row)))
        most, total = int(whole[d].argmax()), int(whole[d].sum())
        if total and whole[d, most] > MOSTLY * total:
            share = f"{100 * whole[d, most] / total:.0f} %"
            found.append(Finding("D106", f"{share} of {count_of(total)} have the label {labels[most]}", domain, total))
    for y in sure:  # of domains that are nearly empty, too, a label that hardly stands anywhere
        rows = int(whole[:, y].sum())
        if y not in listed_labels and 0 < rows < TO_LEARN:
            example = example_at(dataset, np.flatnonzero(label_ids == y)[0])
            found.append(Finding("D104", f"{count_of(rows)} of {labels[y]} in all", "", rows, example))
    return found


def _is_rare(tables: Mapping[str, np.ndarray], d: int, y: int) -> bool:
    least = {"train": TO_LEARN, "all": TO_LEARN + 2 * TO_MEASURE}
    return any(table[d, y] < least.get(name, TO_MEASURE) for name, table in tables.items())


def _rows(tables: Mapping[str, np.ndarray], d: int, y: int) -> str:
    if "all" in tables:
        return count_of(int(tables["all"][d, y]))
    return ", ".join(f"{int(tables[name][d, y]):,} {name}" for name in PARTS)


def _table(part: MultiDomainDataset) -> np.ndarray:
    """Rows by domain and label, shape (domains, labels)."""
    domains, labels = len(part.domains), len(part.labels)
    cells = np.bincount(part.domain_ids * labels + part.label_ids, minlength=domains * labels)
    return cells.reshape(domains, labels)
