"""The grid file of ``hrkd compare``: methods, data sets, fractions and seeds around one recipe.

One definition per field, as in :mod:`hrkd.recipe.schema`. What the fields together make of the recipe is the matter of
:mod:`hrkd.comparison.planning`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveInt

from hrkd.recipe.loading import merge_overrides
from hrkd.recipe.schema import Section, Seed
from hrkd.support.messages import repeated_in, suggestion

__all__ = ["TEACHER", "Grid", "Method", "Overrides"]

TEACHER = "teacher"
"""How tables call the teacher, so that no method may have this name."""
MOST_RUNS = 10_000
"""Students that a grid may ask for: each has a recipe of its own, which is made and checked before any is trained."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SPLIT = (
    *("source", "format", "text", "text_pair", "label", "domain", "split", "id", "domains", "splits_file"),
    *("dev", "test", "dev_rows", "sizes", "split_seed", "fraction", "shots", "synthetic"),
)
"""Fields of the data section that decide which rows there are, and which of them are test."""
OF_THE_GRID = {
    "run.seed": "the grid's field seeds says it",
    "run.output": "the grid's field output says it",
    "run.overwrite": "hrkd compare --overwrite says it",
    "student.baseline": "a method with learns_from: labels is the baseline here",
}


class Overrides(Section):
    """Fields of a recipe, nested or with dotted names; they go before those of the base recipe."""

    model_config = ConfigDict(extra="allow")

    @property
    def given(self) -> dict[str, Any]:
        """The fields as they were given."""
        return dict(self.model_extra or {})


class Method(Overrides):
    """One way to make a student: what it learns from, and the recipe fields in which it differs."""

    learns_from: Literal["teacher", "labels"] = "teacher"
    """`teacher`: distilled; `labels`: the same student without distillation, fine-tuned on labels alone."""

    separate_domains: Annotated[list[str], Field(min_length=1)] | None = None
    """Domains of which each gets a model of its own, and a teacher of its own, from its rows alone; together they are
    one row of the tables. All domains of the data must be named."""


class Grid(Section):
    """All that `hrkd compare` runs: every method on every data set with every fraction and every seed."""

    checked_elsewhere: ClassVar[frozenset[str]] = frozenset({"recipe", "data", "methods"})

    recipe: str | Overrides
    """The recipe of all runs: a packaged name, a file (counted from the current directory), or its sections."""

    data: Annotated[dict[str, Overrides], Field(min_length=1)] | None = None
    """Data sets by name, each with the recipe fields that select it; default: one, that of the recipe."""

    fractions: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)] | None = None
    """Shares of the training rows to run with (`data.fraction`); default: what the recipe says."""

    shots: Annotated[list[PositiveInt], Field(min_length=1)] | None = None
    """In the place of fractions: training rows of each domain and label to run with (`data.shots`)."""

    teacher_sees: Literal["fraction", "all"] = "fraction"
    """What teachers are trained on: the same few rows as their students, or all training rows."""

    teacher_seeds: Literal["shared", "own"] = "shared"
    """`shared`: one teacher for all seeds, trained with the first of them; `own`: one for every seed."""

    seeds: list[Seed] = Field(default=[0, 1, 2], min_length=1)
    """Seeds to repeat every run with (`run.seed`)."""

    methods: Annotated[dict[str, Method], Field(min_length=1)]
    """Methods by name, each with the recipe fields in which it differs from the recipe."""

    baseline: str | Annotated[list[str], Field(min_length=1)]
    """The method that all others are compared with, or several of them, each with a table of its own."""

    output: Path = Path("runs/compare")
    """Folder for all runs and the report."""

    jobs: PositiveInt = 1
    """Runs at a time, each in a process of its own; the processor's threads are shared out among them."""

    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of every interval, and random sign changes of every test that is not exact."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Level of the intervals."""

    @property
    def data_sets(self) -> Mapping[str, Overrides]:
        """The data sets by name; that of the recipe is called ``data``."""
        return self.data or {"data": Overrides()}

    @property
    def amounts(self) -> list[dict[str, Any]]:
        """How much of the training set is used, as recipe fields; one that holds none leaves it to the recipe."""
        if self.shots is not None:
            return [{"data.shots": shots, "data.fraction": 1.0} for shots in self.shots]
        return [{}] if self.fractions is None else [{"data.fraction": share} for share in self.fractions]

    @property
    def baselines(self) -> tuple[str, ...]:
        """The methods that others are compared with."""
        return (self.baseline,) if isinstance(self.baseline, str) else tuple(self.baseline)

    def _points(self) -> int:
        """Runs of students that the lists make together."""
        methods = sum(len(method.separate_domains or [0]) for method in self.methods.values())
        return methods * len(self.data_sets) * len(self.amounts) * len(self.seeds)

    def _contradictions(self) -> Iterator[str]:
        yield from _unusable_names("data", self.data or {})
        yield from _unusable_names("methods", self.methods)
        if TEACHER in self.methods:
            yield f"methods: {TEACHER} is what the tables call the teacher; choose another name"
        for name in self.baselines:
            if name not in self.methods:
                hint = suggestion(name, self.methods, shown=str) or f"there are {', '.join(self.methods)}"
                yield f"baseline: no method is called {name!r}; {hint}"
        lists: dict[str, Sequence[Any]] = {
            "seeds": self.seeds,
            "fractions": self.fractions or [],
            "shots": self.shots or [],
            "baseline": self.baselines,
        }
        for name, method in self.methods.items():
            lists[f"methods.{name}.separate_domains"] = method.separate_domains or []
        for field, values in lists.items():
            yield from (f"{field}: {value} stands there twice" for value in sorted(repeated_in(values)))
        if (runs := self._points()) > MOST_RUNS:
            yield f"methods: with data, seeds and fractions or shots, {runs:,} runs; at most {MOST_RUNS:,} are made"
        if self.fractions and self.shots:
            yield "shots: fractions and shots exclude each other; keep one"
        yield from self._fields_of_the_grid()

    def _fields_of_the_grid(self) -> Iterator[str]:
        """Fields that an override may not set, because the grid does or because methods must share their test rows."""
        shared = {f"data.{name}": "all methods share their rows; set it in the field data" for name in SPLIT}
        own = "shots" if self.shots else "fractions"
        amounts = {f"data.{name}": f"the grid's field {own} says how many rows" for name in ("fraction", "shots")}
        for name, method in self.methods.items():
            yield from _set_by(f"methods: {name}", method, OF_THE_GRID | shared)
        for name, overrides in (self.data or {}).items():
            yield from _set_by(
                f"data: {name}", overrides, OF_THE_GRID | (amounts if self.fractions or self.shots else {})
            )


def _unusable_names(field: str, names: Mapping[str, Any]) -> Iterator[str]:
    """Names that cannot be folders."""
    for name in names:
        if not NAME.fullmatch(name):
            yield f"{field}: {name!r} is no name; use up to 64 letters, digits, dots, dashes and underscores"


def _set_by(place: str, overrides: Overrides, refused: Mapping[str, str]) -> Iterator[str]:
    nested = merge_overrides(overrides.given)
    for name, reason in refused.items():
        here: Any = nested
        for part in name.split("."):
            here = here.get(part) if isinstance(here, Mapping) else None
        if here is not None:
            yield f"{place} sets {name}; {reason}"
