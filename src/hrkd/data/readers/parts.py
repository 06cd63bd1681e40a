"""One table, wherever it lies: its columns by name, and their values some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hrkd.data.columns import CHUNK
from hrkd.data.readers.places import plain_stem
from hrkd.data.rows import held
from hrkd.errors import DataError
from hrkd.support.messages import first_of

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from hrkd.data.readers.whole_rows import Rows

__all__ = [
    "FILE_NAME",
    "LongRow",
    "Part",
    "class_name",
    "columns_of",
    "dataset_part",
    "dict_part",
    "frame_part",
    "in_their_digits",
    "values_of",
    "with_file_names",
]

FILE_NAME = "file_name"
"""As a domain, of tables without a column of this name: the name of the file, without its ending."""
Columns = list[list[Any]]
NARROW: dict[str, Callable[[float], Any]] = {
    **dict.fromkeys(("float32", "float"), np.float32),
    **dict.fromkeys(("float16", "halffloat"), np.float16),
}
"""Types of floats that Python widens, by the names that libraries give them."""
LongRow = list[tuple[int, list[str] | None]]


@dataclass(frozen=True)
class Part:
    """A file, a split of a data set or an object in memory.

    ``columns`` are the names in order; ``stream`` gives the values of those at some positions, chunk by chunk, from
    the first row; ``split`` is what the part's own name says (None: nothing); ``notes`` are what a user should know.
    ``long_rows`` gives rows that stand in several lines of a file, one of which could be a row by itself: the numbers
    of the lines, and the fields that each of them has (None where these are too few or too many). ``whole`` gives the
    rows of a file as they stand there, chunk by chunk, at least one chunk; with only the columns that are named, where
    that costs less.
    """

    name: str
    rows: int
    columns: tuple[str, ...]
    stream: Callable[[Sequence[int]], Iterator[Columns]]
    split: str | None = None
    notes: tuple[str, ...] = ()
    long_rows: Callable[[], Iterator[LongRow]] | None = None
    whole: Callable[[Sequence[str] | None], Iterator[Rows]] | None = None

    def read(self, i: int) -> list[Any]:
        """All values of the i-th column."""
        return [value for (values,) in self.stream([i]) for value in values]

    def repeated(self, names: Iterable[str]) -> str:
        """What is wrong where several columns have one of ``names``; empty if none do."""
        several = [repr(name) for name in names if self.columns.count(name) > 1]
        return f"more than one column is called {first_of(several)}; rename the others" if several else ""


def with_file_names(parts: Sequence[Part], path: Path) -> list[Part]:
    """Tables with a further column :data:`FILE_NAME`, unless one of them has a column of this name.

    Raises:
        DataError: names of the files say train, dev and test.
    """
    if any(FILE_NAME in part.columns for part in parts):
        return list(parts)
    if split := [f"{part.name} is {part.split}" for part in parts if part.split and len(parts) > 1]:
        raise DataError(
            f"{path}: names of files say what is train, dev and test ({first_of(split)}), and cannot be domains too; "
            "add a column that names the domain of each row, and set domain to it"
        )
    return [_with_column(replace(part, split=None), plain_stem(Path(part.name))) for part in parts]


def _with_column(part: Part, value: str) -> Part:
    """A part with a last column of one value."""
    place, lines = len(part.columns), part.long_rows

    def stream(wanted: Sequence[int]) -> Iterator[Columns]:
        own = [i for i in wanted if i != place]
        for columns in part.stream(own or [0]):
            values = iter(columns)
            yield [[value] * len(columns[0]) if i == place else next(values) for i in wanted]

    def long_rows() -> Iterator[LongRow]:
        assert lines is not None
        for row in lines():
            yield [(number, None if fields is None else [*fields, value]) for number, fields in row]

    return replace(
        part, columns=(*part.columns, FILE_NAME), stream=stream, long_rows=long_rows if lines else None, whole=None
    )


def columns_of(rows: Iterable[Sequence[Any]], wanted: Sequence[int]) -> Iterator[Columns]:
    """The fields at the positions ``wanted`` of rows that come one by one, as columns of some rows at a time."""
    picked = ([row[i] for i in wanted] for row in rows)  # one by one, as what is not wanted may be large
    while chunk := list(islice(picked, CHUNK)):
        yield [[row[place] for row in chunk] for place in range(len(wanted))]


def frame_part(frame: pd.DataFrame) -> Part:
    """A pandas frame; its index plays no part."""

    def stream(wanted: Sequence[int]) -> Iterator[Columns]:
        for rows in _spans(len(frame)):
            yield [_plain(frame.iloc[rows, i]) for i in wanted]

    return Part("row", len(frame), tuple(map(str, frame.columns)), stream)


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
    values, rows = list(columns.values()), next(iter(lengths.values()), 0)

    def stream(wanted: Sequence[int]) -> Iterator[Columns]:
        lists = [_plain(values[i]) for i in wanted]
        for span in _spans(rows):
            yield [column[span] for column in lists]

    return Part("row", rows, tuple(lengths), stream)


def dataset_part(dataset: datasets.Dataset, name: str = "row", split: str | None = None) -> Part:
    """A data set of the `datasets` library; numbers of ClassLabel columns become their names."""
    columns = tuple(dataset.column_names)

    def stream(wanted: Sequence[int]) -> Iterator[Columns]:
        import datasets

        names = [columns[i] for i in wanted]
        labels = {
            each: feature.names for each in names if isinstance(feature := dataset.features[each], datasets.ClassLabel)
        }
        plain = dataset.select_columns(names).with_format("arrow")
        for rows in _spans(len(dataset)):
            table = plain[rows]
            yield [values_of(table[each], name, each, rows.start, labels.get(each)) for each in names]

    return Part(name, len(dataset), columns, stream, split)


def _plain(column: Any) -> list[Any]:
    """The values of a column in memory, those of tensors as numbers."""
    if hasattr(column, "iloc"):
        return in_their_digits(list(column.tolist()), getattr(column.dtype, "categories", column).dtype)
    return in_their_digits([held(value) for value in column], getattr(column, "dtype", None))


def in_their_digits(values: list[Any], kind: Any) -> list[Any]:
    """Floats of 32 or 16 bits with the digits that they need: 0.1, not 0.10000000149011612; other values as they are.

    ``kind`` is the type of the values: of Arrow, numpy, pandas or torch.
    """
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    narrow = NARROW.get(str(kind).lower().removeprefix("torch.").removesuffix("[pyarrow]"))
    if narrow is None:
        return values
    return [float(str(narrow(v))) if isinstance(v, float) else v for v in values]


def _spans(rows: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, rows, CHUNK))


def values_of(
    column: pa.Array | pa.ChunkedArray, part: str, name: str, before: int, labels: Sequence[str] | None
) -> list[Any]:
    """The values of a column of Arrow as those of Python, numbers of classes as their names.

    Args:
        column: some rows of the column ``name`` of a ``part``.
        before: rows of the part that stand before them.
        labels: the names of classes; a negative number, "no label", becomes None. None: the column has none.

    Raises:
        DataError: a value cannot be read, or its number has no name; names column and row.
    """
    try:
        values = column.to_pylist()
    except READING:
        row, error = next((n, e) for n, value in enumerate(column, before + 1) if (e := _fault(value)) is not None)
        what = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "a value that cannot be read"
        raise DataError(f"{part}#{row}: {what} in the column {name!r} ({error}); write the table again") from error
    values = in_their_digits(list(values), column.type)
    if labels is None:
        return values
    return [class_name(value, labels, f"{part}#{row}", name) for row, value in enumerate(values, before + 1)]


READING = (ValueError, OverflowError, pa.ArrowException)


def _fault(value: pa.Scalar) -> Exception | None:
    try:
        value.as_py()
    except READING as error:
        return error
    return None


def class_name(value: Any, names: Sequence[str], place: str, column: str) -> Any:
    """The name of a number of a class (None for a negative one, "no label"); what is no whole number stays as it is.

    Raises:
        DataError: the number has no name; says ``place`` and ``column``.
    """
    whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    if not whole:
        return value
    if value >= len(names):
        raise DataError(
            f"{place}: the number {value} in the column {column!r} has no name: its ClassLabel has {len(names)} "
            f"({first_of(names)}), for the numbers from 0; correct the column, or its names"
        )
    return None if value < 0 else names[int(value)]
