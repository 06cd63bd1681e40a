"""What pydantic found wrong with a recipe, in plain words and one problem per place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hrkd.recipe.fields import annotation_at, expected, recipe_fields
from hrkd.recipe.locations import MOST_LINES
from hrkd.recipe.schema import Recipe
from hrkd.recipe.yaml_lines import PathParts, Problem
from hrkd.support.messages import did_you_mean, suggestion

__all__ = ["find_problems"]


def find_problems(error: ValidationError, data: Any, model: type[BaseModel] = Recipe) -> list[Problem]:
    """The problems of ``error``, which validating ``data`` as a ``model`` raised.

    Wrong values stand once for each place, at its deepest; contradictions, which only sections without wrong values
    are searched for, all stand.
    """
    values: dict[PathParts, Problem] = {}
    contradictions: list[Problem] = []
    for details in error.errors(include_url=False):
        if details["type"] == "value_error":
            section, _ = _locate(details["loc"], data)
            lines = str(details["ctx"]["error"]).splitlines()
            contradictions += [_contradiction(section, line, model) for line in lines]
        else:
            problem = _problem(details, data, model, suggest=len(values) < MOST_LINES)
            values.setdefault(problem.path, problem)
    return [problem for path, problem in values.items() if not _has_deeper(path, values)] + contradictions


def _has_deeper(path: PathParts, problems: dict[PathParts, Problem]) -> bool:
    """Whether a part of the value at ``path`` is a problem too (an alternative type that came nearer)."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in problems)


def _problem(details: ErrorDetails, data: Any, model: type[BaseModel], *, suggest: bool) -> Problem:
    path, value = _locate(details["loc"], data)
    last = details["loc"][-1] if details["loc"] else None
    if details["type"] == "missing" and isinstance(last, str):  # a number: the list is too short, which the list says
        return Problem((*path, last), f"missing; must be {expected(annotation_at((*path, last), model))}")
    if details["type"] == "extra_forbidden":
        return Problem(path, f"unknown field{_suggestion(path, model) if suggest else ''}")
    if details["type"] == "place":
        return Problem(path, f"{_shown(value)} is not allowed: {details['msg']}")
    wanted = expected(annotation_at(path, model))
    if value is None:
        return Problem(path, f"no value: must be {wanted}")
    quotes = "; put it in quotes" if wanted == "text" and isinstance(value, bool | int | float) else ""
    return Problem(path, f"{_shown(value)} is not allowed: must be {wanted}{quotes}")


def _locate(location: Sequence[str | int], data: Any) -> tuple[PathParts, Any]:
    """The part of ``location`` that exists in ``data`` (pydantic adds names of types), and the value there."""
    path: list[str | int] = []
    here = data
    for part in location:
        inside = here if isinstance(here, dict) else range(len(here)) if isinstance(here, list | tuple) else ()
        if part in inside:
            here = here[part]
            path.append(part)
    return tuple(path), here


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _contradiction(path: PathParts, message: str, model: type[BaseModel]) -> Problem:
    """A message of a section's own check; one that begins with a field's (dotted) name goes to that field."""
    name, colon, rest = message.partition(": ")
    field = (*path, *name.split("."))
    if colon and annotation_at(field, model) is not None:
        return Problem(field, rest)
    return Problem(path, message)


def _suggestion(path: PathParts, model: type[BaseModel]) -> str:
    """A question for a field of the same section, or the places where a field of that name stands."""
    *above, name = (str(part) for part in path)
    fields = recipe_fields(model)
    beside = {field.path[len(above)] for field in fields if list(field.path[: len(above)]) == above}
    elsewhere = [field.name for field in fields if field.path[-1] == name]
    return (
        suggestion(name, sorted(beside), before="; ")
        or did_you_mean(*elsewhere[:2], before="; ")
        or f"; the fields here are {', '.join(sorted(beside))}"
    )
