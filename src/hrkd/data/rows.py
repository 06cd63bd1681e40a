"""From values as they were read to a checked :class:`MultiDomainDataset`: every source goes through here."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import datasets
import numpy as np
import pandas as pd

from hrkd.data.types import MultiDomainDataset
from hrkd.data.wording import count_of, first_of
from hrkd.errors import DataError

__all__ = ["ColumnNames", "RawRows", "assemble", "canonical_split", "nearest"]

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "test": "test",
}
WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0")
INTEGER = re.compile(r"[+-]?\d+")
SURROGATE = re.compile("[\ud800-\udfff]")
NESTED = (list, tuple, set, dict, bytes, bytearray, np.ndarray)


@dataclass(frozen=True)
class ColumnNames:
    """Names of the columns in the user's table; None: there is no such column."""

    text: str = "text"
    text_pair: str | None = None
    label: str = "label"
    domain: str = "domain"
    split: str | None = None
    id: str | None = None

    def asked_for(self) -> dict[str, str]:
        """Column names by role, without those that are None."""
        return {role: name for role, name in vars(self).items() if name is not None}


@dataclass(frozen=True)
class RawRows:
    """Labelled text as it was read: entry i of every list is row i; values of any type, nothing checked yet.

    ``places`` say where a row stands (``reviews.csv#17``); they are unique, and the ids where ``id`` is None.
    """

    places: list[str]
    text: list[Any]
    label: list[Any]
    domain: list[Any]
    text_pair: list[Any] | None = None
    split: list[Any] | None = None
    id: list[Any] | None = None
    names: ColumnNames = field(default_factory=ColumnNames)

    def take(self, indices: Sequence[int]) -> RawRows:
        """The rows at ``indices``."""
        columns = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        taken: dict[str, Any] = {name: [values[i] for i in indices] for name, values in columns.items()}
        return replace(self, **taken)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` most like ``name``, regardless of case; None if none is alike."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None


def canonical_split(value: Any) -> str | None:
    """``train``, ``dev`` or ``test`` for the usual names of these parts, in any case; None for other values."""
    return SPLIT_NAMES.get(str(value).strip().lower())


def assemble(rows: RawRows, domains: Sequence[str] | None = None) -> MultiDomainDataset:
    """Check rows, turn label and domain names into numbers, and store all in Arrow.

    Names of labels, domains and ids are stripped strings; whole floats lose their ``.0``. Labels that are all
    integers are sorted by number, others as text. Texts stay as they are.

    Args:
        rows: What a reader returned.
        domains: Keep these domains only, in this order; None: all, sorted.

    Raises:
        DataError: no rows, empty or null values, nested values, repeated ids, unknown splits or domains, a
            single class, or a domain that has no train rows while others do.
    """
    if domains is not None:
        rows = _only(rows, domains)
    if not rows.places:
        raise DataError("the source has no rows; expected labelled text")
    _check(rows)
    label_names, domain_names = [_name(v) for v in rows.label], [_name(v) for v in rows.domain]
    labels = tuple(_sorted_labels(set(label_names)))
    if len(labels) < 2:
        raise DataError(f"all {len(rows.places)} rows have the label {labels[0]!r}; a classifier needs two or more")
    known = tuple(sorted(set(domain_names)) if domains is None else map(str, domains))
    label_of, domain_of = {v: i for i, v in enumerate(labels)}, {v: i for i, v in enumerate(known)}
    columns: dict[str, list[Any]] = {
        "id": rows.places if rows.id is None else [_name(v) for v in rows.id],
        "text": [str(v) for v in rows.text],
        "label": [label_of[v] for v in label_names],
        "domain": [domain_of[v] for v in domain_names],
    }
    if rows.text_pair is not None:
        columns["text_pair"] = [str(v) for v in rows.text_pair]
    if rows.split is not None:
        columns["split"] = [canonical_split(v) for v in rows.split]
        _check_train_rows(columns["split"], domain_names)
    _check_unique(columns["id"], rows.places)
    return MultiDomainDataset(_arrow(columns), labels, known)


def _arrow(columns: dict[str, list[Any]]) -> datasets.Dataset:
    order = [name for name in ("id", "text", "text_pair", "label", "domain", "split") if name in columns]
    kinds = {name: datasets.Value("int64" if name in ("label", "domain") else "string") for name in order}
    return datasets.Dataset.from_dict({name: columns[name] for name in order}, features=datasets.Features(kinds))


def _only(rows: RawRows, domains: Sequence[str]) -> RawRows:
    if isinstance(domains, str) or not domains or len(set(domains)) < len(domains):
        raise DataError(f"domains: expected a list of different names, got {domains!r}")
    found = [None if _is_empty(v) or isinstance(v, NESTED) else _name(v) for v in rows.domain]
    known = sorted({name for name in found if name is not None})
    unknown = [name for name in map(str, domains) if name not in known]
    if unknown:
        close = [
            f"{name!r} (did you mean {near!r}?)" if (near := nearest(name, known)) else repr(name) for name in unknown
        ]
        raise DataError(f"data.domains: no rows of {first_of(close)}; the source has {', '.join(known)}")
    wanted = {None, *map(str, domains)}  # rows without a domain stay, to be reported
    return rows.take([i for i, name in enumerate(found) if name in wanted])


def _check(rows: RawRows) -> None:
    problems = [problem for role, name in _columns(rows) for problem in _faults(rows, role, name)]
    if rows.split is not None:
        problems += _unknown_splits(rows)
    if problems:
        raise DataError("\n".join(problems))


def _columns(rows: RawRows) -> list[tuple[str, str]]:
    roles = ("text", "text_pair", "label", "domain", "split", "id")
    return [(role, getattr(rows.names, role) or role) for role in roles if getattr(rows, role) is not None]


def _faults(rows: RawRows, role: str, name: str) -> list[str]:
    places: dict[str, list[str]] = {}
    for place, value in zip(rows.places, getattr(rows, role), strict=True):
        fault = _fault(value)
        if fault is not None:
            places.setdefault(fault, []).append(place)
    return [
        f"column {name!r}: {fault.format(role=role)} in {count_of(len(found))}: {first_of(found)}"
        for fault, found in places.items()
    ]


def _fault(value: Any) -> str | None:
    if _is_empty(value):
        return "empty or null {role} (fill it in or remove the row)"
    if isinstance(value, NESTED):
        return "a list, mapping or bytes where one {role} was expected"
    if isinstance(value, str) and SURROGATE.search(value):
        return "broken characters (half of a surrogate pair) in {role}"
    return None


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or value is pd.NA or value is pd.NaT


def _unknown_splits(rows: RawRows) -> list[str]:
    values = (v for v in rows.split or () if _fault(v) is None)
    unknown = Counter(str(v).strip() for v in values if canonical_split(v) is None)
    if not unknown:
        return []
    counts = [f"{value!r} ({count_of(n)})" for value, n in unknown.most_common()]
    return [
        f"column {rows.names.split or 'split'!r}: expected train, dev (or validation) and test, got {first_of(counts)}"
    ]


def _check_train_rows(splits: list[str | None], domains: list[str]) -> None:
    with_train = {d for s, d in zip(splits, domains, strict=True) if s == "train"}
    without = sorted(set(domains) - with_train)
    if with_train and without:
        raise DataError(
            f"no train rows in domain {first_of(without)}, only others (train rows in {first_of(sorted(with_train))}); "
            "add some, or choose domains without it"
        )


def _check_unique(ids: list[str], places: list[str]) -> None:
    if len(set(ids)) == len(ids):
        return
    repeated: dict[str, list[str]] = {name: [] for name, n in Counter(ids).items() if n > 1}
    for name, place in zip(ids, places, strict=True):
        if name in repeated:
            repeated[name].append(place)
    where = [f"{name!r} ({first_of(found)})" for name, found in repeated.items()]
    raise DataError(f"ids must be unique; repeated: {first_of(where)}")


def _name(value: Any) -> str:
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    name = str(value).strip()
    whole = WHOLE_FLOAT.fullmatch(name)
    return whole.group(1) if whole else name


def _sorted_labels(names: Iterable[str]) -> list[str]:
    names = sorted(names)
    return sorted(names, key=int) if all(INTEGER.fullmatch(name) for name in names) else names
