"""JSON that came from elsewhere: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

__all__ = ["MOST_LEVELS", "json_text", "parse_json"]

MOST_LEVELS = 100
"""Lists and objects within each other. Python itself gives up somewhere near 1,000, sooner where more has been called,
so that what one function can read another could not."""
PIECES = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)|[\[{\]}]', re.DOTALL)
"""Strings and brackets."""
CHANGE = {"[": 1, "{": 1, "]": -1, "}": -1}

Pairs = Callable[[list[tuple[str, Any]]], Any]


def json_text(content: Any) -> str:
    """Content as hrkd writes it into files."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def parse_json(text: str, pairs: Pairs | None = None) -> Any:
    """The content of a JSON text.

    Args:
        text: what stands there.
        pairs: makes a value of the keys and values of an object; default: a mapping of them.

    Raises:
        ValueError: it is no JSON, nested too deep, or has a number of too many digits.
    """
    if text.count("[") + text.count("{") > MOST_LEVELS and _is_deep(text):
        raise ValueError(f"lists or objects within each other, more than {MOST_LEVELS} deep")
    return json.loads(text, object_pairs_hook=pairs)


def _is_deep(text: str) -> bool:
    depth = 0
    for piece in PIECES.finditer(text):
        depth += CHANGE.get(piece[0], 0)
        if depth > MOST_LEVELS:
            return True
    return False
