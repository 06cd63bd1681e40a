"""Sizes of domains and of the parts of a split, and texts that stand in two of these."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from hrkd.data.health.finding import Finding, example_at
from hrkd.data.splits.draws import text_keys
from hrkd.data.types import PARTS, MultiDomainDataset, Splits
from hrkd.support.messages import count_of, first_of

__all__ = ["find_overlaps", "find_parts", "find_sizes", "nearly_empty", "too_few"]

Ints = npt.NDArray[np.int64]
FEW, TIMES, TO_MEASURE = 50, 20, 30
"""Train rows of a domain that are few; ratio of sizes that is much; rows of a part that are few."""

MOST_NAMED = 10
"""Domains that are named in an advice."""


def find_overlaps(dataset: MultiDomainDataset, given: Mapping[str, Ints]) -> list[Finding]:
    """Copies across the parts that the data itself says, by domain.

    Args:
        dataset: all rows.
        given: rows by part, before anything is removed.
    """
    (keys,), domain_ids = text_keys(dataset), dataset.domain_ids
    found = []
    for source, target in (("dev", "test"), ("train", "test"), ("train", "dev")):
        rows = given[source][np.isin(keys[given[source]], keys[given[target]])]
        owners = domain_ids[rows]
        for d in np.unique(owners):
            own = rows[owners == d]
            copy = given[target][keys[given[target]] == keys[own[0]]][0]
            told = (
                f"{count_of(len(own))} of {source} with a text of {target}, taken off {source} (the first is "
                f"{dataset.rows[int(copy)]['id']} in {target})"
            )
            found.append(Finding("D401", told, dataset.domains[d], len(own), example_at(dataset, own[0])))
    return found


def too_few(dataset: MultiDomainDataset, splits: Splits | None, step: int) -> list[Finding]:
    """Domains that a run refuses for their size.

    Args:
        dataset: all rows.
        splits: their parts, where they could be split.
        step: rows of every domain that a step takes.
    """
    found: list[Finding] = []
    if splits is not None:
        small = {domain: rows for domain, rows in splits.train.rows_by_domain().items() if rows < step}
        advice = _leave_out([name for name in splits.domains if name not in small], min(small.values(), default=0))
        for domain, rows in small.items():
            told = f"{count_of(rows, 'train row', 'train rows')}, and a step takes {step} of every domain"
            found.append(Finding("D304", told, domain, rows, advice=advice))
        return found
    (keys,), domain_ids = text_keys(dataset), dataset.domain_ids
    for d, domain in enumerate(dataset.domains):
        own = np.flatnonzero(domain_ids == d)
        texts = len(np.unique(keys[own]))
        if texts < max(3, step):
            told = f"{count_of(len(own))} of {count_of(texts, 'text', 'different texts')}, and a step takes {step}"
            found.append(Finding("D304", told, domain, len(own), example_at(dataset, own[0]) if len(own) else None))
    return found


def _leave_out(others: list[str], fewest: int) -> str | None:
    """What to do about small domains, in fields of the recipe; None: as the code says."""
    if not 0 < len(others) <= MOST_NAMED:
        return None
    names = json.dumps(others, ensure_ascii=False)
    lower = f", or lower batch_size (times gradient_accumulation) to {fewest}" if fewest else ""
    return f"Add rows, merge it with a domain that is like it, leave it out (data.domains: {names}){lower}."


def find_sizes(dataset: MultiDomainDataset, splits: Splits | None) -> list[Finding]:
    """One domain alone, small domains, and domains of very different size."""
    if len(dataset.domains) < 2:
        told = f"all {count_of(len(dataset))} are of the domain {dataset.domains[0]!r}"
        return [Finding("D307", told, rows=len(dataset))]
    rows = (dataset if splits is None else splits.train).rows_by_domain()
    what = "rows" if splits is None else "train rows"
    measured = {} if splits is None else {n: part.rows_by_domain() for n, part in splits if n != "train"}
    found = []
    for domain, n in nearly_empty(rows).items():
        others = "".join(f", {of[domain]:,} of {name}" for name, of in measured.items())
        found.append(Finding("D303", f"{n:,} {what}{others}", domain, n))
    largest, smallest = max(rows, key=rows.__getitem__), min(rows, key=rows.__getitem__)
    if rows[largest] > TIMES * max(1, rows[smallest]):
        times = rows[largest] / max(1, rows[smallest])
        told = f"{largest} has {rows[largest]:,} {what}, {smallest} {rows[smallest]:,} ({times:.0f} times as many)"
        found.append(Finding("D305", told, rows=rows[smallest]))
    return found


def nearly_empty(rows: Mapping[str, int]) -> dict[str, int]:
    """Domains with hardly any ``rows`` to train on, with these."""
    return {domain: number for domain, number in rows.items() if number < FEW}


def find_parts(splits: Splits) -> list[Finding]:
    """Domains with few rows to be measured by, and labels that are measured and not learnt."""
    found = []
    rows = {name: part.rows_by_domain() for name, part in splits}
    empty = nearly_empty(rows["train"])
    for domain in splits.domains:
        if domain in empty:
            continue
        few = [f"{rows[name][domain]} {name}" for name in PARTS[1:] if rows[name][domain] < TO_MEASURE]
        if few:
            least = min(rows[name][domain] for name in PARTS[1:])
            found.append(Finding("D403", f"{' and '.join(few)} rows", domain, least))
    counts = {name: part.count() for name, part in splits}
    for name, part in splits:
        for domain in splits.domains:
            unknown = sorted(y for d, y in counts[name] if d == domain and not counts["train"][d, y])
            if unknown:
                number = sum(counts[name][domain, y] for y in unknown)
                label, where = splits.labels.index(unknown[0]), splits.domains.index(domain)
                row = np.flatnonzero((part.domain_ids == where) & (part.label_ids == label))[0]
                told = (
                    f"{count_of(number)} of {name} with labels that train lacks: {first_of(list(map(repr, unknown)))}"
                )
                found.append(Finding("D404", told, domain, number, example_at(part, row)))
    return found
