"""Names of labels and domains that are nearly the same: to a reader, or but for a slip of the keyboard."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Slip", "read_alike", "slips"]

VARIANTS = re.compile("[\ufe00-\ufe0f]")
"""Characters that choose the look of the one before them."""
DIGITS = re.compile(r"\d+")
SHORTEST, LONG = 4, 6
"""Letters from which on one edit, and two edits, may be a slip."""
TIMES = 20
"""A name that is so many times as frequent may be what was meant."""
MOST = 300
"""Frequent names that others are held against."""

Slip = tuple[str, str]
"""A rare name, and the frequent one that may be meant."""


def read_alike(names: Iterable[str]) -> list[list[tuple[str, str]]]:
    """Groups of names that differ in case, white space or unseen characters alone.

    Each name comes with how it is written, in escapes where they look the same otherwise.
    """
    alike: dict[str, list[str]] = {}
    for name in sorted(names):
        alike.setdefault(_as_seen(name), []).append(name)
    return [list(_told_apart(group)) for group in alike.values() if len(group) > 1]


def slips(counts: Mapping[str, int]) -> Iterator[Slip]:
    """Names of few rows that are one or two edits away from one of many; numbers and short names are left alone."""
    by_count = sorted(counts, key=lambda name: (-counts[name], name))
    for rare in by_count:
        for name in by_count[:MOST]:
            if counts[name] < TIMES * counts[rare]:
                break
            if _is_slip(_as_seen(rare), _as_seen(name)):
                yield rare, name
                break


def _is_slip(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    if one == other or len(short) < SHORTEST or len(long) - len(short) > 2:
        return False
    if DIGITS.sub("0", one) == DIGITS.sub("0", other):  # class 1 and class 2
        return False
    if len(long) - len(short) == 2 and long.endswith(short):  # known and unknown
        return False
    return _edits(one, other) <= (2 if len(short) >= LONG else 1)


def _edits(one: str, other: str) -> int:
    """Letters put in, left out, replaced, or exchanged with their neighbour, that make one name of the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, there in enumerate(other, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != there))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == there:
                least = min(least, earlier[j - 2] + 1)
            row.append(least)
    return row[-1]


def _as_seen(name: str) -> str:
    """A name as people read it: in one form of its characters, without those that are not seen, in small letters."""
    plain = unicodedata.normalize("NFKC", name)
    seen = "".join(c for c in plain if unicodedata.category(c) != "Cf" and not VARIANTS.fullmatch(c))
    return " ".join(seen.split()).casefold()


def _told_apart(names: list[str]) -> Iterator[tuple[str, str]]:
    """Names with how they are written, in escapes where they look the same otherwise."""
    same = len({unicodedata.normalize("NFC", name) for name in names}) < len(names)
    return ((name, ascii(name) if same else repr(name)) for name in names)
