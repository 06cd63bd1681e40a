"""One thing that was found, with its code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hrkd.data.types import MultiDomainDataset
from hrkd.recipe.codes import CODES, Severity
from hrkd.support.messages import visible

__all__ = ["Example", "Finding", "example_at", "quoted"]

LONGEST = 50
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Example:
    """A row: where it stands (file and row, or its id), and what it says, if that was kept."""

    place: str
    text: str | None = None


@dataclass(frozen=True)
class Finding:
    """``found`` is a sentence without its full stop; ``rows`` how many are concerned, where rows are counted.

    ``domain`` is empty where it is about all. ``advice`` goes before that of the code; empty: ``found`` says it.
    """

    code: str
    found: str
    domain: str = ""
    rows: int | None = None
    example: Example | None = None
    advice: str | None = None

    @property
    def severity(self) -> Severity:
        """That of its code."""
        return CODES[self.code].severity

    def line(self) -> str:
        """All of it in one line."""
        where = f"{self.domain}: " if self.domain else ""
        shown = ""
        if self.example is not None:
            says = quoted(self.example.text) if self.example.text else ""
            if self.example.place in self.found:
                shown = f" ({says})" if says else ""
            else:
                shown = f", such as {self.example.place} {says}".rstrip()
        advice = f". {self.to_do}" if self.to_do else ""
        return visible(f"{self.code} {where}{self.found}{shown}{advice}".replace("\n", " "))

    @property
    def to_do(self) -> str:
        """What to do, in whole sentences."""
        return CODES[self.code].advice if self.advice is None else self.advice

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        code = CODES[self.code]
        return {
            "code": self.code,
            "severity": code.severity,
            "title": code.title,
            "domain": self.domain or None,
            "rows": self.rows,
            "found": self.found,
            "example": None if self.example is None else vars(self.example),
            "advice": self.to_do,
        }


def example_at(dataset: MultiDomainDataset, row: int) -> Example:
    """A row of a data set."""
    found = dataset.rows[int(row)]
    return Example(found["id"], found["text"][: 2 * LONGEST])


def quoted(text: str) -> str:
    """The beginning of a text in one line, in quotes."""
    words = " ".join(text.split())
    return repr(words if len(words) <= LONGEST else f"{words[: LONGEST - 3]}...")
