"""Holding an export against its student: logits on texts, and accuracy on labelled rows.

A form that rounds passes where the mean over domains keeps its accuracy. A single domain has few rows, on which a few
answers come and go by chance: it fails the form only where the loss is more than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hrkd.data.cutting import mean_by_owner
from hrkd.deploy.export.reference import Reference
from hrkd.deploy.predict import Predictor, softmax
from hrkd.support.messages import count_of
from hrkd.training.chance import paired_p

__all__ = ["compared", "faults", "hold_against", "losses"]

EXACT = 1e-4
"""Largest difference of logits of an export in 32 bits, as a share of the largest logit where that is above 1."""

BY_CHANCE = 0.05
"""A loss on a domain whose exact p is not below this may be chance."""

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
    """Accuracies of each domain; the texts that the student alone has right are lost, the export alone: gained."""
    ids = np.asarray(reference.asked.domains)
    found = {}
    for number, name in enumerate(reference.domains):
        own = ids == number
        if own.any():
            before, after = (answers[own] == labels[own] for answers in (student, export))
            lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
            found[name] = {
                "texts": int(own.sum()), "student": float(before.mean()), "export": float(after.mean()),
                "lost": lost, "gained": gained, "p": paired_p(gained, lost),
            }  # fmt: skip
    return found


def faults(checks: Mapping[str, Any], *, exact: bool, allowance: float) -> list[str]:
    """What is wrong with an export, in words; empty if it passes.

    Args:
        checks: as :func:`hold_against` gives them.
        exact: whether it is to say what its student says, but for the last digits.
        allowance: points of accuracy that the mean over domains may lose; a domain fails if it loses more than that
            and more than chance explains (:data:`BY_CHANCE`).
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
    accuracy = checks.get("accuracy", {})
    failed = [name for name, own in accuracy.items() if _points(own) > allowance + 1e-9 and own["p"] < BY_CHANCE]
    wrong = []
    if accuracy and _mean_points(accuracy) > allowance + 1e-9:
        wrong.append(f"{_mean_points(accuracy):.2f} points lost on the mean over domains (allowed: {allowance:g})")
        failed = failed or [_worst(accuracy)]
    if failed:
        worst, more = _worst({name: accuracy[name] for name in failed}), len(failed) - 1
        others = f", and {count_of(more, 'more domain', 'more domains')}" if more else ""
        wrong.append(f"{_told(worst, accuracy[worst])}, p = {accuracy[worst]['p']:.2g}{others}")
    if routed is not None and routed["other_answers"] > OTHER_ROUTED * routed["texts"]:
        wrong.append(f"{routed['other_answers']} of {routed['texts']} texts of unknown domains are answered otherwise")
    return wrong


def losses(checks: Mapping[str, Any]) -> str:
    """What the mean over domains and the worst of them lose, in words; empty where no accuracy was looked at."""
    if not (accuracy := checks.get("accuracy", {})):
        return ""
    worst = _worst(accuracy)
    return f"{_mean_points(accuracy):.2f} points lost on the mean over domains, {_told(worst, accuracy[worst])}"


def _points(own: Mapping[str, float]) -> float:
    return 100 * (own["student"] - own["export"])


def _mean_points(accuracy: Mapping[str, Mapping[str, float]]) -> float:
    return sum(map(_points, accuracy.values())) / len(accuracy)


def _worst(accuracy: Mapping[str, Mapping[str, float]]) -> str:
    return max(accuracy, key=lambda name: _points(accuracy[name]))


def _told(name: str, own: Mapping[str, float]) -> str:
    texts = count_of(int(own["texts"]), "text", "texts")
    return f"{_points(own):.2f} on {name} (of {texts} {own['lost']} lost, {own['gained']} gained)"
