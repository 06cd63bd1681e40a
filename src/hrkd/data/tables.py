"""Tables on disk: CSV, TSV, JSON lines and Parquet; one file, or a folder of files of one kind."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from hrkd.data.files import read_text
from hrkd.data.parts import Part, label_names
from hrkd.data.rows import canonical_split
from hrkd.data.wording import first_of
from hrkd.errors import DataError

__all__ = ["TABLE_SUFFIXES", "read_table", "read_tables", "read_tsv", "table_files", "table_kind"]

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
SHARD = re.compile(r"-\d+-of-\d+$")


def table_kind(path: Path) -> str | None:
    """The suffix that says how to read a file (``.csv`` for ``a.csv.gz``), or None if it is no table."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in TABLE_SUFFIXES or (suffix == ".parquet" and path.suffix == ".gz"):
        return None
    return suffix


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
    """One table file.

    * CSV: commas, double quotes, all values are strings (``NA`` and ``null`` too).
    * TSV: tabs, and quotes without a meaning.
    * JSON lines: one object a line; a missing key is null.
    * Parquet: as it is; numbers of ClassLabel columns become their names.

    Raises:
        DataError: the file cannot be read, is not UTF-8, or its rows do not fit.
    """
    kind = table_kind(file)
    if kind is None:
        raise DataError(f"{file}: no table; expected {', '.join(TABLE_SUFFIXES)} (the first three also with .gz)")
    if kind == ".parquet":
        return _read_parquet(file)
    return {".csv": _read_csv, ".tsv": read_tsv, ".jsonl": _read_jsonl}[kind](read_text(file), file.name)


def read_tsv(text: str, name: str) -> Part:
    r"""Tab-separated text with a header line; only LF (or CR LF) ends a row, and quotes are characters.

    Raises:
        DataError: a row has more or fewer fields than the header.
    """
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    numbered = [(n, line.split("\t")) for n, line in enumerate(lines, 1) if line]
    return _rectangle(numbered, name, "in .tsv quotes have no meaning; write texts with tabs or line breaks as .jsonl")


def _read_csv(text: str, name: str) -> Part:
    with _fields_up_to(len(text)):
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            numbered = [(reader.line_num, fields) for fields in reader if fields]
        except csv.Error as error:
            raise DataError(
                f"{name}: bad quoting in the row that ends at line {reader.line_num} ({error}); put texts with commas, "
                'quotes or line breaks in double quotes, and double each quote inside ("")'
            ) from error
    return _rectangle(numbered, name, "put texts that hold commas or line breaks in double quotes")


@contextmanager
def _fields_up_to(length: int) -> Iterator[None]:
    # The csv module refuses fields over 131,072 characters; texts may be longer.
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, length))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _rectangle(numbered: list[tuple[int, list[str]]], name: str, advice: str) -> Part:
    header, rows = numbered[0][1], numbered[1:]
    ragged = [
        f"#{n} (line {line}, {len(fields)} fields)"
        for n, (line, fields) in enumerate(rows, 1)
        if len(fields) != len(header)
    ]
    if ragged:
        raise DataError(f"{name}: the header has {len(header)} fields, but not row {first_of(ragged)}; {advice}")
    return Part(name, len(rows), tuple(header), lambda i: [fields[i] for _, fields in rows])


def _read_jsonl(text: str, name: str) -> Part:
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            faults.append(f"line {number} ({error})")
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            faults.append(f"line {number} ({type(row).__name__})")
    if faults:
        raise DataError(f"{name}: expected one JSON object a line, not so in {first_of(faults)}")
    columns = tuple(dict.fromkeys(key for row in rows for key in row))
    return Part(name, len(rows), columns, lambda i: [row.get(columns[i]) for row in rows])


def _read_parquet(file: Path) -> Part:
    try:
        table = pq.ParquetFile(file).read()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: cannot be read as Parquet ({error}); write it again") from error
    marked = b"huggingface" in (table.schema.metadata or {})
    features = datasets.Features.from_arrow_schema(table.schema) if marked else {}
    columns = tuple(table.column_names)
    return Part(
        file.name, len(table), columns, lambda i: label_names(table.column(i).to_pylist(), features.get(columns[i]))
    )
