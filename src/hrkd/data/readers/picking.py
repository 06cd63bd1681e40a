"""Parts of a source become chunks of :class:`RawRows` here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hrkd.data.readers.hints import LongRows, check_roles, note_on_roles, notes_on_splits
from hrkd.data.readers.parts import FILE_NAME, Part
from hrkd.data.rows import ColumnNames, RawRows
from hrkd.errors import DataError
from hrkd.support.messages import names_of, suggestion

__all__ = ["pick"]


def pick(parts: Sequence[Part], names: ColumnNames) -> Iterator[RawRows]:
    """The asked-for columns of all parts, one after the other, some rows at a time.

    Without a split column, the names of the parts say train, dev and test.

    Raises:
        DataError: a part has no rows, lacks a column or has it twice; before the first rows are given.
    """
    problems = [problem for part in parts if (problem := _problem(part, names))]
    if problems:
        raise DataError("\n".join(problems))
    check_roles(names)
    wanted = names.asked_for()
    split_of_part = names.split is None and any(part.split for part in parts)
    notes = [note for part in parts for note in part.notes]
    notes += note_on_roles(names)
    if names.split is None and not split_of_part and names.label is not None:
        notes += notes_on_splits(parts, names)
    told = tuple(dict.fromkeys(notes))
    for part in parts:
        done, swallowed = 0, LongRows(part, names)
        for values in part.stream([part.columns.index(name) for name in wanted.values()]):
            count = len(values[0])
            columns: dict[str, Any] = dict(zip(wanted, values, strict=True))
            swallowed.look_at(columns)
            if again := _repeats_names(columns, wanted):
                raise DataError(f"{part.name}#{done + again}: the names of columns come once more; remove it")
            if names.label is None:
                columns["label"] = None
            if split_of_part:
                columns["split"] = [part.split] * count
            places = [f"{part.name}#{n}" for n in range(done + 1, done + count + 1)]
            yield RawRows(places=places, names=names, notes=told, **columns)
            done += count
        if last := swallowed.notes():
            yield RawRows([], [], None if names.label is None else [], [], names=names, notes=last)


def _repeats_names(columns: Mapping[str, Sequence[Any]], wanted: Mapping[str, str]) -> int:
    """Number, from 1, of the first row that holds the names of its columns, a header that became a row; 0: none."""
    names = set(wanted.values())
    if len(names) < len(wanted):
        return 0
    for row, text in enumerate(columns["text"]):
        if isinstance(text, str) and text.lstrip("\ufeff") in names:
            found = {str(values[row]).lstrip("\ufeff") for values in columns.values()}
            if found == names:
                return row + 1
    return 0


def _problem(part: Part, names: ColumnNames) -> str | None:
    where = "source" if part.name == "row" else part.name
    wanted = names.asked_for()
    missing = [_missing(role, name, part.columns) for role, name in wanted.items() if name not in part.columns]
    if missing:
        return f"{where}: {'; '.join(missing)}. Columns found: {names_of(part.columns)}{_quoted(part.columns)}"
    if repeated := part.repeated(wanted.values()):
        return f"{where}: {repeated}"
    return None if part.rows else f"{where}: no rows; expected {'' if names.label is None else 'labelled '}text"


def _missing(role: str, name: str, columns: Sequence[str]) -> str:
    if asked := suggestion(name, columns):
        return f"no column {name!r} for {role} ({asked} then set {role} to it)"
    advice = f"set {role}"
    if role == "domain":
        advice = (
            f"add one that names the domain of each row; or, where each file of a folder is a domain, set domain to "
            f"{FILE_NAME}; or set domain"
        )
    return f"no column {name!r} for {role} ({advice} to the name of a column)"


def _quoted(columns: Sequence[str]) -> str:
    if any(len(name) > 1 and name[0] == name[-1] == '"' for name in columns):
        return "; in .tsv quotes have no meaning: write the table without them, or as .csv or .jsonl"
    return ""
