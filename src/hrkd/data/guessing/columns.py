"""What the values of a column look like."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hrkd.data.readers.parts import Part
from hrkd.data.rows import canonical_split, is_empty, is_nested, name_of
from hrkd.support.messages import count_of, first_of, visible

__all__ = ["Column", "look_at"]

MOST_ROWS = 50_000
"""That are looked at, spread evenly over all."""
MOST_VALUES = 2_000
"""Different values that are counted."""
FEW = 100
"""Different values of labels or domains, at most."""
NAME, LONG_NAME, OFTEN = 4, 12, 0.1
"""Words of a value on average, at most: of any categories, and of those of which so small a share is different."""
UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}([T ].*)?")
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?(e[+-]?\d+)?", re.IGNORECASE)
ADDRESS = re.compile(r"https?://\S+|\S+@\S+\.\w+|[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
KINDS = {"numbers": NUMBER, "dates": DATE, "addresses": ADDRESS}
CODE = re.compile(r"[a-z]{2}([-_][a-z]{2})?", re.IGNORECASE)
TONGUES_LISTED = (
    "ar at be br ca ch cn cs cz da de dk el en es et fi fr gb gr he hi hr hu id ie in it ja jp ko kr lt lv mx nl no pl "
    "pt ro ru se sk sl sr sv th tr tw uk us vi zh english german french spanish italian chinese japanese dutch "
    "portuguese russian polish turkish arabic deutsch englisch französisch spanisch italienisch français anglais "
    "español inglés"
)
TONGUES = frozenset(TONGUES_LISTED.split())
"""Languages and countries, as columns that say them write them."""
OF_ENGLISH = frozenset(("the", "and", "is", "of", "to", "it", "in", "was", "that", "this", "for", "i"))
MOST_TEXTS = 2_000
"""In which words of English are counted."""


@dataclass(frozen=True)
class Column:
    """A column by its values.

    ``rows`` were looked at, ``empty`` of them have no value. Of the others: ``counts`` of different values (of the
    first ones, where there are more than are counted), ``different`` as a share, ``words`` on average and at the 90th
    percentile, shares of ``numbers``, ``dates``, ``addresses`` and ``nested``, and ``english``, the share of words that
    are frequent ones of English.
    """

    name: str
    rows: int
    empty: int
    counts: Counter[str]
    different: float
    words: float
    many_words: int
    numbers: float
    dates: float
    addresses: float
    nested: float
    english: float

    @property
    def filled(self) -> int:
        """Rows with a value."""
        return self.rows - self.empty

    @property
    def is_categories(self) -> bool:
        """Whether it has some values that come again and again, of few words each; of more, where they come often."""
        most = min(FEW, max(2, self.filled // 5))
        words = LONG_NAME if self.different <= OFTEN else NAME
        other = max(self.dates, self.addresses, self.nested)
        return 2 <= len(self.counts) <= most and self.words <= words and other < 0.5

    @property
    def is_text(self) -> bool:
        """Whether it has words, and mostly others in each row."""
        other = max(self.numbers, self.dates, self.addresses, self.nested)
        return self.filled > 0 and self.words >= 2 and self.different > 0.3 and other < 0.5

    @property
    def is_split(self) -> bool:
        """Whether it says train, dev and test."""
        parts = {canonical_split(value) for value in self.counts}
        return 2 <= len(self.counts) <= 6 and None not in parts and len(parts) > 1

    @property
    def is_tongues(self) -> bool:
        """Whether it says languages or countries."""
        known = sum(n for value, n in self.counts.items() if _short(value) in TONGUES)
        return len(self.counts) <= FEW and known > 0.8 * max(1, self.filled)

    @property
    def is_scale(self) -> bool:
        """Whether it has a few whole numbers in a row, such as stars."""
        values = {value for value in self.counts if value.lstrip("-").isdigit()}
        numbers = sorted(map(int, values))
        return 2 <= len(numbers) <= 11 and len(values) == len(self.counts) and numbers[-1] - numbers[0] < 11

    @property
    def is_ids(self) -> bool:
        """Whether each row has another value, and no words or fractions."""
        fractions = self.numbers > 0.5 and any(not value.lstrip("-").isdigit() for value in self.counts)
        return self.filled > 1 and self.different == 1 and self.words < 2 and self.dates < 0.5 and not fractions

    def __str__(self) -> str:
        """What it looks like."""
        if not self.filled:
            return "empty"
        gaps = f", {count_of(self.empty)} without" if self.empty else ""
        if self.nested > 0.5:
            return f"lists or mappings{gaps}"
        if len(self.counts) == 1:
            return f"the value {_listed(self.counts)} in all rows{gaps}"
        if self.is_ids:
            return f"another {'number' if self.numbers > 0.9 else 'value'} in each row, as ids have{gaps}"
        for share, what in ((self.dates, "dates"), (self.addresses, "addresses or ids")):
            if share > 0.5:
                return f"{what}{gaps}"
        if self.is_tongues:
            return f"languages or countries: {_listed(self.counts)}{gaps}"
        if self.is_categories or len(self.counts) <= 10:
            return f"{count_of(len(self.counts), 'value', 'different values')}: {_listed(self.counts)}{gaps}"
        if self.is_text:
            return f"{self.words:.0f} words on average, {int(100 * self.different)} % of the texts different{gaps}"
        what = "numbers" if self.numbers > 0.9 else "short values"
        return f"{what}, {int(100 * self.different)} % of them different{gaps}"


def look_at(parts: Sequence[Part]) -> list[Column]:
    """The columns that all parts have, in their order.

    Raises:
        DataError: the rows cannot be read.
    """
    shared = [name for name in dict.fromkeys(parts[0].columns) if all(name in part.columns for part in parts)]
    step = max(1, sum(part.rows for part in parts) // MOST_ROWS)
    tallies = [_Tally() for _ in shared]
    row = 0
    for part in parts:
        for chunk in part.stream([part.columns.index(name) for name in shared]):
            places = range(-row % step, len(chunk[0]) if chunk else 0, step)
            for tally, values in zip(tallies, chunk, strict=True):
                tally.add([values[place] for place in places])
            row += len(chunk[0]) if chunk else 0
    return [tally.column(name) for name, tally in zip(shared, tallies, strict=True)]


class _Tally:
    """What is counted of a column, value by value."""

    def __init__(self) -> None:
        self.rows, self.empty = 0, 0
        self.counts: Counter[str] = Counter()
        self.seen: set[int] = set()
        self.lengths: list[int] = []
        self.kinds: Counter[str] = Counter()
        self.english = [0, 0]

    def add(self, values: Sequence[Any]) -> None:
        """Some more values."""
        self.rows += len(values)
        for value in values:
            if is_nested(value):
                self.kinds["nested"] += 1
            elif is_empty(value):
                self.empty += 1
            else:
                self._add_text(name_of(value))

    def _add_text(self, text: str) -> None:
        self.seen.add(hash(text))
        if text in self.counts or len(self.counts) < MOST_VALUES:
            self.counts[text] += 1
        words = text.split()
        self.lengths.append(len(words) + len(UNSPACED.findall(text)) // 2)
        if len(self.lengths) <= MOST_TEXTS:
            self.english[0] += sum(word.lower() in OF_ENGLISH for word in words)
            self.english[1] += self.lengths[-1]
        for kind, pattern in KINDS.items():
            self.kinds[kind] += bool(pattern.fullmatch(text))

    def column(self, name: str) -> Column:
        """All of it as shares."""
        filled = max(1, self.rows - self.empty)
        shares = {kind: self.kinds[kind] / filled for kind in (*KINDS, "nested")}
        ordered = sorted(self.lengths)
        many = ordered[len(ordered) * 9 // 10] if ordered else 0
        mean = sum(ordered) / max(1, len(ordered))
        different, english = len(self.seen) / filled, self.english[0] / max(1, self.english[1])
        return Column(name, self.rows, self.empty, self.counts, different, mean, many, **shares, english=english)


def _short(value: str) -> str:
    found = CODE.fullmatch(value)
    return value[:2].lower() if found else value.lower()


def _listed(counts: Counter[str]) -> str:
    return visible(first_of([f"{value[:30]} ({n:,})" for value, n in counts.most_common()])).replace("\n", " ")
