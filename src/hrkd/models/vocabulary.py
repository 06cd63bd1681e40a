"""A model and its tokenizer without the pieces that no text needs: smaller, and the same on all other texts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from hrkd.data.batching import TokenizedDataset
from hrkd.data.columns import chunks_of
from hrkd.data.reading import KEEP
from hrkd.errors import ModelError
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.smaller_tokenizer import check_kind, pieces_to_keep, smaller_tokenizer
from hrkd.recipe.schema import Keep

__all__ = ["Vocabulary", "choose_vocabulary", "smaller_vocabulary", "token_ids_of"]


@dataclass(frozen=True)
class Vocabulary:
    """A part of a vocabulary.

    Args:
        tokenizer: knows this part alone.
        kept: the old id of each piece, by its new one, shape (pieces,).
        before: number of pieces that there were.
    """

    tokenizer: PreTrainedTokenizerBase
    kept: np.ndarray
    before: int

    def in_old_ids(self, texts: TokenizedDataset) -> TokenizedDataset:
        """Texts that this tokenizer has split, for a model that is not pruned yet: it says what it will say then."""
        return replace(texts, ids=self.kept)

    def prune(self, model: MultiDomainClassifier) -> MultiDomainClassifier:
        """A copy of ``model`` for this tokenizer, in evaluation mode: of its table of pieces the kept rows.

        Raises:
            ModelError: another weight of the model has a row for each piece.
        """
        table = _table(model.encoder)
        rows = torch.from_numpy(self.kept[self.kept < table.num_embeddings])
        state = model.state_dict()
        name = next(name for name, weight in model.named_parameters() if weight is table.weight)
        state[name] = table.weight.detach()[rows.to(table.weight.device)]
        config = copy.deepcopy(model.config)
        config.encoder = self._fields(model)
        with torch.random.fork_rng(devices=[]):
            smaller = MultiDomainClassifier(config)
        try:
            smaller.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(f"{model.encoder.config.model_type}: another weight has a row for each piece") from error
        smaller.eval()
        return smaller

    def _fields(self, model: MultiDomainClassifier) -> dict[str, Any]:
        """The encoder's configuration: as many words, and their new ids; None where a token is no piece."""
        new = {old: number for number, old in enumerate(self.kept.tolist())}
        fields = dict(model.config.encoder)
        size = model.encoder.config.attribute_map.get("vocab_size", "vocab_size")
        fields[size] = int((self.kept < _table(model.encoder).num_embeddings).sum())
        for name, old in token_ids_of(fields).items():
            fields[name] = new.get(old)
        return fields


def choose_vocabulary(
    model: MultiDomainClassifier,
    tokenizer: PreTrainedTokenizerBase,
    texts: TokenizedDataset,
    max_tokens: int,
    at_least: int = 1,
    *,
    keep: Keep = KEEP,
) -> Vocabulary:
    """The pieces that ``texts`` need, as a smaller vocabulary for a model.

    Args:
        model: reads ids of ``tokenizer``; left as it is.
        tokenizer: a fast one, of WordPiece, Unigram or BPE.
        texts: as the tokenizer gives them, cut to ``max_tokens``.
        max_tokens: length of the longest row.
        at_least: how often a piece has to stand in them to be kept.
        keep: what was left of longer texts (:func:`hrkd.data.reading.encode`).

    Raises:
        ModelError: a tokenizer of another kind, or a model without a table of pieces.
    """
    check_kind(tokenizer)
    ids = 1 + max(map(int, tokenizer.get_vocab().values()))
    return smaller_vocabulary(model, tokenizer, _piece_counts(tokenizer, texts, max_tokens, keep, ids), at_least)


def smaller_vocabulary(
    model: MultiDomainClassifier, tokenizer: PreTrainedTokenizerBase, counts: np.ndarray, at_least: int = 1
) -> Vocabulary:
    """As :func:`choose_vocabulary`, from how often each id is needed, shape (ids of the tokenizer,).

    Raises:
        ModelError: as there.
    """
    _table(model.encoder)
    also = set(token_ids_of(model.config.encoder).values())
    # Positions are counted from the padding's id where their table leaves out a row for it.
    positions = getattr(getattr(model.encoder, "embeddings", None), "position_embeddings", None)
    if isinstance(positions, nn.Embedding) and positions.padding_idx is not None:
        also |= set(range(positions.padding_idx + 1))
    kept = pieces_to_keep(tokenizer, counts, at_least, also=also)
    return Vocabulary(smaller_tokenizer(tokenizer, kept, model.config), kept, len(tokenizer.get_vocab()))


def _piece_counts(
    tokenizer: PreTrainedTokenizerBase, texts: TokenizedDataset, max_tokens: int, keep: Keep, ids: int
) -> np.ndarray:
    """How often each of the ``ids`` is needed to split and cut the texts as they are, shape (ids,).

    Of the head of a text, its pieces and those behind the cut that belong to the word that it goes through. Of a text
    that is cut otherwise, and of a pair, all pieces, as the longer text of a pair is cut first: each as often as it
    stands in the text, however many windows read it.
    """
    counts = texts.piece_counts(ids)
    cut = texts.select(np.unique(texts.owners[texts.lengths >= max_tokens]))
    heads = keep == "head" and not cut.texts.has_pairs
    if not heads:
        counts -= cut.piece_counts(ids)
    source = cut.texts
    for chunk in chunks_of(source.rows, *source.text_columns):
        whole = tokenizer(chunk["text"], chunk.get("text_pair"), verbose=False)
        needed = _behind_cuts(tokenizer, chunk["text"], whole, max_tokens) if heads else whole["input_ids"]
        counts += np.bincount(list(chain.from_iterable(needed)), minlength=ids)
    return counts


def _behind_cuts(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], whole: BatchEncoding, max_tokens: int
) -> Iterator[list[int]]:
    """Of the words that the cuts of heads go through, the pieces behind the cut."""
    read = tokenizer(texts, truncation=True, max_length=max_tokens)
    for cut, full in zip(read.encodings, whole.encodings, strict=True):
        each = zip(full.ids, full.word_ids, full.sequence_ids, strict=True)
        pieces = [(i, word) for i, word, sequence in each if sequence == 0]
        if tokenizer.truncation_side == "left":
            pieces.reverse()
        length = cut.sequence_ids.count(0)
        yield [i for i, word in pieces[length:] if word == pieces[length - 1][1]]


def token_ids_of(fields: dict[str, Any]) -> dict[str, int]:
    """The fields of a configuration that are ids of tokens."""
    return {name: value for name, value in fields.items() if name.endswith("_token_id") and isinstance(value, int)}


def _table(encoder: PreTrainedModel) -> nn.Embedding:
    table = encoder.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        raise ModelError(f"the {encoder.config.model_type} family has no table with a row for each piece")
    return table
