"""The page of a run, or of several side by side, from the content of report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from hrkd.report.page.accuracy import (
    KIND_TITLES,
    accuracy_figure,
    by_accuracy,
    calibration_figure,
    confusion_figure,
    flips_figure,
)
from hrkd.report.page.costs import cost_figure, frontier_figure
from hrkd.report.page.data import data_figure, recipe_table
from hrkd.report.page.figure import Figure, cut
from hrkd.report.page.svg import Canvas
from hrkd.report.page.training import hierarchy_figure, learning_figure, level_figures, ratios_figure, relations_figure
from hrkd.support.messages import visible
from hrkd.support.text_table import PlainTable, percent

__all__ = ["html_of", "made_now", "run_page"]

Row = Mapping[str, Any]
UNIFORM = "All domains count the same at every level in this run (method.graph: uniform): there are no ratios to draw."


def run_page(content: Row) -> str:
    """The page of one run as HTML.

    Args:
        content: of report.json; see :func:`hrkd.run.report.report_content`.
    """
    models, domains = content["models"], content["domains"]
    titles = {name: model["title"] for name, model in models.items()}
    order = by_accuracy(models, domains)
    figures = [accuracy_figure(models, domains)]
    if content["flips"] is not None:
        figures.append(flips_figure(content["flips"], order))
        figures.append(confusion_figure(content["confusion"], order))
    if content["calibration"]:
        figures.append(calibration_figure(content["calibration"], titles, order))
    history = content["history"]
    if history["ratios"]:
        figures.append(ratios_figure(history["ratios"], domains, history["last_ratios"]))
    if history["levels"]:
        figures.append(level_figures(history["levels"], domains))
    if history["hierarchy"]:
        figures.append(hierarchy_figure(history["hierarchy"], domains))
    if history["relations"]:
        figures.append(relations_figure(history["relations"], domains))
    if content["stages"]:
        figures.append(learning_figure(content["stages"]))
    figures.append(frontier_figure(content["frontier"]["models"], content["frontier"]["note"]))
    figures.append(cost_figure(content["cost"], titles))
    figures.append(data_figure(content["data"], domains))
    return html_of(
        title=content["name"],
        kind="Report on a run",
        verdict=content["verdict"],
        remarks=content["remarks"],
        next_command=content["next"],
        figures=figures,
        texts=_texts(content, order),
        texts_note=content["texts_note"],
        notes=[] if history["ratios"] else [UNIFORM],
        recipe=recipe_table(content["recipe"]),
        made=content["made"],
    )


def made_now() -> str:
    """When, and by what, a page is made."""
    return f"Made by hrkd {metadata.version('hrkd')}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."


def html_of(
    *,
    title: str,
    kind: str,
    figures: Sequence[Figure],
    verdict: Sequence[str] = (),
    remarks: Sequence[str] = (),
    next_command: str = "",
    texts: Sequence[Row] = (),
    texts_note: str = "",
    notes: Sequence[str] = (),
    recipe: PlainTable | None = None,
    made: str = "",
) -> str:
    """A page of figures.

    Args:
        title, kind: what it is about, and what it is.
        figures: in their order.
        verdict: sentences in large print; ``remarks`` in small print below.
        next_command: to be typed.
        texts: of each domain: ``domain``, ``count`` and ``rows`` of texts with what was said of them.
        texts_note: what stands above these.
        notes: about what is not shown.
        recipe: the settings, with what differs from the defaults.
        made: when and by what.
    """
    page: str = _template().render(
        title=visible(title),
        kind=kind,
        verdict=[visible(each) for each in verdict],
        remarks=[visible(each) for each in remarks],
        next_command=visible(next_command),
        figures=figures,
        texts=texts,
        texts_note=texts_note,
        notes=notes,
        recipe=recipe,
        made=made,
    )
    return page


def _texts(content: Row, order: Sequence[str]) -> list[dict[str, Any]]:
    """Texts on which answers flip, by domain."""
    if content["flips"] is None:
        return []
    found = []
    for name in order:
        rows = [row for row in content["flips"]["texts"] if row["domain"] == name]
        if rows:
            shown = [
                {
                    "kind": KIND_TITLES[row["kind"]],
                    "look": row["kind"],
                    "said": [
                        ("true label", row["label"]),
                        ("teacher", f"{row['teacher']} ({percent(row['teacher_confidence'])} %)"),
                        ("student", f"{row['student']} ({percent(row['student_confidence'])} %)"),
                    ],
                    "text": row["text"],
                    "pair": row.get("text_pair"),
                }
                for row in rows
            ]
            found.append({"domain": name, "count": len(rows), "rows": shown})
    return found


@cache
def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"drawn": _drawn, "shown": cut, "visible": visible}
    return environment.from_string(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))


def _drawn(canvas: Canvas) -> Markup:
    return Markup(str(canvas))  # its texts are escaped where they are written
