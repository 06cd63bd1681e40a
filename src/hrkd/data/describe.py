"""Figures that show what a data set is like: sizes, labels, lengths, truncation, repeated texts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from hrkd.data.draws import text_keys
from hrkd.data.types import MultiDomainDataset, Splits

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["DataDescription", "Lengths", "Overlap", "PartDescription", "TokenDescription", "describe"]

Cell = tuple[str, str]  # domain, split
CHUNK = 1000


@dataclass(frozen=True)
class Lengths:
    """How long the texts of a part are; both texts of a pair together."""

    median: float
    mean: float
    p95: float
    max: int


@dataclass(frozen=True)
class TokenDescription:
    """Lengths in tokens, special tokens included, before and after the cut at ``max_length``.

    ``truncated`` is the share of rows that are cut, ``lost`` the share of all tokens that falls away.
    """

    lengths: Lengths
    truncated: float
    lost: float


@dataclass(frozen=True)
class PartDescription:
    """One split of one domain. ``labels``: rows by label. Lengths are None without rows, tokens without a tokenizer.

    ``repeated`` counts the extra copies of a text in this part, ``conflicting`` the rows of this part whose text
    stands in it with different labels. ``in_other_domains`` counts rows whose text stands in another domain (in any
    split). Texts that two splits share are told by :attr:`DataDescription.overlaps`; a split that this package made
    has none, and its notes say what was removed.
    """

    domain: str
    split: str
    rows: int
    labels: dict[str, int]
    words: Lengths | None
    tokens: TokenDescription | None
    repeated: int
    conflicting: int
    in_other_domains: int

    @property
    def balance(self) -> float:
        """Rows of the rarest label for each row of the most frequent one: 1 balanced, 0 a label is missing."""
        return min(self.labels.values()) / max(1, *self.labels.values())


@dataclass(frozen=True)
class Overlap:
    """``rows`` rows of one part have a text that also stands in the other part."""

    domain: str
    split: str
    other_domain: str
    other_split: str
    rows: int


@dataclass(frozen=True)
class DataDescription:
    """Figures of all splits of all domains. ``overlaps`` holds every ordered pair of parts that share texts."""

    labels: tuple[str, ...]
    domains: tuple[str, ...]
    max_length: int | None
    parts: tuple[PartDescription, ...]
    overlaps: tuple[Overlap, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain nested data that JSON can hold."""
        content = asdict(self)
        for part, plain in zip(self.parts, content["parts"], strict=True):
            plain["balance"] = part.balance
        return content

    def rows(self) -> list[dict[str, str | int | float | None]]:
        """One flat dictionary per domain and split, with equal keys, for tables."""
        return [self._row(part) for part in self.parts]

    def _row(self, part: PartDescription) -> dict[str, str | int | float | None]:
        row: dict[str, str | int | float | None] = {"domain": part.domain, "split": part.split, "rows": part.rows}
        row |= {f"label:{label}": count for label, count in part.labels.items()}
        row |= {"balance": part.balance, **_flat("words", part.words)}
        if self.max_length is not None:
            row |= _flat("tokens", part.tokens.lengths if part.tokens else None)
            row |= {
                "truncated": part.tokens.truncated if part.tokens else None,
                "tokens_lost": part.tokens.lost if part.tokens else None,
            }
        names = ("repeated", "conflicting", "in_other_domains")
        return row | {name: getattr(part, name) for name in names}


def describe(
    splits: Splits, tokenizer: PreTrainedTokenizerBase | None = None, max_length: int = 128
) -> DataDescription:
    """Describe every split of every domain.

    Args:
        splits: The parts.
        tokenizer: Hugging Face tokenizer to count tokens with; None: count words (between white space) only.
        max_length: Length in tokens at which inputs are cut.
    """
    cells = {(domain, name): dataset.of_domain(domain) for name, dataset in splits for domain in dataset.domains}
    keys = {cell: text_keys(part) for cell, part in cells.items()}
    places: defaultdict[str, Counter[Cell]] = defaultdict(Counter)
    for cell, texts in keys.items():
        for key in texts:
            places[key][cell] += 1
    parts = [
        PartDescription(
            *cell,
            len(part),
            dict(zip(part.labels, np.bincount(part.label_ids, minlength=len(part.labels)).tolist(), strict=True)),
            _describe_words(part),
            None if tokenizer is None else _describe_tokens(part, tokenizer, max_length),
            *_count_copies(cell, part, keys[cell], places),
        )
        for cell, part in cells.items()
    ]
    limit = max_length if tokenizer is not None else None
    overlaps = _overlaps(places.values())
    return DataDescription(splits.labels, splits.domains, limit, tuple(parts), overlaps, splits.notes)


def _count_copies(
    cell: Cell, part: MultiDomainDataset, keys: list[str], places: Mapping[str, Counter[Cell]]
) -> tuple[int, int, int]:
    """The last three fields of :class:`PartDescription`."""
    labels: defaultdict[str, set[int]] = defaultdict(set)
    for key, label in zip(keys, part.label_ids.tolist(), strict=True):
        labels[key].add(label)
    domain, _ = cell
    return (
        len(keys) - len(labels),
        sum(len(labels[key]) > 1 for key in keys),
        sum(any(other != domain for other, _ in places[key]) for key in keys),
    )


def _describe_words(part: MultiDomainDataset) -> Lengths | None:
    counts = [len(text.split()) for text in part.rows["text"][:]]
    if part.has_pairs:
        counts = [count + len(pair.split()) for count, pair in zip(counts, part.rows["text_pair"][:], strict=True)]
    return _lengths(counts) if counts else None


def _describe_tokens(
    part: MultiDomainDataset, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> TokenDescription | None:
    counts: list[int] = []
    for start in range(0, len(part), CHUNK):
        rows = part.rows[start : start + CHUNK]
        encoded = tokenizer(rows["text"], rows.get("text_pair"), truncation=False, verbose=False)
        counts.extend(map(len, encoded["input_ids"]))
    if not counts:
        return None
    surplus = [max(0, count - max_length) for count in counts]
    return TokenDescription(
        _lengths(counts), truncated=sum(n > 0 for n in surplus) / len(counts), lost=sum(surplus) / max(1, sum(counts))
    )


def _lengths(counts: list[int]) -> Lengths:
    median, p95 = np.quantile(counts, [0.5, 0.95]).tolist()
    return Lengths(median=median, mean=float(np.mean(counts)), p95=p95, max=max(counts))


def _overlaps(texts: Iterable[Counter[Cell]]) -> tuple[Overlap, ...]:
    """Pairs of parts that share texts; ``texts`` has the rows by part of each text."""
    shared: Counter[tuple[str, str, str, str]] = Counter()
    for cells in texts:
        for one, other in permutations(cells, 2):
            shared[*one, *other] += cells[one]
    return tuple(Overlap(*names, rows) for names, rows in sorted(shared.items()))


def _flat(name: str, lengths: Lengths | None) -> dict[str, float | None]:
    if lengths is None:
        return dict.fromkeys([f"{name}_{figure}" for figure in ("median", "mean", "p95", "max")])
    return {f"{name}_{figure}": value for figure, value in asdict(lengths).items()}
