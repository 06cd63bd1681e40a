"""More text for distillation: copies of the training texts in which some words are replaced (Jiao et al. 2020, 3.3).

A word that is one piece is replaced by one that a masked-language model finds likely in its place, where the encoder
that the teacher comes from has such a head, else by a neighbour in the teacher's table of embeddings. The copies have
no labels: what they mean is what the teacher says of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel, PreTrainedTokenizerBase

from hrkd.data.arrow_files import as_dataset, kept_table, write_arrow
from hrkd.data.batching import TokenizedDataset
from hrkd.data.columns import CHUNK
from hrkd.data.splits.draws import stable_rng
from hrkd.models.digests import bytes_of
from hrkd.models.folder import look_into
from hrkd.models.plain import without_bars
from hrkd.models.probe import opening

__all__ = ["Candidates", "MaskedWords", "Neighbours", "augmented", "masked_language_model", "whole_words"]

logger = logging.getLogger("hrkd")

SHARE = 0.4
CANDIDATES = 15
"""Share of the words that are replaced, and words to choose from, as in TinyBERT."""
MARKS = ("\u2581", "\u0120")
"""Before the first piece of a word, in SentencePiece and byte-level vocabularies."""

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Candidates(Protocol):
    """What may stand in the place of words; ``mark`` is a hash of all that decides it."""

    mark: str

    def __call__(self, rows: Sequence[Sequence[int]], places: Sequence[Ints]) -> list[Ints]:
        """Ids for each chosen place of each row of token ids, (places, n) with n of at most :data:`CANDIDATES`."""


def whole_words(tokenizer: PreTrainedTokenizerBase) -> tuple[Bools, Bools]:
    """Which pieces begin a word of letters, and which go on with one, (V,) each."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_ids)
    counts = {mark: sum(token.startswith(mark) for token in tokens) for mark in MARKS}
    mark = max(counts, key=counts.__getitem__)
    if counts[mark] > len(tokens) // 20:
        begins = [token.startswith(mark) and token[1:].isalpha() for token in tokens]
        goes_on = [not token.startswith(mark) and token[:1].isalnum() for token in tokens]
    else:
        begins = [token.isalpha() for token in tokens]
        goes_on = [token.startswith("##") for token in tokens]
    usual = np.array([number not in special for number in range(len(tokens))])
    return np.array(begins) & usual, np.array(goes_on) & usual


class Neighbours:
    """The nearest words of a word in a table of embeddings, by cosine.

    Args:
        embeddings: (V, H).
        words: ids of words, (V,) of bool.
    """

    def __init__(self, embeddings: Tensor, words: Bools) -> None:
        vectors = torch.nn.functional.normalize(embeddings.detach().float().cpu(), dim=1)[: len(words)]
        self.ids = np.flatnonzero(words)
        self._vectors = vectors[torch.from_numpy(self.ids)]
        self._place = np.full(len(words), -1)
        self._place[self.ids] = np.arange(len(self.ids))
        self._known: dict[int, Ints] = {}
        self.mark = _hash(vectors, torch.from_numpy(words))

    def __call__(self, rows: Sequence[Sequence[int]], places: Sequence[Ints]) -> list[Ints]:
        """As :class:`Candidates` says."""
        asked = [np.asarray(row)[chosen] for row, chosen in zip(rows, places, strict=True)]
        self._find(np.unique(np.concatenate(asked)) if asked else np.zeros(0, dtype=np.int64))
        return [
            np.stack([self._known[int(word)] for word in words]) if len(words) else np.zeros((0, 1), dtype=np.int64)
            for words in asked
        ]

    def _find(self, words: Ints) -> None:
        new = np.array([word for word in words.tolist() if word not in self._known], dtype=np.int64)
        number = min(CANDIDATES, len(self.ids) - 1)
        for start in range(0, len(new), CHUNK):
            part = new[start : start + CHUNK]
            own = torch.from_numpy(self._place[part])
            likeness = self._vectors[own] @ self._vectors.T
            likeness[torch.arange(len(own)), own] = -torch.inf
            best = likeness.topk(number, dim=1).indices.numpy()
            self._known |= dict(zip(part.tolist(), self.ids[best], strict=True))


class MaskedWords:
    """Words that a masked-language model finds likely, with all chosen places of a row masked at once.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        words: ids of words, (V,) of bool.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, words: Bools) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self._others = torch.from_numpy(~words)
        self.mark = _hash(*(tensor for _, tensor in sorted(model.state_dict().items())), self._others)

    @torch.inference_mode()
    def __call__(self, rows: Sequence[Sequence[int]], places: Sequence[Ints]) -> list[Ints]:
        """As :class:`Candidates` says."""
        found: list[Ints] = [np.zeros((0, 1), dtype=np.int64)] * len(rows)
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            masked = [np.array(rows[i]) for i in chosen]
            for row, i in zip(masked, chosen, strict=True):
                row[places[i]] = self.tokenizer.mask_token_id
            inputs = self.tokenizer.pad({"input_ids": [row.tolist() for row in masked]}, return_tensors="pt")
            logits = self.model(**inputs.to(self.model.device)).logits[..., : len(self._others)].cpu()
            logits[..., self._others[: logits.shape[-1]]] = -torch.inf  # a tokenizer may know more than the model
            for number, i in enumerate(chosen):
                at = torch.from_numpy(places[i])
                if self.tokenizer.padding_side == "left":
                    at = at + logits.shape[1] - len(rows[i])
                found[i] = logits[number, at].topk(CANDIDATES, dim=-1).indices.numpy()
        return found


def masked_language_model(source: str) -> PreTrainedModel | None:
    """The model of an encoder's folder with its masked-language head; None if the folder has no such head.

    Raises:
        ModelError: the folder holds no model that can be opened.
    """
    folder = look_into(source)
    with opening(source, "the masked-language model cannot be loaded", "set student.augment: 0"), without_bars():
        try:
            model, told = AutoModelForMaskedLM.from_pretrained(
                folder.path,
                output_loading_info=True,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        except ValueError as error:  # what transformers says of a family that has no such head
            logger.info("%s: no masked-language head (%s)", source, str(error).partition("\n")[0])
            return None
    return None if told["missing_keys"] else model


def augmented(
    data: TokenizedDataset,
    tokenizer: PreTrainedTokenizerBase,
    candidates: Candidates,
    copies: int,
    *,
    seed: int = 0,
    cache: Path | None = None,
) -> TokenizedDataset:
    """Copies of all rows in which a share of :data:`SHARE` of the words is replaced, without labels.

    The draw depends on ``seed`` and the rows alone. Every row of the result is a text of its own.

    Args:
        candidates: what may stand in the place of a word.
        copies: of each row, at least 1.
        cache: folder that keeps them; None: a temporary file.
    """
    pieces, schema = whole_words(tokenizer), data.rows.data.table.schema

    def write(file: Path) -> dict[str, Any]:
        parts = (
            _replaced(chunk, copy, number, pieces, candidates, seed, schema)
            for copy in range(copies)
            for number, chunk in enumerate(data.rows.iter(CHUNK))
        )
        write_arrow(file, (pa.record_batch(part, schema=schema) for part in parts))
        return {"copies": copies, "of": str(tokenizer.name_or_path)}

    name = f"{_mark(data, copies, seed, candidates.mark)}-augmented"
    table, _ = kept_table(cache, name, write)
    again = np.tile(np.arange(len(data)), copies)
    texts = data.source.select(again).without_labels()
    lengths = np.tile(data.lengths, copies)
    return TokenizedDataset(texts, as_dataset(table), lengths, np.arange(len(again)), data.collator)


def _replaced(
    chunk: dict[str, list[Any]],
    copy: int,
    number: int,
    pieces: tuple[Bools, Bools],
    candidates: Candidates,
    seed: int,
    schema: pa.Schema,
) -> list[pa.Array]:
    """The columns of one copy of a chunk of rows."""
    begins, goes_on = pieces
    generator = stable_rng(seed, "augment", copy, number)
    rows = [np.array(ids) for ids in chunk["input_ids"]]
    places = []
    for row in rows:
        known = row < len(begins)
        alone = begins[np.where(known, row, 0)] & known
        follows = np.append(goes_on[np.where(known, row, 0)][1:] & known[1:], False)
        words = np.flatnonzero(alone & ~follows)
        places.append(words[generator.random(len(words)) < SHARE])
    for row, at, choice in zip(rows, places, candidates(chunk["input_ids"], places), strict=True):
        if len(at):
            row[at] = choice[np.arange(len(at)), generator.integers(choice.shape[1], size=len(at))]
    columns = chunk | {"input_ids": [row.tolist() for row in rows]}
    return [pa.array(columns[field.name], field.type) for field in schema]


def _hash(*tensors: Tensor) -> str:
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(bytes_of(tensor))
    return total.hexdigest()


def _mark(data: TokenizedDataset, copies: int, seed: int, mark: str) -> str:
    total = hashlib.sha256(json.dumps([copies, seed, mark, SHARE, CANDIDATES]).encode())
    for piece in data.content():
        total.update(piece)
    total.update(data.lengths.tobytes())
    return total.hexdigest()[:20]
