"""What differs between the rows of a run and those that are there now, in words: records hold them as a hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrkd.data.types import PARTS
from hrkd.errors import ArtifactError
from hrkd.run.prepare import PreparedData
from hrkd.support.atomic_files import read_json
from hrkd.support.messages import count_of, first_of

__all__ = ["data_changes"]

Counts = Mapping[tuple[str, str, str], int]
"""Rows by domain, split and label."""


def data_changes(run: Path, data: PreparedData) -> str:
    """Why the rows of the ``run`` are not those of ``data``, as far as its folder tells."""
    then, ids = _read(run / "data.json"), _read(run / "splits.json")
    before, now = _counts_then(then), _counts_now(data)
    if before is not None and before != now:
        return f"data: other rows: {_differing(before, now)}"
    changed = _ids(ids, data) if ids is not None else ""
    if then is not None and then.get("content") == data.content_digest:
        return f"data: the same rows under other names{changed}, as where a file was renamed or rows have other ids"
    if changed:
        return f"data: other rows in the same numbers{changed}"
    return "data: texts, labels or domains of some rows are others than then"


def _read(path: Path) -> Any:
    try:
        content = read_json(path, what="a record of the data")
    except ArtifactError:
        return None
    return content if isinstance(content, dict) else None


def _counts_then(described: Any) -> Counts | None:
    try:
        return {
            (part["domain"], part["split"], label): rows
            for part in described["parts"]
            for label, rows in part["labels"].items()
            if part["split"] in PARTS and rows
        }
    except (LookupError, TypeError, AttributeError):
        return None


def _counts_now(data: PreparedData) -> Counts:
    counts: Counter[tuple[str, str, str]] = Counter()
    for name, part in data.splits:
        pairs, rows = np.unique(np.stack([part.domain_ids, part.label_ids]), axis=1, return_counts=True)
        for domain, label, number in zip(*pairs, rows, strict=True):
            counts[part.domains[domain], name, part.labels[label]] += int(number)
    return dict(counts)


def _differing(before: Counts, now: Counts) -> str:
    def rows(counts: Counts, domain: str, split: str, label: str | None = None) -> int:
        return sum(n for key, n in counts.items() if key[:2] == (domain, split) and label in (None, key[2]))

    cells = sorted({key[:2] for key in (*before, *now)})
    lines = [
        f"{split} of {domain} {count_of(then)} then, {now_rows:,} now"
        for domain, split in cells
        if (then := rows(before, domain, split)) != (now_rows := rows(now, domain, split))
    ]
    lines = lines or [
        f"{split} of {domain}, {label}: {count_of(before.get((domain, split, label), 0))} then, "
        f"{now.get((domain, split, label), 0):,} now"
        for domain, split, label in sorted({*before, *now})
        if before.get((domain, split, label), 0) != now.get((domain, split, label), 0)
    ]
    total = f"{count_of(sum(before.values()))} then, {sum(now.values()):,} now; "
    return total + first_of(lines)


def _ids(then: Any, data: PreparedData) -> str:
    """How the ids of the parts differ, in brackets; empty if they do not."""
    found = []
    for name, part in data.drawn:
        before = then.get(name)
        if not isinstance(before, list):
            return ""
        old, new = set(map(str, before)), set(part.rows["id"][:])
        gone, came = (next(iter(sorted(each)), None) for each in (old - new, new - old))
        if gone is not None or came is not None:
            example = " and ".join(f"{each!r} {when}" for each, when in ((gone, "then"), (came, "now")) if each)
            found.append(f"{len(new - old):,} in {name}, such as {example}")
    return f" ({first_of(found)})" if found else ""
