"""Values as they were read, and what each of them must be like."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from hrkd.recipe.schema import DataConfig

__all__ = [
    "ColumnNames",
    "RawRows",
    "canonical_split",
    "fault_of",
    "held",
    "is_empty",
    "is_nested",
    "known_as",
    "name_of",
    "sorted_labels",
    "text_of",
]

DEFAULTS = DataConfig.model_construct()

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "devel": "dev",
    "development": "dev",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "test": "test",
    "testing": "test",
}
WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0")
LARGE_FLOAT = re.compile(r"-?\d(\.\d+)?e\+\d{2,}")
"""As Python, pandas and numpy write floats from 1e16 on."""
TRUTH = ("true", "false")
INTEGER = re.compile(r"[+-]?\d+")
SURROGATE = re.compile("[\ud800-\udfff]")
PANDAS_NULLS = ("NAType", "NaTType")
"""Types of pandas.NA and pandas.NaT, told by name: to import pandas takes longer than to read a table."""
LONGEST_INTEGER = 14_284
"""Bits of numbers of 4,300 digits; Python writes no longer ones."""
NESTED = (list, tuple, set, frozenset, dict, bytes, bytearray)


@dataclass(frozen=True)
class ColumnNames:
    """Names of the columns in the user's table; None: there is no such column."""

    text: str = DEFAULTS.text
    text_pair: str | None = None
    label: str | None = DEFAULTS.label
    domain: str = DEFAULTS.domain
    split: str | None = None
    id: str | None = None

    def asked_for(self) -> dict[str, str]:
        """Column names by role, without those that are None."""
        return {role: name for role, name in vars(self).items() if name is not None}


@dataclass(frozen=True)
class RawRows:
    """Rows of text as they were read, some at a time: entry i of every list is one row, nothing checked yet.

    ``places`` say where a row stands (``reviews.csv#17``); they are unique, and the ids where ``id`` is None. ``label``
    is None for text without labels. ``notes`` are what a user should be told of the part that the rows come from.
    """

    places: list[str]
    text: list[Any]
    label: list[Any] | None
    domain: list[Any]
    text_pair: list[Any] | None = None
    split: list[Any] | None = None
    id: list[Any] | None = None
    names: ColumnNames = field(default_factory=ColumnNames)
    notes: tuple[str, ...] = ()

    def take(self, indices: Sequence[int]) -> RawRows:
        """The rows at ``indices``."""
        columns = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        taken: dict[str, Any] = {name: [values[i] for i in indices] for name, values in columns.items()}
        return replace(self, **taken)

    def pieces(self, size: int) -> Iterator[RawRows]:
        """The rows, at most ``size`` at a time."""
        for start in range(0, len(self.places), size):
            yield self.take(range(start, min(start + size, len(self.places))))


def canonical_split(value: Any) -> str | None:
    """``train``, ``dev`` or ``test`` for the usual names of these parts, in any case; None for other values."""
    return SPLIT_NAMES.get(unicodedata.normalize("NFKC", str(value)).strip().lower())


def fault_of(value: Any) -> str | None:
    """What is wrong with a value, with ``{role}`` for what it was to be; None: nothing."""
    if type(value) is str and value.isascii() and value and not value.isspace():  # as nearly all are
        return None
    if is_empty(value):
        return "empty or null {role} (fill it in or remove the row)"
    if is_nested(value):
        return "a list, mapping or bytes where one {role} was expected"
    if isinstance(value, int) and value.bit_length() > LONGEST_INTEGER:
        return "a number of more than 4,300 digits as {role} (write it as a string)"
    if isinstance(value, str) and SURROGATE.search(value):
        return "broken characters (half of a surrogate pair) in {role}"
    return None


def is_empty(value: Any) -> bool:
    """Whether a value is null in one of its many forms, or a string of white space."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, Real):
        return value != value
    return value is None or type(value).__name__ in PANDAS_NULLS


def is_nested(value: Any) -> bool:
    """Whether a value is a collection or bytes; arrays are told by their ``ndim``, so that numpy is not needed."""
    return isinstance(value, NESTED) or getattr(value, "ndim", 0) > 0


def held(value: Any) -> Any:
    """What a tensor of no dimensions holds; other values as they are (those of numpy are numbers themselves)."""
    if getattr(value, "ndim", None) != 0 or not hasattr(value, "item") or hasattr(value, "__array_interface__"):
        return value
    return value.item()


def name_of(value: Any) -> str:
    """A label, domain or id as a string: stripped; whole floats are integers, however they are written (1.0, 1e+20)."""
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return f"{value.to_integral_value():f}" if value else "0"
    if isinstance(value, Real) and not isinstance(value, Integral):
        # A float of fewer bits is the number that it is written as.
        number = float(str(value)) if hasattr(value, "dtype") else float(value)
        if number.is_integer():
            return str(int(number))
    name = str(value).strip()
    if "e+" in name and LARGE_FLOAT.fullmatch(name) and float(name).is_integer():
        return str(int(float(name)))
    whole = WHOLE_FLOAT.fullmatch(name)
    name = whole.group(1) if whole else name
    return "0" if name == "-0" else name


def known_as(name: str, known: Collection[str]) -> str | None:
    """What ``known`` calls a label or domain, or None: ``true`` and ``True``, as formats write it, are one."""
    if name in known or name.lower() not in TRUTH:
        return name if name in known else None
    alike = [each for each in known if each.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def text_of(value: Any) -> str:
    """A text as a string, as it is: numbers as Python writes them, nothing stripped."""
    return str(value)


def sorted_labels(names: Iterable[str]) -> list[str]:
    """Names of labels in their order: by number if all are integers, else as text."""
    names = sorted(names)
    return sorted(names, key=Decimal) if all(INTEGER.fullmatch(name) for name in names) else names
