"""The recipe's fields as data: read off the models of :mod:`hrkd.recipe.schema`, for flags, help, messages and docs."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hrkd.recipe.schema import Recipe

__all__ = ["RecipeField", "annotation_at", "expected", "is_section", "members", "recipe_fields"]

_PLAIN = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Path: "a path"}


@dataclass(frozen=True)
class RecipeField:
    """One field of the recipe that is no section: its dotted path in parts, its type, meaning and default."""

    path: tuple[str, ...]
    annotation: Any
    meaning: str
    default: Any

    @property
    def name(self) -> str:
        """The path as it is written in messages and flags, such as ``student.training.epochs``."""
        return ".".join(self.path)


def recipe_fields(model: type[BaseModel] = Recipe, above: tuple[str, ...] = ()) -> list[RecipeField]:
    """All fields below ``model``, in the order of their definition; ``above`` is the path that leads to it."""
    found: list[RecipeField] = []
    for name, info in model.model_fields.items():
        if is_section(info.annotation):
            found += recipe_fields(info.annotation, (*above, name))
        else:
            found.append(RecipeField((*above, name), _typed(info), info.description or "", info.default))
    return found


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union without None; a tuple of ``annotation`` alone if it is no union."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(member for member in get_args(annotation) if member is not type(None))
    return (annotation,)


def expected(annotation: Any) -> str:
    """Plain words for the values that ``annotation`` admits, such as "a whole number, at least 1"."""
    return " or ".join(_expected_one(member) for member in members(annotation))


def annotation_at(path: Sequence[str | int], model: type[BaseModel] = Recipe) -> Any:
    """The type at ``path`` below ``model``, also inside lists (by position) and mappings (by key), or None."""
    here: Any = model
    for part in path:
        here = _step(here, part)
        if here is None:
            return None
    return here


def is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    """Whether ``annotation`` is a model with fields of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _typed(info: FieldInfo) -> Any:
    """The annotation with its bounds, which pydantic keeps apart."""
    return Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation


def _step(annotation: Any, part: str | int) -> Any:
    for member in members(annotation):
        bare = _bare(member)
        origin, arguments = get_origin(bare), get_args(bare)
        if is_section(bare) and part in bare.model_fields:
            return _typed(bare.model_fields[part])
        if origin is dict and isinstance(part, str):
            return arguments[1]
        if origin is list and isinstance(part, int):
            return arguments[0]
        if origin is tuple and isinstance(part, int) and part < len(arguments):
            return arguments[part]
    return None


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _expected_one(annotation: Any) -> str:
    bare = _bare(annotation)
    bounds = list(_bounds(annotation, whole=bare is int))
    return ", ".join([_expected_kind(bare), " and ".join(bounds)] if bounds else [_expected_kind(bare)])


def _expected_kind(bare: Any) -> str:
    origin, arguments = get_origin(bare), get_args(bare)
    if bare in _PLAIN:
        return _PLAIN[bare]
    if origin is Literal:
        return arguments[0] if len(arguments) == 1 else f"one of {', '.join(arguments)}"
    if origin is list:
        return f"a list (each {expected(arguments[0])})"
    if origin is tuple:
        return f"a list of {len(arguments)} (each {expected(arguments[0])})"
    if origin is dict:
        return f"a mapping (name: {expected(arguments[1])})"
    if is_section(bare) and bare.model_config.get("extra") == "allow":
        return " and ".join(["recipe fields (name: value)", *bare.model_fields])
    if is_section(bare):
        return f"a section with the fields {', '.join(bare.model_fields)}"
    raise TypeError(f"no plain words for {bare!r}")


def _bounds(annotation: Any, whole: bool) -> Iterator[str]:
    """Bounds in words; "above 0" of a whole number is "at least 1"."""
    for constraint in _constraints(annotation):
        if (low := getattr(constraint, "gt", None)) is not None:
            yield f"at least {low + 1}" if whole else f"above {low:g}"
        if (low := getattr(constraint, "ge", None)) is not None:
            yield f"at least {low:g}"
        if (high := getattr(constraint, "lt", None)) is not None:
            yield f"at most {high - 1}" if whole else f"below {high:g}"
        if (high := getattr(constraint, "le", None)) is not None:
            yield f"at most {high:g}"
        if getattr(constraint, "min_length", None) == 1:
            yield "not empty"


def _constraints(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is not Annotated:
        return
    for item in annotation.__metadata__:
        yield from item.metadata if isinstance(item, FieldInfo) else (item,)
