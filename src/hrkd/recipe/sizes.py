"""A student's size that is asked for beside the recipe, and one that an earlier run has found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hrkd.recipe.schema import SIZE_BY_HAND, SIZE_BY_TIME, SIZE_GOALS, Recipe

__all__ = ["sizes_that_give_way", "with_found_size"]

WAYS = (*((goal,) for goal in SIZE_GOALS), ("checkpoint",), SIZE_BY_HAND)
"""To say a size; they exclude each other."""


def with_found_size(recipe: Recipe, known: Recipe) -> Recipe:
    """The recipe with the size that the ``known`` one of its run names, if that was found for the same request."""
    asked, found = recipe.student, known.student
    if not asked.is_sized_by_time or not found.is_sized_by_earlier_times:
        return recipe
    is_same = all(getattr(asked, name) == getattr(found, name) for name in SIZE_BY_TIME)
    if not is_same or asked.heads not in (None, found.heads):
        return recipe
    size = {name: getattr(found, name) for name in SIZE_BY_HAND}
    return recipe.model_copy(update={"student": asked.model_copy(update=size)})


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
    if any(way[0] in SIZE_BY_TIME for way in ways):
        kept.add("heads")  # which may be named beside
        ways = [way for way in ways if way != SIZE_BY_HAND or named & set(SIZE_BY_HAND) != {"heads"}]
    is_open = any(said.get(name) for name in SIZE_BY_TIME) and not all(said.get(name) for name in SIZE_BY_HAND)
    if ways == [SIZE_BY_HAND] and named & set(SIZE_BY_HAND) == {"heads"} and is_open:
        return []
    return list(_others(said, ways[0], kept)) if len(ways) == 1 else []


def _others(said: Mapping[str, Any], chosen: tuple[str, ...], kept: set[str]) -> Iterator[str]:
    for way in WAYS:
        if way != chosen:
            yield from (name for name in way if name not in kept and said.get(name) is not None)
