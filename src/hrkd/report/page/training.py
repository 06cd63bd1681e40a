"""Figures of how models came about: learning curves, and how much each domain counted at each level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hrkd.report.page.figure import IN_TABLE, MOST_CELLS, MOST_PANELS, Figure, cut, heat_map, maps_within, some_drawn
from hrkd.report.page.svg import Canvas, Scale, shortened, ticks
from hrkd.support.text_table import NOTHING, PlainTable, or_nothing, percent

__all__ = ["hierarchy_figure", "learning_figure", "level_figures", "ratios_figure", "relations_figure"]

Row = Mapping[str, Any]

PANEL = (250, 190)
LEFT, RIGHT, TOP, BOTTOM = 44, 242, 26, 156
QUANTITIES = {
    "ratio": ("Ratio", "How much each domain counts; those of a level add up to 1."),
    "loss": ("Loss", "Of hidden states and attention, before it is weighed."),
    "product": ("Ratio times loss", "What each domain adds to what is minimised."),
}


def learning_figure(stages: Mapping[str, Row]) -> Figure:
    """Loss of each training over its steps, and accuracy on dev after its epochs.

    Args:
        stages: by title: ``loss`` (see :func:`hrkd.report.page.aggregate.history`; None without), ``epochs`` (of each:
            epoch, step, accuracy on dev and loss), ``kept`` (the epoch that is kept; None for an average) and
            ``averaged`` (of an average that is kept: its ``updates`` and accuracy on dev; else None).
    """
    pictures, rows, notes = list[Canvas](), list[tuple[str, ...]](), list[str]()
    for title, stage in stages.items():
        if stage["loss"] is not None:
            pictures.append(_curve(f"{title}: loss", stage["loss"]))
        if stage["epochs"]:
            pictures.append(_epochs(f"{title}: dev accuracy, %", stage))
        rows += [
            (title, str(own["epoch"]), f"{own['loss']:.4g}", or_nothing(own["accuracy"], percent),
             "kept" if own["epoch"] == stage["kept"] else "")
            for own in stage["epochs"]
        ]  # fmt: skip
        if average := stage["averaged"]:
            rows.append((title, "averaged", NOTHING, or_nothing(average["accuracy"], percent), "kept"))
            notes.append(
                f"{title}: the mean weights of the last {average['updates']:,} updates are kept, not an epoch's."
            )
    columns = ("Training", "Epoch", "Loss", "Accuracy on dev, %", "Kept")
    return Figure(
        "learning",
        "Learning curves",
        "Loss at logged steps (faint) with its mean around each (bold), and accuracy on dev after each epoch; the ring "
        "is the epoch that is kept; without one, averaged weights are.",
        tuple(pictures),
        (PlainTable("", columns, tuple(rows), tuple(notes), keys=2),) if rows else (),
    )


def ratios_figure(ratios: Sequence[Row], domains: Sequence[str], last: Sequence[Row]) -> Figure:
    """How much domains counted over a training, a small picture for each level and domain.

    Args:
        ratios: what :func:`hrkd.report.page.aggregate.ratio_history` gives.
        domains: all names.
        last: ``level``, ``domain``, ``mean`` and ``std`` over the last epoch.
    """
    uniform = 1 / len(domains)
    low = min(0.0, *(value for each in ratios for value in each["raw"]))
    high = max(2 * uniform, *(value for each in ratios for value in each["raw"]))
    moved = {(each["level"], each["domain"]): max(each["raw"]) - min(each["raw"]) for each in ratios}
    drawn = sorted(ratios, key=lambda each: -moved[each["level"], each["domain"]])[:MOST_PANELS]
    chosen = {(each["level"], each["domain"]) for each in drawn}
    pictures = tuple(
        _curve(f"level {each['level']}, {shortened(each['domain'], 20)}", each, bounds=(low, high), even=uniform)
        for each in ratios
        if (each["level"], each["domain"]) in chosen
    )
    rows = tuple(
        (str(each["level"]), each["domain"], f"{each['mean']:.4f}", or_nothing(each["std"], "{:.4f}".format))
        for each in last
    )
    some = f" The {len(pictures)} of {len(ratios)} that moved most are drawn." if len(pictures) < len(ratios) else ""
    return Figure(
        "ratios",
        "Domain ratios over the training",
        f"At logged steps (faint) with the mean around each (bold); dashed: {uniform:.3g}, if all domains counted the "
        f"same.{some}",
        pictures,
        (cut(PlainTable("", ("Level", "Domain", "Mean, last epoch", "Deviation over steps"), rows, keys=2)),),
    )


def level_figures(tables: Mapping[str, Sequence[Sequence[float | None]]], domains: Sequence[str]) -> Figure:
    """Ratio, loss and their product of each level and domain, in the last epoch.

    Args:
        tables: what :func:`hrkd.report.page.aggregate.level_tables` gives.
        domains: D names.
    """
    names = [shortened(name, 18) for name in domains[:MOST_PANELS]]
    levels, pictures = [str(level) for level in range(len(tables["ratio"]))], []
    by_domain = {name: [list(column) for column in zip(*tables[name], strict=True)] for name in QUANTITIES}
    for name, (title, _) in QUANTITIES.items():
        drawn = by_domain[name][:MOST_PANELS]
        pictures.append(heat_map(f"{title} by domain and level", names, levels, drawn, _words(drawn), corner=title))
    rows = tuple(
        (domain, *(_short(value) for name in QUANTITIES for value in by_domain[name][d]))
        for d, domain in enumerate(domains)
    )
    columns = ("Domain", *(f"{title}, level {level}" for title, _ in QUANTITIES.values() for level in levels))
    said = " ".join(f"{title}: {meaning[0].lower()}{meaning[1:]}" for title, meaning in QUANTITIES.values())
    return Figure(
        "levels",
        "Levels and domains",
        f"Means over the last epoch, levels in columns. {said}{some_drawn(len(names), len(domains))}",
        tuple(pictures),
        (cut(PlainTable("", columns, rows), "domains"),),
    )


def hierarchy_figure(hierarchy: Sequence[Sequence[Sequence[float | None]]], domains: Sequence[str]) -> Figure:
    """What each level takes of the levels below it and its own, by domain (method.hierarchy).

    Args:
        hierarchy: (K, K, D): of each level, the level looked at, and the domain; None above the diagonal.
        domains: D names.
    """
    levels = [str(level) for level in range(len(hierarchy))]
    drawn = domains[: maps_within(len(levels) ** 2)]
    pictures = []
    for d, name in enumerate(drawn):
        values = [[cell[d] for cell in row] for row in hierarchy]
        title = f"{name}: levels that are looked at"
        pictures.append(heat_map(title, levels, levels, values, _words(values), corner=shortened(name, 20)))
    pairs = [(level, other) for level in range(len(levels)) for other in range(level + 1)]
    rows = tuple(
        (name, *(_short(hierarchy[level][other][d]) for level, other in pairs)) for d, name in enumerate(domains)
    )
    columns = ("Domain", *(f"level {level} from {other}" for level, other in pairs))
    return Figure(
        "hierarchy",
        "Which levels look at which",
        "Hierarchical ratios, means over the last epoch: of each level (in rows) from each level (in columns)."
        f"{some_drawn(len(drawn), len(domains))}",
        tuple(pictures),
        (cut(PlainTable("", columns, rows), "domains"),),
    )


def relations_figure(relations: Sequence[Sequence[Sequence[float]]], domains: Sequence[str]) -> Figure:
    """How much each domain looks at each other one, a heat map for each level.

    Args:
        relations: (K, D, D): of each level, the domain that looks, and the one that is looked at.
        domains: D names.
    """
    most = min(MOST_PANELS, int((MOST_CELLS / len(relations)) ** 0.5))
    names = [shortened(name, 18) for name in domains[:most]]
    pictures = []
    for level, matrix in enumerate(relations):
        values = [row[:most] for row in matrix[:most]]
        title = f"Relations at level {level}"
        pictures.append(heat_map(title, names, names, values, _words(values), corner=f"level {level}"))
    pairs = [
        (level, name, other, weight)
        for level, matrix in enumerate(relations)
        for name, row in zip(domains, matrix, strict=True)
        for other, weight in zip(domains, row, strict=True)
    ]
    pairs.sort(key=lambda pair: (pair[0], -pair[3]))
    rows = tuple((str(level), name, other, _short(weight)) for level, name, other, weight in pairs)
    return Figure(
        "relations",
        "Which domains look at which",
        "Weights of the domain graph, means over the last epoch: of each domain (in rows) to each (in columns)."
        f"{some_drawn(len(names), len(domains))}",
        tuple(pictures),
        (cut(PlainTable("", ("Level", "Domain", "looks at", "Weight"), rows, keys=3)),),
    )


def _words(values: Sequence[Sequence[float | None]]) -> list[list[str]]:
    return [[_short(value) for value in row] for row in values]


def _curve(title: str, curve: Row, *, bounds: tuple[float, float] | None = None, even: float | None = None) -> Canvas:
    """A small picture of :func:`hrkd.report.page.aggregate.history`."""
    canvas = Canvas(*PANEL, title, description=IN_TABLE)
    steps, values = curve["steps"], [*curve["raw"], *curve["mean"]]
    low, high = bounds or (min(0.0, *values), max(values))
    across, up = Scale(steps[0], max(steps[-1], steps[0] + 1), LEFT, RIGHT), Scale(low, high, BOTTOM, TOP)
    canvas.text(4, 14, title, "name strong")
    canvas.vertical_axis(up, LEFT, RIGHT, [(value, f"{value:g}") for value in ticks(low, high)])
    canvas.horizontal_axis(across, BOTTOM, TOP, [(value, f"{value:,.0f}") for value in ticks(steps[0], steps[-1], 4)])
    canvas.text((LEFT + RIGHT) / 2, BOTTOM + 29, "step", "tick", anchor="middle")
    if even is not None:
        canvas.line((LEFT, up(even)), (RIGHT, up(even)), "even")
    for name, look in (("raw", "faint"), ("mean", "bold")):
        canvas.path([(across(step), up(value)) for step, value in zip(steps, curve[name], strict=True)], look)
    return canvas


def _epochs(title: str, stage: Row) -> Canvas:
    canvas, epochs = Canvas(*PANEL, title, description=IN_TABLE), stage["epochs"]
    known = [own for own in epochs if own["accuracy"] is not None]
    canvas.text(4, 14, title, "name strong")
    if not known:
        return canvas
    low, high = min(own["accuracy"] for own in known), max(own["accuracy"] for own in known)
    aside = max(0.005, (high - low) / 10)
    across = Scale(1, max(2, epochs[-1]["epoch"]), LEFT + 6, RIGHT - 6)
    up = Scale(max(0.0, low - aside), min(1.0, high + aside), BOTTOM, TOP)
    canvas.vertical_axis(up, LEFT, RIGHT, [(value, f"{100 * value:g}") for value in ticks(up.low, up.high)])
    numbers = [value for value in ticks(1, across.high) if value == int(value)]
    canvas.horizontal_axis(across, BOTTOM, TOP, [(value, f"{value:g}") for value in numbers])
    canvas.text((LEFT + RIGHT) / 2, BOTTOM + 29, "epoch", "tick", anchor="middle")
    points = [(across(own["epoch"]), up(own["accuracy"])) for own in known]
    canvas.path(points, "bold")
    for (x, y), own in zip(points, known, strict=True):
        canvas.mark(x, y, 0, size=2.5, tip=f"epoch {own['epoch']}: {percent(own['accuracy'])} %")
        if own["epoch"] == stage["kept"]:
            canvas.mark(x, y, 5, size=6.5, tip="kept")
    return canvas


def _short(value: float | None) -> str:
    return or_nothing(value, "{:.3g}".format)
