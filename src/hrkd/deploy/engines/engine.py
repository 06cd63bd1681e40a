"""What a predictor asks of what computes. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from hrkd.data.cutting import Ints
from hrkd.models.open_model import ModelFacts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Columns", "Engine", "Floats", "padded", "paddings"]

MASK = "attention_mask"
Floats = npt.NDArray[np.float32]
Columns = Mapping[str, Sequence[Sequence[int]]]
"""What a tokenizer gives by name (``input_ids`` ...), a list for each row."""


class Engine(Protocol):
    """A model with its tokenizer."""

    @property
    def facts(self) -> ModelFacts:
        """What the model says of itself."""

    @property
    def batch_tokens(self) -> int | None:
        """Tokens, padding included, from which a forward pass of more texts is no quicker for each; None: never."""

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[Columns, Ints]:
        """Token ids of texts, and the number of the text that each row is of; see :func:`hrkd.data.reading.encode`."""

    def logits(self, rows: Columns, domain_ids: Ints) -> tuple[Floats, Floats | None]:
        """Logits (B, C) of rows, the longest first, whose domains are ``domain_ids`` (B,).

        Where some of these are to be found, also the shares (B, D) of the domains in each row.
        """

    def digest(self) -> str:
        """A hash of all that decides the numbers."""


def paddings(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """What stands behind shorter rows, by column."""
    return {"input_ids": int(tokenizer.pad_token_id), "token_type_ids": int(tokenizer.pad_token_type_id)}


def padded(rows: Columns, padding: Mapping[str, int], *, multiple: int = 1) -> dict[str, Ints]:
    """Rows, the longest first, as arrays (B, T), with ``padding`` by name (else 0) behind shorter ones.

    ``multiple``: T is the next multiple of it. What says which tokens are valid is made where it is not given.
    """
    first = next(iter(rows.values()))
    lengths = np.fromiter(map(len, first), np.int64, len(first))
    tokens = np.arange(-(-int(lengths[0]) // multiple) * multiple) < lengths[:, None]
    found = {}
    for name, values in rows.items():
        found[name] = np.full(tokens.shape, padding.get(name, 0), dtype=np.int64)
        found[name][tokens] = np.fromiter(chain.from_iterable(values), np.int64, int(lengths.sum()))
    if MASK not in found:
        found[MASK] = tokens.astype(np.int64)
    return found
