"""How counts and lists of problems read in notes and error messages."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["count_of", "first_of"]


def first_of(problems: Sequence[str], separator: str = ", ") -> str:
    """The first five of ``problems``, and how many more there are."""
    more = [f"and {len(problems) - 5:,} more"] if len(problems) > 5 else []
    return separator.join([*problems[:5], *more])


def count_of(number: int, one: str = "row", many: str = "rows") -> str:
    """``number`` with its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {one if number == 1 else many}"
