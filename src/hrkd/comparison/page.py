"""The page of a comparison, from the content of compare.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hrkd.comparison.tables import Parts, about, parts_of
from hrkd.report.page.costs import frontier_figure
from hrkd.report.page.figure import Figure
from hrkd.report.page.methods import curves_figure, differences_figure, ranking_figure
from hrkd.report.page.page import html_of
from hrkd.report.remarks import LINEAR, SPEEDS
from hrkd.support.folder_names import folder_names
from hrkd.support.messages import count_of
from hrkd.support.text_table import NOTHING, PlainTable, percent

__all__ = ["AMOUNTS", "comparison_page"]

Row = Mapping[str, Any]

AMOUNTS = {"fraction": "share of the training rows", "shots": "training rows of each domain and label"}
"""What a curve runs over, and how its axis is called."""


def comparison_page(content: Row, made: str) -> str:
    """The page as HTML.

    Args:
        content: of compare.json.
        made: when and by what.
    """
    figures, remarks = list[Figure](), list[str]()
    panels: dict[str, list[Row]] = {}
    for table in content["tables"]:
        panels.setdefault(table["data"], []).append(table)
    names = folder_names([f"{table['data']} {table['level']}" for table in content["tables"]])
    for data, tables in panels.items():
        known = [amount for amount in AMOUNTS if all(table[amount] is not None for table in tables)]
        if len(tables) > 1 and known:
            figures.append(_curves(data, tables, known[0], content))
        for table in tables:
            parts = parts_of(table, content)
            remarks += [f"{parts.place}: {each}" for each in parts.accuracies.notes]
            figures += _figures(table, parts, names[f"{table['data']} {table['level']}"], content)
    unfinished = [f"Failed: {each['run']}: {each['error']}" for each in content["failed"]]
    unfinished += [f"Not finished: {run}" for run in content["missing"]]
    return html_of(
        title=", ".join(panels) or "no finished run",
        kind="Comparison of methods",
        verdict=_verdict(content),
        remarks=[about(content), *remarks, *unfinished],
        figures=figures,
        made=made,
    )


def _verdict(content: Row) -> list[str]:
    """The best method of each data set and amount, beside the linear model."""
    found = []
    for table in content["tables"]:
        linear = next((row for row in table["methods"] if row["kind"] == "linear"), None)
        students = [row for row in table["methods"] if row["kind"] not in ("teacher", "linear")]
        if students:
            best = max(students, key=lambda row: row["accuracy"]["mean"]["mean"])
            mean = best["accuracy"]["mean"]["mean"]
            told = (
                f"{table['data']}, {table['level'].replace('-', ' ', 1)}: {best['name']} reaches most, "
                f"{percent(mean)} % (mean over {count_of(len(best['seeds']), 'seed', 'seeds')})"
            )
            if linear is not None:
                its = linear["accuracy"]["mean"]["mean"]
                beside = ", which is no less" if its >= mean else ""
                told += f"; {LINEAR} has {percent(its)} %{beside}"
            found.append(f"{told}.")
    return found


def _figures(table: Row, parts: Parts, name: str, content: Row) -> list[Figure]:
    level = f"{100 * content['settings']['confidence']:g} %"
    rows = [
        {
            "title": row["name"],
            "accuracy": row["accuracy"]["mean"]["mean"],
            "interval": row["interval"],
            "values": row["accuracy"]["mean"]["values"] if len(row["seeds"]) > 1 else [],
        }
        for row in table["methods"]
    ]
    said = (
        f"Mean over domains and seeds on {table['examples']:,} test rows, the best on top; lines are {level} intervals."
    )
    figures = [ranking_figure(f"accuracy-{name}", f"{parts.place}: accuracy", said, rows, parts.accuracies)]
    for number, (baseline, differences) in enumerate(parts.differences.items()):
        compared = [each | {"title": each["method"]} for each in table["differences"] if each["baseline"] == baseline]
        title = f"{parts.place}: difference to {baseline}"
        said = f"In points, paired by test row and seed; lines are {level} intervals. The table has the tests."
        figures.append(differences_figure(f"difference-{name}-{number}", title, said, compared, differences))
    if parts.ratios is not None:
        said = "Of the students' last epochs."
        figures.append(Figure(f"ratios-{name}", f"{parts.place}: domain ratios", said, (), (parts.ratios,)))
    models = [
        {**row["cost"], "title": row["name"], "accuracy": row["accuracy"]["mean"]["mean"]} for row in table["methods"]
    ]
    title = f"{parts.place}: size, speed and accuracy"
    figures.append(frontier_figure(models, SPEEDS, split="test", name=f"frontier-{name}", title=title))
    said = "Means over seeds."
    figures.append(Figure(f"cost-{name}", f"{parts.place}: cost", said, (), (parts.costs,)))
    return figures


def _curves(data: str, tables: Sequence[Row], amount: str, content: Row) -> Figure:
    curves: dict[str, list[Row]] = {}
    for table in sorted(tables, key=lambda each: float(each[amount])):
        for row in table["methods"]:
            point = {
                "amount": float(table[amount]),
                "accuracy": row["accuracy"]["mean"]["mean"],
                "interval": row["interval"],
            }
            curves.setdefault(row["name"], []).append(point)
    first = next((name for name in content["settings"]["baselines"] if name in curves), next(iter(curves)))
    ordered = {first: curves[first], **curves}
    amounts = sorted({point["amount"] for curve in curves.values() for point in curve})
    rows = tuple(
        (
            name,
            *(next((percent(p["accuracy"]) for p in curve if p["amount"] == each), NOTHING) for each in amounts),
        )
        for name, curve in ordered.items()
    )
    numbers = PlainTable("", ("Method", *(f"{each:g}" for each in amounts)), rows)
    name = f"curves-{next(iter(folder_names([data]).values()))}"
    return curves_figure(name, f"{data}: accuracy over {AMOUNTS[amount]}", AMOUNTS[amount], ordered, numbers)
