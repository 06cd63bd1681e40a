"""Every field of the recipe as a command-line flag, made from the models of :mod:`hrkd.recipe.schema`.

Values stay text here; they are checked with the recipe, once, so that a wrong flag reads like a wrong line.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, TypeVar, get_args, get_origin

from cyclopts import Group, Parameter, Token

from hrkd.recipe.fields import RecipeField, annotation_at, expected, members, recipe_fields
from hrkd.recipe.presets import recommended

__all__ = ["Flags", "join_switches", "overrides_of", "takes_fields"]

Flags = Mapping[str, Any] | None
"""What a verb finds in its parameter ``flags``: the given fields, nested by section."""

Verb = TypeVar("Verb", bound=Callable[..., int | None])

_METAVARS = {int: "N", float: "NUMBER", Path: "PATH", Literal: "WORD"}
SWITCH = {"true": True, "false": False, "null": None}
_FORMS = {list: "repeat the flag for each", dict: "by name: --{}.NAME"}


def takes_fields(*sections: str, listed: bool = True) -> Callable[[Verb], Verb]:
    """Give a verb the fields of ``sections`` as flags; they arrive in its parameter ``flags``.

    ``listed``: whether its help shows each of them; a verb that seldom needs them says where they are shown.
    """

    def decorate(verb: Verb) -> Verb:
        verb.__annotations__["flags"] = _flags_type(sections, listed)
        return verb

    return decorate


def _flags_type(sections: Sequence[str], listed: bool) -> Any:
    """A parameter annotation with one flag per field, grouped by section for the help."""
    return Annotated[_typed_dict(_flag_tree(), sections) | None, Parameter(name="*", name_transform=str, show=listed)]


@cache
def _flag_tree() -> dict[str, Any]:
    """Annotations of all flags, nested by section."""
    tree: dict[str, Any] = {}
    groups: dict[tuple[str, ...], Group] = {}
    for field in recipe_fields():
        *above, name = field.path
        group = groups.setdefault(tuple(above), _group(tuple(above), len(groups)))
        branch = tree
        for part in above:
            branch = branch.setdefault(part, {})
        branch[name] = _flag(field, group)
    return tree


def overrides_of(flags: Flags) -> dict[str, Any]:
    """Parsed flags as overrides for a recipe. ``null`` takes back what the recipe says, and the default holds."""
    return {name: _value(value, (name,)) for name, value in (flags or {}).items()}


def join_switches(tokens: Sequence[str]) -> list[str]:
    """``--run.overwrite false`` as ``--run.overwrite=false``: a switch may be followed by its value or stand alone."""
    switches = {f"--{field.name}" for field in recipe_fields() if bool in members(field.annotation)}
    switches |= {switch.replace("_", "-") for switch in switches}
    joined: list[str] = []
    for place, token in enumerate(tokens):
        follows = [each.lower() for each in tokens[place + 1 : place + 2] if each.lower() in SWITCH]
        if token in switches:
            joined.append(f"{token}={follows[0] if follows else 'true'}")
        elif not (token.lower() in SWITCH and place and tokens[place - 1] in switches):
            joined.append(token)
    return joined


def _group(path: tuple[str, ...], position: int) -> Group:
    words = (annotation_at(path).__doc__ or "").partition("\n")[0]
    return Group(".".join(path), help=words, sort_key=10 + position)


def _typed_dict(tree: Mapping[str, Any], names: Iterable[str]) -> Any:
    entries = {
        name: _typed_dict(tree[name], tree[name]) if isinstance(tree[name], dict) else tree[name] for name in names
    }
    return TypedDict("Flags", entries, total=False)  # type: ignore[operator]


def _flag(field: RecipeField, group: Group) -> Any:
    kinds = [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in members(field.annotation)]
    origins = [get_origin(kind) or kind for kind in kinds]
    metavar = _METAVARS.get(origins[0], "TEXT")
    if bool in origins:
        off = f"--{field.name} false turns it off"
        facts = [*_defaults(field), *([off] if field.default or recommended(field.path) else [])]
        parameter = Parameter(help=_help(field, facts), group=group, negative=(), metavar="", show_choices=False)
        return Annotated[Literal["true", "false"] | str, parameter]
    facts = [_FORMS[origin].format(field.name) for origin in origins if origin in _FORMS] or _bounds(field)
    facts += _defaults(field) if field.default not in (None, []) else []
    parameter = Parameter(help=_help(field, facts), group=group, negative=(), metavar=metavar, show_choices=False)
    if dict in origins:
        return Annotated[_mapping_hint(kinds, origins), parameter, Parameter(converter=_words)]
    words = tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))
    text: Any = Literal[words] | str if words else str  # what a shell offers; any other word is the recipe's matter
    return Annotated[list[text] if list in origins else text, parameter]


def _defaults(field: RecipeField) -> list[str]:
    """The default in words, or those of the presets where these differ."""
    usual, preset = (
        str(value).lower() if isinstance(value, bool) else value for value in (field.default, recommended(field.path))
    )
    return [f"default {usual}"] if preset is None else [f"recommended {preset}", f"published {usual}"]


def _mapping_hint(kinds: Sequence[Any], origins: Sequence[Any]) -> Any:
    value = get_args(kinds[origins.index(dict)])[1]
    words = (str,) * len(get_args(value)) if get_origin(value) is tuple else ()
    mapping = types.GenericAlias(dict, (str, types.GenericAlias(tuple, words) if words else str))
    return str | mapping  # a word alone may be `null`; any other is the recipe's matter


def _help(field: RecipeField, facts: Sequence[str]) -> str:
    return f"{field.meaning} ({'; '.join(facts)})" if facts else field.meaning


def _bounds(field: RecipeField) -> list[str]:
    """What values are admitted, without the kind of value that the metavar says."""
    words = expected(field.annotation)
    for kind in ("a whole number", "a number", "a path", "text"):
        words = words.removeprefix(kind)
    return [words.lstrip(", ")] if words else []


def _words(_: Any, tokens: Sequence[Token] | Mapping[str, Sequence[Token]]) -> Any:
    """The words of a flag as typed: one, several, or by key where the flag has keys (``--flag.key``)."""
    if isinstance(tokens, Mapping):
        return {key: _words(None, below) for key, below in tokens.items()}
    words = [token.value for token in tokens]
    return words[0] if len(words) == 1 else words


def _value(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        return {name: _value(below, (*path, name)) for name, below in value.items()}
    if value in ("null", ["null"]):
        return None
    if isinstance(value, str) and bool in members(annotation_at(path)):
        return SWITCH.get(value.lower(), value)
    if isinstance(value, list) and len(value) == 1 and _takes_a_word(path) and not value[0].isdigit():
        return value[0]
    return value


def _takes_a_word(path: tuple[str, ...]) -> bool:
    """Whether the field takes a word, such as ``uniform``, in place of a list."""
    return any(get_origin(kind) is Literal for kind in members(annotation_at(path)))
