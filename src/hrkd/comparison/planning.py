"""From a grid file to the runs that it asks for, each with a recipe that is checked. Nothing is trained here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hrkd.comparison.grid import Grid
from hrkd.errors import RecipeError
from hrkd.recipe.loading import check_recipe, load_recipe, merge_overrides, read_recipe
from hrkd.recipe.locations import Locations, dotted, flag_name, told_lines
from hrkd.recipe.problems import find_problems
from hrkd.recipe.schema import MethodConfig, Recipe, StudentConfig, TeacherConfig
from hrkd.recipe.yaml_lines import PathParts, YamlSource, read_yaml_file
from hrkd.run.identity import recipe_settings, unlike_defaults
from hrkd.support.arguments import path_of
from hrkd.support.folder_names import folder_names

__all__ = ["Cell", "GridPlan", "PlannedRun", "load_grid", "settings_of_stage"]


@dataclass(frozen=True)
class PlannedRun:
    """An ordinary run: ``name`` is its folder below the grid's output, ``verb`` the command that makes it."""

    name: str
    verb: str
    recipe: Recipe

    @property
    def folder(self) -> Path:
        """Where it goes."""
        return self.recipe.run.output


@dataclass(frozen=True)
class Cell(PlannedRun):
    """One point of the grid, and the run of its teacher (None: the user's own classifier).

    ``amount`` says how much of the training set is used, such as ``fraction-0.1`` or ``shots-16``. ``domain`` is the
    one that it is about, where each domain has a model of its own: then several cells are one point.
    """

    data: str
    amount: str
    method: str
    seed: int
    teacher: PlannedRun | None
    domain: str | None = None

    @property
    def stage(self) -> str:
        """The stage whose model the cell is about."""
        return "student" if self.verb == "distill" else "baseline"


@dataclass(frozen=True)
class GridPlan:
    """A checked grid and its cells, in the order in which they run."""

    grid: Grid
    cells: tuple[Cell, ...]

    @property
    def teachers(self) -> tuple[PlannedRun, ...]:
        """Every teacher that is to be trained, once; it may be weak if one of its pupils takes that."""
        found: dict[str, PlannedRun] = {}
        for cell in self.cells:
            if cell.teacher is not None and (cell.teacher.name not in found or cell.teacher.recipe.teacher.allow_weak):
                found[cell.teacher.name] = cell.teacher
        return tuple(found.values())


def load_grid(source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> GridPlan:
    """Read a grid, and build and check the recipe of every cell.

    Args:
        source: the path of a YAML file, or a mapping as such a file holds it.
        overrides: fields of the grid that go before those of ``source``.

    Raises:
        RecipeError: the grid cannot be read, or something in it or in a recipe that it makes is wrong; all problems
            together.
    """
    if isinstance(source, Mapping):
        name, base = "", YamlSource(data=dict(source))
    else:
        path = path_of("grid", source, "the path of a YAML file, or a mapping as it holds it", RecipeError)
        hint = "; docs/how-to/compare-methods.md has one to begin with"
        name, base = str(source), read_yaml_file(path, "grid file", hint)
    if not isinstance(base.data, dict):
        raise RecipeError(f"{name}: expected the fields of a grid, such as recipe, methods and baseline")
    data = _without_empty(base.data) | dict(overrides or {})
    problems, grid = list(base.problems), None
    try:
        grid = Grid.model_validate(data)
    except ValidationError as error:
        problems += find_problems(error, data, Grid)
    if problems or grid is None:
        raise Locations(name, base, overrides or {}).error(problems)
    return GridPlan(grid, tuple(_Planner(grid, name, base, _base_recipe(grid, name, base)).cells()))


def _base_recipe(grid: Grid, name: str, source: YamlSource) -> tuple[str, YamlSource]:
    """The recipe of all runs, as it was read; one that stands in the grid file keeps its lines there."""
    if isinstance(grid.recipe, str):
        return read_recipe(grid.recipe)
    lines = {path[1:]: line for path, line in source.lines.items() if path[:1] == ("recipe",)}
    return name, YamlSource(grid.recipe.given, lines)


def _without_empty(data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` with no overrides where a method or data set has nothing behind its name."""
    return {
        field: {name: {} if below is None else below for name, below in value.items()}
        if field in ("data", "methods") and isinstance(value, Mapping)
        else value
        for field, value in data.items()
    }


@dataclass(frozen=True)
class _Planner:
    """Makes the cells of a grid from its ``base`` recipe; ``name`` and ``source`` of its file are for messages."""

    grid: Grid
    name: str
    source: YamlSource
    base: tuple[str, YamlSource]

    def cells(self) -> Iterator[Cell]:
        """All cells, methods of one seed beside each other.

        Raises:
            RecipeError: recipes that are wrong; each problem once, with its place or else its first cell.
        """
        problems: dict[str, str] = {}
        found: list[Cell] = []
        for data in self.grid.data_sets:
            for amount in self.grid.amounts:
                for seed in self.grid.seeds:
                    for method in self.grid.methods:
                        try:
                            found += self._point(data, amount, method, seed)
                        except RecipeError as error:
                            where = f"data {data}, method {method}"
                            problems.update({line: where for line in str(error).splitlines() if line not in problems})
        if problems:
            own = f"{self.name}:"
            lines = [line if line.startswith(own) else f"{line} ({where})" for line, where in problems.items()]
            raise RecipeError(told_lines(lines))
        yield from found

    def _point(self, data: str, amount: Mapping[str, Any], method: str, seed: int) -> Iterator[Cell]:
        """The cell of a method, or those of its domains."""
        decided: dict[str, Any] = {"run.seed": seed, "run.overwrite": False, "student.baseline": False, **amount}
        domains = self.grid.methods[method].separate_domains
        if domains is None:
            yield self._cell(data, method, decided)
            return
        for domain, folder in folder_names(domains).items():
            yield self._cell(data, method, decided | {"data.domains": [domain]}, domain, folder)

    def _cell(
        self, data: str, method: str, decided: Mapping[str, Any], domain: str | None = None, folder: str = ""
    ) -> Cell:
        chosen, known, seed = self.grid.methods[method], self.grid.data_sets[data], decided["run.seed"]
        overrides = merge_overrides(known.given, chosen.given, decided)
        recipe = check_recipe(*self.base, overrides, place=self._location_of(data, method))
        amount = f"fraction-{recipe.data.fraction}" if recipe.data.shots is None else f"shots-{recipe.data.shots}"
        teacher = self._teacher(recipe, data, amount)
        if teacher is not None:
            kept = {name: getattr(recipe.teacher, name) for name in ("allow_weak", "combine")}
            own = TeacherConfig(fine_tuned=str(teacher.folder / "teacher"), **kept)
            recipe = recipe.model_copy(update={"teacher": own})
        name = "/".join(filter(None, ("cells", data, amount, method, folder, f"seed-{seed}")))
        verb = "distill" if chosen.learns_from == "teacher" else "train-baseline"
        return Cell(name, verb, self._into(recipe, name), data, amount, method, seed, teacher, domain)

    def _teacher(self, recipe: Recipe, data: str, amount: str) -> PlannedRun | None:
        """The run of a cell's teacher. Its name has a hash of all that decides it, so that equal ones are one."""
        if recipe.teacher.fine_tuned is not None:
            return None
        rows = recipe.data.model_copy(update={"unlabelled": None})  # for students only
        seed = self.grid.seeds[0] if self.grid.teacher_seeds == "shared" else recipe.run.seed
        if self.grid.teacher_sees == "all":
            rows, amount = rows.model_copy(update={"fraction": 1.0, "shots": None}), "all"
        recipe = recipe.model_copy(
            update={
                "data": rows,
                "teacher": recipe.teacher.model_copy(update={"combine": "route"}),  # a matter of its pupils
                "student": StudentConfig.model_construct(),
                "method": MethodConfig(),
                "run": recipe.run.model_copy(update={"seed": seed}),
            }
        )
        below = f"teachers/{data}/{amount}"
        settings = settings_of_stage(recipe, "teacher") | {"seed": None}  # the seed has a folder of its own
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
        if not (self.grid.output / below / digest).exists():
            digest = self._older_name(below, seed, recipe) or digest
        name = f"{below}/{digest}/seed-{seed}"
        return PlannedRun(name, "train-teacher", self._into(recipe, name))

    def _older_name(self, below: str, seed: int, recipe: Recipe) -> str | None:
        """What an earlier version, which made the hash of all fields, called the folder of the same teacher."""
        wanted = settings_of_stage(recipe, "teacher")
        for file in sorted((self.grid.output / below).glob(f"*/seed-{seed}/recipe.yaml")):
            if settings_of_stage(load_recipe(file, needed=("data", "teacher")), "teacher") == wanted:
                return file.parents[1].name
        return None

    def _into(self, recipe: Recipe, name: str) -> Recipe:
        run = recipe.run.model_copy(update={"output": self.grid.output / name})
        return recipe.model_copy(update={"run": run})

    def _location_of(self, data: str, method: str) -> Callable[[PathParts], str]:
        """Where in the grid file a field of a cell's recipe was set."""
        layers = {("methods", method): self.grid.methods[method], ("data", data): self.grid.data_sets[data]}

        def place(path: PathParts) -> str:
            for above, overrides in layers.items():
                if (below := _key_of(path, overrides.given)) is not None:
                    line = self.source.line_of((*above, *below))
                    where = f"{self.name}:{line}: " if line else ""
                    return f"{where}{dotted((*above, *below))}"
            return flag_name(path)

        return place


def settings_of_stage(recipe: Recipe, stage: str) -> dict[str, Any]:
    """What decides the weights of a stage, and its rows, as far as the recipe of a run says it."""
    unseen = {"max_length"} if stage == "student" else {"max_length", "unlabelled"}
    return {"data": unlike_defaults(recipe.data, but=frozenset(unseen)), **recipe_settings(recipe, stage)}


def _key_of(path: PathParts, given: Any) -> PathParts | None:
    """The keys of ``given`` (which may be dotted) that lead to ``path``, as far as they go; None if none does."""
    for key, value in given.items() if isinstance(given, Mapping) else ():
        parts = tuple(key.split("."))
        if path[: len(parts)] == parts:
            return (key, *(_key_of(path[len(parts) :], value) or ()))
    return None
