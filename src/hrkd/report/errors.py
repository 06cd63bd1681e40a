"""Rows that models get wrong, for a terminal and as a table on disk."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

from hrkd.data.readers.places import is_packed, known_kind
from hrkd.report.page.accuracy import KIND_TITLES
from hrkd.report.page.aggregate import KINDS
from hrkd.support.atomic_files import check_can_be_written, replace_file
from hrkd.support.messages import count_of
from hrkd.support.text_table import PlainTable, percent

__all__ = ["ErrorsTable", "check_table", "errors_table", "write_errors"]

COLUMNS = ("Row", "Domain", "Right", "Label", "Teacher", "Student", "Text")
CHARACTERS = 160
"""Of a text in a table."""
ROOM = 40
"""Places that a text has at least in a table; where there are fewer, it stands below its row."""

Writer = Callable[[pd.DataFrame, Any], object]
WRITERS: Mapping[str, Writer] = {
    ".csv": lambda rows, stream: rows.to_csv(stream, index=False),
    ".tsv": lambda rows, stream: rows.to_csv(stream, index=False, sep="\t"),
    ".jsonl": lambda rows, stream: rows.to_json(stream, orient="records", lines=True, force_ascii=False),
    ".parquet": lambda rows, stream: rows.to_parquet(stream, index=False),
}


@dataclass(frozen=True)
class ErrorsTable(PlainTable):
    """A table whose last column is a long text: on a narrow terminal each row is a line with the text below it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.width_without_last + ROOM <= options.max_width or not self.rows:
            yield from super().__rich_console__(console, options)
            return
        yield Text(self.title, style="bold")
        for place, domain, right, label, teacher, student, text in self.rows:
            yield Text("")
            yield Text(f"{domain}, {place}: {right.lower()}", style="bold")
            yield Padding(Text(f"label {label}; teacher {teacher}; student {student}"), (0, 0, 0, 2))
            yield Padding(Text(text), (0, 0, 0, 2))
        yield Text("")
        yield Text("\n".join(self.notes))


def errors_table(found: pd.DataFrame, limit: int) -> ErrorsTable:
    """The first rows of each domain with the beginning of their texts.

    Args:
        found: what :func:`hrkd.run.errors.errors` returns.
        limit: how many rows of each domain.
    """
    counts = found.groupby(["domain", "kind"], sort=False).size()
    shown = found.groupby("domain", sort=False).head(limit)
    rows = tuple(
        (
            row["id"],
            row["domain"],
            KIND_TITLES[row["kind"]],
            row["label"],
            f"{row['teacher']} ({percent(row['teacher_confidence'])})",
            f"{row['student']} ({percent(row['student_confidence'])})",
            _beginning(" / ".join(row[name] for name in ("text", "text_pair") if name in found.columns)),
        )
        for row in shown.to_dict("records")
    )
    notes = [
        f"{domain}: "
        + ", ".join(
            f"{KIND_TITLES[kind].lower()} {counts[domain, kind]:,}" for kind in KINDS if (domain, kind) in counts
        )
        for domain in found["domain"].unique()
    ]
    notes.append("In brackets: how sure each is, in %. The student's surest come first.")
    if len(shown) < len(found):
        notes.append(f"{len(found) - len(shown):,} more: --limit shows more of each domain, --output writes all.")
    notes.append(
        "A label that is wrong is mended in the source, at the row that is named; hrkd compress learns from it."
    )
    title = (
        f"{count_of(len(found), 'test row', 'test rows')} of {count_of(found['domain'].nunique(), 'domain', 'domains')}"
    )
    return ErrorsTable(title, COLUMNS, rows, tuple(notes), keys=len(COLUMNS))


def check_table(path: Path) -> None:
    """Whether a table of this name can be written.

    Raises:
        ArtifactError, DataError: it cannot.
    """
    known_kind(path)
    check_can_be_written(path)


def write_errors(path: Path, found: pd.DataFrame) -> None:
    """Write all rows with their whole texts, as the kind of table that the file's name says.

    Raises:
        ArtifactError: it cannot be written.
        DataError: its name ends in no known suffix.
    """
    kind = known_kind(path)
    with replace_file(path) as new, gzip.open(new, "wb") if is_packed(path) else new.open("wb") as stream:
        WRITERS[kind](found, stream)


def _beginning(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= CHARACTERS else joined[: CHARACTERS - 1] + "…"
