"""YAML text to plain data that knows its lines.

A small, strict part of YAML: mappings, lists and scalars with the core rules of YAML 1.2, so that ``no`` and
``off`` are text, ``010`` is ten and ``5e-5`` is a number. Keys are text as written. No tags.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hrkd.errors import RecipeError
from hrkd.support.folder_names import fault_of_path

__all__ = ["Dumper", "PathParts", "Problem", "YamlSource", "read_yaml", "read_yaml_file"]

PathParts = tuple[str | int, ...]

MOST_BYTES = 1 << 18
"""Of a file, some seconds' work; a recipe has some thousands."""
MOST_LEVELS = 50
"""Lists and mappings within each other; a recipe has five."""
MOST_VALUES = 100_000
"""In one text, aliases replaced by what they stand for."""

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_SWITCHES = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"[-+]?[0-9]{1,300}")
SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Problem:
    """Something wrong at ``path``; ``line`` (from 1) where it is not the line of the path itself."""

    path: PathParts
    message: str
    line: int | None = None


@dataclass
class YamlSource:
    """What a YAML text holds: ``data``, the line (from 1) of every path in it, and problems of form.

    ``name`` is that of the text in messages, ``values`` the number of values read so far.
    """

    data: Any = None
    lines: dict[PathParts, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    name: str = ""
    values: int = 0

    def line_of(self, path: PathParts) -> int | None:
        """The line of ``path``, or of the nearest part of the tree above it; None for an empty tree."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


class _Loader(yaml.SafeLoader):
    """Leaves plain scalars untyped; their style and text decide below."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


class Dumper(yaml.SafeDumper):
    """Writes YAML that :func:`read_yaml` reads back to equal data: text that looks like a number is quoted."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Always: an object that occurs twice is written twice."""
        return True

    def represent_scalar(self, tag: str, value: Any, style: str | None = None) -> yaml.ScalarNode:
        """A scalar node, quoted where the plain text would be read as something else than text."""
        if tag == _tag("str") and not isinstance(_plain(value), str):
            style = "'"
        if tag == _tag("str") and any(line_end in value for line_end in "\x85\u2028\u2029"):
            style = '"'  # other styles fold these line ends into spaces
        return super().represent_scalar(tag, value, style)


def read_yaml(text: str, name: str) -> YamlSource:
    """Parse ``text``; problems of form that allow going on (such as a key given twice) are collected, not raised.

    Raises:
        RecipeError: ``text`` is no YAML; ``name`` and the line stand in the message.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except RecursionError:
        raise RecipeError(f"{name}: lists or mappings within each other, more than {MOST_LEVELS} deep") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        words = ", ".join(part for part in (error.context, error.problem) if part)
        raise RecipeError(f"{place}: not YAML: {words}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: of numbers in escapes and directives
        raise RecipeError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    source = YamlSource(name=name)
    if node is not None:
        source.data = _value(node, (), source, ())
    return source


def read_yaml_file(path: Path, kind: str, hint: str = "") -> YamlSource:
    """:func:`read_yaml` of a file.

    Args:
        path: the file, UTF-8.
        kind: what it should be, for the message, such as "recipe file".
        hint: what a message about a missing file goes on with.

    Raises:
        RecipeError: it is missing, cannot be read, or is no YAML.
    """
    if fault := fault_of_path(path):
        raise RecipeError(f"{path}: no {kind} can be there: {fault}")
    if path.is_dir():
        raise RecipeError(f"{path}: a folder, not a {kind}")
    try:
        return read_yaml(_read(path, kind).decode("utf-8-sig"), str(path))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such {kind}{hint}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start + 1}); save it as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None


def _read(path: Path, kind: str) -> bytes:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise RecipeError(f"{path}: more than {MOST_BYTES:,} bytes, so no {kind}; name one")
    return content


def _value(node: yaml.Node, path: PathParts, source: YamlSource, above: tuple[yaml.Node, ...]) -> Any:
    """``node`` as plain data; ``above`` are the nodes that hold it, to notice one that holds itself."""
    place = f"{source.name}:{node.start_mark.line + 1}"
    if len(path) > MOST_LEVELS:
        raise RecipeError(f"{place}: lists or mappings within each other, more than {MOST_LEVELS} deep")
    source.values += 1
    if source.values > MOST_VALUES:
        raise RecipeError(f"{place}: more than {MOST_VALUES:,} values, those that aliases (*name) repeat counted too")
    source.lines.setdefault(path, node.start_mark.line + 1)
    if any(node is holder for holder in above):
        source.problems.append(Problem(path, "an alias (*name) that contains itself"))
        return None
    if node.tag not in (_tag("map"), _tag("seq"), _tag("str")):
        short = node.tag.replace(_tag(""), "!!")
        source.problems.append(Problem(path, f"the tag {short} is not supported; write the plain value"))
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, source, (*above, node))
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, i), source, (*above, node)) for i, item in enumerate(node.value)]
    if SURROGATE.search(node.value):
        source.problems.append(Problem(path, "half of a surrogate pair (\\ud800 to \\udfff), which no text holds"))
        return None
    quoted = isinstance(node, yaml.ScalarNode) and node.style
    return node.value if quoted else _plain(node.value)


def _mapping(
    node: yaml.MappingNode, path: PathParts, source: YamlSource, above: tuple[yaml.Node, ...]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            source.problems.append(Problem(path, "a key must be plain text, not a list or mapping", line))
            continue
        key = str(key_node.value)
        if SURROGATE.search(key):
            source.problems.append(Problem(path, "a key with half of a surrogate pair, which no text holds", line))
            continue
        if key in found:
            message = f"stands here again; first on line {source.lines[(*path, key)]}"
            source.problems.append(Problem((*path, key), message, line))
            continue
        source.lines[(*path, key)] = line
        found[key] = _value(value_node, (*path, key), source, above)
    return found


def _plain(text: str) -> Any:
    """An unquoted scalar by the core rules of YAML 1.2 (decimal numbers only)."""
    if text in _NULL:
        return None
    if text in _SWITCHES:
        return _SWITCHES[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return text if math.isinf(number) else number  # what is too large for a number is told as a text


def _tag(kind: str) -> str:
    return f"tag:yaml.org,2002:{kind}"
