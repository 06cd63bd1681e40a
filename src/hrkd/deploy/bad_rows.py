"""Rows that cannot be labelled (no text or tokens, an unknown domain): what they are, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hrkd.data.rows import fault_of, is_empty, is_nested, text_of
from hrkd.deploy.checks import Asked, cell_number
from hrkd.errors import DataError
from hrkd.support.messages import SHOWN, Found, count_of, misspelt

if TYPE_CHECKING:
    from hrkd.models.open_model import ModelFacts

__all__ = ["BadRows", "OnBadRow", "RowColumns"]

OnBadRow = Literal["stop", "skip", "blank"]
"""An error that names them; left out of the output; kept, without a label."""

ROLES = {"text": "text", "pair": "second text", "domain": "domain"}


@dataclass(frozen=True)
class RowColumns:
    """Columns that are read: of the text, the second text (None: single texts) and the domain.

    ``domain`` None: all rows are of the domain with the number ``number``.
    """

    text: str
    pair: str | None
    domain: str | None
    number: int

    def names(self) -> list[str]:
        """Of the columns."""
        return [name for name in (self.text, self.pair, self.domain) if name is not None]


class BadRows:
    """Tells usable rows from others, and keeps the number and the first of these, by kind.

    Args:
        columns: that are read.
        facts: of the model, which knows some domains.
        without_tokens: gives the places of texts of which the tokenizer leaves nothing; None: no model is open yet.
    """

    def __init__(
        self,
        columns: RowColumns,
        facts: ModelFacts,
        without_tokens: Callable[[Sequence[str]], list[int]] | None = None,
    ) -> None:
        self.columns, self.facts, self.without_tokens = columns, facts, without_tokens
        self.rows = self.total = 0
        self.kinds: dict[tuple[str, str], Found] = {}
        self.unknown: dict[str, None] = {}

    def usable(self, values: Callable[[str], list[Any]], count: int) -> tuple[list[int], Asked]:
        """Positions of the usable ones among the next ``count`` rows, and what they ask; ``values`` gives a column."""
        columns, first = self.columns, self.rows + 1
        texts = values(columns.text)
        pairs = None if columns.pair is None else values(columns.pair)
        names = None if columns.domain is None else values(columns.domain)
        self.rows += count
        blank = self._blank(texts, pairs)
        good, numbers = [], []
        for i in range(count):
            number = columns.number if names is None else self._number(names[i])
            kind = _kind("text", texts[i]) or (pairs is not None and _kind("pair", pairs[i])) or blank.get(i)
            if kind is None and number is None and names is not None:
                kind = _kind("domain", names[i]) or self._unknown(names[i])
            if kind is not None:
                self.total += 1
                self.kinds.setdefault(kind, Found()).add(f"{first + i:,}")
            elif number is not None:
                good.append(i)
                numbers.append(number)
        second = None if pairs is None else [text_of(pairs[i]) for i in good]
        return good, Asked([text_of(texts[i]) for i in good], second, numbers)

    def _blank(self, texts: list[Any], pairs: list[Any] | None) -> dict[int, tuple[str, str]]:
        """Kinds of the rows that have no tokens, by their places."""
        if self.without_tokens is None:
            return {}
        columns = [("pair", pairs or []), ("text", texts)]
        return {
            i: ("tokenless", role)
            for role, values in columns
            for i in self.without_tokens(["a" if fault_of(value) else text_of(value) for value in values])
        }

    def _number(self, name: Any) -> int | None:
        return None if fault_of(name) else cell_number(name, self.facts)

    def _unknown(self, name: Any) -> tuple[str, str]:
        if len(self.unknown) < SHOWN:
            self.unknown[str(name).strip()] = None
        return ("unknown", "domain")

    def check(self, where: str) -> None:
        """Raise where there are any.

        Raises:
            DataError: names kinds and rows, and what can be done.
        """
        if not self.total:
            return
        head = f"{where}: {count_of(self.total)} cannot be labelled (rows are counted from 1, without the header):"
        lines = [head, *self._lines(": row {}")]
        raise DataError(
            "\n".join(lines) + "\nMend what is wrong, or leave such rows out (--on-bad-row skip; in Python on_bad_row) "
            "or without a label (--on-bad-row blank)"
        )

    def note(self, how: OnBadRow) -> str:
        """What was done with them, for the user; empty if there are none."""
        done = "left out" if how == "skip" else "left blank"
        return f"{count_of(self.total)} {done}: {', '.join(self._lines(' (row {})'))}" if self.total else ""

    def _lines(self, shape: str) -> list[str]:
        lines = []
        for (kind, role), found in self.kinds.items():
            what = f"{found.total:,} {kind} {ROLES[role]}{'' if found.total == 1 else 's'}"
            if kind == "unknown":
                what += f" {misspelt(list(self.unknown), self.facts.domains)}"
            rows = shape.format(found)
            if kind == "tokenless" and shape[0] == ":":
                rows += " (the model's tokenizer leaves out all of their characters)"
            lines.append(f"{what} in column {getattr(self.columns, role)!r}{rows}" if shape[0] == ":" else what + rows)
            if kind == "unknown" and shape[0] == ":":
                lines[-1] += f"; the model knows {', '.join(self.facts.domains)}"
        return lines


def _kind(role: str, value: Any) -> tuple[str, str] | None:
    if fault_of(value) is None:
        return None
    return ("empty" if is_empty(value) else "nested" if is_nested(value) else "broken", role)
