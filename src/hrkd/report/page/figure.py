"""A figure of a page: pictures with a title, a description, a legend, and the same numbers as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hrkd.report.page.svg import Canvas, Scale, shortened, ticks
from hrkd.support.text_table import PlainTable

__all__ = [
    "IN_TABLE",
    "MOST_CELLS",
    "MOST_PANELS",
    "MOST_ROWS",
    "NAME",
    "Figure",
    "Segment",
    "Series",
    "cut",
    "heat_map",
    "maps_within",
    "percent_axis",
    "some_drawn",
    "stacked_bars",
    "width_of_names",
]

MOST_PANELS = 12
"""Small pictures of a figure; of more domains some are drawn, and all stand in the table."""
MOST_CELLS = 240
"""Of all heat maps of a figure."""
MOST_ROWS = 150
"""Of a table on a page; report.json holds all."""
NAME = 22
"""Characters of a name beside a picture."""
IN_TABLE = "The numbers stand in the table."
"""What a screen reader says of any picture."""
STRONGEST = 0.62
"""Opacity of the strongest cell of a heat map, on which words stay legible."""


@dataclass(frozen=True)
class Series:
    """A model in a figure: its name for people and the number of its mark (see :data:`hrkd.report.page.svg.SERIES`)."""

    title: str
    number: int


@dataclass(frozen=True)
class Figure:
    """What is shown together.

    Args:
        name: its place in the page's address.
        title, description: what it is, and how to read it.
        pictures: one, or small ones that stand side by side.
        tables: the same numbers.
        legend: series by their marks, where there are several.
    """

    name: str
    title: str
    description: str
    pictures: tuple[Canvas, ...] = ()
    tables: tuple[PlainTable, ...] = ()
    legend: tuple[Series, ...] = ()

    @property
    def is_small(self) -> bool:
        """Whether it is made of small pictures."""
        return len(self.pictures) > 1

    @property
    def marks(self) -> tuple[tuple[Series, Canvas], ...]:
        """The legend with a picture of each mark."""
        return tuple((series, _mark(series)) for series in self.legend)


def _mark(series: Series) -> Canvas:
    canvas = Canvas(14, 14, series.title)
    canvas.mark(7, 7, series.number)
    return canvas


def maps_within(cells: int) -> int:
    """How many heat maps of so many ``cells`` each a figure may have, at least one."""
    return max(1, min(MOST_PANELS, MOST_CELLS // max(1, cells)))


def cut(table: PlainTable, what: str = "rows") -> PlainTable:
    """The table's first rows, with a note where some are left out."""
    left = len(table.rows) - MOST_ROWS
    if left <= 0:
        return table
    return replace(table, rows=table.rows[:MOST_ROWS], notes=(*table.notes, f"{left:,} more {what} in report.json."))


def percent_axis(low: float, high: float) -> list[tuple[float, str]]:
    """Ticks of an axis of fractions, labelled in per cent."""
    return [(value, f"{100 * value:g}") for value in ticks(low, high)]


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    cells: Sequence[Sequence[str]],
    *,
    top: float | None = None,
    corner: str = "",
) -> Canvas:
    """Values as a grid of cells with words in them: stronger where larger; of the other hue where negative.

    Args:
        title: for people who do not see it.
        rows, columns: names.
        values: by row; None is left blank.
        cells: the words of each.
        top: size of the value that is strongest; default: the largest.
        corner: what rows and columns are, over the names of rows.
    """
    most = max((abs(value) for row in values for value in row if value is not None), default=0.0)
    most = (top if top is not None else most) or 1.0
    left = 14 + 7.4 * max(len(name) for name in (*rows, corner))
    wide = max(40.0, 10 + 6.4 * max(len(words) for row in (*cells, tuple(columns)) for words in row))
    canvas = Canvas(left + wide * len(columns) + 4, 26 + 24 * len(rows), title)
    if corner:
        canvas.text(0, 14, corner, "tick")
    for number, name in enumerate(columns):
        canvas.text(left + wide * (number + 0.5), 14, name, "tick", anchor="middle")
    for r, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = 22 + 24.0 * r
        canvas.text(left - 8, y + 15, name, "name", anchor="end")
        for c, value in enumerate(row):
            if value is None:
                continue
            share = min(1.0, abs(value) / most) * STRONGEST
            canvas.box(left + wide * c + 1, y, wide - 2, 22, "cell less" if value < 0 else "cell", share=share)
            canvas.text(left + wide * (c + 0.5), y + 15, cells[r][c], "value")
    return canvas


def some_drawn(drawn: int, of: int) -> str:
    """That not all domains are drawn, behind other sentences; nothing where all are, or none."""
    return f" The first {drawn} of {of} domains are drawn." if 0 < drawn < of else ""


def width_of_names(names: Iterable[str]) -> float:
    """Pixels that names of at most :data:`NAME` characters take at the left of a picture."""
    return 8 + 6.8 * max([8, *(len(shortened(name, NAME)) for name in names)])


@dataclass(frozen=True)
class Segment:
    """A part of a bar: what it looks like, how long it is, and what stands in it, or under a pointer if it is short."""

    look: str
    length: float
    words: str
    tip: str


def stacked_bars(
    title: str, bars: Mapping[str, Sequence[Segment]], below: str, labels: Callable[[float], list[tuple[float, str]]]
) -> Canvas:
    """A bar of several segments for each name.

    Args:
        title: for people who do not see it.
        bars: by name, from the top.
        below: what the axis shows.
        labels: ticks and their words for an axis from 0 to a length.
    """
    canvas = Canvas(760, 34 + 22 * len(bars), title, description=IN_TABLE)
    longest = max(sum(segment.length for segment in bar) for bar in bars.values()) or 1.0
    across, bottom = Scale(0.0, longest, width_of_names(bars), 748), 4 + 22.0 * len(bars)
    canvas.horizontal_axis(across, bottom, 4, labels(longest))
    for row, (name, bar) in enumerate(bars.items()):
        y, start = 4 + 22.0 * row, 0.0
        canvas.text(0, y + 15, shortened(name, NAME), "name")
        for segment in bar:
            left, width = across(start), across(start + segment.length) - across(start)
            fits = width > 8 + 6.5 * len(segment.words)
            canvas.box(left, y + 3, width, 16, f"part {segment.look}", tip="" if fits else segment.tip)
            if fits:
                canvas.text(left + width / 2, y + 15, segment.words, f"value on-{segment.look}")
            start += segment.length
    canvas.text((across.start + across.end) / 2, bottom + 28, below, "tick", anchor="middle")
    return canvas
