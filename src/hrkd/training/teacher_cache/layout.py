"""How a row of a teacher's trace lies on the disk, and the memory that rows are read into."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import cast

import numpy as np
import torch
from torch import Tensor

from hrkd.data.batching import Batch
from hrkd.method.losses import score_norms
from hrkd.models.trace import EncoderTrace, QueriesKeys

__all__ = ["DTYPES", "Buffers", "RowLayout", "with_norms"]

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class RowLayout:
    """What is kept of a row of n tokens.

    K states (n, H), then queries and keys of L layers, (N, n, dh) each; and in full precision C logits, L
    :func:`hrkd.method.losses.score_norms` and, where ``domains`` is not 0, the logits of all D heads.
    """

    states: int
    width: int
    layers: int
    heads: int
    head_width: int
    classes: int
    domains: int = 0

    @classmethod
    def of(cls, trace: EncoderTrace) -> RowLayout:
        """That of the rows of a trace."""
        states, factors = trace.hidden_states, _factors(trace)
        _, heads, _, head_width = factors[0].queries.shape if factors else (0, 0, 0, 0)
        width = states[0].shape[-1] if states else 0
        domains = 0 if trace.head_logits is None else trace.head_logits.shape[1]
        return cls(len(states), width, len(factors), heads, head_width, trace.logits.shape[1], domains)

    @property
    def numbers(self) -> int:
        """Numbers of one token."""
        return self.states * self.width + self.layers * 2 * self.heads * self.head_width

    @property
    def few(self) -> int:
        """Numbers of a row in full precision."""
        return self.classes + self.layers + self.domains * self.classes

    def pack_few(self, trace: EncoderTrace) -> Tensor:
        """Those of all rows of a trace, (B, few)."""
        heads = () if trace.head_logits is None else (trace.head_logits.float().flatten(start_dim=1),)
        return torch.cat([trace.logits.float(), *(norms[:, None] for norms in trace.score_norms), *heads], dim=1)

    def unpack_few(self, numbers: Tensor, row: int | Tensor, into: EncoderTrace) -> None:
        """The inverse of :meth:`pack_few` for one row (few,), or several (rows, few)."""
        sizes = [self.classes, *(1 for _ in range(self.layers)), self.domains * self.classes]
        logits, *norms, heads = torch.split(numbers, sizes, dim=-1)
        into.logits[row] = logits
        for target, norm in zip(into.score_norms, norms, strict=True):
            target[row] = norm.squeeze(-1)
        if into.head_logits is not None:
            into.head_logits[row] = heads.reshape(*heads.shape[:-1], self.domains, self.classes)

    def pack(self, trace: EncoderTrace, row: int, valid_T: Tensor) -> Tensor:
        """One row of a trace, its ``valid_T`` (T,) tokens, as (n x numbers,)."""
        parts = [each[row][..., valid_T, :].flatten() for each in _by_token(trace)]
        return torch.cat(parts) if parts else torch.empty(0)

    def unpack(self, numbers: Tensor, row: int, valid_T: Tensor, into: EncoderTrace) -> None:
        """The inverse of :meth:`pack`: writes the valid tokens of a row into a trace, and zeros at its padding."""
        tokens = int(valid_T.sum())
        first = bool(valid_T[:tokens].all())  # padding at the end, as nearly all tokenizers put it: a slice, no gather
        targets = [each[row] for each in _by_token(into)]
        sizes = [target.numel() // len(valid_T) * tokens for target in targets]
        for target, part in zip(targets, torch.split(numbers, sizes), strict=True):
            target[..., tokens if first else 0 :, :] = 0
            valid = slice(0, tokens) if first else valid_T
            target[..., valid, :] = part.view(*target.shape[:-2], tokens, target.shape[-1])

    def empty(self, rows: int, tokens: int, dtype: torch.dtype, buffers: Buffers) -> EncoderTrace:
        """A trace of a batch, to be filled: ``dtype``, but for logits and norms."""

        def empty(*shape: int) -> Tensor:
            return buffers.empty(shape, dtype)

        factors = (rows, self.heads, tokens, self.head_width)
        return EncoderTrace(
            torch.empty(rows, self.classes),
            tuple(empty(rows, tokens, self.width) for _ in range(self.states)),
            tuple(QueriesKeys(empty(*factors), empty(*factors)) for _ in range(self.layers)),
            tuple(torch.empty(rows) for _ in range(self.layers)),
            torch.empty(rows, self.domains, self.classes) if self.domains else None,
        )


class Buffers:
    """Memory for tensors that is used again once no tensor lies in it; fresh memory costs more than to fill it."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor on the processor whose content is undefined."""
        needed = int(np.prod(shape)) * dtype.itemsize
        # A tensor made of an array holds a reference to it, and so does every view of that tensor: an array with no
        # more references than an unused one has is free, whoever held its tensors and for however long.
        free = [n for n in range(len(self._arrays)) if self._references(n) == self._references_of_a_free_one]
        place = next((n for n in free if self._arrays[n].size >= needed), None)
        if place is None:  # none is large enough: a larger one takes a free one's place, so that their number stays
            place = free[0] if free else len(self._arrays)
            self._arrays[place : place + 1] = [np.empty(needed, dtype=np.uint8)]
        return torch.from_numpy(self._arrays[place])[:needed].view(dtype).view(tuple(shape))

    def _references(self, place: int) -> int:
        """Of an array; each tensor that lies in it is one."""
        return sys.getrefcount(self._arrays[place])

    @cached_property
    def _references_of_a_free_one(self) -> int:
        probe = Buffers()
        probe._arrays = [np.empty(1, dtype=np.uint8)]
        return probe._references(0)


def with_norms(trace: EncoderTrace, batch: Batch) -> EncoderTrace:
    """A trace of queries and keys with their score norms."""
    return replace(trace, score_norms=tuple(score_norms(factors, batch.mask) for factors in _factors(trace)))


def _by_token(trace: EncoderTrace) -> tuple[Tensor, ...]:
    """The tensors of a trace that hold numbers of every token, (B, ..., T, numbers)."""
    return (*trace.hidden_states, *chain(*_factors(trace)))


def _factors(trace: EncoderTrace) -> tuple[QueriesKeys, ...]:
    """The attention of a trace that holds queries and keys."""
    return cast(tuple[QueriesKeys, ...], trace.attention)
