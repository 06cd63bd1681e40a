"""What a page shows of thousands of rows and steps: counts and means, of a size that does not grow with the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["KINDS", "calibration", "confusion_change", "flips", "history", "level_tables", "ratio_history", "thinned"]

Array = npt.NDArray[Any]

BINS = 10
POINTS = 48
"""Of a curve."""
WINDOW = 20
"""A mean at a step is over this part of all steps."""
KINDS = ("both_right", "lost", "gained", "both_wrong")
"""What student and teacher can make of a row: ``lost`` is right by the teacher alone, ``gained`` by the student."""


def confusion_change(labels: Array, teacher: Array, student: Array, classes: int) -> Array:
    """Rows of each true label and answer, (C, C): the student's count less the teacher's.

    Args:
        labels, teacher, student: label ids, each of shape (rows,).
        classes: C.
    """
    change = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(change, (labels, student), 1)
    np.add.at(change, (labels, teacher), -1)
    return change


def calibration(labels: Array, probabilities: Array) -> dict[str, Any]:
    """How sure a model is and how often it is right then: ``bins`` of confidence, rows and accuracy, and ``error``.

    The error is the mean over rows of the distance between both in a row's bin (expected calibration error; Guo et
    al., 2017). The bins, of equal width, reach from the least confidence that so many classes allow to 1. ``lean`` is
    how sure the model is on the mean less how often it is right: above 0 it is too sure.

    Args:
        labels: label ids, shape (rows,).
        probabilities: shape (rows, C).
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    least = 1 / probabilities.shape[1]
    places = np.clip(((confidence - least) / (1 - least) * BINS).astype(int), 0, BINS - 1)
    bins = [
        {
            "confidence": float(confidence[here].mean()),
            "accuracy": float(right[here].mean()),
            "rows": int(here.sum()),
        }
        for here in (places == number for number in range(BINS))
        if here.any()
    ]
    apart = sum(each["rows"] * abs(each["confidence"] - each["accuracy"]) for each in bins)
    return {"bins": bins, "error": apart / len(labels), "lean": float(confidence.mean() - right.mean())}


def flips(labels: Array, teacher: Array, student: Array) -> dict[str, int]:
    """How many rows there are of each of :data:`KINDS`, and ``differ``: those on which the answers differ.

    Args: label ids, each of shape (rows,).
    """
    by_teacher, by_student = teacher == labels, student == labels
    found = {
        "both_right": by_teacher & by_student,
        "lost": by_teacher & ~by_student,
        "gained": ~by_teacher & by_student,
        "both_wrong": ~by_teacher & ~by_student,
        "differ": teacher != student,
    }
    return {name: int(rows.sum()) for name, rows in found.items()}


def thinned(values: Array) -> Array:
    """The places, at most :data:`POINTS` and evenly spread, that stand for so many values; the last is among them."""
    count = min(len(values), POINTS)
    return np.unique(np.linspace(0, len(values) - 1, count).round().astype(int))


def history(steps: Array, values: Array) -> dict[str, list[float]]:
    """A curve over a training: at some ``steps`` the value there (``raw``) and its mean around it (``mean``).

    Args:
        steps, values: each of shape (N,), of logged steps in their order.
    """
    window = max(1, len(values) // WINDOW)
    means = pd.Series(values).rolling(window, min_periods=1, center=True).mean().to_numpy()
    at = thinned(values)
    return {"steps": steps[at].tolist(), "raw": _rounded(values[at]), "mean": _rounded(means[at])}


def ratio_history(levels: pd.DataFrame, domains: Sequence[str]) -> list[dict[str, Any]]:
    """:func:`history` of the ratio of each level and domain, level by level."""
    found = []
    groups: Any = levels.groupby(["level", "domain"], observed=True, sort=False)
    for (level, domain), rows in groups:
        curve = history(rows["step"].to_numpy(), rows["ratio"].to_numpy())
        found.append({"level": int(level), "domain": str(domain), **curve})
    return sorted(found, key=lambda each: (each["level"], domains.index(each["domain"])))


def level_tables(levels: pd.DataFrame, domains: Sequence[str]) -> dict[str, list[list[float | None]]]:
    """Means over steps, (K, D) each: ``ratio``, ``loss`` (hidden states and attention) and their ``product``.

    Args:
        levels: the table of this name of :mod:`hrkd.training.record`, of the steps that count.
        domains: D names.
    """
    loss = levels["hidden"] + levels["attention"].fillna(0)
    columns = {"ratio": levels["ratio"], "loss": loss, "product": levels["ratio"] * loss}
    means = pd.DataFrame({"level": levels["level"], "domain": levels["domain"].astype(str), **columns})
    means = means.groupby(["level", "domain"], sort=True).mean()
    return {name: _table(means[name], domains) for name in columns}


def _table(means: Any, domains: Sequence[str]) -> list[list[float | None]]:
    table = means.unstack("domain").reindex(columns=list(domains))
    return [[None if pd.isna(value) else round(float(value), 6) for value in row] for row in table.to_numpy()]


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.5g}") for value in values.tolist()]
