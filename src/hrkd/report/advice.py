"""What to do about a model that the linear one surpasses, as far as results tell what would help it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hrkd.training.advice import train_longer

__all__ = ["advice_for", "advice_of"]

MANY_CUT = 0.05
"""Share of the texts' tokens that are not read above which the first advice is to read more of them."""


def advice_of(results: Mapping[str, Any], name: str) -> str:
    """What to do about a model of ``results``: teacher, student or student_without_distillation.

    A teacher was trained by hrkd where what that took is noted.
    """
    training, is_trained = results["models"][name].get("training"), name in results.get("seconds", {})
    return advice_for(name, training, results.get("tokens_cut"), is_trained=is_trained or name != "teacher")


def advice_for(
    name: str, training: Mapping[str, Any] | None, tokens_cut: float | None, *, is_trained: bool = True
) -> str:
    """What to do about a model, by what ended its ``training`` and which share of tokens is cut off, if that is known.

    Args:
        is_trained: whether hrkd trains it, so that there is a training to go on with.
    """
    more_text = ""
    if tokens_cut and tokens_cut > MANY_CUT:
        unread = f"{100 * tokens_cut:.0f} % of their tokens are not read"
        more_text = f"let it read more of each text (data.max_length; {unread}), "
    if not is_trained:
        return f"{more_text}take a better classifier (teacher.fine_tuned), or let one be trained (teacher.model)"
    longer = train_longer("teacher.training" if name == "teacher" else "student.training", training)
    ways = {
        "teacher": f"train it longer ({longer}), or take a larger encoder (teacher.model)",
        "student": f"distil it longer ({longer}) or on more text (data.unlabelled), or make it larger",
        "student_without_distillation": f"train it longer ({longer})",
    }
    return more_text + ways[name]
