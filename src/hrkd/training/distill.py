"""The distillation step: student, fit layers and domain ratios against what the teacher says of a batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from hrkd.data.batching import Batch
from hrkd.method.fit_layers import FitLayers
from hrkd.method.loss_units import score_variances, state_variances
from hrkd.method.losses import (
    Factors,
    Reductions,
    attention_losses,
    hidden_losses,
    label_losses,
    prediction_losses,
    score_product_losses,
)
from hrkd.method.meta_kd import DomainHead, token_means, transfer_losses
from hrkd.method.objective import entropy, objective
from hrkd.method.prototypes import prototypes
from hrkd.method.ratios import DomainRatios, Ratios
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.trace import AttentionKind, EncoderTrace, QueriesKeys
from hrkd.training.hypergradient import ratio_gradients
from hrkd.training.live_teacher import ReadsAhead, TeacherSource
from hrkd.training.loop import StepOutput, Trainable
from hrkd.training.record import StepTables

__all__ = ["Distillation", "Learning", "LossTables"]

Learning = Literal["fixed", "joint", "meta"]
"""How the ratios' parameters are learnt."""


@dataclass(frozen=True)
class LossTables:
    """Unweighted losses of a batch, and the prototypes that the ratios are made from.

    ``hidden`` (K, D), ``attention`` (L, D), ``prediction`` (D,), ``prototypes`` (K, D, H), which have a gradient only
    with ``ratio_gradient``; ``transfer`` (D,), which counts in the last level, its weight included, if there is any.
    """

    hidden: Tensor
    attention: Tensor
    prediction: Tensor
    prototypes: Tensor
    transfer: Tensor | None = None

    @property
    def levels(self) -> Tensor:
        """L[k, d] = hidden + attention (level 0: hidden only) + transfer (last level only), shape (K, D)."""
        rows = [self.hidden[:1], self.hidden[1:] + self.attention]
        if self.transfer is not None:
            rows[-1] = torch.cat([rows[-1][:-1], rows[-1][-1:] + self.transfer])
        return torch.cat(rows)


class Distillation(Trainable):
    """Owns every trained tensor of a distillation: student, fit layers, domain ratios.

    Args:
        student: the model that is kept; gives attention of the kind the teacher gives.
        fit: maps from student to teacher width.
        ratios: hierarchy and graph.
        teacher: what the teacher says of a batch.
        attention: what the models give for the attention losses; "none": no such losses.
        reductions, hidden_weight, prediction_weight, temperature: see :mod:`hrkd.method`.
        label_weight: of the cross-entropy with the labels, which is part of the prediction loss
            (:func:`hrkd.method.losses.label_losses`).
        relative: divide the losses of each level by the variance of what the teacher says there
            (:mod:`hrkd.method.loss_units`), as measured on the first batch of the training.
        ratio_gradient: let gradients reach the student through the ratios as well.
        prototype_momentum: weight of earlier steps in the prototypes that the ratios are made of: an exponential moving
            average, bias-corrected as Adam's. 0: those of the step alone.
        row_weights: factors of all losses of an example, one for each row of the training set, (N,).
        transfer: a meta-teacher's head, whose features of the teacher's last state the student is to have too; only for
            a layer map that ends with the teacher's last layer. A copy is made.
        transfer_weight: of the losses of these features.
        learning: how hierarchy and graph are learnt. "fixed": not at all. "joint": they descend on the objective, which
            moves weight to whatever is easiest. "meta": they descend on what a student's step does to other texts
            (:func:`hrkd.training.hypergradient.ratio_gradients`).
        ratio_learning_rate: of hierarchy and graph, at its peak.
        entropy_weight: of the ratios' entropy, which joint and meta learning maximise besides.
        meta_interval: updates from one such gradient to the next; the first update of an epoch has none, as no batch
            came before it.

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
        label_weight: float = 0.0,
        relative: bool = False,
        ratio_gradient: bool = False,
        prototype_momentum: float = 0.0,
        row_weights: Tensor | None = None,
        transfer: DomainHead | None = None,
        transfer_weight: float = 1.0,
        learning: Learning = "fixed",
        ratio_learning_rate: float = 5e-3,
        entropy_weight: float = 1.0,
        meta_interval: int = 10,
    ) -> None:
        super().__init__()
        self.units: Tensor
        self.waited: Tensor
        self.moving: Tensor
        self.moved: Tensor
        self.student = student
        self.fit = fit.requires_grad_(hidden_weight > 0)
        self.ratios = ratios.requires_grad_(learning == "joint")
        self.teacher = teacher
        self.attention = attention
        self.reductions = reductions
        self.hidden_weight = hidden_weight
        self.prediction_weight = prediction_weight
        self.temperature = temperature
        self.label_weight = label_weight
        self.relative = relative
        # In the checkpoint, so that a resumed training goes on in the same units; zeros until they are measured.
        self.register_buffer("units", torch.zeros(2, len(fit.weight)))
        self._has_units = False
        self.register_buffer("waited", torch.zeros((), dtype=torch.long))  # updates since the last meta gradient
        self.ratio_gradient = ratio_gradient
        self.prototype_momentum = prototype_momentum
        levels, width, _ = fit.weight.shape
        self.register_buffer("moving", torch.zeros(levels, len(student.domains), width))
        self.register_buffer("moved", torch.zeros(()))  # steps in the moving average
        self.row_weights = row_weights
        self.transfer = None if transfer is None else copy.deepcopy(transfer).requires_grad_(False)
        self.transfer_weight = transfer_weight
        self.learning = learning
        self.ratio_learning_rate = ratio_learning_rate
        self.entropy_weight = entropy_weight
        self.meta_interval = meta_interval
        self.begin_epoch()

    def selected(self) -> nn.Module:
        """The student; fit layers and graph serve training only."""
        return self.student

    def prepare(self, batch: Batch) -> None:
        """Have what the teacher says of the batch brought from the disk, if it is there."""
        if isinstance(self.teacher, ReadsAhead):
            self.teacher.read_ahead(batch)

    def own_groups(self) -> list[dict[str, Any]]:
        """Hierarchy and graph, where they are learnt."""
        if self.learning == "fixed":
            return []
        return [{"params": list(self.ratios.parameters()), "lr": self.ratio_learning_rate, "weight_decay": 0.0}]

    def begin_epoch(self) -> None:
        """Forget the batches of before."""
        self._support: Batch | None = None
        self._query: Batch | None = None
        self._query_logits = torch.empty(0)  # what the teacher says of the query

    def before_update(self, optimizer: torch.optim.Optimizer) -> None:
        """Every few updates, the gradient of meta learning: from a batch before (support) to the last one (query)."""
        if self.learning != "meta":
            return
        self.waited += 1
        if self.waited >= self.meta_interval and self._support is not None and self._query is not None:
            gradients = ratio_gradients(self, self._support, self._query, optimizer)
            for name, parameter in self.ratios.named_parameters():
                parameter.grad = gradients[name]
            self.waited.zero_()
        self._support = self._query

    def forward(self, batch: Batch) -> StepOutput:
        """The objective of one batch."""
        said = self.teacher(batch)
        if self.learning == "meta" and self.training:
            self._query, self._query_logits = batch, said.logits
        tables = self.losses(batch, said)
        with _no_autocast(tables.hidden):
            ratios: Ratios = self.ratios(self._move(tables.prototypes) if self.training else tables.prototypes)
            loss = objective(
                ratios.domains,
                tables.levels,
                tables.prediction,
                hidden_weight=self.hidden_weight,
                prediction_weight=self.prediction_weight,
            )
            if self.learning == "joint":
                loss = loss - self.entropy_weight * entropy(ratios.domains)
        logged = StepTables(
            hidden=tables.hidden.detach(),
            attention=tables.attention.detach(),
            prediction=tables.prediction.detach(),
            ratios=ratios.domains.detach(),
            hierarchical=ratios.hierarchical.detach(),
            transfer=None if tables.transfer is None else tables.transfer.detach(),
            relations=ratios.relations,
        )
        return StepOutput(loss, logged)

    def steady(self, prototypes_KDH: Tensor) -> Tensor:
        """What ratios are made of after a step: the moving average, or with a momentum of 0 the prototypes given."""
        if not self.prototype_momentum:
            return prototypes_KDH
        return self.moving / (1 - self.prototype_momentum**self.moved)

    def _move(self, prototypes_KDH: Tensor) -> Tensor:
        """The moving average with the prototypes of one more step in it."""
        if not self.prototype_momentum:
            return prototypes_KDH
        moving_KDH = torch.lerp(prototypes_KDH, self.moving, self.prototype_momentum)
        self.moving.copy_(moving_KDH.detach())
        self.moved += 1
        return moving_KDH / (1 - self.prototype_momentum**self.moved)

    def prediction_losses(self, batch: Batch) -> Tensor:
        """The prediction loss of each domain alone, (D,); no level is looked at."""
        student = self.student(**batch.inputs, domain_ids=batch.domain_ids)
        said = self.teacher(batch).logits if batch is not self._query else self._query_logits
        with _no_autocast(student.logits):
            return self._prediction(student.logits.float(), said, batch)

    def losses(self, batch: Batch, teacher: EncoderTrace) -> LossTables:
        """The loss tables of one batch, given the teacher's trace of the mapped levels."""
        student = self.student(
            **batch.inputs,
            domain_ids=batch.domain_ids,
            hidden_states=self.hidden_weight > 0,
            attention=self.attention != "none",
        )
        with _no_autocast(student.logits):
            return self._compare(student.map(Tensor.float), teacher, batch)

    def _compare(self, student: EncoderTrace, teacher: EncoderTrace, batch: Batch) -> LossTables:
        domains = len(self.student.domains)
        mask, domain_ids = batch.mask, batch.domain_ids
        prediction = self._prediction(student.logits, teacher.logits, batch)
        if not self.hidden_weight:
            return self._without_levels(prediction)
        fitted, common, weights = (
            self.fit.each(student.hidden_states),
            (mask, domain_ids, domains),
            self._weights(batch),
        )
        hidden = hidden_losses(fitted, teacher.hidden_states, *common, reductions=self.reductions, row_weights=weights)
        if self.attention == "none":
            attention = torch.zeros_like(hidden[1:])
        elif self.attention == "queries_keys":
            ours, theirs = (cast(Sequence[Factors], trace.attention) for trace in (student, teacher))
            attention = score_product_losses(
                ours, theirs, *common, teacher_norms=teacher.score_norms, row_weights=weights
            )
        else:
            own, said = (cast(Sequence[Tensor], trace.attention) for trace in (student, teacher))
            attention = attention_losses(own, said, *common, reductions=self.reductions, row_weights=weights)
        if self.relative:
            units = self._units(student, teacher, mask)
            hidden, attention = hidden / units[0, :, None], attention / units[1, 1:, None]
        counted = mask if self.reductions == "masked" else torch.ones_like(mask)
        with torch.set_grad_enabled(self.ratio_gradient and torch.is_grad_enabled()):
            means_KDS = prototypes(student.hidden_states, counted, domain_ids, domains)
            means_KDH = torch.stack(self.fit(means_KDS.unbind()))
        transfer = self._transfer(student, teacher, batch, weights)
        return LossTables(hidden, attention, prediction, means_KDH, transfer)

    def _weights(self, batch: Batch) -> Tensor | None:
        """Factors of the rows of a batch, (B,)."""
        if self.row_weights is None:
            return None
        return self.row_weights[batch.indices.cpu()].to(batch.indices.device)

    def _transfer(
        self, student: EncoderTrace, teacher: EncoderTrace, batch: Batch, weights: Tensor | None
    ) -> Tensor | None:
        """Losses of the features that carry over, (D,)."""
        if self.transfer is None:
            return None
        fitted_BH = torch.nn.functional.linear(
            token_means(student.hidden_states[-1], batch.mask), self.fit.weight[-1], self.fit.bias[-1]
        )
        means = fitted_BH, token_means(teacher.hidden_states[-1].float(), batch.mask)
        ours_BH, theirs_BH = (self.transfer.features(each, batch.domain_ids) for each in means)
        domains = len(self.student.domains)
        return self.transfer_weight * transfer_losses(
            ours_BH, theirs_BH, batch.domain_ids, domains, row_weights=weights
        )

    def _prediction(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """With the teacher's classes and, where they have a weight, with the labels, (D,)."""
        common, weights = (batch.domain_ids, len(self.student.domains)), self._weights(batch)
        loss_D = prediction_losses(
            student,
            teacher,
            *common,
            temperature=self.temperature,
            reductions=self.reductions,
            row_weights=weights,
        )
        if self.label_weight:
            loss_D = loss_D + self.label_weight * label_losses(student, batch.labels, *common, row_weights=weights)
        return loss_D

    def _units(self, student: EncoderTrace, teacher: EncoderTrace, mask_BT: Tensor) -> Tensor:
        """Variances of the teacher's states (row 0) and scores (row 1, from level 1) at each level, (2, K)."""
        if not self._has_units and not self.units.any():  # a look at the buffer makes a GPU wait
            self.units[0] = state_variances(teacher.hidden_states, mask_BT)
            self.units[1] = 1.0
            if self.attention != "none":
                heads = [(each[0] if isinstance(each, QueriesKeys) else each).shape[1] for each in student.attention]
                self.units[1, 1:] = score_variances(teacher.attention, mask_BT, heads)
        self._has_units = True
        return self.units

    def _without_levels(self, prediction_D: Tensor) -> LossTables:
        """Where levels have no weight they are not looked at: their losses are not a number."""
        levels, width, _ = self.fit.weight.shape
        hidden_KD = prediction_D.new_full((levels, len(prediction_D)), torch.nan)
        return LossTables(
            hidden_KD, hidden_KD[1:], prediction_D, prediction_D.new_zeros(levels, len(prediction_D), width)
        )


def _no_autocast(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)
