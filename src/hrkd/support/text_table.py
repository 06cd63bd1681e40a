"""A table of text cells that is written once and shown on a terminal or in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

__all__ = ["NOTHING", "PlainTable", "interval", "megabytes", "millions", "or_nothing", "percent", "with_deviation"]

NOTHING = "-"
"""A cell for what is not known, or does not apply."""


def percent(fraction: float) -> str:
    """A fraction from 0 to 1 as per cent with one decimal: 0.879 is "87.9"."""
    return f"{100 * fraction:.1f}"


def interval(bounds: Sequence[float] | None, form: Callable[[float], str] = percent) -> str:
    """Two values as " [86.1, 89.4]", to stand behind another; nothing for None."""
    return "" if bounds is None else f" [{form(bounds[0])}, {form(bounds[1])}]"


def or_nothing(value: Any, form: Callable[[Any], str]) -> str:
    """A value as ``form`` writes it, and :data:`NOTHING` for None."""
    return NOTHING if value is None else form(value)


def with_deviation(mean: float, deviation: float | None, form: Callable[[float], str] = percent) -> str:
    """A mean and its standard deviation, "87.9 ± 0.4"; without, where there is a single value."""
    return form(mean) + ("" if deviation is None else f" ± {form(deviation)}")


def millions(count: float) -> str:
    """A count in millions: "14.5"; three decimals below 1."""
    return megabytes(count / 1e6)


def megabytes(size: float) -> str:
    """A size that is in megabytes: "58.0"; three decimals below 1."""
    return f"{size:.1f}" if size >= 1 else f"{size:.3f}"


@dataclass(frozen=True)
class PlainTable:
    """Rows of as many cells as there are ``columns``; the first column names the row. ``notes`` stand below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def transposed(self) -> PlainTable:
        """Rows and columns exchanged; the corner stays."""
        columns, *rows = zip(self.columns, *self.rows, strict=True)
        return replace(self, columns=columns, rows=tuple(rows))

    def to_markdown(self) -> str:
        """Title (a second-level heading, if there is one), table and notes, ending in a line break."""
        head = [f"## {self.title}", ""] if self.title else []
        rule = ["---", *("---:" for _ in self.columns[1:])]
        table = [_line(self.columns), _line(rule), *map(_line, self.rows)]
        notes = ["", *(f"* {note}" for note in self.notes)] if self.notes else []
        return "\n".join([*head, *table, *notes]) + "\n"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As it is, or transposed where it does not fit into the width."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        fits = sum(widths) + 3 * len(widths) + 1 <= options.max_width
        yield (self if fits else self.transposed()).to_rich()

    def to_rich(self) -> Table:
        """The same for a terminal; cells are shown as they are, without markup."""
        caption = Text("\n".join(self.notes)) if self.notes else None
        table = Table(title=Text(self.title), caption=caption, caption_justify="left", box=box.SIMPLE_HEAD)
        for number, column in enumerate(self.columns):
            table.add_column(Text(column), justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
