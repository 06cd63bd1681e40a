"""Which field gives a training more steps, in words. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["train_longer"]


def train_longer(section: str, training: Mapping[str, Any] | None) -> str:
    """What to raise so that a training goes on for longer: the field that ended it, as others would change nothing.

    Args:
        section: of the recipe, such as ``teacher.training``.
        training: ``ended_by`` of its history; where that is not known (several trainings, results of an older version)
            the answer names two fields.
    """
    if field := (training or {}).get("ended_by"):
        return f"raise {section}.{field}"
    return f"raise {section}.epochs, or {section}.min_steps where that asks for more"
