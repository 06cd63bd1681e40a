"""Figures that show what a data set is like: sizes, labels, lengths, truncation, repeated texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hrkd.data.columns import chunks_of, repeated, text_lengths
from hrkd.data.cutting import unread, window_counts
from hrkd.data.splits.draws import text_keys
from hrkd.data.splits.unlabelled import LeftOut, Unlabelled
from hrkd.data.types import NO_LABEL, MultiDomainDataset, Splits
from hrkd.recipe.schema import DataConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "DataDescription",
    "Lengths",
    "Overlap",
    "PartDescription",
    "Reading",
    "TokenDescription",
    "content_lengths",
    "describe",
    "differing",
]

Cell = tuple[str, str]  # domain, split
Ints = npt.NDArray[np.int64]

USUAL_LENGTHS = (64, 128, 256, 512)
"""Inputs in tokens, of which it is told how much they hold."""


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
class Reading:
    """What a model that takes ``max_length`` tokens reads of the labelled texts; special tokens do not count.

    ``whole`` is the share of texts that fit, ``read`` the share of all tokens that is read of head, tail or both
    (``data.keep``), ``read_in_windows`` that of windows, which is all but for pairs, and ``windows`` is how many of
    these a text has on average.
    """

    max_length: int
    whole: float
    read: float
    read_in_windows: float
    windows: float


@dataclass(frozen=True)
class PartDescription:
    """One split of one domain, or its text without labels (split ``unlabelled``).

    ``labels``: rows by label, empty without labels. Lengths are None without rows, tokens without a tokenizer.

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
    def balance(self) -> float | None:
        """Rows of the rarest label per row of the most frequent one: 1 balanced, 0 one is missing, None no labels."""
        return min(self.labels.values()) / max(1, *self.labels.values()) if self.labels else None


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
    """Figures of all splits of all domains. ``overlaps`` holds every ordered pair of parts that share texts.

    ``left_out`` counts the rows without labels that are not used, by domain and reason. ``reading`` has several lengths
    of input, where tokens are counted.
    """

    labels: tuple[str, ...]
    domains: tuple[str, ...]
    max_length: int | None
    parts: tuple[PartDescription, ...]
    overlaps: tuple[Overlap, ...]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    reading: tuple[Reading, ...] = ()

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
        row |= {f"label:{label}": part.labels.get(label) for label in self.labels}
        row |= {"balance": part.balance, **_flat("words", part.words)}
        if self.max_length is not None:
            tokens = part.tokens
            row |= _flat("tokens", None if tokens is None else tokens.lengths)
            row["truncated"], row["tokens_lost"] = (None, None) if tokens is None else (tokens.truncated, tokens.lost)
        if self.left_out:
            counts = [each.rows for each in self.left_out if each.domain == part.domain]
            row["left_out"] = sum(counts) if part.split == "unlabelled" else None
        names = ("repeated", "conflicting", "in_other_domains")
        return row | {name: getattr(part, name) for name in names}


def describe(
    splits: Splits,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int = DataConfig.model_construct().max_length,
    *,
    unlabelled: Unlabelled | None = None,
) -> DataDescription:
    """Describe every split of every domain, and the text without labels.

    Args:
        splits: The parts.
        tokenizer: Hugging Face tokenizer to count tokens with; None: count words (between white space) only.
        max_length: Length in tokens at which inputs are cut.
        unlabelled: Text for distillation alone.
    """
    named = [*splits, *([] if unlabelled is None else [("unlabelled", unlabelled.rows)])]
    parts = [part for _, part in named]
    names = [(domain, name) for name, part in named for domain in part.domains]
    width = len(splits.domains)
    keys = np.concatenate(text_keys(*parts))
    cells = np.concatenate([number * width + part.domain_ids for number, part in enumerate(parts)])
    labels = np.concatenate([part.label_ids_or_none for part in parts])
    words = np.concatenate([_words(part) for part in parts])
    contents = None if tokenizer is None else np.concatenate([content_lengths(part, tokenizer) for part in parts])
    special = 0 if tokenizer is None else tokenizer.num_special_tokens_to_add(pair=splits.train.has_pairs)
    several = repeated(keys)  # all others are in one place, once
    copies = _Copies(keys[several], cells[several], labels[several], width, len(names))
    described = []
    for cell, name in enumerate(names):
        here = cells == cell
        with_label = labels[here & (labels != NO_LABEL)]
        counts = np.bincount(with_label, minlength=len(splits.labels)).tolist()
        described.append(
            PartDescription(
                *name,
                int(here.sum()),
                {} if name[1] == "unlabelled" else dict(zip(splits.labels, counts, strict=True)),
                _lengths(words[here]),
                None if contents is None else _describe_tokens(contents[here].sum(axis=1) + special, max_length),
                *copies.of(cell),
            )
        )
    limit = max_length if tokenizer is not None else None
    labelled = sum(map(len, (splits.train, splits.dev, splits.test)))
    reading: tuple[Reading, ...] = ()
    if tokenizer is not None and contents is not None:
        lengths = {max_length, *(n for n in USUAL_LENGTHS if n <= tokenizer.model_max_length)}
        reading = tuple(_reading(contents[:labelled], n, n - special) for n in sorted(lengths) if n > special)
    left_out = () if unlabelled is None else unlabelled.left_out
    overlaps = copies.overlaps(names)
    return DataDescription(
        splits.labels, splits.domains, limit, tuple(described), overlaps, splits.notes, left_out, reading
    )


class _Copies:
    """Rows whose text occurs more than once: their text keys, cells (a domain of a split each) and labels, (rows,)."""

    def __init__(self, keys: Ints, cells: Ints, labels: Ints, domains: int, number: int) -> None:
        self.number, self.cells = number, cells
        _, texts = np.unique(keys, return_inverse=True)
        self.abroad = differing(cells % domains, texts)
        places, where, self.rows = np.unique(texts * number + cells, return_inverse=True, return_counts=True)
        self.conflicting = differing(labels, where)
        self.place_texts, self.place_cells = places // number, places % number

    def of(self, cell: int) -> tuple[int, int, int]:
        """The last three fields of :class:`PartDescription`."""
        here, own = self.cells == cell, self.place_cells == cell
        return int(here.sum() - own.sum()), int(self.conflicting[here].sum()), int(self.abroad[here].sum())

    def overlaps(self, names: Sequence[Cell]) -> tuple[Overlap, ...]:
        """Pairs of parts that share texts."""
        found = {}
        for one, other in permutations(range(self.number), 2):
            mine, theirs = self.place_cells == one, self.place_cells == other
            shared = int(self.rows[mine][np.isin(self.place_texts[mine], self.place_texts[theirs])].sum())
            if shared:
                found[*names[one], *names[other]] = shared
        return tuple(Overlap(*parts, rows) for parts, rows in sorted(found.items()))


def differing(values: Ints, groups: Ints) -> npt.NDArray[np.bool_]:
    """Whether the group of each row holds different values, shape (rows,)."""
    least = np.full(groups.max(initial=-1) + 1, np.iinfo(np.int64).max)
    most = np.full_like(least, -1)
    np.minimum.at(least, groups, values)
    np.maximum.at(most, groups, values)
    differ: npt.NDArray[np.bool_] = (least < most)[groups]
    return differ


def _words(part: MultiDomainDataset) -> Ints:
    """Words of each row, both texts of a pair together, shape (rows,)."""
    rows = (row for chunk in chunks_of(part.rows, *part.text_columns) for row in zip(*chunk.values(), strict=True))
    return np.fromiter((sum(len(text.split()) for text in row) for row in rows), dtype=np.int64, count=len(part))


def content_lengths(part: MultiDomainDataset, tokenizer: PreTrainedTokenizerBase) -> Ints:
    """Tokens of each text of each row, (rows, texts), nothing cut, without special ones."""

    def count(texts: list[str]) -> list[int]:
        return list(map(len, tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]))

    return text_lengths(part.rows, part.text_columns, count)


def _reading(contents: Ints, max_length: int, room: int) -> Reading:
    """What is read of texts, (rows, texts), at a length that leaves ``room`` beside special tokens."""
    whole, every = contents.sum(axis=1), max(1, int(contents.sum()))
    return Reading(
        max_length,
        whole=float((whole <= room).mean()),
        read=1 - float(unread(contents, room, "head").sum() / every),
        read_in_windows=1 - float(unread(contents, room, "windows").sum() / every),
        windows=float(window_counts(contents, room).mean()),
    )


def _describe_tokens(counts: Ints, max_length: int) -> TokenDescription | None:
    lengths = _lengths(counts)
    if lengths is None:
        return None
    surplus = np.maximum(0, counts - max_length)
    return TokenDescription(
        lengths, truncated=float((surplus > 0).mean()), lost=float(surplus.sum() / max(1, counts.sum()))
    )


def _lengths(counts: Ints) -> Lengths | None:
    if not len(counts):
        return None
    median, p95 = np.quantile(counts, [0.5, 0.95]).tolist()
    return Lengths(median=median, mean=float(np.mean(counts)), p95=p95, max=int(counts.max()))


def _flat(name: str, lengths: Lengths | None) -> dict[str, float | None]:
    return {f"{name}_{figure.name}": getattr(lengths, figure.name, None) for figure in fields(Lengths)}
