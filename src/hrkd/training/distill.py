"""The distillation step: student, fit layers and domain ratios against what the teacher says of a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from hrkd.data.batching import Batch
from hrkd.method.contrasts import related_losses
from hrkd.method.fit_layers import FitLayers
from hrkd.method.loss_units import score_variances, state_variances
from hrkd.method.losses import (
    Factors,
    attention_losses,
    hidden_losses,
    label_losses,
    picked,
    prediction_losses,
    score_product_losses,
    valid_tokens,
)
from hrkd.method.meta_kd import DomainHead, token_means, transfer_losses
from hrkd.method.objective import entropy, objective
from hrkd.method.prototypes import prototypes
from hrkd.method.ratios import DomainRatios, Ratios
from hrkd.method.relation_losses import relation_losses
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.trace import AttentionKind, EncoderTrace, QueriesKeys
from hrkd.recipe.schema import MethodConfig
from hrkd.training.hypergradient import ratio_gradients
from hrkd.training.live_teacher import ReadsAhead, TeacherSource
from hrkd.training.loop import StepOutput, Trainable
from hrkd.training.record import StepTables

__all__ = ["Distillation", "LossTables"]


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
        method: weights of the losses, and how the ratios are learnt: "fixed" not at all; "joint" by descent on the
            objective, which moves weight to whatever is easiest; "meta" by what a student's step does to other texts
            (:func:`hrkd.training.hypergradient.ratio_gradients`), where the first update of an epoch has no such
            gradient, as no batch came before it. Which graph and hierarchy it names is not looked at: these are
            ``ratios``.
        prototype_momentum: weight of earlier steps in the prototypes that the ratios are made of: an exponential moving
            average, bias-corrected as Adam's. 0: those of the step alone; default: the method's.
        attention: what the models give for the attention losses; "none": no such losses.
        row_weights: factors of all losses of an example, one for each row of the training set, (N,).
        transfer: a meta-teacher's head, whose features of the teacher's last state the student is to have too; only for
            a layer map that ends with the teacher's last layer. A copy is made.
        shares: (D, D), how much each head of the student learns from each of the teacher's, where the method has a
            ``related_weight``; the teacher then says what all its heads make of a batch.

    The student runs in the precision of the training, and so does a teacher that is asked in every step; a cache is
    filled in single precision. All that follows is in single precision.
    """

    def __init__(
        self,
        student: MultiDomainClassifier,
        fit: FitLayers,
        ratios: DomainRatios,
        teacher: TeacherSource,
        method: MethodConfig,
        *,
        prototype_momentum: float | None = None,
        attention: AttentionKind = "scores",
        row_weights: Tensor | None = None,
        transfer: DomainHead | None = None,
        shares: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.fit = fit.requires_grad_(method.hidden_weight > 0 and method.level_loss == "states")
        self.ratios = ratios.requires_grad_(method.learning == "joint")
        self.teacher = teacher
        self.method = method
        self.prototype_momentum = method.momentum if prototype_momentum is None else prototype_momentum
        self.attention = attention
        self.row_weights = row_weights
        self.transfer = None if transfer is None else copy.deepcopy(transfer).requires_grad_(False)
        self.shares: Tensor | None
        self.register_buffer("shares", shares, persistent=False)
        levels, width, _ = fit.weight.shape
        # Buffers, so that they are in the checkpoint: a resumed training goes on in the same units, with the same
        # average and the same count. Units are zeros until they are measured.
        self.loss_units: Tensor
        self.steps_since_meta: Tensor
        self.prototype_average: Tensor
        self.prototype_steps: Tensor
        self.register_buffer("loss_units", torch.zeros(2, levels))
        self.register_buffer("steps_since_meta", torch.zeros((), dtype=torch.long))
        self.register_buffer("prototype_average", torch.zeros(levels, len(student.domains), width))
        self.register_buffer("prototype_steps", torch.zeros(()))
        self._has_units = False
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
        if self.method.learning == "fixed":
            return []
        rate = self.method.ratio_learning_rate
        return [{"params": list(self.ratios.parameters()), "lr": rate, "weight_decay": 0.0}]

    def begin_epoch(self) -> None:
        """Forget the batches of before."""
        self._support: Batch | None = None
        self._query: Batch | None = None
        self._query_said: EncoderTrace | None = None  # by the teacher, of the query

    def memory(self) -> dict[str, Tensor]:
        """Which rows the batches were of, and what the teacher said of the last."""
        if self._query is None or self._query_said is None:
            return {}
        kept = {"query": self._query.indices, "query_logits": self._query_said.logits}
        if self._support is not None:
            kept["support"] = self._support.indices
        if self._query_said.head_logits is not None:
            kept["query_head_logits"] = self._query_said.head_logits
        return kept

    def recall(self, memory: Mapping[str, Tensor], batch_of: Callable[[Tensor], Batch]) -> None:
        """Have the same batches again."""
        self.begin_epoch()
        if "support" in memory:
            self._support = batch_of(memory["support"])
        if "query" in memory:
            device = self.loss_units.device
            heads = memory.get("query_head_logits")
            self._query = batch_of(memory["query"])
            self._query_said = EncoderTrace(
                memory["query_logits"].to(device), head_logits=None if heads is None else heads.to(device)
            )

    def before_update(self, optimizer: torch.optim.Optimizer) -> None:
        """Every few updates, the gradient of meta learning: from a batch before (support) to the last one (query)."""
        if self.method.learning != "meta":
            return
        self.steps_since_meta += 1
        if self.steps_since_meta >= self.method.meta_interval and self._support is not None and self._query is not None:
            gradients = ratio_gradients(self, self._support, self._query, optimizer)
            for name, parameter in self.ratios.named_parameters():
                parameter.grad = gradients[name]
            self.steps_since_meta.zero_()
        self._support = self._query

    def forward(self, batch: Batch) -> StepOutput:
        """The objective of one batch."""
        teacher = self.teacher(batch)
        if self.method.learning == "meta" and self.training:
            self._query, self._query_said = batch, replace(teacher, hidden_states=(), attention=())
        tables = self.losses(batch, teacher)
        with _no_autocast(tables.hidden):
            ratios: Ratios = self.ratios(self._move(tables.prototypes) if self.training else tables.prototypes)
            loss = objective(
                ratios.domains,
                tables.levels,
                tables.prediction,
                hidden_weight=self.method.hidden_weight,
                prediction_weight=self.method.prediction_weight,
            )
            if self.method.learning == "joint":
                loss = loss - self.method.entropy_weight * entropy(ratios.domains)
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
        return self.prototype_average / (1 - self.prototype_momentum**self.prototype_steps)

    def _move(self, prototypes_KDH: Tensor) -> Tensor:
        """The moving average with the prototypes of one more step in it."""
        if not self.prototype_momentum:
            return prototypes_KDH
        moving_KDH = torch.lerp(prototypes_KDH, self.prototype_average, self.prototype_momentum)
        self.prototype_average.copy_(moving_KDH.detach())
        self.prototype_steps += 1
        return moving_KDH / (1 - self.prototype_momentum**self.prototype_steps)

    def prediction_losses(self, batch: Batch) -> Tensor:
        """The prediction loss of each domain alone, (D,); no level is looked at."""
        student = self.student(**batch.inputs, domain_ids=batch.domain_ids, every_head=self.shares is not None)
        known = self._query_said if batch is self._query else None
        with _no_autocast(student.logits):
            return self._prediction(student.map(Tensor.float), known or self.teacher(batch), batch)

    def losses(self, batch: Batch, teacher: EncoderTrace) -> LossTables:
        """The loss tables of one batch, given the teacher's trace of the mapped levels."""
        student = self.student(
            **batch.inputs,
            domain_ids=batch.domain_ids,
            hidden_states=self.method.hidden_weight > 0,
            attention=self.attention != "none",
            every_head=self.shares is not None,
        )
        with _no_autocast(student.logits):
            return self._compare(student.map(Tensor.float), teacher, batch)

    def _compare(self, student: EncoderTrace, teacher: EncoderTrace, batch: Batch) -> LossTables:
        domains = len(self.student.domains)
        mask, domain_ids = batch.mask, batch.domain_ids
        prediction = self._prediction(student, teacher, batch)
        if not self.method.hidden_weight:
            return self._without_levels(prediction)
        common, weights = (mask, domain_ids, domains), self._weights(batch)
        if self.method.level_loss == "relations":
            first = len(student.attention) - 1 if self.method.levels == "last" else 0
            ours, theirs = (cast(Sequence[Factors], trace.attention[first:]) for trace in (student, teacher))
            attention = relation_losses(ours, theirs, *common, row_weights=weights)
            attention = torch.nn.functional.pad(attention, (0, 0, first, 0))
            hidden = attention.new_zeros(len(student.hidden_states), domains)
            return LossTables(hidden, attention, prediction, self._prototypes(student, batch))
        hidden = self._hidden(student, teacher, batch, weights)
        if self.attention == "none":
            attention = torch.zeros_like(hidden[1:])
        elif self.attention == "queries_keys":
            ours, theirs = (cast(Sequence[Factors], trace.attention) for trace in (student, teacher))
            attention = score_product_losses(
                ours, theirs, *common, teacher_norms=teacher.score_norms, row_weights=weights
            )
        else:
            own, wanted = (cast(Sequence[Tensor], trace.attention) for trace in (student, teacher))
            attention = attention_losses(own, wanted, *common, reductions=self.method.reductions, row_weights=weights)
        if self.method.relative:
            units = self._units(student, teacher, mask)
            hidden, attention = hidden / units[0, :, None], attention / units[1, 1:, None]
        if self.method.levels == "last":
            hidden, attention = _last_alone(hidden), _last_alone(attention)
        transfer = self._transfer(student, teacher, batch, weights)
        return LossTables(hidden, attention, prediction, self._prototypes(student, batch), transfer)

    def _prototypes(self, student: EncoderTrace, batch: Batch) -> Tensor:
        """Mean fitted states of each level and domain, (K, D, H)."""
        counted = torch.ones_like(batch.mask) if self.method.counts_padding else batch.mask
        with torch.set_grad_enabled(self.method.ratio_gradient and torch.is_grad_enabled()):
            # The fit is linear: that of the means is the mean of the fitted states, at the cost of D rows.
            means_KDS = prototypes(student.hidden_states, counted, batch.domain_ids, len(self.student.domains))
            return torch.stack(self.fit(means_KDS.unbind()))

    def _hidden(self, student: EncoderTrace, teacher: EncoderTrace, batch: Batch, row_weights: Tensor | None) -> Tensor:
        """Losses of the states, (K, D): of all tokens, or of the valid ones as rows of one token each."""
        ours, theirs, mask, domain_ids = student.hidden_states, teacher.hidden_states, batch.mask, batch.domain_ids
        tokens = None if self.method.counts_padding else valid_tokens(mask)
        if tokens is not None:
            rows = tokens // mask.shape[1]
            ours, theirs = (tuple(picked(each, tokens) for each in states) for states in (ours, theirs))
            mask, domain_ids = picked(mask, tokens), domain_ids[rows]
            row_weights = None if row_weights is None else row_weights[rows]
        return hidden_losses(
            self.fit.each(ours), theirs, mask, domain_ids, len(self.student.domains),
            reductions=self.method.reductions, row_weights=row_weights,
        )  # fmt: skip

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
        return self.method.transfer_weight * transfer_losses(
            ours_BH, theirs_BH, batch.domain_ids, domains, row_weights=weights
        )

    def _prediction(self, student: EncoderTrace, teacher: EncoderTrace, batch: Batch) -> Tensor:
        """With the teacher's classes and, where they have a weight, with the labels and the related heads, (D,)."""
        common, weights = (batch.domain_ids, len(self.student.domains)), self._weights(batch)
        loss_D = prediction_losses(
            student.logits,
            teacher.logits,
            *common,
            temperature=self.method.temperature,
            reductions=self.method.reductions,
            row_weights=weights,
        )
        if self.method.label_weight:
            loss_D = loss_D + self.method.label_weight * label_losses(
                student.logits, batch.labels, *common, row_weights=weights
            )
        if self.shares is not None:
            heads = cast(Tensor, student.head_logits), cast(Tensor, teacher.head_logits)
            related_D = related_losses(*heads, self.shares, temperature=self.method.temperature, row_weights=weights)
            loss_D = loss_D + self.method.related_weight * related_D
        return loss_D

    def _units(self, student: EncoderTrace, teacher: EncoderTrace, mask_BT: Tensor) -> Tensor:
        """Variances of the teacher's states (row 0) and scores (row 1, from level 1) at each level, (2, K)."""
        if not self._has_units and not self.loss_units.any():  # a look at the buffer makes a GPU wait
            self.loss_units[0] = state_variances(teacher.hidden_states, mask_BT)
            self.loss_units[1] = 1.0
            if self.attention != "none":
                heads = [(each[0] if isinstance(each, QueriesKeys) else each).shape[1] for each in student.attention]
                self.loss_units[1, 1:] = score_variances(teacher.attention, mask_BT, heads)
        self._has_units = True
        return self.loss_units

    def _without_levels(self, prediction_D: Tensor) -> LossTables:
        """Where levels have no weight they are not looked at: their losses are not a number."""
        levels, width, _ = self.fit.weight.shape
        hidden_KD = prediction_D.new_full((levels, len(prediction_D)), torch.nan)
        return LossTables(
            hidden_KD, hidden_KD[1:], prediction_D, prediction_D.new_zeros(levels, len(prediction_D), width)
        )


def _last_alone(losses: Tensor) -> Tensor:
    """The table with zeros in all rows but the last."""
    return torch.cat([torch.zeros_like(losses[:-1]), losses[-1:]])


def _no_autocast(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)
