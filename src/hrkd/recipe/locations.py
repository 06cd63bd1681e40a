"""Where a problem stands: a file and its line, or a value that was set apart from the file."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hrkd.errors import RecipeError
from hrkd.recipe.yaml_lines import PathParts, Problem, YamlSource
from hrkd.support.messages import brief

__all__ = ["MOST_LINES", "Locations", "dotted", "flag_name", "told_lines"]

MOST_LINES, LONGEST_LINE = 50, 1000
"""Problems that are told, and characters of each: what is no recipe may have thousands."""


def dotted(path: Sequence[str | int]) -> str:
    """``data.sizes.books, item 2`` for ("data", "sizes", "books", 1)."""
    names = ".".join(part for part in path if isinstance(part, str))
    items = [f"item {part + 1}" for part in path if isinstance(part, int)]
    return ", ".join([names, *items] if names else items)


def told_lines(lines: Sequence[str]) -> str:
    """Problems, one a line, the first fifty, and how many more there are."""
    more = [f"and {len(lines) - MOST_LINES:,} more problems"] if len(lines) > MOST_LINES else []
    return "\n".join([*(brief(line, LONGEST_LINE) for line in lines[:MOST_LINES]), *more])


def flag_name(path: Sequence[str | int]) -> str:
    """The command line's name of a field: ``--data.source``."""
    return f"--{dotted(path)}"


@dataclass(frozen=True)
class Locations:
    """Tells where a problem stands: in the file ``name`` (with its line), or among the ``overrides``.

    ``place`` is what messages call a field that an override set.
    """

    name: str
    base: YamlSource
    overrides: Mapping[str, Any]
    place: Callable[[PathParts], str] = flag_name

    def error(self, problems: Sequence[Problem]) -> RecipeError:
        """All the problems, one a line, the first fifty: those of the file by line, then those of the overrides."""
        told: list[tuple[float, str]] = []
        for problem in problems:
            if self._is_override(problem):
                told.append((math.inf, f"{self.place(problem.path)}: {problem.message}"))
                continue
            line = problem.line or self.base.line_of(problem.path)
            place = f"{self.name}:{line}" if self.name and line else self.name
            words = ": ".join(part for part in (place, dotted(problem.path), problem.message) if part)
            told.append((line or sys.maxsize, words))
        return RecipeError(told_lines([words for _, words in sorted(told, key=lambda each: each[0])]))

    def _is_override(self, problem: Problem) -> bool:
        """Whether the value at the path, or one that holds it, was set by an override."""
        here: Any = self.overrides
        for part in problem.path:
            if not isinstance(here, Mapping):
                return True
            if part not in here:
                return False
            here = here[part]
        return bool(problem.path) and not isinstance(here, Mapping)
