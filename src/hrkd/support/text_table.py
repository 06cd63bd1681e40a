"""A table of text cells that is written once and shown on a terminal or in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from hrkd.support.messages import visible

__all__ = [
    "NOTHING",
    "PlainTable",
    "beside_size",
    "interval",
    "megabytes",
    "millions",
    "or_nothing",
    "percent",
    "with_deviation",
]

NOTHING = "-"
"""A cell for what is not known, or does not apply."""

READ_WELL = 100
"""Places of a line of text that the eye follows without getting lost."""


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


def beside_size(size: float, other: float) -> str:
    """How large something is beside another, to stand before its name: "2.1 times smaller than", "as large as"."""
    if f"{other / size:.1f}" == "1.0":
        return "as large as"
    return f"{other / size:.1f} times smaller than" if size < other else f"{size / other:.1f} times as large as"


@dataclass(frozen=True)
class PlainTable:
    """Rows of as many cells as there are ``columns``; the first ``keys`` ones name the row. ``notes`` stand below.

    Control characters in names of somebody's data are escaped in all of it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    keys: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", visible(self.title))
        object.__setattr__(self, "rows", tuple(tuple(map(visible, row)) for row in self.rows))
        for name in ("columns", "notes"):
            object.__setattr__(self, name, tuple(map(visible, getattr(self, name))))

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
        """As it is, or transposed where it does not fit into the width, or else in pieces, one below the other."""
        width = options.max_width
        for table in (self, self.transposed()) if self.keys == 1 else (self,):
            if _total(table._widths(whole=True)) <= width:
                yield table.to_rich()
                yield from self._below(_total(table._widths(whole=True)), width)
                return
        forms = (self, self.transposed()) if self.keys == 1 else (self,)
        pieces = min((form._pieces(width) for form in forms), key=lambda each: sum(len(t.rows) + 4 for t in each))
        for piece in pieces:
            yield piece.to_rich(_narrowed(piece._widths(), width))
        yield from self._below(width, width)

    @property
    def width_without_last(self) -> int:
        """Places that the table takes but for the cells of its last column."""
        return _total([*self._widths(whole=True)[:-1], 0])

    def _below(self, table: int, width: int) -> Iterator[Constrain]:
        """The notes, as wide as the ``table`` or, beside a narrow one, as lines are read well."""
        if self.notes:
            yield Constrain(Text("\n".join(self.notes)), min(width, max(table, READ_WELL)))

    def _widths(self, *, whole: bool = False) -> list[int]:
        """How many places each column needs; its heading is broken between words unless it is to stay ``whole``."""
        headings = [max(map(cell_len, [h] if whole else h.split() or [""])) for h in self.columns]
        return [max([h, *map(cell_len, cells)]) for h, *cells in zip(headings, *self.rows, strict=True)]

    def _pieces(self, width: int) -> list[PlainTable]:
        """Tables of as many columns as fit, each with the first ones, which name the rows."""
        widths, groups = self._widths(), [list[int]()]
        for place in range(self.keys, len(widths)):
            shown = [*range(self.keys), *groups[-1], place]
            if groups[-1] and _total([widths[i] for i in shown]) > width:
                groups.append([])
            groups[-1].append(place)
        found = []
        for number, group in enumerate(groups):
            places = [*range(self.keys), *group]
            rows = tuple(tuple(row[i] for i in places) for row in self.rows)
            rows = tuple(row for row in rows if number == 0 or {*row[self.keys :]} != {NOTHING})
            title = self.title if number == 0 else ""
            found.append(replace(self, title=title, columns=tuple(self.columns[i] for i in places), rows=rows))
        return found

    def to_rich(self, widths: Sequence[int] = ()) -> Table:
        """Title and rows for a terminal; cells are shown as they are, without markup, and in full.

        ``widths``: of the columns; none: as wide as they are, as far as there is room.
        """
        title = Text(self.title) if self.title else None
        table = Table(title=title, box=box.SIMPLE_HEAD)
        for number, column in enumerate(self.columns):
            width = widths[number] if widths else None
            justify: Any = "right" if number >= self.keys else "left"
            table.add_column(Text(column), justify=justify, overflow="fold", width=width)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return table


def _total(widths: Sequence[int]) -> int:
    """Places of a table with columns of these widths."""
    return sum(widths) + 3 * len(widths) + 1


def _narrowed(widths: list[int], room: int) -> list[int]:
    """``widths`` with the widest made narrower until the table fits."""
    while _total(widths) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    return widths


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
