"""A size of the student that is asked for beside the recipe: what the recipe says of its size gives way to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hrkd.recipe.schema import SIZE_GOALS

__all__ = ["sizes_that_give_way"]

BY_HAND = ("layers", "width", "heads", "feed_forward")
WAYS = (*((goal,) for goal in SIZE_GOALS), ("checkpoint",), BY_HAND)
"""To say a size; they exclude each other."""
BY_TIME = ("times_faster", "milliseconds")


def sizes_that_give_way(base: Mapping[str, Any], over: Mapping[str, Any]) -> list[str]:
    """Fields of the student that a recipe (``base``) sets, and that exclude the size that is asked for beside it.

    None where that is asked for in several ways, or in none.
    """
    said, asked = base.get("student"), over.get("student")
    if not isinstance(said, Mapping) or not isinstance(asked, Mapping):
        return []
    named = {name for name, value in asked.items() if value is not None}
    ways = [way for way in WAYS if named & set(way)]
    kept = set(named)
    if any(way[0] in BY_TIME for way in ways):
        kept.add("heads")  # which may be named beside
        ways = [way for way in ways if way != BY_HAND or named & set(BY_HAND) != {"heads"}]
    if ways == [BY_HAND] and named & set(BY_HAND) == {"heads"} and any(said.get(name) for name in BY_TIME):
        return []
    return list(_others(said, ways[0], kept)) if len(ways) == 1 else []


def _others(said: Mapping[str, Any], chosen: tuple[str, ...], kept: set[str]) -> Iterator[str]:
    for way in WAYS:
        if way != chosen:
            yield from (name for name in way if name not in kept and said.get(name) is not None)
