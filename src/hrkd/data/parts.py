"""One table, wherever it lies: its columns by name. Parts of a source become :class:`RawRows` here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import datasets
import pandas as pd

from hrkd.data.rows import ColumnNames, RawRows, nearest
from hrkd.data.wording import first_of
from hrkd.errors import DataError

__all__ = ["Part", "dataset_part", "dict_part", "frame_part", "label_names", "pick"]


@dataclass(frozen=True)
class Part:
    """A file, a split of a data set or an object in memory.

    ``columns`` are the names in order; ``read`` gives the values of the i-th of them; ``split`` is what the
    part's own name says (None: nothing).
    """

    name: str
    rows: int
    columns: tuple[str, ...]
    read: Callable[[int], Sequence[Any]]
    split: str | None = None


def frame_part(frame: pd.DataFrame) -> Part:
    """A pandas frame; its index plays no part."""
    return Part("row", len(frame), tuple(map(str, frame.columns)), lambda i: list(frame.iloc[:, i].tolist()))


def dict_part(columns: Mapping[str, Sequence[Any]]) -> Part:
    """A mapping of column names to columns of one length.

    Raises:
        DataError: a value is no column, or lengths differ.
    """
    wrong = [
        str(k) for k, v in columns.items() if isinstance(v, str | bytes | Mapping | Set) or not hasattr(v, "__len__")
    ]
    if wrong:
        raise DataError(
            f"source: expected a sequence of values for each column, got something else for {first_of(wrong)}"
        )
    lengths = {str(name): len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"source: columns differ in length: {first_of([f'{k} {n}' for k, n in lengths.items()])}")
    values = list(columns.values())
    return Part("row", next(iter(lengths.values()), 0), tuple(lengths), lambda i: list(values[i]))


def dataset_part(dataset: datasets.Dataset, name: str = "row", split: str | None = None) -> Part:
    """A data set of the `datasets` library; numbers of ClassLabel columns become their names."""
    columns = tuple(dataset.column_names)
    plain = dataset.with_format(None)

    def read(i: int) -> list[Any]:
        return label_names(plain.select_columns([columns[i]])[:][columns[i]], dataset.features[columns[i]])

    return Part(name, len(dataset), columns, read, split)


def label_names(values: Sequence[Any], feature: Any) -> list[Any]:
    """Names in place of the numbers of a ClassLabel column (-1, "no label": None); other columns unchanged."""
    if not isinstance(feature, datasets.ClassLabel):
        return list(values)
    return [None if v is None or v < 0 else feature.names[v] for v in values]


def pick(parts: Sequence[Part], names: ColumnNames) -> RawRows:
    """The asked-for columns of all parts, one after the other.

    Without a split column, the names of the parts say train, dev and test.

    Raises:
        DataError: a part has no rows, lacks a column or has it twice.
    """
    problems = [problem for part in parts if (problem := _problem(part, names))]
    if problems:
        raise DataError("\n".join(problems))
    wanted = names.asked_for()
    columns: dict[str, list[Any]] = {role: [] for role in wanted}
    for part in parts:
        for role, name in wanted.items():
            columns[role].extend(part.read(part.columns.index(name)))
    if names.split is None and any(part.split for part in parts):
        columns["split"] = [part.split for part in parts for _ in range(part.rows)]
    places = [f"{part.name}#{n}" for part in parts for n in range(1, part.rows + 1)]
    return RawRows(places=places, names=names, **columns)


def _problem(part: Part, names: ColumnNames) -> str | None:
    where = "source" if part.name == "row" else part.name
    wanted = names.asked_for()
    missing = [_missing(role, name, part.columns) for role, name in wanted.items() if name not in part.columns]
    if missing:
        return f"{where}: {'; '.join(missing)}. Columns found: {', '.join(part.columns)}{_separator(part.columns)}"
    repeated = [repr(name) for name in wanted.values() if part.columns.count(name) > 1]
    if repeated:
        return f"{where}: more than one column is called {first_of(repeated)}; rename the others"
    return None if part.rows else f"{where}: no rows; expected labelled text"


def _missing(role: str, name: str, columns: Sequence[str]) -> str:
    found = nearest(name, columns)
    if found is not None:
        return f"no column {name!r} for {role} (did you mean {found!r}? then set {role} to it)"
    advice = "add one that names the domain of each row, or set domain" if role == "domain" else f"set {role}"
    return f"no column {name!r} for {role} ({advice} to the name of a column)"


def _separator(columns: Sequence[str]) -> str:
    held = [sep for sep in (";", "\t", ",", "|") if len(columns) == 1 and sep in columns[0]]
    return f"; the header holds {held[0]!r}: hrkd expects commas in .csv and tabs in .tsv" if held else ""
