"""Tables of what a run will do, from the content of a plan (:mod:`hrkd.run.plan`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hrkd.support.messages import bytes_of
from hrkd.support.text_table import NOTHING, PlainTable, or_nothing

__all__ = ["budget_lines", "plan_tables"]

KINDS = {
    "rows": "checked rows of a table",
    "tokens": "token ids",
    "size": "the student's size",
    "linear": "the linear model",
    "teacher": "what the teacher says",
}
"""Of caches, in words."""


def plan_tables(content: Mapping[str, Any]) -> Iterator[PlainTable | str]:
    """Rows, stages and caches; then what a budget changed."""
    yield _rows(content["rows"])
    yield _stages(content)
    if content["caches"]:
        yield _caches(content["caches"])
    yield from budget_lines(content)


def _rows(rows: Mapping[str, Mapping[str, int]]) -> PlainTable:
    domains = dict.fromkeys(domain for part in rows.values() for domain in part)
    lines = [(domain, *(f"{part.get(domain, 0):,}" for part in rows.values())) for domain in domains]
    total = ("all", *(f"{sum(part.values()):,}" for part in rows.values()))
    return PlainTable("Rows", ("Domain", *rows), (*lines, total))


def _stages(content: Mapping[str, Any]) -> PlainTable:
    rows = [
        (
            stage["name"],
            stage["state"],
            f"{stage['rows']:,}",
            f"{stage['epochs']}" + (f", {stage['epochs_done']} done" if stage["epochs_done"] else ""),
            f"{stage['steps_left']:,}",
            or_nothing(stage["seconds_of_step"], "{:.3g}".format),
            _minutes(stage["seconds"]),
        )
        for stage in content["stages"]
    ]
    between = (NOTHING,) * 5
    rows.append(("measuring", *between, _minutes(content["measuring_seconds"])))
    rows.append(("all", *between, _minutes(content["seconds"])))
    notes = list(content["notes"])
    if content["peak_megabytes"] is not None:
        peak = bytes_of(1e6 * content["peak_megabytes"])
        notes.insert(0, f"Memory: {peak} at the peak of these steps, which is about what the run takes.")
    columns = ("Stage", "State", "Rows", "Epochs", "Steps left", "Seconds a step", "Minutes")
    return PlainTable(f"Plan of hrkd {content['command']} into {content['output']}", columns, tuple(rows), tuple(notes))


def _caches(caches: list[Mapping[str, Any]]) -> PlainTable:
    rows = tuple(
        (
            KINDS[each["kind"]] + (f": {each['part']}" if each.get("part") else ""),
            "there" if each["there"] else "to make",
            bytes_of(each["bytes"]),
        )
        for each in caches
    )
    return PlainTable("Caches", ("What", "State", "Size on disk"), rows)


def budget_lines(content: Mapping[str, Any]) -> Iterator[str]:
    """What a budget changed; nothing where there is none."""
    if content["hours"] is None:
        return
    budget = f"{content['hours']:g} hours, of which a tenth is left free"
    if not content["fits"]:
        for change in content["changes"]:
            yield f"{change['field']}: {change['to']} in the place of {change['from']}, the fewest"
        yield f"This is the shortest run there is, and it does not fit into {budget}."
        return
    for change in content["changes"]:
        yield f"{change['field']}: {change['to']} in the place of {change['from']}, to fit into {budget}"
    if not content["changes"]:
        yield f"Fits into {budget}: nothing is changed."


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"
