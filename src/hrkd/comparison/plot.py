"""The picture of a comparison: accuracy by method with intervals, or as a curve over the rows used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hrkd.comparison.page import AMOUNTS
from hrkd.errors import ArtifactError

__all__ = ["can_plot", "plot_comparison"]

PANEL = (5.5, 4.0)  # inches
OFFSET = 0.02  # by which curves are moved apart, as a factor
Row = Mapping[str, Any]


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def plot_comparison(content: Row, path: Path) -> None:
    """Draw the content of compare.json as SVG, one panel per data set.

    Raises:
        ArtifactError: there is nothing to draw, or matplotlib is not installed.
    """
    if not can_plot():
        raise ArtifactError(f"{path}: drawing needs matplotlib; pip install 'hrkd[plot]'")
    if not content["tables"]:
        raise ArtifactError(f"{path}: no finished run; there is nothing to draw")
    import matplotlib
    from matplotlib.figure import Figure

    panels: dict[str, list[Row]] = {}
    for table in content["tables"]:
        panels.setdefault(table["data"], []).append(table)
    figure = Figure(figsize=(PANEL[0] * len(panels), PANEL[1]), layout="constrained")
    for axes, (name, tables) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        known = [name for name in AMOUNTS if all(table[name] is not None for table in tables)]
        if len(tables) > 1 and known:
            _curves(axes, tables, known[0])
        else:
            _points(axes, tables)
        axes.set_title(name)
        axes.grid(alpha=0.3)
    confidence = f"{100 * content['settings']['confidence']:g} %"
    figure.supylabel(f"accuracy in %, mean over domains, with {confidence} intervals", fontsize="small")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hrkd"}):  # the same file for the same content
        figure.savefig(path, format="svg", metadata={"Date": None})


def _curves(axes: Any, tables: Sequence[Row], amount: str) -> None:
    """Accuracy against how much of the training set is used, a curve per method."""
    names = dict.fromkeys(row["name"] for table in tables for row in table["methods"])
    for number, name in enumerate(names):
        found = [(table[amount], row) for table in tables for row in table["methods"] if row["name"] == name]
        found.sort(key=lambda point: point[0])
        aside = 1 + OFFSET * (number - (len(names) - 1) / 2)
        axes.errorbar([x * aside for x, _ in found], *_heights([row for _, row in found]), label=name, capsize=3)
    axes.set_xscale("log")
    ticks = sorted(table[amount] for table in tables)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(AMOUNTS[amount])
    axes.legend(fontsize="small")


def _points(axes: Any, tables: Sequence[Row]) -> None:
    """A point per method, and a colour per amount of training rows where there are several."""
    names = list(dict.fromkeys(row["name"] for table in tables for row in table["methods"]))
    for number, table in enumerate(tables):
        aside = 0.1 * (number - (len(tables) - 1) / 2)
        places = [names.index(row["name"]) + aside for row in table["methods"]]
        axes.errorbar(places, *_heights(table["methods"]), fmt="o", capsize=3, label=table["level"])
    axes.set_xticks(range(len(names)), names, rotation=20, ha="right")
    if len(tables) > 1:
        axes.legend(fontsize="small")


def _heights(rows: Sequence[Row]) -> tuple[list[float], list[list[float]]]:
    """Accuracies in %, and how far their intervals reach below and above."""
    means = [100 * row["accuracy"]["mean"]["mean"] for row in rows]
    ends = [[100 * end for end in row["interval"]] for row in rows]
    below = [max(0.0, mean - low) for mean, (low, _) in zip(means, ends, strict=True)]
    above = [max(0.0, high - mean) for mean, (_, high) in zip(means, ends, strict=True)]
    return means, [below, above]
