"""Tables to disk: CSV, TSV, JSON lines and Parquet, as :mod:`hrkd.data.readers.tables` reads them, in one step."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hrkd.data.readers.places import known_kind
from hrkd.errors import DataError
from hrkd.support.atomic_files import replace_file
from hrkd.support.messages import first_of

__all__ = ["check_writable", "write_table"]

Columns = Sequence[tuple[str, Sequence[Any]]]


def check_writable(path: Path, columns: Columns) -> None:
    """Find out now what :func:`write_table` would refuse, before long work on further columns; makes the folder.

    Raises:
        DataError: as there.
    """
    WRITERS[known_kind(path)](path, columns)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent}: this folder cannot be made ({error.strerror or error})") from error
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name a file")


def write_table(path: Path, columns: Columns) -> None:
    r"""Write columns (name, values) of one length; the file is whole or, after an error, as it was before.

    None is an empty field in CSV and TSV, and null elsewhere; lists and mappings are JSON in CSV and TSV. Halves of
    surrogate pairs, which UTF-8 cannot hold, are written as escapes (``\ud83d``).

    Raises:
        DataError: the kind is unknown or cannot hold the values, or the file cannot be written.
    """
    data = WRITERS[known_kind(path)](path, columns)
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    try:
        with replace_file(path) as new:
            new.write_bytes(data)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def _csv(_: Path, columns: Columns) -> bytes:
    lines: list[str] = []
    # The csv module quotes a carriage return only if its line ends have one; files get plain line feeds all the same.
    sink = SimpleNamespace(write=lambda line: lines.append(line.removesuffix("\r\n") + "\n"))
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(zip(*(map(_field, values) for _, values in columns), strict=True))
    return "".join(lines).encode(errors="backslashreplace")


def _tsv(path: Path, columns: Columns) -> bytes:
    rows = [[name for name, _ in columns], *zip(*(map(_field, values) for _, values in columns), strict=True)]
    split = [
        str(row)
        for row, fields in enumerate(rows)
        if fields[-1].endswith("\r") or any("\t" in field or "\n" in field for field in fields)
    ]
    if split:
        raise DataError(
            f"{path}: tabs or line breaks in row {first_of(split)}, which .tsv cannot hold; write .csv or .jsonl"
        )
    return "".join("\t".join(fields) + "\n" for fields in rows).encode(errors="backslashreplace")


def _jsonl(path: Path, columns: Columns) -> bytes:
    names = _different_names(path, columns)
    rows = zip(*(values for _, values in columns), strict=True)
    lines = (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, default=str) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")


def _parquet(path: Path, columns: Columns) -> bytes:
    names = _different_names(path, columns)
    buffer = io.BytesIO()
    try:
        table = pa.table({name: pa.array(values) for name, (_, values) in zip(names, columns, strict=True)})
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(f"{path}: a column holds values of several types ({error}); write .csv or .jsonl") from error
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _different_names(path: Path, columns: Columns) -> list[str]:
    names = [name for name, _ in columns]
    if repeated := sorted({repr(name) for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: more than one column is called {first_of(repeated)}; rename them, or write .csv")
    return names


def _field(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value)


WRITERS: dict[str, Callable[[Path, Columns], bytes]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
