"""How counts, lists of problems and suggestions read in notes and error messages."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

__all__ = [
    "SHOWN",
    "Found",
    "age_of",
    "brief",
    "bytes_of",
    "count_of",
    "did_you_mean",
    "duration_of",
    "first_line",
    "first_of",
    "misspelt",
    "names_of",
    "repeated_in",
    "suggestion",
    "visible",
]

SHOWN = 5
MOST_NAMES = 30
LONGEST = 300
"""Characters of one problem or name in a message: it may be a text, or whatever stands in a broken file."""
COMPARED, LONGEST_NAME = 2000, 100
"""How many known names a misspelt one is held against, and characters of one that may be a name at all."""
T = TypeVar("T")
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def first_of(problems: Sequence[str], separator: str = ", ", *, total: int | None = None) -> str:
    """The first five of ``problems``, and how many more there are; ``total`` where only the first are given."""
    return _joined(problems[:SHOWN], separator, (len(problems) if total is None else total) - SHOWN)


def names_of(names: Sequence[str]) -> str:
    """Names of columns or fields as they are found, the first thirty, and how many more there are."""
    return _joined(names[:MOST_NAMES], ", ", len(names) - MOST_NAMES, LONGEST_NAME)


def _joined(shown: Sequence[str], separator: str, surplus: int, most: int = LONGEST) -> str:
    more = [f"and {surplus:,} more"] if surplus > 0 else []
    return separator.join([*(brief(each, most) for each in shown), *more])


def brief(text: str, most: int = LONGEST) -> str:
    """``text``, without its middle where it has more than ``most`` characters, of which about so many are left."""
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]} ... {text[-most // 6 :]} ({len(text):,} characters)"


def repeated_in(values: Iterable[T]) -> list[T]:
    """What stands among ``values`` more than once, in the order in which it comes."""
    return [value for value, count in Counter(values).items() if count > 1]


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
    if len(name) > LONGEST_NAME:
        return ""
    by_lower = {k.lower(): k for k in islice(known, COMPARED) if len(k) <= LONGEST_NAME}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return did_you_mean(*(shown(by_lower[each]) for each in close), before=before)


def misspelt(names: Sequence[object], known: Iterable[str]) -> str:
    """:func:`first_of` names that are not known, each with its suggestion: ``'boks' (did you mean 'books'?), 'qq'``."""
    known = list(known)
    asked = [(name, suggestion(str(name), known)) for name in names[:SHOWN]]
    told = [f"{name!r} ({question})" if question else repr(name) for name, question in asked]
    return first_of(told, total=len(names))


def first_line(error: BaseException) -> str:
    """What an error of a library says, without its details."""
    return brief(next(iter(str(error).strip().splitlines()), repr(error)))


def visible(text: str) -> str:
    """``text`` with what a terminal would obey (control characters but for ends of lines and tabs) as escapes."""
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
