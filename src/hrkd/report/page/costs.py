"""Figures of what models cost: accuracy against size and speed, and what their training took."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hrkd.report.page.figure import IN_TABLE, Figure, Series, percent_axis
from hrkd.report.page.svg import Canvas, Scale, shortened
from hrkd.support.text_table import PlainTable, megabytes, millions, or_nothing, percent

__all__ = ["cost_figure", "frontier_figure"]

Row = Mapping[str, Any]

AXES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "megabytes": ("MB", megabytes),
    "per_second": ("texts a second, one core", "{:,.0f}".format),
    "milliseconds": ("ms for a single text", "{:.3g}".format),
    "times_as_fast": ("times as fast as the teacher", "{:.3g}".format),
}
COSTS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "seconds": ("Training, s", "{:,.1f}".format),
    "steps": ("Steps", "{:,}".format),
    "peak_megabytes": ("Peak memory, MB", megabytes),
    "texts_per_second": ("Texts a second, in PyTorch", "{:,.0f}".format),
}


def frontier_figure(
    models: Sequence[Row], note: str, *, split: str = "dev", name: str = "frontier", title: str = ""
) -> Figure:
    """Accuracy against size and, where it was measured, speed.

    Args:
        models: ``title``, ``accuracy`` on ``split`` (None: not known), ``parameters`` and some of :data:`AXES`.
        note: where speeds come from.
        name: of the figure, on its page.
        title: its heading; default: what it shows.
    """
    series = [Series(model["title"], number) for number, model in enumerate(models)]
    pictures = []
    for axis, (heading, form) in AXES.items():
        known = [(n, model) for n, model in enumerate(models) if model.get(axis) and model["accuracy"] is not None]
        if len(known) < 2:
            continue
        pictures.append(_scatter(axis, heading, form, known))
    axes = {axis: AXES[axis] for axis in AXES if any(model.get(axis) for model in models)}
    rows = tuple(
        (
            model["title"],
            or_nothing(model["accuracy"], percent),
            or_nothing(model.get("parameters"), millions),
            *(or_nothing(model.get(axis), form) for axis, (_, form) in axes.items()),
        )
        for model in models
    )
    columns = ("Model", f"Accuracy on {split}, %", "M parameters", *(heading for heading, _ in axes.values()))
    return Figure(
        name,
        title or "Size, speed and accuracy",
        f"Accuracy on {split}, mean over domains, against what a model costs; scales of costs are logarithmic. {note}",
        tuple(pictures),
        (PlainTable("", columns, rows),),
        tuple(series),
    )


def _scatter(axis: str, heading: str, form: Callable[[float], str], known: Sequence[tuple[int, Row]]) -> Canvas:
    canvas = Canvas(370, 250, f"Accuracy against {heading}", description=IN_TABLE)
    costs, scores = [model[axis] for _, model in known], [model["accuracy"] for _, model in known]
    aside = max(0.005, (max(scores) - min(scores)) / 8)
    across = Scale(min(costs) / 1.4, max(costs) * 1.4, 40, 358, log=True)
    up = Scale(max(0.0, min(scores) - aside), min(1.0, max(scores) + aside), 206, 14)
    canvas.vertical_axis(up, 40, 358, percent_axis(up.low, up.high))
    canvas.horizontal_axis(across, 206, 14, [(value, form(value)) for value in _decades(across.low, across.high)])
    canvas.text(199, 240, heading, "tick", anchor="middle")
    lowest = 0.0
    for number, model in sorted(known, key=lambda each: -each[1]["accuracy"]):
        x, y = across(model[axis]), up(model["accuracy"])
        lowest = max(y + 4, lowest + 13)  # names stay apart
        at_left = x > 210
        canvas.text(x + (-10 if at_left else 10), lowest, shortened(model["title"], 26), "tick",
                    anchor="end" if at_left else "start")  # fmt: skip
        tip = f"{model['title']}: {percent(model['accuracy'])} %, {form(model[axis])} {heading}"
        canvas.mark(x, y, number, size=6, tip=tip)
    return canvas


def _decades(low: float, high: float) -> list[float]:
    """Round values between, in the steps 1, 2, 5; as many as there is room for."""
    powers = range(-6, 12)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        found = [value for value in found if low <= value <= high]
        if len(found) <= 6:
            return found
    return found[:: max(1, len(found) // 6)]


def cost_figure(costs: Mapping[str, Mapping[str, float | None]], titles: Mapping[str, str]) -> Figure:
    """What each training of a run took.

    Args:
        costs: some of :data:`COSTS` by model.
        titles: of the models.
    """
    names = [name for name in titles if any(name in figures for figures in costs.values())]
    rows = tuple(
        (titles[name], *(or_nothing(costs.get(cost, {}).get(name), form) for cost, (_, form) in COSTS.items()))
        for name in names
    )
    seconds = {titles[name]: value for name in names if (value := costs.get("seconds", {}).get(name))}
    pictures: tuple[Canvas, ...] = ()
    if seconds:
        canvas = Canvas(760, 12 + 24 * len(seconds), "Seconds of training", description=IN_TABLE)
        across = Scale(0, max(seconds.values()), 250, 680)
        for row, (title, value) in enumerate(seconds.items()):
            canvas.text(0, 20 + 24 * row, title, "name")
            canvas.box(250, 7 + 24 * row, max(1.0, across(value) - 250), 16, "bar")
            canvas.text(max(251.0, across(value)) + 6, 20 + 24 * row, f"{value:,.1f} s", "name")
        pictures = (canvas,)
    return Figure(
        "cost",
        "What the run cost",
        "Seconds are those of all epochs, dev evaluations included; models that came from elsewhere have none.",
        pictures,
        (PlainTable("", ("Model", *(heading for heading, _ in COSTS.values())), rows),),
    )
