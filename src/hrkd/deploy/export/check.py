"""Holding an export against its student: logits on texts, and accuracy on labelled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrkd.data.cutting import mean_by_owner
from hrkd.data.types import MultiDomainDataset
from hrkd.deploy.checks import Asked
from hrkd.deploy.predict import Predictor, softmax

__all__ = ["Reference", "asked_of", "faults", "hold_against"]

EXACT = 1e-4
"""Largest difference of logits of an export in 32 bits, as a share of the largest logit where that is above 1."""


@dataclass(frozen=True)
class Reference:
    """Texts that an export is held against, and what its student says of them.

    Args:
        asked: texts and domains.
        logits: of the student, (rows, C).
        owners: the text of each row, (rows,).
        labels: right ones, (texts,); None: not known.
        domains: names.
    """

    asked: Asked
    logits: np.ndarray
    owners: np.ndarray
    labels: np.ndarray | None
    domains: tuple[str, ...]


def asked_of(rows: MultiDomainDataset, domains: Sequence[str]) -> Asked:
    """The texts of rows, with the numbers that the model gives its ``domains``."""
    numbers = np.array([domains.index(name) for name in rows.domains], dtype=np.int64)
    pairs = [str(text) for text in rows.rows["text_pair"][:]] if rows.has_pairs else None
    return Asked(list(map(str, rows.rows["text"][:])), pairs, numbers[rows.domain_ids].tolist())


def hold_against(reference: Reference, export: Predictor) -> dict[str, Any]:
    """The largest difference of logits, and accuracy of both per domain, as a plain dict for the export's record."""
    logits, owners = export.logits(reference.asked)
    difference = float(np.abs(logits - reference.logits).max()) if np.array_equal(owners, reference.owners) else np.inf
    found: dict[str, Any] = {"texts": len(reference.asked.texts), "largest_difference": difference}
    theirs, ours = _answers(reference.logits, owners), _answers(logits, owners)
    found["other_answers"] = int((theirs != ours).sum())
    found["largest_logit"] = float(np.abs(reference.logits).max())
    if reference.labels is not None:
        found["accuracy"] = _accuracies(reference, reference.labels, theirs, ours)
    return found


def _answers(logits: np.ndarray, owners: np.ndarray) -> np.ndarray:
    answers: np.ndarray = mean_by_owner(softmax(logits), owners).argmax(axis=1)
    return answers


def _accuracies(
    reference: Reference, labels: np.ndarray, student: np.ndarray, export: np.ndarray
) -> dict[str, dict[str, float]]:
    ids = np.asarray(reference.asked.domains)
    found = {}
    for number, name in enumerate(reference.domains):
        own = ids == number
        if own.any():
            right = [float((answers[own] == labels[own]).mean()) for answers in (student, export)]
            found[name] = {"texts": int(own.sum()), "student": right[0], "export": right[1]}
    return found


def faults(checks: Mapping[str, Any], *, exact: bool, allowance: float) -> list[str]:
    """What is wrong with an export, in words; empty if it passes.

    Args:
        checks: as :func:`hold_against` gives them.
        exact: whether it is to say what its student says, but for the last digits.
        allowance: points of accuracy that the mean over domains may lose; each domain as much, or one answer where
            one is more.
    """
    difference, largest = checks["largest_difference"], checks["largest_logit"]
    if exact:
        limit = EXACT * max(1.0, largest)
        return [] if difference <= limit else [f"logits differ by {difference:.2g} (at most {limit:.2g} expected)"]
    if not np.isfinite(difference):
        return ["its logits are not finite, or of other rows"]
    lost = {name: 100 * (each["student"] - each["export"]) for name, each in checks.get("accuracy", {}).items()}
    wrong = []
    if lost and (mean := sum(lost.values()) / len(lost)) > allowance + 1e-9:
        wrong.append(f"{mean:.2f} points lost on the mean over domains (allowed: {allowance:g})")
    for name, points in lost.items():
        one = 100 / checks["accuracy"][name]["texts"]
        if points > max(allowance, one) + 1e-9:
            wrong.append(f"{points:.2f} points lost on {name} (allowed: {max(allowance, one):.2f})")
    return wrong
