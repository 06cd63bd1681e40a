"""Figures of many models side by side: accuracies in order, differences with intervals, curves over training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hrkd.report.page.figure import IN_TABLE, MOST_PANELS, Figure, Series, percent_axis
from hrkd.report.page.svg import Canvas, Scale, shortened, ticks
from hrkd.report.remarks import points
from hrkd.support.text_table import PlainTable

__all__ = ["curves_figure", "differences_figure", "ranking_figure"]

Row = Mapping[str, Any]

NAME = 34


def ranking_figure(name: str, title: str, description: str, rows: Sequence[Row], table: PlainTable) -> Figure:
    """Accuracy of each model with its interval, the best on top.

    Args:
        name, title, description: of the figure.
        rows: ``title``, ``accuracy``, ``interval`` (or None) and ``values``, of single seeds, none or several.
        table: the same numbers, and those of domains.
    """
    ordered = sorted(rows, key=lambda row: -row["accuracy"])
    ends = [end for row in ordered for end in (*(row["interval"] or ()), *row["values"], row["accuracy"])]
    left = _left(ordered)
    canvas = Canvas(760, 38 + 22 * len(ordered), title, description=IN_TABLE)
    across = Scale(max(0.0, min(ends) - 0.005), min(1.0, max(ends) + 0.005), left, 748)
    bottom = 4 + 22.0 * len(ordered)
    canvas.horizontal_axis(across, bottom, 4, percent_axis(across.low, across.high))
    canvas.text((left + 748) / 2, bottom + 30, "accuracy, %, mean over domains", "tick", anchor="middle")
    for place, row in enumerate(ordered):
        y = 15 + 22.0 * place
        canvas.text(0, y + 4, shortened(row["title"], NAME), "name")
        if row["interval"] is not None:
            canvas.line((across(row["interval"][0]), y), (across(row["interval"][1]), y), "whisker s0")
        for value in row["values"]:
            canvas.mark(across(value), y, 5, size=3, tip=f"{row['title']}: one seed, {100 * value:.1f} %")
        canvas.mark(across(row["accuracy"]), y, 0, tip=f"{row['title']}: {100 * row['accuracy']:.1f} %")
    legend = (Series("mean, with its interval", 0), Series("a single seed", 5))
    return Figure(
        name, title, description, (canvas,), (table,), legend if any(row["values"] for row in ordered) else ()
    )


def differences_figure(name: str, title: str, description: str, rows: Sequence[Row], table: PlainTable) -> Figure:
    """Differences to one model with their intervals; filled where an interval does not hold 0.

    Args:
        name, title, description: of the figure.
        rows: ``title``, ``difference`` and ``interval``, as fractions.
        table: the same numbers.
    """
    ends = [end for row in rows for end in (*row["interval"], 0.0)]
    aside = 0.04 * (max(ends) - min(ends)) or 0.01
    left = _left(rows)
    canvas = Canvas(760, 38 + 22 * len(rows), title, description=IN_TABLE)
    across = Scale(min(ends) - aside, max(ends) + aside, left, 748)
    bottom = 4 + 22.0 * len(rows)
    marks = [(value, points(value) if value else "0") for value in ticks(across.low, across.high)]
    canvas.horizontal_axis(across, bottom, 4, marks)
    canvas.line((across(0.0), 4), (across(0.0), bottom), "even")
    canvas.text((left + 748) / 2, bottom + 30, "difference, points", "tick", anchor="middle")
    for place, row in enumerate(rows):
        y, (low, high) = 15 + 22.0 * place, row["interval"]
        canvas.text(0, y + 4, shortened(row["title"], NAME), "name")
        canvas.line((across(low), y), (across(high), y), "whisker s0")
        tip = f"{row['title']}: {points(row['difference'])} [{points(low)}, {points(high)}]"
        canvas.mark(across(row["difference"]), y, 5 if low <= 0 <= high else 0, tip=tip)
    legend = (Series("interval without 0", 0), Series("interval with 0: no evidence", 5))
    return Figure(name, title, description, (canvas,), (table,), legend)


def curves_figure(name: str, title: str, axis: str, curves: Mapping[str, Sequence[Row]], table: PlainTable) -> Figure:
    """Accuracy over how many rows are used, a small picture for each method with the first one's curve behind it.

    Args:
        name, title: of the figure.
        axis: what the amount is.
        curves: by method: ``amount``, ``accuracy`` and ``interval`` (or None) of each point, amounts rising.
        table: the same numbers.
    """
    every = [point for curve in curves.values() for point in curve]
    amounts = sorted({point["amount"] for point in every})
    ends = [end for point in every for end in (*(point["interval"] or ()), point["accuracy"])]
    first_name, first = next(iter(curves.items()))
    pictures = []
    for method, curve in list(curves.items())[:MOST_PANELS]:
        canvas = Canvas(250, 196, f"{method}: accuracy over {axis}", description=IN_TABLE)
        across, up = Scale(amounts[0], amounts[-1], 48, 236, log=True), Scale(min(ends), max(ends), 156, 26)
        canvas.text(4, 14, shortened(method, 32), "name strong")
        canvas.vertical_axis(up, 42, 242, percent_axis(up.low, up.high))
        canvas.horizontal_axis(across, 156, 26, [(amount, f"{amount:g}") for amount in _spread(amounts)])
        canvas.text(142, 188, axis, "tick", anchor="middle")
        canvas.path([(across(point["amount"]), up(point["accuracy"])) for point in first], "curve s1 behind")
        canvas.path([(across(point["amount"]), up(point["accuracy"])) for point in curve], "bold")
        for point in curve:
            x = across(point["amount"])
            if point["interval"] is not None:
                canvas.line((x, up(point["interval"][0])), (x, up(point["interval"][1])), "whisker s0")
            canvas.mark(
                x, up(point["accuracy"]), 0, size=3, tip=f"{point['amount']:g}: {100 * point['accuracy']:.1f} %"
            )
        pictures.append(canvas)
    description = f"Mean over domains in %, with intervals; the thin line is {first_name}."
    return Figure(name, title, description, tuple(pictures), (table,))


def _spread(amounts: Sequence[float]) -> list[float]:
    """Those of them that have room for a label."""
    return list(amounts) if len(amounts) <= 5 else [*amounts[:: max(1, len(amounts) // 4)][:4], amounts[-1]]


def _left(rows: Sequence[Row]) -> float:
    return 14 + 6.6 * max(len(shortened(row["title"], NAME)) for row in rows)
