"""What a predictor asks of what computes. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hrkd.data.cutting import Ints
from hrkd.models.open_model import ModelFacts

__all__ = ["Columns", "Engine", "padded"]

Columns = Mapping[str, Sequence[Sequence[int]]]
"""What a tokenizer gives by name (``input_ids`` ...), a list for each row."""


class Engine(Protocol):
    """A model with its tokenizer."""

    @property
    def facts(self) -> ModelFacts:
        """What the model says of itself."""

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[Columns, Ints]:
        """Token ids of texts, and the number of the text that each row is of; see :func:`hrkd.data.reading.encode`."""

    def logits(self, rows: Columns, domain_ids: Ints) -> npt.NDArray[np.float32]:
        """Logits (B, C) of rows, the longest first, whose domains are ``domain_ids`` (B,)."""

    def digest(self) -> str:
        """A hash of all that decides the numbers."""


def padded(rows: Columns, padding: Mapping[str, int], *, multiple: int = 1) -> dict[str, Ints]:
    """Rows, the longest first, as arrays (B, T), with ``padding`` by name (else 0) behind shorter ones.

    ``multiple``: T is the next multiple of it.
    """
    found = {}
    for name, values in rows.items():
        length = -(-len(values[0]) // multiple) * multiple
        array = np.full((len(values), length), padding.get(name, 0), dtype=np.int64)
        for row, numbers in zip(array, values, strict=True):
            row[: len(numbers)] = numbers
        found[name] = array
    return found
