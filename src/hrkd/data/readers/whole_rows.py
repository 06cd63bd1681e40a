"""Whole rows of a table as they stand in their file, to be written again: untouched in the same format, converted else.

Some rows at a time, of three kinds: fields of text (CSV, TSV), lines (JSON lines), Arrow batches (Parquet). Each gives
its values by name, and itself as fields, as JSON objects and as an Arrow batch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hrkd.data.columns import CHUNK, rows_at_a_time
from hrkd.data.readers.parts import Part, class_name, in_their_digits
from hrkd.errors import DataError
from hrkd.support.json_text import parse_json
from hrkd.support.messages import first_line, first_of, repeated_in

__all__ = [
    "ArrowRows",
    "FieldRows",
    "JsonRows",
    "Rows",
    "WholeTable",
    "check_names",
    "field_rows",
    "json_rows",
    "repeated_keys",
]

DECODER = json.JSONDecoder()
CHARACTERS = 1 << 22
"""Of the lines of JSON that are in memory at a time, if they are more than one."""
BLANKS = " \t\r\n"


@dataclass(frozen=True)
class FieldRows:
    """Rows of CSV or TSV; all values are strings."""

    names: tuple[str, ...]
    rows: list[list[str]]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Sequence[int]) -> FieldRows:
        """The rows at ``indices``."""
        return replace(self, rows=[self.rows[i] for i in indices])

    def values(self, name: str) -> list[Any]:
        """A column."""
        place = self.names.index(name)
        return [row[place] for row in self.rows]

    def fields(self) -> list[list[str]]:
        """The rows as text, a field for each of ``names``."""
        return self.rows

    def objects(self) -> list[str]:
        """The rows as JSON objects."""
        check_names(self.names, ".csv")
        return [json.dumps(dict(zip(self.names, row, strict=True)), ensure_ascii=False) for row in self.rows]

    def schema(self) -> pa.Schema:
        """Names and types as Arrow has them."""
        check_names(self.names, ".csv")
        return pa.schema([(name, pa.string()) for name in self.names])

    def batch(self, schema: pa.Schema) -> pa.RecordBatch:
        """The rows as Arrow has them."""
        columns = zip(*self.rows, strict=True) if self.rows else [[] for _ in self.names]
        return pa.record_batch([pa.array(list(values), pa.string()) for values in columns], schema=schema)


@dataclass(frozen=True)
class JsonRows:
    """Rows of JSON lines: what stands there, and what it says. ``names`` are those of the whole table, where known."""

    names: tuple[str, ...]
    lines: list[str]
    said: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.lines)

    def check_keys(self) -> None:
        """Refuse rows with a key twice, which JSON lines alone can hold."""
        for line in self.lines:
            if twice := _keys_twice(line):
                raise DataError(f"a row has {first_of(twice)} more than once ({line[:60]}...); write .jsonl")

    def take(self, indices: Sequence[int]) -> JsonRows:
        """The rows at ``indices``."""
        return replace(self, lines=[self.lines[i] for i in indices], said=[self.said[i] for i in indices])

    def values(self, name: str) -> list[Any]:
        """A column; None where a row lacks it."""
        return [row.get(name) for row in self.said]

    def fields(self) -> list[list[str]]:
        """The rows as text, a field for each of ``names``: numbers and nested values as they are spelt."""
        if unknown := sorted({name for row in self.said for name in row} - set(self.names)):
            raise DataError(
                f"the key {first_of(list(map(repr, unknown)))} comes up after the first rows, when the columns are "
                "written; write .jsonl, or give the input as a file"
            )
        self.check_keys()
        spelt = [_spelt(line) for line in self.lines]
        return [[_plain(row.get(name)) for name in self.names] for row in spelt]

    def objects(self) -> list[str]:
        """The rows as they stand there."""
        return self.lines

    def schema(self) -> pa.Schema:
        """Names and types as Arrow guesses them from these rows."""
        self.check_keys()
        columns = {name: self.values(name) for name in self.names}
        with _refusals("written as Parquet"):
            return pa.schema([(name, _guessed(name, values)) for name, values in columns.items()])

    def batch(self, schema: pa.Schema) -> pa.RecordBatch:
        """The rows as Arrow has them."""
        self.check_keys()
        with _refusals("written as Parquet"):
            return pa.record_batch([pa.array(self.values(f.name), f.type) for f in schema], schema=schema)


@dataclass(frozen=True)
class ArrowRows:
    """Rows of Parquet.

    ``class_names`` are those of the numbers of some columns, ``part`` and ``before`` the file and how many of its rows
    stand before these, for messages.
    """

    data: pa.RecordBatch
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    part: str = ""
    before: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns, in order."""
        return tuple(self.data.schema.names)

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def take(self, indices: Sequence[int]) -> ArrowRows:
        """The rows at ``indices``."""
        try:
            return replace(self, data=self.data.take(pa.array(indices, pa.int64())))
        except pa.ArrowNotImplementedError:  # of views, slices alone can be had
            pieces = [self.data.slice(i, 1) for i in indices]
            return replace(self, data=pa.concat_batches(pieces) if pieces else self.data.slice(0, 0))

    def values(self, name: str) -> list[Any]:
        """A column; text that is not UTF-8 comes with halves of surrogate pairs, which no reader of texts takes."""
        column = self.data.column(self.names.index(name))
        try:
            values = column.to_pylist()
        except pa.ArrowException as error:
            raise DataError(f"column {name!r} cannot be read ({first_line(error)}); write the table again") from error
        except UnicodeDecodeError:
            raw = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
            values = [v if v is None else v.decode(errors="surrogateescape") for v in raw.to_pylist()]
        return self._named(name, in_their_digits(values, column.type))

    def fields(self) -> list[list[str]]:
        """The rows as text."""
        columns = [[_text(value) for value in values] for values in self._plain_columns()]
        return list(map(list, zip(*columns, strict=True)))

    def objects(self) -> list[str]:
        """The rows as JSON objects."""
        check_names(self.names, ".parquet")
        columns = list(self._plain_columns())
        rows = (dict(zip(self.names, row, strict=True)) for row in zip(*columns, strict=True))
        try:
            return [json.dumps(row, ensure_ascii=False, allow_nan=False, default=str) for row in rows]
        except (ValueError, TypeError) as error:
            raise DataError(f"a value that JSON cannot hold, such as NaN ({error}); write .parquet or .csv") from error

    def schema(self) -> pa.Schema:
        """That of the file, with its metadata."""
        return self.data.schema

    def batch(self, schema: pa.Schema) -> pa.RecordBatch:
        """The rows as they are."""
        del schema
        return self.data

    def _plain_columns(self) -> Iterator[list[Any]]:
        """Values that text can hold, by column: dates as text with all their digits, names of labels."""
        before: set[str] = set()
        for name, column in zip(self.names, self.data.columns, strict=True):
            if _holds_bytes(column.type):
                raise DataError(f"column {name!r} holds bytes, which only .parquet can; write .parquet")
            with _refusals(f"written as text (column {name!r})"):
                if pa.types.is_temporal(column.type) and not pa.types.is_duration(column.type):
                    column = pc.cast(column, pa.string())
                values = in_their_digits(column.to_pylist(), column.type)
                yield values if name in before else self._named(name, values)
            before.add(name)

    def _named(self, name: str, values: list[Any]) -> list[Any]:
        """Names in the place of the numbers of classes."""
        names = self.class_names.get(name)
        if names is None:
            return values
        return [class_name(v, names, f"{self.part}#{row}", name) for row, v in enumerate(values, self.before + 1)]


Rows = FieldRows | JsonRows | ArrowRows


@dataclass(frozen=True)
class WholeTable:
    """A table to read row by row, all columns: a file, or standard input.

    ``kind`` is as the suffix of a file; ``columns`` and the number of ``rows`` are those of the table (None: not known
    before its end). ``chunks`` gives the rows, some at a time, at least one chunk, which may be empty; with only the
    columns that are named, where that costs less. ``part`` is what else is known of a file.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    rows: int | None
    chunks: Callable[[Sequence[str] | None], Iterator[Rows]]
    part: Part | None = None


def field_rows(names: Sequence[str], rows: Iterable[list[str]]) -> Iterator[FieldRows]:
    """Rows that come one by one, some at a time; at least one chunk."""
    rows, most = iter(rows), rows_at_a_time(len(names))
    first = True
    while (chunk := list(islice(rows, most))) or first:
        yield FieldRows(tuple(names), chunk)
        first = False


def json_rows(names: Sequence[str], lines: Iterable[str]) -> Iterator[JsonRows]:
    """Lines of JSON objects that come one by one, some at a time; at least one chunk."""
    first = True
    for chunk in _bounded(lines):
        kept = [line.strip() for line in chunk]
        yield JsonRows(tuple(names), kept, list(map(parse_json, kept)))
        first = False
    if first:
        yield JsonRows(tuple(names), [], [])


def _bounded(lines: Iterable[str]) -> Iterator[list[str]]:
    """Some lines at a time, fewer where they are long: what they say takes ten times their memory."""
    chunk: list[str] = []
    characters = 0
    for line in lines:
        chunk.append(line)
        characters += len(line)
        if len(chunk) == CHUNK or characters > CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _keys_twice(line: str) -> list[str]:
    """The keys that an object of a line of JSON has more than once, on whatever level."""
    found: dict[str, None] = {}

    def look_at(pairs: list[tuple[str, Any]]) -> None:
        found.update((repr(name), None) for name in repeated_keys(pairs))

    parse_json(line, look_at)
    return list(found)


def repeated_keys(pairs: Sequence[tuple[str, Any]]) -> list[str]:
    """Keys that an object of JSON has more than once, as often as it has them."""
    if len(dict(pairs)) == len(pairs):
        return []
    counts = Counter(name for name, _ in pairs)
    return [name for name, _ in pairs if counts[name] > 1]


def check_names(names: Sequence[str], kept_by: str) -> None:
    """Whether all columns have different names, as most formats want it; ``kept_by`` is one that does without."""
    if len(set(names)) < len(names):
        repeated = sorted(map(repr, repeated_in(names)))
        raise DataError(f"more than one column is called {first_of(repeated)}; rename them, or write {kept_by}")


@contextmanager
def _refusals(how: str) -> Iterator[None]:
    """A context in which what Arrow refuses becomes an error of the user's data."""
    try:
        yield
    except (pa.ArrowException, OverflowError, UnicodeError, IndexError) as error:
        raise DataError(f"holds values that cannot be {how} ({error}); keep the format of the input") from error


def _guessed(name: str, values: list[Any]) -> pa.DataType:
    try:
        return pa.array(values).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise DataError(f"column {name!r} holds values of several types ({error}); write .csv or .jsonl") from error


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(is_(kind) for is_ in binary)


def _spelt(line: str) -> dict[str, str]:
    """The members of a line that holds a JSON object, each value as it is written there."""
    found: dict[str, str] = {}
    place = _next(line, line.index("{") + 1)
    while line[place] != "}":
        name, end = DECODER.raw_decode(line, place)
        start = _next(line, _next(line, end) + 1)
        _, end = DECODER.raw_decode(line, start)
        found[name] = line[start:end]
        place = _next(line, end)
        place = _next(line, place + 1) if line[place] == "," else place
    return found


def _next(line: str, place: int) -> int:
    while line[place] in BLANKS:
        place += 1
    return place


def _plain(spelt: str | None) -> str:
    """A JSON value in a field of text."""
    if spelt is None or spelt == "null":
        return ""
    return str(parse_json(spelt)) if spelt.startswith('"') else spelt


def _text(value: Any) -> str:
    """A value of Arrow in a field of text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
