"""The page of several runs side by side, from the contents of their reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hrkd.report.page.costs import frontier_figure
from hrkd.report.page.figure import MOST_ROWS, Figure, cut
from hrkd.report.page.methods import ranking_figure
from hrkd.report.page.page import html_of
from hrkd.support.text_table import NOTHING, PlainTable, interval, or_nothing, percent

__all__ = ["several_page", "shown_names"]

Row = Mapping[str, Any]


def several_page(contents: Mapping[str, Row], made: str) -> str:
    """A page about several runs: what their students reach in each domain, what they cost, and how they differ.

    Args:
        contents: of their report.json (:func:`hrkd.run.report.report_content`), by names that tell them apart.
        made: when and by what.
    """
    models = _models(contents)
    figures = [_accuracies(models), _frontier(contents), _costs(contents), _recipes(contents)]
    remarks = []
    if len({content["data_digest"] for content in contents.values()}) > 1:
        remarks.append(
            "These runs have other rows, or other splits: their accuracies are of other test rows, and differences "
            "between them are not differences of the models alone."
        )
    return html_of(
        title=f"{len(contents)} runs",
        kind="Runs side by side",
        verdict=[f"{name}: {content['verdict'][0]}" for name, content in contents.items() if content["verdict"]],
        remarks=remarks,
        figures=figures,
        made=made,
    )


def _models(contents: Mapping[str, Row]) -> dict[str, Row]:
    """All models by their titles; those that several runs share, such as their teacher, once."""
    found: dict[str, Row] = {}
    for run, content in contents.items():
        for model in content["models"].values():
            twin = next((name for name, other in found.items() if _is_twin(model, other)), None)
            if twin is None:
                found[f"{run}: {model['title']}"] = model
    return found


def _is_twin(one: Row, other: Row) -> bool:
    return bool(one["title"] == other["title"] and one["test"] == other["test"] and one.get("dev") == other.get("dev"))


def _accuracies(models: Mapping[str, Row]) -> Figure:
    domains = list(dict.fromkeys(name for model in models.values() for name in model["test"]["domains"]))
    rows = tuple(
        (
            title,
            percent(model["test"]["mean"]["accuracy"]) + interval(model["test"]["mean"].get("accuracy_interval")),
            f"{percent(model['test']['worst']['accuracy'])} ({model['test']['worst']['domain']})",
            *(
                or_nothing(model["test"]["domains"].get(name), lambda own: percent(own["accuracy"]))
                for name in domains[:MOST_ROWS]
            ),
        )
        for title, model in models.items()
    )
    shown = [
        {
            "title": title,
            "accuracy": model["test"]["mean"]["accuracy"],
            "interval": model["test"]["mean"].get("accuracy_interval"),
            "values": [],
        }
        for title, model in models.items()
    ]
    table = PlainTable("", ("Model", "Mean, %", "Worst domain", *domains[:MOST_ROWS]), rows)
    said = "On the test rows, the best on top; lines are intervals. Models that several runs share stand once."
    return ranking_figure("accuracy", "Accuracy", said, shown, table.transposed() if len(domains) > 8 else table)


def _frontier(contents: Mapping[str, Row]) -> Figure:
    """Every model, and export, of the runs; those of several runs that are the same once.

    How many times as fast as its teacher a model is says nothing beside those of other teachers.
    """
    found: list[Row] = []
    for run, content in contents.items():
        for timed in content["frontier"]["models"]:
            model = {name: value for name, value in timed.items() if name != "times_as_fast"}
            if not any(
                model == {**other, "title": model["title"]} and model["title"] in other["title"] for other in found
            ):
                found.append({**model, "title": f"{run}: {model['title']}"})
    return frontier_figure(found, "")


def _costs(contents: Mapping[str, Row]) -> Figure:
    rows = tuple(
        (
            f"{run}: {content['models'][model]['title']}",
            or_nothing(content["cost"]["seconds"].get(model), "{:,.1f}".format),
            or_nothing(content["cost"]["steps"].get(model), "{:,}".format),
            or_nothing(content["cost"]["peak_megabytes"].get(model), "{:,.0f}".format),
        )
        for run, content in contents.items()
        for model in content["models"]
        if any(content["cost"][cost].get(model) is not None for cost in content["cost"])
    )
    table = PlainTable("", ("Model", "Training, s", "Steps", "Peak memory, MB"), rows)
    return Figure("cost", "What the runs cost", "Seconds are those of all epochs.", (), (cut(table),))


def _recipes(contents: Mapping[str, Row]) -> Figure:
    values = {run: {each["field"]: each["value"] for each in content["recipe"]} for run, content in contents.items()}
    fields = list(dict.fromkeys(field for own in values.values() for field in own))
    differ = [field for field in fields if len({own.get(field, NOTHING) for own in values.values()}) > 1]
    differ = [field for field in differ if field != "run.output"]
    rows = tuple((field, *(own.get(field, NOTHING) for own in values.values())) for field in differ)
    table = PlainTable("", ("Field", *values), rows, keys=1 + len(values))
    said = "Fields in which the recipes differ." if rows else "The recipes do not differ."
    return Figure("recipes", "Recipes", said, (), (table,) if rows else ())


def shown_names(paths: Sequence[str]) -> list[str]:
    """The shortest ends of paths that tell them apart: "a/one" and "b/one", or "one" and "two"."""
    parts = [path.strip("/").split("/") for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)
