"""Blocks of code in a page, in their order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^(?P<mark>```+|:::+)(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=mark)\s*$", re.MULTILINE | re.DOTALL
)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]+) -->\s*$")
RUN = ("bash", "python", "yaml")
SHOWN = ("text", "json", "html", "")
"""What is output, or a directive of the site."""


@dataclass(frozen=True)
class Block:
    """``line`` is where it begins; ``reason`` why it is not run, if it is not."""

    page: str
    line: int
    language: str
    body: str
    reason: str | None


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a page."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in FENCE.finditer(text):
        before = NOT_RUN.search(text[: match.start()])
        reason = None if before is None else before["reason"]
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page.name, line, match["language"], match["body"], reason))
    return found
