"""What is wrong with the form of a question to ``hrkd serve``, in one sentence that says what to send instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hrkd.support.arguments import shown
from hrkd.support.messages import first_line, misspelt

__all__ = ["told_of_body", "told_of_form"]

JSON = "application/json"


def told_of_body(error: BaseException | None) -> str:
    """Why a body cannot be read, where that is neither its form nor its content: ``error`` is what reading it met."""
    if isinstance(error, UnicodeError):
        return "the body is not UTF-8; send JSON in UTF-8"
    if isinstance(error, RecursionError):
        return "the body has lists or objects too deep within each other; send an object with strings, or lists of them"
    return f"the body is no JSON that can be read ({'nothing is known' if error is None else first_line(error)})"


def told_of_form(errors: Sequence[Mapping[str, Any]], content_type: str | None, fields: Iterable[str]) -> str:
    """The most exact of what pydantic says against a question.

    Args:
        errors: as ``RequestValidationError.errors`` gives them; of a field that may be of several kinds, one for each.
        content_type: header of the question.
        fields: that a question has.
    """
    error = max(errors, key=lambda each: len([part for part in each["loc"] if isinstance(part, int)]))
    kind, place = error["type"], [part for part in error["loc"] if part != "body"]
    if kind == "json_invalid":
        why = error.get("ctx", {}).get("error", "it cannot be read")
        return f"the body is no JSON: {why}, at character {int(place[0]) + 1}"
    if not place:
        if JSON not in (content_type or ""):
            return f"the body is not taken for JSON; send the header Content-Type: {JSON}"
        return f"expected an object with the fields {', '.join(fields)}, got {shown(error['input'])}"
    field, *below = place
    if kind == "extra_forbidden":
        return f"unknown field {misspelt([field], fields)}; known are {', '.join(fields)}"
    if kind == "missing":
        return f"{field}: missing; the fields are {', '.join(fields)}"
    items = "".join(f"[{part}]" for part in below if isinstance(part, int))
    expected = "a string" if items else "a string, or a list of them"
    return f"{field}{items}: expected {expected}, got {shown(error['input'])}"
