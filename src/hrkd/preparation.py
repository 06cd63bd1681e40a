"""From the data section of a recipe to splits, ready for every stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from hrkd.config import DataConfig
from hrkd.data.batching import TokenizedDataset, tokenize
from hrkd.data.fewshot import few_shot
from hrkd.data.sources import load_domains
from hrkd.data.splits import split_domains
from hrkd.data.synthetic import synthetic_reviews, vocabulary
from hrkd.data.types import MultiDomainDataset, Splits
from hrkd.run import digest

__all__ = ["PreparedData", "TokenizedSplits", "prepare_data", "tokenize_splits"]


@dataclass(frozen=True)
class PreparedData:
    """``splits`` after few-shot selection, ``drawn`` before it.

    ``vocabulary`` lists all words of a generated corpus, else is empty.
    """

    splits: Splits
    drawn: Splits
    vocabulary: tuple[str, ...] = ()

    def digest(self) -> str:
        """Hash over ids, texts and labels of all parts: the identity of the data."""
        parts = {
            name: {column: part.rows[column][:] for column in part.rows.column_names if column != "split"}
            for name, part in self.splits
        }
        return digest(self.splits.labels, self.splits.domains, parts)


@dataclass(frozen=True)
class TokenizedSplits:
    """Token ids of all parts."""

    train: TokenizedDataset
    dev: TokenizedDataset
    test: TokenizedDataset


def prepare_data(config: DataConfig, dataset: MultiDomainDataset | None = None) -> PreparedData:
    """Load, split and, where asked for, thin out the data.

    Args:
        config: the data section.
        dataset: data in memory, in the place of what the section names.

    Raises:
        DataError: see :mod:`hrkd.data`.
    """
    words: tuple[str, ...] = ()
    if dataset is None:
        dataset, words = _load(config)
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
        notes += (f"few-shot: {len(kept)} of {len(splits.train)} training rows are used",)
    return PreparedData(Splits(kept, splits.dev, splits.test, notes), splits, words)


def tokenize_splits(
    splits: Splits,
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    advance: Callable[[int], None] | None = None,
) -> TokenizedSplits:
    """Token ids of train, dev and test; ``advance`` hears how many more texts are done."""
    return TokenizedSplits(*(tokenize(part, tokenizer, max_tokens, advance) for _, part in splits))


def _load(config: DataConfig) -> tuple[MultiDomainDataset, tuple[str, ...]]:
    if config.format == "synthetic":
        corpus = synthetic_reviews(**config.synthetic.model_dump(), seed=config.split_seed)
        return corpus.dataset, tuple(vocabulary())
    columns = {
        name: getattr(config, name) for name in ("text", "text_pair", "label", "domain", "split", "id", "domains")
    }
    return load_domains(config.source, format=config.format, **columns), ()
