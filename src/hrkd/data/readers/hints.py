"""What looks like a mistake in how columns are used: refused where it must be one, else told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import Any

from hrkd.data.readers.parts import Part
from hrkd.data.readers.split_names import words_of
from hrkd.data.rows import ColumnNames, canonical_split, is_empty, is_nested, name_of
from hrkd.errors import DataError
from hrkd.support.messages import Found, first_of

__all__ = ["LongRows", "check_roles", "note_on_roles", "notes_on_splits"]

SPLIT_COLUMNS = {"split", "splits", "fold", "set", "subset", "partition", "part", "portion", "usage", "phase", "role"}
"""Words in the names of columns that may say train, dev and test."""


def check_roles(names: ColumnNames) -> None:
    """Refuse a column that is a text and something else besides.

    Raises:
        DataError: one is.
    """
    for one, other in _twice(names):
        if "text" in one:
            raise DataError(
                f"{one} and {other}: both are to be the column {getattr(names, one)!r}; name two different columns"
                + (", or leave text_pair out for single texts" if other == "text_pair" else "")
            )


def note_on_roles(names: ColumnNames) -> tuple[str, ...]:
    """One column in two roles that may be meant so."""
    return tuple(f"the column {getattr(names, one)!r} is {one} and {other} at once" for one, other in _twice(names))


def _twice(names: ColumnNames) -> Iterator[tuple[str, str]]:
    asked = names.asked_for()
    return (pair for pair in combinations(asked, 2) if asked[pair[0]] == asked[pair[1]] and "id" not in pair)


def notes_on_splits(parts: Sequence[Part], names: ColumnNames) -> tuple[str, ...]:
    """Columns that say train, dev and test and are not used."""
    asked = names.asked_for().values()
    columns = dict.fromkeys(column for part in parts for column in part.columns if column not in asked)
    found = []
    likely = (column for column in columns if not SPLIT_COLUMNS.isdisjoint(words_of(column)))
    for column in islice(likely, SEVERAL):
        values = _values(parts, column)
        splits = {canonical_split(value) for value in values}
        if None not in splits and splits & {"dev", "test"}:
            found.append(
                f"the column {column!r} says {first_of(sorted(values))} and is not used: all rows are split anew; set "
                f"split to it (data.split: {column}) if they are to stay in these parts"
            )
    return tuple(found)


def _values(parts: Sequence[Part], column: str) -> set[str]:
    """The different values, without empty ones; empty where the column cannot be read or has too many."""
    found: set[str] = set()
    for part in parts:
        if part.columns.count(column) != 1:
            continue
        try:
            for (values,) in part.stream([part.columns.index(column)]):
                found.update(str(value).strip() for value in values if not is_empty(value))
                if len(found) > SEVERAL:
                    return set()
        except DataError:  # of a column that nobody asked for
            return set()
    return found


SEVERAL = 20
"""More different values than parts have names; and columns that are looked at."""


class LongRows:
    """Rows of a part that stand in several lines, held against the labels and domains that the others have.

    A quote that is never closed swallows rows up to the next one. Lines that are rows by themselves, with a label and a
    domain that others have, all of them, the one with the first quote and that with the last one too, are no text: in
    a text of several lines, what stands before or behind it is missing in all but one of them.
    """

    def __init__(self, part: Part, names: ColumnNames) -> None:
        self.part = part
        roles = ("label", "domain")
        self.columns = {r: getattr(names, r) for r in roles if getattr(names, r) is not None}
        self.known: dict[str, set[str]] = {role: set() for role in self.columns}

    def look_at(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Values by role of some rows."""
        if self.part.long_rows is not None:
            for role, known in self.known.items():
                known.update(name_of(v) for v in columns[role] if not is_empty(v) and not is_nested(v))

    def notes(self) -> tuple[str, ...]:
        """What is told at the end of the part.

        Raises:
            DataError: rows are swallowed.
        """
        if self.part.long_rows is None:
            return ()
        certain, doubtful = Found(), Found()
        for row in self.part.long_rows():
            lines = [number for number, _ in row]
            alike = [self._is_row(fields) for _, fields in row]
            if all(alike):
                certain.add(f"{lines[0]} to {lines[-1]}")
            elif any(alike[1:-1]):
                doubtful.add(str(lines[1 + alike[1:-1].index(True)]))
        if certain:
            raise DataError(
                f"{self.part.name}: each of the lines {certain} looks like a row, but a quote that opens in "
                "the first and closes in the last makes one of them; remove these quotes, or put texts with quotes in "
                'double quotes and double each quote inside ("")'
            )
        return (
            (
                f"{self.part.name}: a quoted text of several lines holds one that looks like a row of the table (line "
                f"{doubtful}); if it is one, a quote before it is not closed",
            )
            if doubtful
            else ()
        )

    def _is_row(self, fields: Sequence[str] | None) -> bool:
        if fields is None:
            return False
        return all(
            name_of(fields[self.part.columns.index(name)].strip('"')) in self.known[role]
            for role, name in self.columns.items()
        )
