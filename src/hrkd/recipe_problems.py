"""What pydantic found wrong with a recipe, in plain words and one problem per place."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hrkd.fields import annotation_at, expected, recipe_fields
from hrkd.yaml_source import PathParts, Problem

__all__ = ["find_problems"]


def find_problems(error: ValidationError, data: Any) -> list[Problem]:
    """The problems of ``error``, which validating ``data`` raised.

    Wrong values stand once for each place, at its deepest; contradictions, which only sections without wrong values
    are searched for, all stand.
    """
    values: dict[PathParts, Problem] = {}
    contradictions: list[Problem] = []
    for details in error.errors(include_url=False):
        if details["type"] == "value_error":
            section, _ = _locate(details["loc"], data)
            contradictions += [_contradiction(section, line) for line in str(details["ctx"]["error"]).splitlines()]
        else:
            problem = _problem(details, data)
            values.setdefault(problem.path, problem)
    return [problem for path, problem in values.items() if not _has_deeper(path, values)] + contradictions


def _has_deeper(path: PathParts, problems: dict[PathParts, Problem]) -> bool:
    """Whether a part of the value at ``path`` is a problem too (an alternative type that came nearer)."""
    return any(len(other) > len(path) and other[: len(path)] == path for other in problems)


def _problem(details: ErrorDetails, data: Any) -> Problem:
    path, value = _locate(details["loc"], data)
    if details["type"] == "extra_forbidden":
        return Problem(path, f"unknown field{_suggestion(path)}")
    return Problem(path, _not_allowed(path, value))


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


def _not_allowed(path: PathParts, value: Any) -> str:
    wanted = expected(annotation_at(path))
    if value is None:
        return f"no value: must be {wanted}"
    quotes = "; put it in quotes" if wanted == "text" and isinstance(value, bool | int | float) else ""
    return f"{_shown(value)} is not allowed: must be {wanted}{quotes}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _contradiction(path: PathParts, message: str) -> Problem:
    """A message of a section's own check; one that begins with a field's name goes to that field."""
    name, colon, rest = message.partition(": ")
    if colon and annotation_at((*path, name)) is not None:
        return Problem((*path, name), rest)
    return Problem(path, message)


def _suggestion(path: PathParts) -> str:
    """A question for a field of the same section, or the places where a field of that name stands."""
    *above, name = (str(part) for part in path)
    beside = {field.path[len(above)] for field in recipe_fields() if list(field.path[: len(above)]) == above}
    close = difflib.get_close_matches(name, sorted(beside), n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    elsewhere = [field.name for field in recipe_fields() if field.path[-1] == name]
    if elsewhere:
        return f"; did you mean {' or '.join(elsewhere[:2])}?"
    return f"; the fields here are {', '.join(sorted(beside))}"
