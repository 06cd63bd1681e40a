"""Tables on disk: CSV, TSV, JSON lines and Parquet; one file, or a folder of files of one kind."""

from __future__ import annotations

import csv
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from hrkd.data.columns import CHUNK, rows_at_a_time
from hrkd.data.readers.file_kinds import HEAD, kind_of
from hrkd.data.readers.parts import LongRow, Part, columns_of, values_of
from hrkd.data.readers.places import TABLE_SUFFIXES, check_names, known_kind, no_such_path, plain_stem, table_kind
from hrkd.data.readers.split_names import note_on_names, says_a_split, splits_of
from hrkd.data.readers.text_files import check_text, open_text
from hrkd.data.readers.whole_rows import ArrowRows, Rows, field_rows, json_rows, repeated_keys
from hrkd.data.rows import canonical_split
from hrkd.errors import DataError
from hrkd.support.json_text import parse_json
from hrkd.support.messages import Found, count_of, first_of, repeated_in

__all__ = [
    "JOINED",
    "SEPARATORS",
    "check_separator",
    "long_row",
    "no_tables",
    "passed_over",
    "read_table",
    "read_tables",
    "read_tsv",
    "repeats_header",
    "separator_of",
    "table_files",
    "without_blanks",
]

PARQUET = b"PAR1"
BOM = "\ufeff"
JOINED = "the header comes once more, as in files that were joined,"
HUB_FOLDER = "data"
"""Where repositories of the hub keep their tables."""


def table_files(folder: Path) -> list[Path]:
    """Tables that lie directly in a folder, or else in its ``data/``, sorted by name; no hidden files."""
    return _tables_in(folder) or _tables_in(folder / HUB_FOLDER)


def _tables_in(folder: Path) -> list[Path]:
    return [p for p in _shown(folder) if p.is_file() and table_kind(p)]


def _shown(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name, without what is hidden."""
    readable = folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if readable else []


def no_tables(folder: Path) -> str:
    """Where tables lie that belong to no folder of tables, or where they should: ``; ...``, or nothing."""
    if absent := [p.name for p in _shown(folder) if table_kind(p) and p.is_symlink() and not p.exists()]:
        return f"; links to what is not there: {first_of(absent)}: fetch it"
    inside = [p.name + "/" for p in sorted(folder.iterdir()) if p.is_dir() and _tables_in(p)]
    return f"; tables lie in {first_of(inside)}: name one of these folders" if inside else ""


def read_tables(path: Path, *, split_column: bool = False) -> list[Part]:
    """One table, or all tables of a folder.

    In a folder whose files are named after train, dev (validation, valid, val) and test, see :func:`splits_of`, each
    part carries that split, unless the tables have a ``split_column``. A single file's name says nothing.

    Raises:
        DataError: no table, tables of several kinds, the same table twice, some files named after a split and
            others not, or a file that cannot be read.
    """
    if not path.is_dir():
        return [read_table(path)]
    files = table_files(path)
    _check_folder(path, files)
    names = [file.name for file in files]
    splits = [None] * len(files) if split_column else _splits_of_files(path, files)
    notes = note_on_names(names, splits)
    if files[0].parent != path:
        notes = (f"the tables in its folder {files[0].parent.name}/ are read", *notes)
    if not split_column and (passed := passed_over(path)):
        notes += (f"not read, as no table of a known kind: {first_of(passed)}",)
    parts = [replace(read_table(file), split=split) for file, split in zip(files, splits, strict=True)]
    return [replace(parts[0], notes=(*notes, *parts[0].notes)), *parts[1:]]


NO_DATA = (
    *(".md", ".rst", ".pdf", ".html", ".log", ".png", ".jpg", ".svg"),
    *(".py", ".ipynb", ".sh", ".r", ".yaml", ".yml", ".toml", ".cfg"),
)
"""Endings of what speaks of tables and is none."""


def passed_over(folder: Path) -> list[str]:
    """What is named after a split beside the tables of a folder, or in a folder beside them, and is not read."""
    files = table_files(folder)
    if not files:
        return []
    beside = {p: None for place in dict.fromkeys((folder, files[0].parent)) for p in _shown(place)}
    found = []
    for p in beside:
        if p.is_dir():
            inside = [each.name for each in _tables_in(p) if each not in files and says_a_split(plain_stem(each))]
            if inside or (says_a_split(p.name) and p != files[0].parent):
                found.append(f"{p.name}/" + (f" ({first_of(inside)})" if inside else ""))
        elif p not in files and p.suffix.lower() not in NO_DATA and says_a_split(plain_stem(p)):
            found.append(p.name)
    return found


def _splits_of_files(path: Path, files: list[Path]) -> list[str | None]:
    if len(files) == 1:  # its name says what it is to others; here it is all there is
        return ["train" if canonical_split(plain_stem(files[0])) == "train" else None]
    try:
        splits = splits_of([plain_stem(file) for file in files])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    named = [f"{file.name} is {split}" for file, split in zip(files, splits, strict=True) if split]
    others = [file.name for file, split in zip(files, splits, strict=True) if split is None]
    if others and named:
        raise DataError(
            f"{path}: some files are named after a split (train, dev, test), but not {first_of(others)} "
            f"({first_of(named)}); rename or remove these, or add a split column to all and name it (data.split)"
        )
    return splits


def _check_folder(folder: Path, files: list[Path]) -> None:
    if not files:
        raise DataError(
            f"{folder}: no table directly in this folder (looked for {', '.join(TABLE_SUFFIXES)}, also .gz)"
            f"{no_tables(folder)}"
        )
    for file in _shown(files[0].parent):
        if table_kind(file) and file not in files:
            if file.is_dir():
                raise DataError(f"{file}: is a folder beside tables; move what is in it here, or the folder elsewhere")
            raise DataError(no_such_path(file) if file.is_symlink() else f"{file}: is no file; move it elsewhere")
    check_names(folder, [file.name for file in files])
    kinds = sorted({str(table_kind(file)) for file in files})
    if len(kinds) > 1:
        raise DataError(f"{folder}: tables of several kinds ({', '.join(kinds)}); keep one kind in a folder")
    again = set(repeated_in(map(plain_stem, files)))
    if twice := [file.name for file in files if plain_stem(file) in again]:
        raise DataError(f"{folder}: the same table twice, plain and compressed: {first_of(twice)}; remove one")


def read_table(file: Path) -> Part:
    """One table file, looked through once; its rows are read again, some at a time, when they are asked for.

    * CSV: commas (or semicolons, where the header has these alone), double quotes, all values are strings (``NA`` and
      ``null`` too).
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
    quoted = Found()

    def look_at(line: int, fields: list[str]) -> None:
        if any(len(f) > 1 and f[0] == f[-1] == '"' and '""' in f[1:-1] for f in fields):
            quoted.add(str(line))

    advice = "in .tsv quotes have no meaning; write texts with tabs or line breaks as .jsonl"
    part = _rectangle(file.name, lambda: _tsv_rows(file), advice, "\t", look_at)
    if not quoted:
        return part
    note = (
        f"{file.name}: {count_of(quoted.total)} with a field in quotes that doubles those inside, as pandas and "
        f"spreadsheets write it (line {quoted}): in .tsv quotes have no meaning and stay in the text; .csv or .jsonl "
        "have none of this"
    )
    return replace(part, notes=(*part.notes, note))


Numbered: TypeAlias = Iterator[tuple[int, list[str]]]
"""Line number (of a row's last line) and fields of each row, header first."""


def without_blanks(numbered: Numbered) -> Numbered:
    """Rows, header first, without blank lines; below a header of one field these are empty rows but for the last."""
    width, held = 0, None
    for number, fields in numbered:
        if held is not None:
            yield held, [""]
            held = None
        if fields:
            width = width or len(fields)
            yield number, fields
        elif width == 1:
            held = number


def repeats_header(header: Sequence[str], fields: Sequence[str]) -> bool:
    """Whether a row is the header once more, as in files that were joined, in whatever order."""
    return fields[0].lstrip(BOM) in header and {field.lstrip(BOM) for field in fields} == set(header)


def _tsv_rows(file: Path) -> Numbered:
    with open_text(file, newline="\n") as text:
        for number, ended in enumerate(text, 1):
            line = ended.removesuffix("\n").removesuffix("\r")
            yield number, line.split("\t") if line else []


def _read_csv(file: Path) -> Part:
    length = check_text(file)
    with open_text(file, newline="") as text:
        separator = separator_of(next((line for line in text if line.strip()), ""))
    advice = f"put texts that hold {SEPARATORS[separator]} or line breaks in double quotes"
    spans, before = array("q"), 1

    def look_at(line: int, _: list[str]) -> None:
        nonlocal before
        if line > before + 1:
            spans.extend((before + 1, line))
        before = line

    part = _rectangle(file.name, lambda: _csv_rows(file, length, separator), advice, separator, look_at)
    if not spans:
        return part
    return replace(part, long_rows=lambda: _long_rows(file, spans, len(part.columns), separator))


SEPARATORS = {",": "commas", ";": "semicolons"}
"""Of .csv: spreadsheets write the second where the first stands in numbers."""
IN_QUOTES = re.compile('"[^"]*("|$)')


def separator_of(header: str) -> str:
    """What separates the fields of .csv, by its first line: commas, unless that has semicolons alone."""
    outside = IN_QUOTES.sub("", header)
    return ";" if ";" in outside and "," not in outside else ","


def _csv_rows(file: Path, length: int, separator: str) -> Numbered:
    with open_text(file, newline="") as text:
        reader, last = csv.reader(text, delimiter=separator, strict=True), 0
        fault: csv.Error | None = None
        most = 1  # until the header has told how many fields there are
        while fault is None:
            chunk: list[tuple[int, list[str]]] = []
            try:
                with _fields_up_to(length):
                    chunk.extend((reader.line_num, fields) for fields in islice(reader, most))
            except csv.Error as error:
                fault = error
            if not chunk and fault is None:
                return
            yield from chunk
            if chunk:
                last, most = chunk[-1][0], min(CHUNK, rows_at_a_time(len(chunk[-1][1])))
        begins = f" and begins at line {last + 1}" if reader.line_num > last + 1 else ""
        raise DataError(
            f"{file.name}: bad quoting in the row that ends at line {reader.line_num}{begins} ({fault}); put texts "
            f"with {SEPARATORS[separator]}, quotes or line breaks in double quotes, and double each quote inside"
            ' ("")'
        )


def _long_rows(file: Path, spans: Sequence[int], width: int, separator: str) -> Iterator[LongRow]:
    """Rows in the lines from ``spans[0]`` to ``spans[1]``, from ``spans[2]`` to ..., if a line of them is a row."""
    with open_text(file, newline="") as text:
        lines = enumerate(text, 1)
        for first, last in zip(spans[::2], spans[1::2], strict=True):
            own = ((number, line) for number, line in _up_to(lines, last) if number >= first)
            if row := long_row(own, width, separator):
                yield row


def long_row(lines: Iterable[tuple[int, str]], width: int, separator: str = ",") -> LongRow:
    """Number and fields of each line of one row, empty ones left out; empty if none could be a row by itself."""
    held = ((number, line.rstrip("\r\n")) for number, line in lines)
    row = [(number, _alone(line, width, separator)) for number, line in held if line]
    return row if len(row) > 1 and any(fields for _, fields in row) else []


def _up_to(lines: Iterator[tuple[int, str]], last: int) -> Iterator[tuple[int, str]]:
    """The lines up to the one of number ``last``."""
    for number, line in lines:
        yield number, line
        if number == last:
            return


def _alone(line: str, width: int, separator: str) -> list[str] | None:
    """The fields of a line that is read by itself, its quotes as such or as characters; None if they are not enough."""
    try:
        fields = next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error:
        fields = []
    if len(fields) != width:
        fields = line.split(separator)
    return fields if len(fields) == width else None


@contextmanager
def _fields_up_to(length: int) -> Iterator[None]:
    # The csv module refuses fields over 131,072 characters; texts may be longer.
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, length))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _rectangle(
    name: str,
    numbered: Callable[[], Numbered],
    advice: str,
    separator: str,
    look_at: Callable[[int, list[str]], None],
) -> Part:
    rows = without_blanks(numbered())
    _, header = next(rows)
    check_separator(name, header, separator)
    ragged, again, count = Found(), Found(), 0
    for count, (line, fields) in enumerate(rows, 1):
        look_at(line, fields)
        if len(fields) != len(header):
            ragged.add(f"#{count} (line {line}, {len(fields)} fields)")
        elif repeats_header(header, fields):
            again.add(f"#{count} (line {line})")
    if ragged:
        raise DataError(f"{name}: the header has {len(header)} fields, but not row {ragged}; {advice}")
    if again and len(header) > 1:
        raise DataError(f"{name}: {JOINED} in row {again}; remove it")
    notes = (f"{name}: {JOINED} in row {again}, unless it is a text",) if again else ()

    def stream(wanted: Sequence[int]) -> Iterator[list[list[Any]]]:
        return columns_of((fields for _, fields in islice(without_blanks(numbered()), 1, None)), wanted)

    def whole(_: Sequence[str] | None) -> Iterator[Rows]:
        return field_rows(header, (fields for _, fields in islice(without_blanks(numbered()), 1, None)))

    return Part(name, count, tuple(header), stream, notes=notes, whole=whole)


def check_separator(name: str, header: Sequence[str], separator: str) -> None:
    """Refuse a header that is one field with other separators in it."""
    others = [
        other for other in (";", "\t", ",", "|") if other != separator and len(header) == 1 and other in header[0]
    ]
    if others:
        kind = {",": "commas in .csv", "\t": "tabs in .tsv"}[separator]
        raise DataError(
            f"{name}: the header holds {others[0]!r} and no {separator!r}, so fields seem to be separated by it; hrkd "
            f"expects {kind}: write the table anew, in pandas with "
            f"pandas.read_csv({name!r}, sep={others[0]!r}).to_csv('new.csv', index=False)"
        )


def _read_jsonl(file: Path) -> Part:
    check_text(file)
    columns: dict[str, None] = {}
    faults, twice, count = Found(), Found(), 0
    again: list[str] = []

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        again.extend(repeated_keys(pairs))
        return dict(pairs)

    for number, row in _json_rows(file, members):
        if again:
            twice.add(f"line {number} ({again[0]!r})")
            again.clear()
        if isinstance(row, dict):
            columns |= dict.fromkeys(row)
            count += 1
        else:
            faults.add(f"line {number} ({row if isinstance(row, Exception) else type(row).__name__})")
    if faults:
        with open_text(file, newline="\n") as text:
            is_array = text.read(HEAD).lstrip().startswith("[")
        advice = "; the file is one JSON array: write an object a line (pandas: to_json(orient='records', lines=True))"
        raise DataError(f"{file.name}: expected one JSON object a line, not so in {faults}{advice if is_array else ''}")
    names = tuple(columns)
    notes = (f"{file.name}: a key comes twice in {twice}: its last value counts",) if twice else ()

    def stream(wanted: Sequence[int]) -> Iterator[list[list[Any]]]:
        rows = ([row.get(names[i]) for i in wanted] for _, row in _json_rows(file))
        return columns_of(rows, range(len(wanted)))

    def whole(_: Sequence[str] | None) -> Iterator[Rows]:
        with open_text(file, newline="\n") as text:
            yield from json_rows(names, (line for line in text if line.strip()))

    return Part(file.name, count, names, stream, notes=notes, whole=whole)


def _json_rows(
    file: Path, members: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None
) -> Iterator[tuple[int, Any]]:
    """Number and value of each line that is not blank; an error in the place of a value that is no JSON."""
    with open_text(file, newline="\n") as text:
        for number, line in enumerate(text, 1):
            if line.strip():
                try:
                    yield number, parse_json(line.removesuffix("\n"), members)
                except ValueError as error:
                    yield number, error


def _read_parquet(file: Path) -> Part:
    with _opened_parquet(file) as table:
        schema, count = table.schema_arrow, table.metadata.num_rows
        columns = tuple(schema.names)
    labels, notes = _class_names(file, (schema.metadata or {}).get(b"huggingface"))

    def stream(wanted: Sequence[int]) -> Iterator[list[list[Any]]]:
        names, done = list(dict.fromkeys(columns[i] for i in wanted)), 0
        with _opened_parquet(file) as table:
            for batch in table.iter_batches(CHUNK, columns=names):
                picked = [(columns[i], _column(batch, columns, i)) for i in wanted]
                yield [values_of(each, file.name, name, done, labels.get(name)) for name, each in picked]
                done += len(batch)
        _check_count(file, count, done)

    def whole(names: Sequence[str] | None) -> Iterator[Rows]:
        done = 0
        with _opened_parquet(file) as table:
            for batch in table.iter_batches(CHUNK, columns=names):
                yield ArrowRows(batch, labels, file.name, done)
                done += len(batch)
            _check_count(file, count, done)
            if not count:
                yield ArrowRows(pa.RecordBatch.from_pylist([], schema), labels)

    return Part(file.name, count, columns, stream, notes=notes, whole=whole)


def _check_count(file: Path, said: int, found: int) -> None:
    """Whether as many rows came as a Parquet file says that it has."""
    if said != found:
        raise DataError(f"{file}: says that it has {count_of(said)}, and holds {found:,}; write it again")


def _class_names(file: Path, metadata: bytes | None) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The names of classes by column, as the `datasets` library notes them in a file, and what to tell of them."""
    if metadata is None:
        return {}, ()
    try:
        features = parse_json(metadata.decode())["info"]["features"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        note = "its metadata of the datasets library cannot be read; numbers of classes stay numbers, without names"
        return {}, (f"{file.name}: {note}",)
    found = {
        n: f["names"] for n, f in features if isinstance(f, dict) and f.get("_type") == "ClassLabel" and "names" in f
    }
    return {name: [str(each) for each in names] for name, names in found.items() if isinstance(names, list)}, ()


def _column(batch: pa.RecordBatch, columns: Sequence[str], i: int) -> pa.Array:
    """The i-th column of the file out of a batch that holds some of them, in any order; names may repeat."""
    places = [place for place, name in enumerate(batch.schema.names) if name == columns[i]]
    return batch.column(places[columns[:i].count(columns[i])])


@contextmanager
def _opened_parquet(file: Path) -> Iterator[pq.ParquetFile]:
    _check_parquet(file)
    try:
        # Without the map, the pages of a row group that are read would stay in memory until its end.
        with pq.ParquetFile(file, memory_map=True) as table:
            yield table
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as Parquet ({error}); write it again") from error


def _check_parquet(file: Path) -> None:
    """Whether a file begins and ends as Parquet does."""
    try:
        with file.open("rb") as content:
            head = content.read(HEAD)
            content.seek(max(0, file.stat().st_size - len(PARQUET)))
            tail = content.read()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    if not head:
        raise DataError(f"{file}: the file is empty; expected a table")
    if not head.startswith(PARQUET):
        what, advice = kind_of(file, head) or ("something else", "let its name end in what it is, or write it again")
        raise DataError(f"{file}: named as Parquet, but it is {what}: {advice}")
    if tail != PARQUET:
        raise DataError(f"{file}: cannot be read as Parquet: its end is missing; fetch or write it again")
