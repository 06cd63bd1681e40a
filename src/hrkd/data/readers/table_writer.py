"""Tables to disk or to standard output, some rows at a time: CSV, TSV, JSON lines and Parquet.

What :mod:`hrkd.data.readers.whole_rows` gives is written with columns added behind its own.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from hrkd.data.readers.places import is_packed, known_kind
from hrkd.data.readers.whole_rows import Rows
from hrkd.errors import DataError
from hrkd.support.atomic_files import replace_file
from hrkd.support.messages import first_of

__all__ = ["Added", "TableWriter", "naming", "new_table", "table_writer", "with_columns", "with_fields"]

Added = Sequence[tuple[str, type]]
"""Names of columns that are added, with the type of their values: str or float."""
ROWS_OF_A_GROUP = 1 << 16
BYTES_OF_A_GROUP = 1 << 26
"""Rows and bytes that are collected for a row group of Parquet: small groups are slow to read."""


class TableWriter(Protocol):
    """Writes rows as they come."""

    def write(self, rows: Rows, columns: Sequence[Sequence[Any]]) -> None:
        """Write rows with the values of the added columns (None: null, or an empty field).

        Raises:
            DataError: the format cannot hold a value.
        """

    def close(self) -> None:
        """Write what is left; the stream stays open."""


@contextmanager
def new_table(path: Path, added: Added, schema: pa.Schema | None) -> Iterator[TableWriter]:
    """A table to write, which takes the place of ``path`` when the ``with`` block ends without an error.

    Raises:
        ArtifactError: the file cannot be written; it is as it was before.
    """
    with replace_file(path) as new, new.open("wb") as file, _packed(file, path) as stream:
        writer = table_writer(known_kind(path), stream, added, name=str(path), schema=schema)
        yield writer
        writer.close()


def _packed(file: IO[bytes], path: Path) -> AbstractContextManager[IO[bytes]]:
    if not is_packed(path):
        return nullcontext(file)
    # Without the name and time of the temporary file, equal rows make equal files.
    return cast("AbstractContextManager[IO[bytes]]", gzip.GzipFile("", "wb", fileobj=file, mtime=0))


def table_writer(
    kind: str, stream: IO[bytes], added: Added, *, name: str, schema: pa.Schema | None = None
) -> TableWriter:
    r"""A writer to a stream that is open.

    Args:
        kind: .csv, .tsv, .jsonl or .parquet.
        stream: bytes go there.
        added: columns that come behind those of the rows.
        name: of the file, for messages.
        schema: for Parquet, names and types of all rows; None: those of the first rows.

    None is an empty field in CSV and TSV, and null elsewhere; lists and mappings are JSON in CSV and TSV. Halves of
    surrogate pairs, which UTF-8 cannot hold, are written as escapes (``\ud83d``).
    """
    if kind == ".parquet":
        return _ParquetWriter(stream, added, name, schema)
    makers = {".csv": _CsvWriter, ".tsv": _TsvWriter, ".jsonl": _JsonWriter}
    return makers[kind](stream, added, name)


class _LineWriter:
    """Formats of lines: what differs is how a chunk of rows becomes lines."""

    def __init__(self, stream: IO[bytes], added: Added, name: str) -> None:
        self.stream, self.added, self.name = stream, added, name
        self.count = 0
        self.started = False

    def write(self, rows: Rows, columns: Sequence[Sequence[Any]]) -> None:
        with naming(self.name):
            lines = self.lines(rows, columns)
        self.started = True
        self.count += len(rows)
        self.stream.write("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))

    def close(self) -> None:
        self.stream.flush()

    def lines(self, rows: Rows, columns: Sequence[Sequence[Any]]) -> list[str]:
        raise NotImplementedError

    def table(self, rows: Rows, columns: Sequence[Sequence[Any]]) -> list[list[str]]:
        """The header, if it is not written yet, and the rows, as fields."""
        header = [] if self.started else [[*rows.names, *(name for name, _ in self.added)]]
        more = zip(*(map(_field, values) for values in columns), strict=True)
        return [*header, *([*own, *others] for own, others in zip(rows.fields(), more, strict=True))]


class _CsvWriter(_LineWriter):
    def lines(self, rows: Rows, columns: Sequence[Sequence[Any]]) -> list[str]:
        lines: list[str] = []
        # The csv module quotes a carriage return only if its line ends have one; files get plain line feeds all the
        # same.
        sink = SimpleNamespace(write=lambda line: lines.append(line.removesuffix("\r\n")))
        csv.writer(sink, lineterminator="\r\n").writerows(self.table(rows, columns))
        return lines


class _TsvWriter(_LineWriter):
    def lines(self, rows: Rows, columns: Sequence[Sequence[Any]]) -> list[str]:
        table = self.table(rows, columns)
        first = self.count if not self.started else self.count + 1
        split = [
            str(row)
            for row, fields in enumerate(table, first)
            if fields[-1].endswith("\r") or any("\t" in field or "\n" in field for field in fields)
        ]
        if split:
            raise DataError(
                f"tabs or line breaks in row {first_of(split)}, which .tsv cannot hold; write .csv or .jsonl"
            )
        return ["\t".join(fields) for fields in table]


class _JsonWriter(_LineWriter):
    def lines(self, rows: Rows, columns: Sequence[Sequence[Any]]) -> list[str]:
        names = [json.dumps(name, ensure_ascii=False) for name, _ in self.added]
        more = zip(*columns, strict=True)
        return [_extended(line, names, values) for line, values in zip(rows.objects(), more, strict=True)]


class _ParquetWriter:
    """Collects rows until they are worth a row group."""

    def __init__(self, stream: IO[bytes], added: Added, name: str, schema: pa.Schema | None) -> None:
        self.stream, self.added, self.name, self.own = stream, added, name, schema
        self.writer: pq.ParquetWriter | None = None
        self.kept: list[pa.RecordBatch] = []

    def write(self, rows: Rows, columns: Sequence[Sequence[Any]]) -> None:
        with naming(self.name):
            if self.own is None:
                self.own = rows.schema()
            batch = rows.batch(self.own)
            schema = self.schema()
            if self.writer is None:
                self.writer = _parquet_writer(self.stream, schema)
            self.kept.append(with_columns(batch, self.added, columns, schema))
        kept = self.kept
        if sum(map(len, kept)) >= ROWS_OF_A_GROUP or sum(each.nbytes for each in kept) >= BYTES_OF_A_GROUP:
            self._empty()

    def schema(self) -> pa.Schema:
        assert self.own is not None
        return with_fields(self.own, self.added)

    def _empty(self) -> None:
        if self.writer is not None and self.kept:
            with naming(self.name):
                self.writer.write_table(pa.Table.from_batches(self.kept, self.schema()))
            self.kept = []

    def close(self) -> None:
        self._empty()
        if self.writer is not None:
            self.writer.close()


def with_fields(schema: pa.Schema, added: Added) -> pa.Schema:
    """A schema with the columns that are added, at its end."""
    for name, kind in added:
        schema = schema.append(pa.field(name, pa.string() if kind is str else pa.float64()))
    return schema


def with_columns(
    batch: pa.RecordBatch, added: Added, columns: Sequence[Sequence[Any]], schema: pa.Schema
) -> pa.RecordBatch:
    """A batch with the values of the added columns, of the ``schema`` that has them."""
    values = [pa.array(each, schema.field(name).type) for (name, _), each in zip(added, columns, strict=True)]
    return pa.record_batch([*batch.columns, *values], schema=schema)


def _parquet_writer(stream: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    try:
        return pq.ParquetWriter(stream, schema)
    except pa.ArrowException as error:
        raise DataError(f"a column that .parquet cannot hold ({error}); write .csv or .jsonl") from error


@contextmanager
def naming(name: str) -> Iterator[None]:
    """A context in which errors of the data name the file."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    except pa.ArrowException as error:
        raise DataError(f"{name}: cannot be written as Parquet ({error})") from error


def _extended(line: str, names: Sequence[str], values: Sequence[Any]) -> str:
    """A JSON object with members added behind its own, which stay as they are spelt."""
    body = line.strip().removesuffix("}").rstrip()
    members = ", ".join(f"{name}: {json.dumps(v, ensure_ascii=False)}" for name, v in zip(names, values, strict=True))
    return f"{body}{'' if body.endswith('{') and len(body) == 1 else ', '}{members}}}"


def _field(value: Any) -> str:
    return "" if value is None else str(value)
