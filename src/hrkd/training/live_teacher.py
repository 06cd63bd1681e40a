"""A teacher in memory, asked anew for every batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Literal, Protocol, runtime_checkable

import torch

from hrkd.data.batching import Batch
from hrkd.models.cpu_kernels import cpu_kernels
from hrkd.models.domain_teachers import AnyTeacher, cut_off, encoders_of
from hrkd.models.trace import AttentionKind, EncoderTrace, set_attention

__all__ = ["Compute", "LiveTeacher", "ReadsAhead", "TeacherSource"]

Compute = Literal["fp32", "bf16"]
"""How a teacher computes: in 32-bit, or by products in bf16."""

TeacherSource = Callable[[Batch], EncoderTrace]
"""Gives the teacher's logits, and its hidden states and attention of the mapped levels only, for a batch."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A teacher source that gains from hearing of a batch early."""

    def read_ahead(self, batch: Batch) -> None:
        """This batch comes next."""


class LiveTeacher:
    """A teacher in memory, run anew for every batch, without gradients.

    What no level of the map reads is not kept: other layers' hidden states and attention.

    Args:
        teacher: frozen and put into evaluation mode here, and made to give ``attention``.
        layer_map: teacher level of each student level, length K, first 0.
        attention: what is read of it; "none": nothing.
        every_head: whether the heads of all domains are asked about each row.
    """

    def __init__(
        self, teacher: AnyTeacher, layer_map: Sequence[int], *, attention: AttentionKind, every_head: bool = False
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.layer_map = tuple(layer_map)
        self.attention = attention
        self.every_head = every_head
        self._compute: Compute | None = None
        self._layers = sorted({level - 1 for level in self.layer_map[1:]})
        for encoder in encoders_of(teacher):
            set_attention(encoder, attention, layers=self._layers)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> EncoderTrace:
        """The teacher's trace of the mapped levels."""
        device = batch.labels.device
        precision = (
            torch.autocast(device.type, torch.bfloat16, enabled=self._compute == "bf16")
            if self._compute is not None
            else nullcontext()
        )
        with cpu_kernels(device), precision:
            trace = self.teacher(
                **batch.inputs,
                domain_ids=batch.domain_ids,
                hidden_states=self.layer_map,
                attention=self.attention != "none",
                **({"every_head": True} if self.every_head else {}),
            )
        # A family without the attention interface gives all layers.
        order = self._layers if len(trace.attention) == len(self._layers) else list(range(len(trace.attention)))
        scores = tuple(trace.attention[order.index(level - 1)] for level in self.layer_map[1:]) if order else ()
        return EncoderTrace(trace.logits, trace.hidden_states, scores, head_logits=trace.head_logits)

    def computing(self, compute: Compute) -> LiveTeacher:
        """A reader of the same that computes so, whatever the precision of the training around it."""
        reader = copy.copy(self)
        reader._compute = compute
        return reader

    def without_logits(self, probe: Batch) -> LiveTeacher | None:
        """A reader of the same that ends with the last mapped layer, and whose logits mean nothing.

        None if that would save nothing, or if the family's layers are not a plain sequence: then what the shortened
        teacher says of the ``probe`` is not what the whole one says.
        """
        last = max(self.layer_map, default=0)
        if any(last >= encoder.config.num_hidden_layers for encoder in encoders_of(self.teacher)):
            return None
        expected = self(probe)
        short = copy.copy(self)
        short.teacher, short.every_head = cut_off(self.teacher, last), False
        found = short(probe)
        expected = replace(expected, head_logits=None)
        pairs = zip(found.tensors[1:], expected.tensors[1:], strict=True)  # all but the logits
        return short if all(torch.allclose(one, other, atol=1e-5) for one, other in pairs) else None
