"""From rows as they were read to a checked :class:`MultiDomainDataset` on disk: every source goes through here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hrkd.data.alike import read_alike
from hrkd.data.arrow_files import as_dataset, kept_table, open_arrow, write_arrow
from hrkd.data.columns import CHUNK, firsts, repeated, text_ranks
from hrkd.data.rows import (
    ColumnNames,
    RawRows,
    canonical_split,
    fault_of,
    is_empty,
    is_nested,
    known_as,
    name_of,
    sorted_labels,
    text_of,
)
from hrkd.data.types import NO_LABEL, MultiDomainDataset
from hrkd.errors import DataError
from hrkd.support.messages import SHOWN, Found, count_of, first_of, misspelt

__all__ = ["assemble", "domain_names"]

ROLES = ("text", "text_pair", "label", "domain", "split", "id")
KINDS = {
    "id": pa.string(),
    "text": pa.string(),
    "text_pair": pa.string(),
    "label": pa.int64(),
    "domain": pa.int64(),
    "split": pa.string(),
}
"""Columns of the table, in their order."""
HEADED = re.compile(r"\.[ct]sv(\.gz)?#\d", re.IGNORECASE)
"""A row of a table whose first line is no row."""
FEW, MOSTLY = 50, 0.8
"""Rows from which on labels or domains that are more than this share of them are no such names."""
UNLABELLED = "unlabelled/"
"""Begins the ids of rows without labels, so that those of a table that is read with labels too differ."""


def assemble(
    chunks: Iterable[RawRows],
    domains: Sequence[str] | None = None,
    *,
    labelled: bool = True,
    to_measure: bool = False,
    cache: Path | None = None,
    mark: str = "",
    of: str = "",
) -> MultiDomainDataset:
    """Check rows, turn label and domain names into numbers, and store all in Arrow, on disk.

    Names of labels, domains and ids are stripped strings; whole floats lose their ``.0``. Labels that are all
    integers are sorted by number, others as text. Texts stay as they are. Of the rows, only one chunk is in memory.

    Args:
        chunks: What a reader returned.
        domains: Keep these domains only, in this order; None: all, sorted. Without labels, some may have no rows.
        labelled: Whether ``chunks`` have labels. If not, they have no splits and no ids of their own either, and the
            label of every row is :data:`hrkd.data.types.NO_LABEL`.
        to_measure: Whether a single class, and domains without train rows, will do.
        cache: Folder in which the table is kept; ``chunks`` are not looked at if it is there already. None: a
            temporary file.
        mark: Name of the source in the cache.
        of: The source as people know it, for the list of caches.

    Raises:
        DataError: no rows, empty or null values, nested values, repeated ids, unknown splits or domains, a
            single class, or a domain that has no train rows while others do.
    """
    rows, to_train = _Rows(domain_names(domains), labelled), labelled and not to_measure

    def write(file: Path) -> dict[str, Any]:
        notes = _write(file, rows, chunks)
        if to_train:
            _check_trainable(rows.count, notes)
        return {**notes, "of": of}

    table, notes = kept_table(cache, f"{mark}-rows", write)
    if to_train:  # what is there may have been kept by a measurement
        _check_trainable(table.num_rows, notes)
    return MultiDomainDataset(as_dataset(table), tuple(notes["labels"]), tuple(notes["domains"]), tuple(notes["notes"]))


def domain_names(domains: Sequence[str] | None) -> list[str] | None:
    """The domains that are asked for, as they are called in data.

    Raises:
        DataError: not a list of different names.
    """
    if domains is None:
        return None
    wrong = isinstance(domains, str | bytes) or not isinstance(domains, Sequence | np.ndarray) or not len(domains)
    names = [None if fault_of(name) else name_of(name) for name in domains] if not wrong else []
    if wrong or None in names or len(set(names)) < len(names):
        raise DataError(f"domains: expected a list of different names, got {domains!r}")
    return [str(name) for name in names]


def _write(file: Path, rows: _Rows, chunks: Iterable[RawRows]) -> dict[str, Any]:
    """Write the table; names of labels and domains. Numbers of names are known when all rows are, hence two files."""
    first_file = file.with_suffix(".first")
    write_arrow(first_file, rows.checked(chunks))
    rows.raise_problems()
    table = open_arrow(first_file)
    if rows.own_ids:
        _check_unique(table)
    labels = sorted_labels(rows.labels)
    known = sorted(rows.domains) if rows.chosen is None else rows.chosen
    numbers = {"domain": _order(rows.domains, known)}
    if rows.labelled:
        numbers["label"] = _order(rows.labels, labels)
    write_arrow(file, (_numbered(batch, numbers) for batch in table.to_batches()))
    first_file.unlink()
    trained = {"with_train": sorted(rows.with_train), "without_train": sorted(rows.domains.keys() - rows.with_train)}
    return {"labels": labels, "domains": known, "notes": rows.all_notes(), **trained}


def _check_trainable(count: int, notes: dict[str, Any]) -> None:
    """Raise where rows, by what is noted of them, cannot be learnt from."""
    if len(notes["labels"]) < 2:
        raise DataError(f"all {count} rows have the label {notes['labels'][0]!r}; a classifier needs two or more")
    # What was written before these were noted had passed.
    trained, without = notes.get("with_train"), notes.get("without_train")
    if trained and without:
        raise DataError(
            f"no train rows in domain {first_of(without)}, only others (train rows in {first_of(trained)}); add some, "
            "or choose domains without it"
        )


def _order(found: Iterable[str], names: Sequence[str]) -> np.ndarray:
    position = {name: number for number, name in enumerate(names)}
    return np.array([position[name] for name in found], dtype=np.int64)


def _numbered(batch: pa.RecordBatch, numbers: dict[str, np.ndarray]) -> pa.RecordBatch:
    """A batch whose labels and domains were counted as they came, with their final numbers."""
    columns = {name: batch.column(name) for name in KINDS if name in batch.schema.names}
    columns |= {name: pa.array(order[columns[name].to_numpy()]) for name, order in numbers.items()}
    return pa.record_batch(columns)


class _Rows:
    """What is learnt of rows while they pass by: problems, and the names of labels and domains as they come."""

    def __init__(self, chosen: Sequence[str] | None, labelled: bool) -> None:
        self.chosen = None if chosen is None else list(map(str, chosen))
        self.labelled = labelled
        self.names = ColumnNames()
        self.count = 0
        self.own_ids = False
        self.labels: dict[str, int] = {}
        self.domains: dict[str, int] = {}
        self.rows_of: dict[str, Counter[str]] = {"labels": Counter(), "domains": Counter()}
        self.trimmed: dict[str, Counter[str]] = {"labels": Counter(), "domains": Counter()}
        self.notes: dict[str, None] = {}
        self.without_split = 0
        self.in_source: set[str] = set()
        self.with_train: set[str] = set()
        self.faults: dict[str, dict[str, Found]] = {role: {} for role in ROLES}
        self.unknown_splits: Counter[str] = Counter()

    def checked(self, chunks: Iterable[RawRows]) -> Iterator[pa.RecordBatch]:
        """Batches for the table, as long as there is no problem; all rows are looked at in any case."""
        for chunk in chunks:
            self.notes |= dict.fromkeys(chunk.notes)
            for piece in chunk.pieces(CHUNK):
                rows = self._kept(piece)
                self.count += len(rows.places)
                self._look_at(rows)
                if rows.places and not any(self.faults.values()) and not self.unknown_splits:
                    yield self._batch(rows)

    def _kept(self, rows: RawRows) -> RawRows:
        """The rows of the chosen domains; those without a domain stay, to be reported."""
        if self.chosen is None:
            return rows
        found = [None if is_empty(v) or is_nested(v) else self._called(name_of(v)) for v in rows.domain]
        self.in_source.update(name for name in found if name is not None)
        wanted = {None, *self.chosen}
        return rows.take([i for i, name in enumerate(found) if name in wanted])

    def _called(self, name: str) -> str:
        """A domain as the chosen ones call it."""
        return (None if self.chosen is None else known_as(name, self.chosen)) or name

    def _look_at(self, rows: RawRows) -> None:
        self.names = rows.names
        for role, found in self.faults.items():
            for place, value in zip(rows.places, getattr(rows, role) or (), strict=False):
                fault = fault_of(value)
                if fault is not None and not (role == "split" and is_empty(value)):
                    found.setdefault(fault, Found()).add(place)
        values = (v for v in rows.split or () if fault_of(v) is None)
        self.unknown_splits.update(str(v).strip() for v in values if canonical_split(v) is None)

    def _batch(self, rows: RawRows) -> pa.RecordBatch:
        domain_names = [self._called(name_of(v)) for v in rows.domain]
        places = rows.places if self.labelled else [UNLABELLED + place for place in rows.places]
        columns: dict[str, list[Any]] = {
            "id": places if rows.id is None else [name_of(v) for v in rows.id],
            "text": [text_of(v) for v in rows.text],
            "label": (
                [NO_LABEL] * len(places)
                if rows.label is None
                else [self.labels.setdefault(name_of(v), len(self.labels)) for v in rows.label]
            ),
            "domain": [self.domains.setdefault(name, len(self.domains)) for name in domain_names],
        }
        if rows.text_pair is not None:
            columns["text_pair"] = [text_of(v) for v in rows.text_pair]
        if rows.split is not None:
            columns["split"] = [None if is_empty(v) else canonical_split(v) for v in rows.split]
            self.without_split += columns["split"].count(None)
            trained = (d for d, s in zip(domain_names, columns["split"], strict=True) if s in ("train", None))
            self.with_train.update(trained)
        for what, values in (("labels", rows.label or ()), ("domains", rows.domain)):
            self.trimmed[what].update(v for v in values if isinstance(v, str) and v != v.strip())
        self.rows_of["domains"].update(domain_names)
        self.rows_of["labels"].update([] if rows.label is None else [name_of(v) for v in rows.label])
        arrays = {name: pa.array(columns[name], kind) for name, kind in KINDS.items() if name in columns}
        if rows.id is not None:
            self.own_ids = True
            arrays["place"] = pa.array(rows.places, pa.string())
        return pa.record_batch(arrays)

    def raise_problems(self) -> None:
        """Raise what is wrong with the rows as a whole; all that is wrong with single rows together."""
        self._check_chosen()
        if not self.count:
            raise DataError(self._nothing())
        problems = [
            f"column {getattr(self.names, role) or role!r}: {fault.format(role=role)} in {count_of(found.total)}: "
            f"{found}"
            for role, faults in self.faults.items()
            for fault, found in faults.items()
        ]
        if any(HEADED.search(problem) for problem in problems):
            problems.append("(rows are counted from 1, without the header)")
        if self.unknown_splits:
            counts = first_of([f"{value!r} ({count_of(n)})" for value, n in self.unknown_splits.most_common()])
            problems.append(
                f"column {self.names.split or 'split'!r}: expected train, dev (or validation) and test, got {counts}"
            )
        problems += self._unlikely_columns()
        if problems:
            raise DataError("\n".join(problems))

    def _unlikely_columns(self) -> Iterator[str]:
        """Columns of labels or domains whose values are nearly all different: those of another role."""
        for role, what in (("label", "labels"), ("domain", "domains")):
            different = len(self.rows_of[what])
            if self.count >= FEW and different > MOSTLY * self.count:
                yield (
                    f"column {getattr(self.names, role) or role!r}: {different:,} different {what} in "
                    f"{count_of(self.count)}; name the column that holds the {role} (data.{role})"
                )

    def all_notes(self) -> list[str]:
        """What a user should be told of the rows, though they can be used."""
        notes = list(self.notes)
        if self.without_split:
            notes.append(
                f"{count_of(self.without_split)} without a value in the column {self.names.split or 'split'!r}: these "
                "count as train, or are drawn from where their domain has none"
            )
        for what, counts in self.trimmed.items():
            if counts:
                cases = [f"{value!r} ({count_of(rows)})" for value, rows in counts.most_common()]
                notes.append(f"white space around {what} is left out: {first_of(cases)}")
        for what, counts in self.rows_of.items():
            told = [
                " and ".join(f"{shown} ({count_of(counts[name])})" for name, shown in names)
                for names in read_alike(counts)
            ]
            if told:
                notes.append(
                    f"{what} that differ in case, white space or unseen characters alone are different {what}: "
                    f"{first_of(told, '; ')}; write them alike if they are the same"
                )
        return notes

    def _nothing(self) -> str:
        if not self.labelled and self.in_source:
            chosen, found = ", ".join(self.chosen or ()), ", ".join(sorted(self.in_source))
            return f"no text of the domains {chosen}; the source has {found}"
        return f"the source has no rows; expected {'labelled ' if self.labelled else ''}text"

    def _check_chosen(self) -> None:
        if not self.labelled:
            return
        unknown = [name for name in self.chosen or () if name not in self.in_source]
        if unknown:
            known = sorted(self.in_source)
            raise DataError(f"data.domains: no rows of {misspelt(unknown, known)}; the source has {', '.join(known)}")


def _check_unique(table: pa.Table) -> None:
    ranks = text_ranks(table["id"])
    twice = firsts(ranks, repeated(ranks))
    if not len(twice):
        return
    where = []
    for first in twice[:SHOWN].tolist():
        same = np.flatnonzero(ranks == ranks[first])
        places = table["place"].take(same[:SHOWN]).to_pylist()
        where.append(f"{table['id'][first].as_py()!r} ({first_of(places, total=len(same))})")
    raise DataError(f"ids must be unique; repeated: {first_of(where, total=len(twice))}")
