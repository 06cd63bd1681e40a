"""The distillation step: student, fit layers and domain ratios against what the teacher says of a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from hrkd.data.batching import Batch
from hrkd.method.fit import FitLayers
from hrkd.method.losses import (
    Factors,
    Reductions,
    attention_losses,
    hidden_losses,
    prediction_losses,
    score_product_losses,
)
from hrkd.method.objective import objective
from hrkd.method.prototypes import prototypes
from hrkd.method.ratios import DomainRatios, Ratios
from hrkd.models.kernels import cpu_kernels
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.teachers import RoutedTeacher, cut_off, encoders_of
from hrkd.models.trace import AttentionKind, EncoderTrace, set_attention
from hrkd.training.loop import StepOutput, Trainable
from hrkd.training.record import StepTables

__all__ = ["Distillation", "LossTables", "ReadsAhead", "TeacherReader", "TeacherSource"]

TeacherSource = Callable[[Batch], EncoderTrace]
"""Gives the teacher's logits, and its hidden states and attention of the mapped levels only, for a batch."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A teacher source that gains from hearing of a batch early."""

    def read_ahead(self, batch: Batch) -> None:
        """This batch comes next."""


class TeacherReader:
    """A teacher in memory, run anew for every batch, without gradients.

    What no level of the map reads is not kept: other layers' hidden states and attention.

    Args:
        teacher: frozen and put into evaluation mode here, and made to give ``attention``.
        layer_map: teacher level of each student level, length K, first 0.
        attention: what is read of it; "none": nothing.
    """

    def __init__(
        self, teacher: MultiDomainClassifier | RoutedTeacher, layer_map: Sequence[int], *, attention: AttentionKind
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.layer_map = tuple(layer_map)
        self.attention = attention
        self._layers = sorted({level - 1 for level in self.layer_map[1:]})
        for encoder in encoders_of(teacher):
            set_attention(encoder, attention, layers=self._layers)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> EncoderTrace:
        """The teacher's trace of the mapped levels."""
        with cpu_kernels(batch.labels.device):
            trace = self.teacher(
                **batch.inputs,
                domain_ids=batch.domain_ids,
                hidden_states=self.layer_map,
                attention=self.attention != "none",
            )
        # A family without the attention interface gives all layers.
        order = self._layers if len(trace.attention) == len(self._layers) else list(range(len(trace.attention)))
        scores = tuple(trace.attention[order.index(level - 1)] for level in self.layer_map[1:]) if order else ()
        return EncoderTrace(trace.logits, trace.hidden_states, scores)

    def without_logits(self, probe: Batch) -> TeacherReader | None:
        """A reader of the same that ends with the last mapped layer, and whose logits mean nothing.

        None if that would save nothing, or if the family's layers are not a plain sequence: then what the shortened
        teacher says of the ``probe`` is not what the whole one says.
        """
        last, depths = max(self.layer_map), [encoder.config.num_hidden_layers for encoder in encoders_of(self.teacher)]
        if any(last >= depth for depth in depths):
            return None
        expected = self(probe)
        short = copy.copy(self)
        short.teacher = cut_off(self.teacher, last)
        found = short(probe)
        pairs = zip(found.tensors[1:], expected.tensors[1:], strict=True)  # all but the logits
        return short if all(torch.allclose(one, other, atol=1e-5) for one, other in pairs) else None


@dataclass(frozen=True)
class LossTables:
    """Unweighted losses of a batch, and the prototypes that the ratios are made from.

    ``hidden`` (K, D), ``attention`` (L, D), ``prediction`` (D,), ``prototypes`` (K, D, H), which have a gradient only
    with ``ratio_gradient``.
    """

    hidden: Tensor
    attention: Tensor
    prediction: Tensor
    prototypes: Tensor

    @property
    def levels(self) -> Tensor:
        """L[k, d] = hidden + attention (level 0: hidden only), shape (K, D)."""
        return torch.cat([self.hidden[:1], self.hidden[1:] + self.attention])


class Distillation(Trainable):
    """Owns every trained tensor of a distillation: student, fit layers, domain ratios.

    Args:
        student: the model that is kept; gives attention of the kind the teacher gives.
        fit: maps from student to teacher width.
        ratios: hierarchy and graph.
        teacher: what the teacher says of a batch.
        attention: what the models give for the attention losses; "none": no such losses.
        reductions, hidden_weight, prediction_weight, temperature: see :mod:`hrkd.method`.
        ratio_gradient: let gradients reach the student through the ratios as well.
        learn_ratios: train hierarchy and graph with the objective; otherwise they are frozen here (learning: fixed).

    The student runs in the precision of the training, and so does a teacher that is asked in every step; a cache is
    filled in single precision. All that follows is in single precision.
    """

    def __init__(
        self,
        student: MultiDomainClassifier,
        fit: FitLayers,
        ratios: DomainRatios,
        teacher: TeacherSource,
        *,
        attention: AttentionKind = "scores",
        reductions: Reductions = "masked",
        hidden_weight: float = 1.0,
        prediction_weight: float = 1.0,
        temperature: float = 1.0,
        ratio_gradient: bool = False,
        learn_ratios: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.fit = fit
        self.ratios = ratios.requires_grad_(learn_ratios)
        self.teacher = teacher
        self.attention = attention
        self.reductions = reductions
        self.hidden_weight = hidden_weight
        self.prediction_weight = prediction_weight
        self.temperature = temperature
        self.ratio_gradient = ratio_gradient

    def selected(self) -> nn.Module:
        """The student; fit layers and graph serve training only."""
        return self.student

    def prepare(self, batch: Batch) -> None:
        """Have what the teacher says of the batch brought from the disk, if it is there."""
        if isinstance(self.teacher, ReadsAhead):
            self.teacher.read_ahead(batch)

    def forward(self, batch: Batch) -> StepOutput:
        """The objective of one batch."""
        tables = self.losses(batch, self.teacher(batch))
        with _no_autocast(tables.hidden):
            ratios: Ratios = self.ratios(tables.prototypes)
            loss = objective(
                ratios.domains,
                tables.levels,
                tables.prediction,
                hidden_weight=self.hidden_weight,
                prediction_weight=self.prediction_weight,
            )
        logged = (tables.hidden, tables.attention, tables.prediction, ratios.domains, ratios.hierarchical)
        return StepOutput(loss, StepTables(*(table.detach() for table in logged)))

    def losses(self, batch: Batch, teacher: EncoderTrace) -> LossTables:
        """The loss tables of one batch, given the teacher's trace of the mapped levels."""
        student = self.student(
            **batch.inputs, domain_ids=batch.domain_ids, hidden_states=True, attention=self.attention != "none"
        )
        with _no_autocast(student.logits):
            return self._compare(student.map(Tensor.float), teacher, batch)

    def _compare(self, student: EncoderTrace, teacher: EncoderTrace, batch: Batch) -> LossTables:
        domains = len(self.student.domains)
        mask, domain_ids = batch.mask, batch.domain_ids
        fitted = self.fit.each(student.hidden_states)
        hidden = hidden_losses(fitted, teacher.hidden_states, mask, domain_ids, domains, reductions=self.reductions)
        common = (mask, domain_ids, domains)
        if self.attention == "none":
            attention = torch.zeros_like(hidden[1:])
        elif self.attention == "queries_keys":
            ours, theirs = (cast(Sequence[Factors], trace.attention) for trace in (student, teacher))
            attention = score_product_losses(ours, theirs, *common, teacher_norms=teacher.score_norms)
        else:
            own, said = (cast(Sequence[Tensor], trace.attention) for trace in (student, teacher))
            attention = attention_losses(own, said, *common, reductions=self.reductions)
        prediction = prediction_losses(
            student.logits,
            teacher.logits,
            domain_ids,
            domains,
            temperature=self.temperature,
            reductions=self.reductions,
        )
        counted = mask if self.reductions == "masked" else torch.ones_like(mask)
        with torch.set_grad_enabled(self.ratio_gradient and torch.is_grad_enabled()):
            means_KDS = prototypes(student.hidden_states, counted, domain_ids, domains)
            means_KDH = torch.stack(self.fit(means_KDS.unbind()))
        return LossTables(hidden, attention, prediction, means_KDH)


def _no_autocast(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)
