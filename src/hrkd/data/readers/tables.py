"""Tables on disk: CSV, TSV, JSON lines and Parquet; one file, or a folder of files of one kind."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from hrkd.data.columns import CHUNK
from hrkd.data.readers.parts import Part, columns_of, label_names
from hrkd.data.readers.places import TABLE_SUFFIXES, known_kind, table_kind
from hrkd.data.readers.text_files import check_text, open_text
from hrkd.data.readers.whole_rows import ArrowRows, Rows, field_rows, json_rows
from hrkd.data.rows import canonical_split
from hrkd.errors import DataError
from hrkd.support.messages import Found, first_of

__all__ = ["read_table", "read_tables", "read_tsv", "table_files"]

SHARD = re.compile(r"-\d+-of-\d+$")


def table_files(folder: Path) -> list[Path]:
    """Tables that lie directly in a folder, sorted by name; hidden files and other kinds are left alone."""
    return sorted(p for p in folder.iterdir() if p.is_file() and table_kind(p) and not p.name.startswith("."))


def read_tables(path: Path, *, split_column: bool = False) -> list[Part]:
    """One table, or all tables of a folder.

    In a folder whose files are called train, dev (validation, valid, val) and test, with or without a shard
    number, each part carries that split, unless the tables have a ``split_column``.

    Raises:
        DataError: no table, tables of several kinds, the same table twice, some files named after a split and
            others not, or a file that cannot be read.
    """
    if not path.is_dir():
        return [read_table(path)]
    files = table_files(path)
    _check_folder(path, files)
    splits = {file: canonical_split(SHARD.sub("", _stem(file))) for file in files}
    if not split_column:
        others = [file.name for file, split in splits.items() if split is None]
        if others and len(others) < len(files):
            raise DataError(
                f"{path}: some files are named after a split (train, dev, test), but not {first_of(others)}; "
                "rename or remove these, or add a split column to all and name it"
            )
    return [replace(read_table(file), split=splits[file]) for file in files]


def _stem(file: Path) -> str:
    return Path(file.stem).stem if file.suffix == ".gz" else file.stem


def _check_folder(folder: Path, files: list[Path]) -> None:
    if not files:
        raise DataError(
            f"{folder}: no table directly in this folder (looked for {', '.join(TABLE_SUFFIXES)}, also .gz)"
        )
    kinds = sorted({str(table_kind(file)) for file in files})
    if len(kinds) > 1:
        raise DataError(f"{folder}: tables of several kinds ({', '.join(kinds)}); keep one kind in a folder")
    stems = [_stem(file) for file in files]
    twice = [file.name for file, stem in zip(files, stems, strict=True) if stems.count(stem) > 1]
    if twice:
        raise DataError(f"{folder}: the same table twice, plain and compressed: {first_of(twice)}; remove one")


def read_table(file: Path) -> Part:
    """One table file, looked through once; its rows are read again, some at a time, when they are asked for.

    * CSV: commas, double quotes, all values are strings (``NA`` and ``null`` too).
    * TSV: tabs, and quotes without a meaning.
    * JSON lines: one object a line; a missing key is null.
    * Parquet: as it is; numbers of ClassLabel columns become their names.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or its rows do not fit.
    """
    readers = {".csv": _read_csv, ".tsv": read_tsv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    return readers[known_kind(file)](file)


def read_tsv(file: Path) -> Part:
    r"""Tab-separated text with a header line; only LF (or CR LF) ends a row, and quotes are characters.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or a row has more or fewer fields than the header.
    """
    check_text(file)
    advice = "in .tsv quotes have no meaning; write texts with tabs or line breaks as .jsonl"
    return _rectangle(file.name, lambda: _tsv_rows(file), advice)


Numbered: TypeAlias = Iterator[tuple[int, list[str]]]
"""Line number (of a row's last line) and fields of each row, header first."""


def _tsv_rows(file: Path) -> Numbered:
    with open_text(file, newline="\n") as text:
        for number, ended in enumerate(text, 1):
            line = ended.removesuffix("\n").removesuffix("\r")
            if line:
                yield number, line.split("\t")


def _read_csv(file: Path) -> Part:
    length = check_text(file)
    advice = "put texts that hold commas or line breaks in double quotes"
    return _rectangle(file.name, lambda: _csv_rows(file, length), advice)


def _csv_rows(file: Path, length: int) -> Numbered:
    with open_text(file, newline="") as text:
        reader = csv.reader(text, strict=True)
        while True:
            try:
                with _fields_up_to(length):
                    chunk = [(reader.line_num, fields) for fields in islice(reader, CHUNK)]
            except csv.Error as error:
                raise DataError(
                    f"{file.name}: bad quoting in the row that ends at line {reader.line_num} ({error}); put texts "
                    'with commas, quotes or line breaks in double quotes, and double each quote inside ("")'
                ) from error
            if not chunk:
                return
            yield from (row for row in chunk if row[1])


@contextmanager
def _fields_up_to(length: int) -> Iterator[None]:
    # The csv module refuses fields over 131,072 characters; texts may be longer.
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, length))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _rectangle(name: str, numbered: Callable[[], Numbered], advice: str) -> Part:
    rows = numbered()
    _, header = next(rows)
    ragged, count = Found(), 0
    for count, (line, fields) in enumerate(rows, 1):
        if len(fields) != len(header):
            ragged.add(f"#{count} (line {line}, {len(fields)} fields)")
    if ragged:
        raise DataError(f"{name}: the header has {len(header)} fields, but not row {ragged}; {advice}")

    def stream(wanted: Sequence[int]) -> Iterator[list[list[Any]]]:
        return columns_of((fields for _, fields in islice(numbered(), 1, None)), wanted)

    def whole(_: Sequence[str] | None) -> Iterator[Rows]:
        return field_rows(header, (fields for _, fields in islice(numbered(), 1, None)))

    return Part(name, count, tuple(header), stream, whole=whole)


def _read_jsonl(file: Path) -> Part:
    check_text(file)
    columns: dict[str, None] = {}
    faults, count = Found(), 0
    for number, row in _json_rows(file):
        if isinstance(row, dict):
            columns |= dict.fromkeys(row)
            count += 1
        else:
            faults.add(f"line {number} ({row if isinstance(row, Exception) else type(row).__name__})")
    if faults:
        raise DataError(f"{file.name}: expected one JSON object a line, not so in {faults}")
    names = tuple(columns)

    def stream(wanted: Sequence[int]) -> Iterator[list[list[Any]]]:
        rows = ([row.get(names[i]) for i in wanted] for _, row in _json_rows(file))
        return columns_of(rows, range(len(wanted)))

    def whole(_: Sequence[str] | None) -> Iterator[Rows]:
        with open_text(file, newline="\n") as text:
            yield from json_rows(names, (line for line in text if line.strip()))

    return Part(file.name, count, names, stream, whole=whole)


def _json_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Number and value of each line that is not blank; an error in the place of a value that is no JSON."""
    with open_text(file, newline="\n") as text:
        for number, line in enumerate(text, 1):
            if line.strip():
                try:
                    yield number, json.loads(line.removesuffix("\n"))
                except (ValueError, RecursionError) as error:
                    yield number, error


def _read_parquet(file: Path) -> Part:
    with _opened_parquet(file) as table:
        schema, count = table.schema_arrow, table.metadata.num_rows
    marked = b"huggingface" in (schema.metadata or {})
    features: Mapping[str, Any] = {}
    if marked:
        import datasets

        features = datasets.Features.from_arrow_schema(schema)
    columns = tuple(schema.names)

    def stream(wanted: Sequence[int]) -> Iterator[list[list[Any]]]:
        names = list(dict.fromkeys(columns[i] for i in wanted))
        with _opened_parquet(file) as table:
            for batch in table.iter_batches(CHUNK, columns=names):
                values = [_column(batch, columns, i) for i in wanted]
                yield [label_names(v, features.get(columns[i])) for i, v in zip(wanted, values, strict=True)]

    def whole(names: Sequence[str] | None) -> Iterator[Rows]:
        with _opened_parquet(file) as table:
            yield from (ArrowRows(batch, features) for batch in table.iter_batches(CHUNK, columns=names))
            if not count:
                yield ArrowRows(pa.RecordBatch.from_pylist([], schema), features)

    return Part(file.name, count, columns, stream, whole=whole)


def _column(batch: pa.RecordBatch, columns: Sequence[str], i: int) -> list[Any]:
    """The i-th column of the file out of a batch that holds some of them, in any order; names may repeat."""
    places = [place for place, name in enumerate(batch.schema.names) if name == columns[i]]
    values: list[Any] = batch.column(places[columns[:i].count(columns[i])]).to_pylist()
    return values


@contextmanager
def _opened_parquet(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        # Without the map, the pages of a row group that are read would stay in memory until its end.
        with pq.ParquetFile(file, memory_map=True) as table:
            yield table
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: cannot be read as Parquet ({error}); write it again") from error
