"""Cells, rows and sentences that the reports on one run and on a comparison share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hrkd.support.text_table import interval, or_nothing, percent, with_deviation
from hrkd.training.metrics import METRICS

__all__ = ["SYNTHETIC", "distillation_did_not_help", "figure", "ratio_rows", "ratios_note", "teacher_is_below"]

SYNTHETIC = "The corpus is synthetic: these figures say nothing about real text."


def figure(figures: Mapping[str, Any], metric: str, *, bounds: bool = False) -> str:
    """A figure of results.json as the cell of a table; with ``bounds``, its interval too, if it has one."""
    form, value = METRICS[metric].form, figures.get(metric)
    known = bounds and value is not None
    return or_nothing(value, form) + interval(figures.get(f"{metric}_interval") if known else None, form)


def distillation_did_not_help(student: str, reached: float, other: str, alone: float) -> str:
    """``other`` is the model without distillation, with its accuracy ``alone``."""
    return f"Distillation did not help here: {student} reaches {percent(reached)} %, {other} {percent(alone)} %."


def teacher_is_below(teacher: str, its: float, student: str, reached: float) -> str:
    """Names (``teacher`` without its article) and accuracies of both."""
    return (
        f"The {teacher} ({percent(its)} %) is below {student} ({percent(reached)} %): it may be trained too little or "
        "too long."
    )


def ratio_rows(ratios: Iterable[Mapping[str, Any]], domains: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Each level, in order, with its cells in the order of ``domains``: mean ± deviation.

    Args:
        ratios: level, domain, mean and std (or None) of each.
        domains: those of the columns.
    """
    cells = {
        (entry["level"], entry["domain"]): with_deviation(entry["mean"], entry["std"], "{:.3f}".format)
        for entry in ratios
    }
    return [(level, [cells[level, name] for name in domains]) for level in sorted({level for level, _ in cells})]


def ratios_note(domains: Sequence[str]) -> str:
    """What stands below a table of ratios."""
    return f"Level 0 is the embedding output. Uniform ratios would be {1 / len(domains):.3f}."
