"""Values that callers from Python give: is it a path, is it true or false; one error that names the argument."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

from hrkd.errors import ArtifactError, DataError, HrkdError

__all__ = ["check_count", "check_switch", "path_of", "shown"]

LONGEST = 40


def path_of(
    argument: str, given: Any, expected: str = "the path of a folder", error: type[HrkdError] = ArtifactError
) -> Path:
    """The path that ``given`` is, with ``~`` expanded.

    Args:
        argument: its name, for the message.
        given: what a caller gave.
        expected: what it should be, in words.
        error: the kind of error.

    Raises:
        HrkdError: of kind ``error``: it is neither a string with content nor a path.
    """
    try:
        named = os.fspath(given)
        if isinstance(named, str) and named.strip():
            return Path(named).expanduser()
    except TypeError:
        pass
    except RuntimeError as reason:  # ~ of nobody
        raise error(f"{argument}: {given}: {reason}") from reason
    raise error(f"{argument}: expected {expected}, got {shown(given)}")


def check_switch(argument: str, given: Any) -> None:
    """Whether a value is True or False: the word "no" would count as true.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(given, bool):
        raise DataError(f"{argument}: expected True or False, got {shown(given)}")


def check_count(argument: str, given: Any) -> int:
    """A whole number from 1, also one of numpy.

    Raises:
        DataError: it is something else.
    """
    try:
        number = 0 if isinstance(given, bool) else operator.index(given)
    except TypeError:
        number = 0
    if number < 1:
        raise DataError(f"{argument}: expected a whole number from 1, got {given!r}")
    return number


def shown(value: Any) -> str:
    """A value in a message, with its type."""
    kind = type(value).__name__
    try:
        text = repr(value[:LONGEST] if isinstance(value, str | bytes) else value)
    except RecursionError:
        text = "..."
    return "None" if value is None else f"{text if len(text) <= LONGEST else text[: LONGEST - 3] + '...'} ({kind})"
