"""Holding an export against its student: logits on texts, and accuracy on labelled rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hrkd.data.cutting import mean_by_owner
from hrkd.deploy.export.reference import Reference
from hrkd.deploy.predict import Predictor, softmax

__all__ = ["compared", "faults", "hold_against"]

EXACT = 1e-4
"""Largest difference of logits of an export in 32 bits, as a share of the largest logit where that is above 1."""

OTHER_ROUTED = 0.05
"""Share of texts of unknown domains that a form that rounds may answer otherwise."""


def hold_against(reference: Reference, export: Predictor) -> dict[str, Any]:
    """What :func:`compared` says of an export, on texts without a domain too where the student finds it by itself."""
    found = compared(reference, *export.logits(reference.asked))
    if reference.routed is not None:
        found["routed"] = hold_against(reference.routed, export)
    return found


def compared(reference: Reference, logits: np.ndarray, owners: np.ndarray) -> dict[str, Any]:
    """The largest difference of logits, and accuracy of both per domain, as a plain dict for the export's record.

    Args:
        reference: what the student says.
        logits: of the export, (rows, C).
        owners: the text of each row, (rows,).
    """
    same_rows = np.array_equal(owners, reference.owners)  # fewer pieces of a vocabulary may mean more windows of a text
    difference = float(np.abs(logits - reference.logits).max()) if same_rows else None
    theirs, ours = _answers(reference.logits, reference.owners), _answers(logits, owners)
    found: dict[str, Any] = {
        "texts": len(reference.asked.texts),
        "largest_difference": difference if difference is None or np.isfinite(difference) else None,
        "largest_logit": float(np.abs(reference.logits).max()),
        "finite": bool(np.isfinite(logits).all()),
        "other_answers": int((theirs != ours).sum()),
    }
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
    routed = checks.get("routed")
    if not checks["finite"] or (routed is not None and not routed["finite"]):
        return ["its logits are not finite"]
    if exact:
        limit = EXACT * max(1.0, largest)
        if difference is None or not difference <= limit:
            how = "are of other rows" if difference is None else f"differ by {difference:.2g}"
            return [f"logits {how} (at most {limit:.2g} expected)"]
        return [] if routed is None else faults(routed, exact=True, allowance=allowance)
    lost = {name: 100 * (each["student"] - each["export"]) for name, each in checks.get("accuracy", {}).items()}
    wrong = []
    if lost and (mean := sum(lost.values()) / len(lost)) > allowance + 1e-9:
        wrong.append(f"{mean:.2f} points lost on the mean over domains (allowed: {allowance:g})")
    for name, points in lost.items():
        one = 100 / checks["accuracy"][name]["texts"]
        if points > max(allowance, one) + 1e-9:
            wrong.append(f"{points:.2f} points lost on {name} (allowed: {max(allowance, one):.2f})")
    if routed is not None and routed["other_answers"] > OTHER_ROUTED * routed["texts"]:
        wrong.append(f"{routed['other_answers']} of {routed['texts']} texts of unknown domains are answered otherwise")
    return wrong
