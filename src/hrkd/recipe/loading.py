"""Recipes: from a YAML file, a packaged name, a mapping or flags to one checked :class:`hrkd.recipe.schema.Recipe`.

The parts are merged first and checked once. Every problem found stands on a line of its own in the one
:class:`~hrkd.errors.RecipeError`, with its place: ``my.yaml:12: student.layers: ...`` for a file,
``--student.layers: ...`` for an override. Relative paths in a recipe count from the current directory.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from shlex import quote
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from hrkd.errors import RecipeError
from hrkd.recipe.fields import is_section
from hrkd.recipe.locations import Locations, flag_name
from hrkd.recipe.presets import preset_values
from hrkd.recipe.problems import find_problems
from hrkd.recipe.schema import TABLE_SUFFIXES, DataConfig, Recipe
from hrkd.recipe.sizes import sizes_that_give_way
from hrkd.recipe.yaml_lines import Dumper, PathParts, YamlSource, read_yaml, read_yaml_file
from hrkd.support.arguments import shown
from hrkd.support.messages import suggestion

__all__ = [
    "check_recipe",
    "check_source",
    "load_recipe",
    "merge_overrides",
    "packaged_recipe_text",
    "packaged_recipes",
    "read_recipe",
    "recipe_json_schema",
    "recipe_to_yaml",
]

logger = logging.getLogger("hrkd")

REQUIRED = ("data", "teacher", "student")
SCHEMA_ID = "urn:hrkd:recipe"
"""By which a schema is known as that of hrkd."""

# Valid beside whatever stands in the other sections, while these are checked; never part of a recipe that is returned.
_STAND_INS: dict[str, dict[str, Any]] = {
    "data": {"format": "synthetic"},
    "teacher": {"fine_tuned": "none"},
    "student": {"layers": 1, "training": {"epochs": sys.maxsize}},
}


def load_recipe(
    source: str | Path | Mapping[str, Any] | None,
    overrides: Mapping[str, Any] | None = None,
    needed: Sequence[str] = REQUIRED,
) -> Recipe:
    """Read, merge and check a recipe.

    Args:
        source: a packaged recipe's name (these go first; write ``./demo`` for a file of that name), the path
            of a YAML file, a mapping as such a file holds it, or None where ``overrides`` say everything.
        overrides: values that replace those of ``source``, nested or with dotted names
            (``{"student.layers": 3}``); mappings are merged, everything else is replaced, and None takes back what
            ``source`` says, so that the default holds. A size of the student goes before any other that it excludes.
        needed: the sections that must be complete. One that is not named here and is left out of the recipe
            comes back with nothing set, for work that does not look at it.

    Raises:
        RecipeError: ``source`` cannot be read, or a field is unknown, wrong or in contradiction to another;
            all problems together, in the order of the lines.
    """
    check_source(source)
    if overrides is not None and not isinstance(overrides, Mapping):
        raise RecipeError(f"overrides: expected a mapping of fields, got {shown(overrides)}")
    if source is None and not overrides:
        raise RecipeError(f"no recipe: name a file, a packaged recipe ({_choices()}) or set fields")
    return check_recipe(*read_recipe(source), overrides, needed)


def check_source(source: Any) -> None:
    """Whether a value may be that of a recipe.

    Raises:
        RecipeError: it is neither a name or path, nor a mapping, nor None.
    """
    if not isinstance(source, str | Path | Mapping | None):
        raise RecipeError(
            f"recipe: expected a packaged name, the path of a YAML file, or a mapping of sections, got {shown(source)}"
        )


def check_recipe(
    name: str,
    base: YamlSource,
    overrides: Mapping[str, Any] | None = None,
    needed: Sequence[str] = REQUIRED,
    place: Callable[[PathParts], str] = flag_name,
) -> Recipe:
    """The second half of :func:`load_recipe`: merge and check what :func:`read_recipe` gave.

    Args:
        name, base: the recipe's name in messages, and what it holds.
        overrides, needed: as there.
        place: how messages call a field that ``overrides`` set.

    Raises:
        RecipeError: as there.
    """
    locations = Locations(name, base, merge_overrides(overrides or {}), place)
    if base.problems and not isinstance(base.data, dict):
        raise locations.error(base.problems)
    if base.data is not None and not isinstance(base.data, dict):
        raise RecipeError(f"{name}: expected sections such as data, teacher and student, found {base.data!r:.60}")
    if base.data is None and not overrides:
        raise RecipeError(f"{name}: empty; `hrkd recipe demo` prints a complete recipe to start from")
    said = base.data or {}
    if others := sizes_that_give_way(said, locations.overrides):
        logger.warning(
            "%s: student.%s not used: another size is asked for", name or "recipe", ", student.".join(others)
        )
        said = {**said, "student": {name: value for name, value in said["student"].items() if name not in others}}
    merged = _without_empty_sections(_overridden(said, locations.overrides), Recipe)
    unset = [name for name in REQUIRED if name not in merged and name not in needed]
    complete = {name: {} for name in REQUIRED} | merged | {name: _STAND_INS[name] for name in unset}
    in_memory = "data" not in needed and _names_no_rows(merged.get("data"))
    if in_memory:
        complete["data"] = merged.get("data", {}) | _STAND_INS["data"]
    problems = list(base.problems)
    try:
        recipe = Recipe.model_validate(complete)
    except ValidationError as error:
        problems += find_problems(error, complete)
    if problems:
        raise locations.error(problems)
    left_out: dict[str, Any] = {name: type(getattr(recipe, name)).model_construct() for name in unset}
    # Where nothing is trained a preset has nothing to say.
    data = recipe.data if "teacher" in needed else DataConfig.model_validate(complete["data"])
    return recipe.model_copy(update=left_out | {"data": _of_any_format(data) if in_memory else data})


def _names_no_rows(data: Any) -> bool:
    """Whether a data section, or none, leaves it open where the rows come from, so that a caller may have them."""
    section = {} if data is None else data
    return isinstance(section, Mapping) and section.get("source") is None and section.get("format", "auto") == "auto"


def _of_any_format(data: DataConfig) -> DataConfig:
    """The section with the default format, in the place of the one that stood in for the rows."""
    said = data.model_fields_set - {"format"}
    return DataConfig.model_construct(_fields_set=set(said), **{name: getattr(data, name) for name in said})


def packaged_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the package, sorted."""
    files = resources.files("hrkd.recipe.packaged").iterdir()
    return tuple(sorted(Path(file.name).stem for file in files if file.name.endswith(".yaml")))


def packaged_recipe_text(name: str) -> str:
    """The YAML text of a packaged recipe.

    Raises:
        RecipeError: there is no packaged recipe of this name.
    """
    if name not in packaged_recipes():
        raise RecipeError(f"no packaged recipe {name!r}; there are {_choices(name)}")
    return resources.files("hrkd.recipe.packaged").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def recipe_to_yaml(recipe: Recipe) -> str:
    """The recipe with every field, defaults included, as YAML that :func:`load_recipe` reads back to an equal one."""
    unset = {name for name in REQUIRED if not getattr(recipe, name).model_fields_set}
    return yaml.dump(
        recipe.model_dump(mode="json", exclude=unset), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120
    )


def recipe_json_schema() -> dict[str, Any]:
    """JSON Schema of a recipe file, for editors and forms."""
    schema = Recipe.model_json_schema()
    for path, value in preset_values():
        _set_default(schema, path, value)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **schema}


def _set_default(schema: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Write a default into the field of a schema, and into those of the sections that it stands in."""
    here = schema
    for place, name in enumerate(path):
        here = here["properties"][name]
        if isinstance(here.get("default"), dict) and len(path) - place == 2:
            here["default"][path[-1]] = value
        if "$ref" in here:
            here = schema["$defs"][here["$ref"].rpartition("/")[2]]
    here["default"] = value


def read_recipe(source: str | Path | Mapping[str, Any] | None) -> tuple[str, YamlSource]:
    """The first half of :func:`load_recipe`: the name to call ``source`` by in messages, and what it holds.

    Raises:
        RecipeError: ``source`` cannot be read.
    """
    if source is None:
        return "", YamlSource()
    if isinstance(source, Mapping):
        return "", YamlSource(data=_merge({}, source))
    if isinstance(source, str) and source in packaged_recipes():
        return f"{source}.yaml", read_yaml(packaged_recipe_text(source), f"{source}.yaml")
    path = Path(source)
    if path.name.lower().removesuffix(".gz").endswith(TABLE_SUFFIXES) and path.is_file():
        raise RecipeError(f"{path}: a table, not a recipe file; `hrkd init {quote(str(path))}` writes a recipe for it")
    hint = f"; packaged recipes: {_choices(path.stem)}"
    return str(path), read_yaml_file(path, "recipe file", hint)


def _choices(name: str = "") -> str:
    """The packaged recipes, and which of them ``name`` may stand for."""
    names = packaged_recipes()
    return ", ".join(names) + suggestion(name, names, before="; ", shown=str)


def merge_overrides(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides, nested or with dotted names, as one nested mapping; later layers go before earlier ones."""
    nested: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            for part in reversed(str(name).split(".")):
                value = {part: value}
            nested = _merge(nested, value)
    return nested


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``over``; mappings on both sides are merged. Neither argument is changed."""
    merged = {str(name): value for name, value in base.items()}
    for name, value in over.items():
        below = merged.get(str(name))
        if isinstance(value, Mapping):
            value = _merge(below if isinstance(below, Mapping) else {}, value)
        merged[str(name)] = value
    return merged


def _overridden(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with overrides: as :func:`_merge`, but None takes back what ``base`` says, so that the default holds."""
    merged = {str(name): value for name, value in base.items()}
    for name, value in ((str(name), value) for name, value in over.items()):
        below = merged.pop(name, None)
        if value is None:
            continue
        if not isinstance(value, Mapping):
            merged[name] = value
            continue
        left = _overridden(below if isinstance(below, Mapping) else {}, value)
        if left or not value:  # a mapping all of whose names were taken back is taken back too
            merged[name] = left
    return merged


def _without_empty_sections(data: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """``data`` without sections that have no content (``student:`` alone on its line), so that defaults hold."""
    kept = {}
    for name, value in data.items():
        section = model.model_fields[name].annotation if name in model.model_fields else None
        if is_section(section):
            if value is None:
                continue
            if isinstance(value, dict):
                value = _without_empty_sections(value, section)
        kept[name] = value
    return kept
