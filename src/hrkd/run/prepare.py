"""From the data section of a recipe to splits, ready for every stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from hrkd.data.columns import json_items
from hrkd.data.cutting import unread
from hrkd.data.describe import content_lengths
from hrkd.data.readers.sources import load_domains
from hrkd.data.splits.draws import some_of_each
from hrkd.data.splits.fewshot import few_shot
from hrkd.data.splits.split import split_domains
from hrkd.data.splits.unlabelled import Unlabelled, choose_unlabelled
from hrkd.data.synthetic.corpus import synthetic_reviews, vocabulary
from hrkd.data.types import MultiDomainDataset, Splits, check_dataset
from hrkd.errors import DataError
from hrkd.recipe.schema import DataConfig, Keep
from hrkd.support.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from hrkd.data.batching import TokenizedDataset

__all__ = ["PreparedData", "TokenizedSplits", "load_labelled", "prepare_data", "share_cut", "tokenize_splits"]

TEXT_COLUMNS = ("text", "text_pair", "domain", "domains")
"""Fields of the data section that say what text is read, with labels or without."""
MOST_TEXTS = 2_000
"""Of all domains together, whose tokens are counted to see how many are cut."""


@dataclass(frozen=True)
class PreparedData:
    """``splits`` after few-shot selection, ``drawn`` before it.

    ``vocabulary`` lists all words of a generated corpus, else is empty. ``unlabelled`` is text for distillation alone.
    ``columns`` are the names of text, text_pair, label and domain in the source.
    """

    splits: Splits
    drawn: Splits
    vocabulary: tuple[str, ...] = ()
    unlabelled: Unlabelled | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Hash over ids, texts and labels of all parts: the identity of the labelled data."""
        return _digest(self._as_json())

    @cached_property
    def content_digest(self) -> str:
        """The same but for ids, which may hold the name of a file."""
        return _digest(self._as_json(but=frozenset({"id"})))

    @cached_property
    def unlabelled_digest(self) -> str | None:
        """Hash over ids, texts and domains of the rows without labels; None if there are none."""
        if self.unlabelled is None:
            return None
        rows = self.unlabelled.rows.rows
        columns = sorted(set(rows.column_names) - {"label", "split"})
        return _digest(piece for name in columns for piece in chain([f"{name}: "], json_items(rows, name)))

    def _as_json(self, but: frozenset[str] = frozenset()) -> Iterator[str]:
        """Labels, domains and the columns of all parts, save some, sorted by name, as JSON."""
        yield json.dumps([self.splits.labels, self.splits.domains], ensure_ascii=False)[:-1]
        for number, (name, part) in enumerate(sorted(self.splits, key=lambda item: item[0])):
            yield f', {{"{name}": ' if number == 0 else f', "{name}": '
            for place, column in enumerate(sorted(set(part.rows.column_names) - {"split"} - but)):
                yield f'{", " if place else "{"}"{column}": ['
                yield from json_items(part.rows, column)
                yield "]"
            yield "}"
        yield "}]"


@dataclass(frozen=True)
class TokenizedSplits:
    """Token ids of all parts."""

    train: TokenizedDataset
    dev: TokenizedDataset
    test: TokenizedDataset


def prepare_data(
    config: DataConfig,
    dataset: MultiDomainDataset | None = None,
    cache: Path | None = None,
    *,
    unlabelled: MultiDomainDataset | None = None,
) -> PreparedData:
    """Load, split and, where asked for, thin out the data; then choose from the text without labels.

    Args:
        config: the data section.
        dataset: data in memory, in the place of what the section names.
        cache: folder that keeps the rows of tables; see :func:`hrkd.data.readers.sources.load_domains`.
        unlabelled: text in memory, in the place of what the section names.

    Raises:
        DataError: see :mod:`hrkd.data`.
    """
    check_dataset("data", dataset)
    check_dataset("unlabelled", unlabelled)
    words: tuple[str, ...] = ()
    if dataset is None:
        dataset, words = load_labelled(config, cache)
    splits = split_domains(
        dataset,
        seed=config.split_seed,
        dev=config.dev,
        test=config.test,
        dev_rows=config.dev_rows,
        sizes=config.sizes,
        splits_file=config.splits_file,
    )
    kept = few_shot(splits.train, fraction=config.fraction, shots=config.shots, seed=config.split_seed)
    notes = splits.notes
    if len(kept) < len(splits.train):
        asked = f"data.shots: {config.shots}" if config.shots is not None else f"data.fraction: {config.fraction:g}"
        notes += (f"{len(kept):,} of {len(splits.train):,} training rows are used ({asked})",)
    used = replace(splits, train=kept, notes=notes)
    more = _unlabelled(config, used, cache, unlabelled)
    if more is not None:
        used = replace(used, notes=(*notes, *more.notes))
    columns = {role: getattr(config, role) for role in ("text", "text_pair", "label", "domain")}
    if splits.train.has_pairs and config.text_pair is None:
        columns["text_pair"] = "text_pair"  # rows in memory, and layouts that have columns of their own
    return PreparedData(used, splits, words, more, columns)


def tokenize_splits(
    splits: Splits,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    keep: Keep,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> TokenizedSplits:
    """Token ids of train, dev and test; arguments as of :func:`hrkd.data.batching.tokenize`."""
    from hrkd.data.batching import tokenize  # not needed to read data, and brings torch

    parts = [part for _, part in splits]
    with (progress or Progress(False)).bar("tokenising", total=sum(map(len, parts)), unit="texts") as bar:
        return TokenizedSplits(
            *(tokenize(part, tokenizer, max_tokens, bar.advance, cache, keep=keep) for part in parts)
        )


def _digest(pieces: Iterable[str]) -> str:
    total = hashlib.sha256()
    for piece in pieces:
        total.update(piece.encode())
    return total.hexdigest()


def load_labelled(
    config: DataConfig, cache: Path | None, *, to_measure: bool = False
) -> tuple[MultiDomainDataset, tuple[str, ...]]:
    """The rows that the data section names, and all words of a generated corpus.

    Raises:
        DataError: see :mod:`hrkd.data`.
    """
    if config.format == "synthetic":
        corpus = synthetic_reviews(**config.synthetic.model_dump(), seed=config.split_seed)
        return corpus.dataset, tuple(vocabulary())
    columns = {name: getattr(config, name) for name in (*TEXT_COLUMNS, "label", "split", "id")}
    return load_domains(config.source, format=config.format, **columns, cache=cache, to_measure=to_measure), ()


def _unlabelled(
    config: DataConfig, splits: Splits, cache: Path | None, found: MultiDomainDataset | None
) -> Unlabelled | None:
    if found is None and config.unlabelled is None:
        return None
    columns = {name: getattr(config, name) for name in TEXT_COLUMNS}
    try:
        if found is None:
            found = load_domains(config.unlabelled, label=None, **columns, cache=cache)
        return choose_unlabelled(found, splits)
    except DataError as error:
        raise DataError(f"data.unlabelled: {error}") from error


def share_cut(rows: TokenizedDataset, tokenizer: PreTrainedTokenizerBase, max_length: int, keep: Keep) -> float:
    """Of all tokens of the texts, those that are not read, on at most :data:`MOST_TEXTS` drawn ones."""
    if rows.lengths.max() < max_length:
        return 0.0
    texts = rows.texts.select(some_of_each(rows.texts.domain_ids, MOST_TEXTS, name="tokens"))
    lengths = content_lengths(texts, tokenizer)
    room = max_length - tokenizer.num_special_tokens_to_add(pair=texts.has_pairs)
    return round(float(unread(lengths, room, keep).sum() / lengths.sum()), 4)
