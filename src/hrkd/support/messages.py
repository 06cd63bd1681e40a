"""How counts, lists of problems and suggestions read in notes and error messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "SHOWN",
    "Found",
    "age_of",
    "bytes_of",
    "count_of",
    "did_you_mean",
    "duration_of",
    "first_line",
    "first_of",
    "misspelt",
    "suggestion",
    "visible",
]

SHOWN = 5
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def first_of(problems: Sequence[str], separator: str = ", ", *, total: int | None = None) -> str:
    """The first five of ``problems``, and how many more there are; ``total`` where only the first are given."""
    surplus = (len(problems) if total is None else total) - SHOWN
    more = [f"and {surplus:,} more"] if surplus > 0 else []
    return separator.join([*problems[:SHOWN], *more])


class Found:
    """Problems that come one by one: their number and the first five are kept. As a string: as :func:`first_of`."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.total = 0

    def add(self, problem: str) -> None:
        """One more problem."""
        if self.total < SHOWN:
            self.first.append(problem)
        self.total += 1

    def __bool__(self) -> bool:
        return self.total > 0

    def __str__(self) -> str:
        return first_of(self.first, total=self.total)


def count_of(number: int, one: str = "row", many: str = "rows") -> str:
    """``number`` with its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {one if number == 1 else many}"


def age_of(seconds: float) -> str:
    """How long ago something was, in the largest whole unit: "3 days ago"; "just now" below a minute."""
    units = {"year": 365 * 86400, "month": 30 * 86400, "week": 7 * 86400, "day": 86400, "hour": 3600, "minute": 60}
    for unit, length in units.items():
        if seconds >= length:
            return f"{count_of(int(seconds // length), unit, unit + 's')} ago"
    return "just now"


def duration_of(seconds: float) -> str:
    """How long something takes, as one says it: "40 s", "9 min", "2.5 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def bytes_of(size: float) -> str:
    """A size on disk, in the unit in which it is at least 1: "3.4 MB"."""
    for unit, length in {"GB": 1e9, "MB": 1e6}.items():
        if size >= length:
            return f"{size / length:,.1f} {unit}"
    return f"{size / 1e3:,.0f} kB"


def did_you_mean(*names: object, before: str = "") -> str:
    """The question, behind ``before``, whether one of ``names`` was meant; empty without names."""
    return f"{before}did you mean {' or '.join(map(str, names))}?" if names else ""


def suggestion(name: str, known: Iterable[str], *, before: str = "", shown: Callable[[str], object] = repr) -> str:
    """:func:`did_you_mean` of the one of ``known`` most like ``name``, regardless of case; empty if none is alike.

    ``shown`` says how that one is written.
    """
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return did_you_mean(*(shown(by_lower[each]) for each in close), before=before)


def misspelt(names: Sequence[object], known: Iterable[str]) -> str:
    """:func:`first_of` names that are not known, each with its suggestion: ``'boks' (did you mean 'books'?), 'qq'``."""
    known = list(known)
    asked = [(name, suggestion(str(name), known)) for name in names]
    return first_of([f"{name!r} ({question})" if question else repr(name) for name, question in asked])


def first_line(error: Exception) -> str:
    """What an error of a library says, without its details."""
    return next(iter(str(error).strip().splitlines()), repr(error))


def visible(text: str) -> str:
    """``text`` with what a terminal would obey (control characters but for ends of lines and tabs) as escapes."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
