"""Named settings for fields that a recipe leaves out. Nothing here imports torch.

The fields' own defaults are those of the paper, so that ``published`` fills in nothing; what differs all the same
stands in docs/deviations.md.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

__all__ = ["PRESETS", "Preset", "preset_values", "recommended", "with_preset"]

Preset = Literal["recommended", "published"]

MOST_STEPS = 30_000

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "recommended": {
        "data": {"keep": "head_tail"},
        "teacher": {"training": {"min_steps": 300, "max_steps": MOST_STEPS, "average_weights": True}},
        "student": {
            "training": {"learning_rate": "auto", "min_steps": 1000, "max_steps": MOST_STEPS, "average_weights": True}
        },
        "method": {"graph": "uniform", "hierarchy": "none", "student_dropout": False},
    },
    "published": {},
}
"""By section; docs/evidence.md says what the values rest on."""


def with_preset(preset: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` sections of a recipe, and the preset's values in the place of what they leave out.

    A preset that there is none of fills in nothing; it is told where the field is checked. A student without layers is
    trained in its own way.
    """
    values = copy.deepcopy(PRESETS.get(preset, {})) if isinstance(preset, str) else {}
    student = given.get("student", {})
    said = student.model_dump(exclude_unset=True) if isinstance(student, BaseModel) else student
    if isinstance(said, Mapping) and said.get("kind") == "static":
        values.pop("student", None)
    return _filled(values, given)


def preset_values(values: Mapping[str, Any] = PRESETS["recommended"]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The recommended values with the paths of their fields."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from (((name, *path), below) for path, below in preset_values(value))
        else:
            yield (name,), value


def recommended(path: Sequence[str]) -> Any:
    """What the preset of that name has for a field; None: the field's default."""
    here: Any = PRESETS["recommended"]
    for part in path:
        here = here.get(part) if isinstance(here, dict) else None
    return here


def _filled(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` and, behind it, the ``values`` that it leaves out."""
    filled = dict(given)
    for name, value in values.items():
        there = filled.get(name, {} if isinstance(value, dict) else None)
        if isinstance(value, dict):
            if isinstance(there, BaseModel):
                there = there.model_dump(exclude_unset=True)
            if isinstance(there, Mapping):  # anything else is an error of the section's
                filled[name] = _filled(value, there)
        elif name not in filled:
            filled[name] = value
    return filled
