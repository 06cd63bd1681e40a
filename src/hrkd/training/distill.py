"""The distillation step: student, fit layers and domain ratios against what the teacher says of a batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from hrkd.data.batching import Batch
from hrkd.method.contrasts import related_losses
from hrkd.method.fit_layers import FitLayers
from hrkd.method.loss_units import score_moments, state_moments, variances
from hrkd.method.losses import (
    Factors,
    attention_losses,
    hidden_losses,
    label_losses,
    picked,
    prediction_losses,
    score_product_losses,
    valid_tokens,
    widened,
)
from hrkd.method.meta_kd import DomainHead, token_means, transfer_losses
from hrkd.method.objective import entropy, objective
from hrkd.method.prototypes import prototypes
from hrkd.method.ratios import DomainRatios, Ratios
from hrkd.method.relation_losses import relation_losses
from hrkd.method.sums import Sums, added
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.trace import AttentionKind, EncoderTrace, QueriesKeys
from hrkd.recipe.schema import MethodConfig
from hrkd.training.hypergradient import ratio_gradients
from hrkd.training.live_teacher import ReadsAhead, TeacherSource
from hrkd.training.loop import StepOutput, Trainable
from hrkd.training.record import StepTables
from hrkd.training.together import added_up, drawing_again, processes, shared_draws, summed

__all__ = ["Distillation", "LossTables"]


@dataclass(frozen=True)
class LossTables:
    """Unweighted losses of an update, or what a part of it adds to them.

    ``hidden`` (K, D), ``attention`` (L, D), ``prediction`` (D,); ``transfer`` (D,), which counts in the last level, its
    weight included, if there is any.
    """

    hidden: Tensor
    attention: Tensor
    prediction: Tensor
    transfer: Tensor | None = None

    @property
    def levels(self) -> Tensor:
        """L[k, d] = hidden + attention (level 0: hidden only) + transfer (last level only), shape (K, D)."""
        rows = [self.hidden[:1], self.hidden[1:] + self.attention]
        if self.transfer is not None:
            rows[-1] = torch.cat([rows[-1][:-1], rows[-1][-1:] + self.transfer])
        return torch.cat(rows)


@dataclass(frozen=True)
class _Update:
    """What all batches of an update, in all processes, have in common.

    ``totals`` of all rows; the ``logged`` tables of these; ``steering``: the trained tensors (None: the states that
    prototypes are made of) through which the loss depends on the ratios, with its gradients by that way; ``parts``:
    over how many batches and processes these are spread.
    """

    totals: dict[str, Sums]
    logged: StepTables
    steering: Sequence[tuple[Tensor | None, Tensor]]
    parts: int


class Distillation(Trainable):
    """Owns every trained tensor of a distillation: student, fit layers, domain ratios.

    Tables, prototypes, ratios and units are those of a whole update, whose rows may lie in several batches and
    processes: each of these adds its rows' part of every mean (:class:`hrkd.method.sums.Sums`). What the ratios do to
    the loss is known from the tables of the whole, so that their gradient, and that of the prototypes where it is
    wanted, is taken once, alike in every process; a batch then brings it to the tensors it belongs to.

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
        self._update: _Update | None = None
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
        self._support: tuple[Batch, ...] = ()
        self._query: tuple[Batch, ...] = ()
        self._query_said: list[EncoderTrace] = []  # by the teacher, of the query

    def begin_update(self, batches: Sequence[Batch]) -> None:
        """Where there are several, look at all of them first: ratios, and what means are divided by, are of them all.

        Student and teacher are asked without gradients, and the student with the dropout that its steps will have.
        """
        self._query, self._query_said, self._update = tuple(batches), [], None
        if len(batches) > 1:
            device = batches[0].labels.device
            torch.randint(2, ())  # or the graph would draw the same in every update of a student that draws nothing
            with drawing_again(device):
                with torch.no_grad():
                    parts = [self.sums(batch, self.teacher(batch)) for batch in batches]
                self._update = self._look(added_up(added(parts), device), len(batches))

    def undone(self) -> None:
        """Units may be those of the update that is made once more."""
        self._has_units = False

    def recall(self, batches: Sequence[Batch]) -> None:
        """Remember the batches of the update before."""
        self.begin_epoch()
        self._support = tuple(batches)

    def before_update(self, optimizer: torch.optim.Optimizer) -> None:
        """Every few updates, the gradient of meta learning: from a batch before (support) to the last one (query)."""
        if self.method.learning != "meta":
            return
        self.steps_since_meta += 1
        if self.steps_since_meta >= self.method.meta_interval and self._support:
            gradients = ratio_gradients(self, self._support, self._query, optimizer)
            for name, parameter in self.ratios.named_parameters():
                parameter.grad = gradients[name]
            self.steps_since_meta.zero_()
        self._support = self._query

    def forward(self, batch: Batch) -> StepOutput:
        """The objective of one batch."""
        teacher = self.teacher(batch)
        if self.method.learning == "meta" and self.training:
            self._query_said.append(replace(teacher, hidden_states=(), attention=()))
        own = self.sums(batch, teacher)
        update = self._update or self._look(added_up(own, batch.labels.device), 1)
        with _no_autocast(own["prediction"].total):
            loss = self._objective(update.logged.ratios, self.tables(own, update.totals), share=1 / update.parts)
            for tensor, gradient in update.steering:
                steered = (
                    own["states"].over(update.totals["states"].weight) if tensor is None else tensor / update.parts
                )
                bare = (steered * gradient).sum()
                loss = loss + (bare - bare.detach())  # a gradient, and nothing that the loss would be more by
        return StepOutput(loss, update.logged)

    def _look(self, totals: dict[str, Sums], batches: int) -> _Update:
        """Ratios and tables of an update, given the sums of all its rows, and what learns through the ratios."""
        device = totals["prediction"].total.device
        self._measure_units(totals)
        tables, steering = self.tables(totals, totals), []
        means_KDS = totals["states"].mean.requires_grad_(self.method.ratio_gradient and torch.is_grad_enabled())
        with _no_autocast(means_KDS), shared_draws(device, apart=batches > 1):
            prototypes_KDH = self._fitted(means_KDS)
            ratios: Ratios = self.ratios(self._move(prototypes_KDH) if self.training else prototypes_KDH)
            loss = self._objective(ratios.domains, tables)
            if loss.requires_grad:
                own = [p for p in (*self.ratios.parameters(), *self.fit.parameters()) if p.requires_grad]
                learn = [*own, *([means_KDS] if means_KDS.requires_grad else [])]
                found = torch.autograd.grad(loss, learn, allow_unused=True)
                named = zip([*own, None], found, strict=False)
                steering = [(tensor, gradient) for tensor, gradient in named if gradient is not None]
        logged = StepTables(
            hidden=tables.hidden,
            attention=tables.attention,
            prediction=tables.prediction,
            ratios=ratios.domains.detach(),
            hierarchical=ratios.hierarchical.detach(),
            transfer=tables.transfer,
            relations=ratios.relations,
        )
        return _Update(totals, logged, steering, batches * processes())

    def _objective(self, ratios_KD: Tensor, tables: LossTables, *, share: float = 1.0) -> Tensor:
        """The loss of an update, or what a part of it, with such a ``share`` of what is not in tables, adds to it."""
        loss = objective(
            ratios_KD,
            tables.levels,
            tables.prediction,
            hidden_weight=self.method.hidden_weight,
            prediction_weight=self.method.prediction_weight,
        )
        if self.method.learning == "joint":
            loss = loss - share * self.method.entropy_weight * entropy(ratios_KD)
        return loss

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

    def prediction_losses(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """What each batch of an update adds to the prediction loss of each domain, (D,); no level is looked at."""
        device, domains = batches[0].labels.device, len(self.student.domains)
        rows = torch.cat([batch.domain_ids for batch in batches])
        (rows_D,) = summed([torch.bincount(rows, minlength=domains).float()], device)
        known = self._query_said if batches is self._query else []
        for number, batch in enumerate(batches):
            student = self.student(**batch.inputs, domain_ids=batch.domain_ids, every_head=self.shares is not None)
            with _no_autocast(student.logits):
                teacher = known[number] if known else self.teacher(batch)
                own = self._prediction(student.map(widened), teacher, batch)
                totals = {
                    name: Sums(each.total, rows_D if each.weight.ndim else rows_D.sum()) for name, each in own.items()
                }
                yield self._prediction_table(own, totals)

    def losses(self, batch: Batch, teacher: EncoderTrace) -> LossTables:
        """The loss tables of one batch alone, given the teacher's trace of the mapped levels."""
        own = self.sums(batch, teacher)
        self._measure_units(own)
        return self.tables(own, own)

    def prototypes(self, totals: Mapping[str, Sums]) -> Tensor:
        """Mean fitted states of each level and domain, (K, D, H), of all rows in some :meth:`sums`."""
        return self._fitted(totals["states"].mean)

    def sums(self, batch: Batch, teacher: EncoderTrace) -> dict[str, Sums]:
        """What a batch adds to the tables, the prototypes and, until they are measured, the units of its update.

        "hidden" (K, D), "attention" (L, D), "transfer", "prediction" (D,), "related" (D,), "states" (K, D, Hs) and
        moments, as far as the method has them.
        """
        student = self.student(
            **batch.inputs,
            domain_ids=batch.domain_ids,
            hidden_states=self.method.hidden_weight > 0,
            attention=self.attention != "none",
            every_head=self.shares is not None,
        )
        with _no_autocast(student.logits):
            return self._compare(student.map(widened), teacher, batch)

    def _compare(self, student: EncoderTrace, teacher: EncoderTrace, batch: Batch) -> dict[str, Sums]:
        domains = len(self.student.domains)
        mask, domain_ids = batch.mask, batch.domain_ids
        found = self._prediction(student, teacher, batch)
        found["states"] = self._states(student, batch)
        if not self.method.hidden_weight:
            return found
        common, weights = (mask, domain_ids, domains), self._weights(batch)
        if self.method.level_loss == "relations":
            first = len(student.attention) - 1 if self.method.levels == "last" else 0
            ours, theirs = (cast(Sequence[Factors], trace.attention[first:]) for trace in (student, teacher))
            found["attention"] = relation_losses(ours, theirs, *common, row_weights=weights)
            return found
        found["hidden"] = self._hidden(student, teacher, batch, weights)
        if self.attention == "queries_keys":
            ours, theirs = (cast(Sequence[Factors], trace.attention) for trace in (student, teacher))
            found["attention"] = score_product_losses(
                ours, theirs, *common, teacher_norms=teacher.score_norms, row_weights=weights
            )
        elif self.attention != "none":
            own, wanted = (cast(Sequence[Tensor], trace.attention) for trace in (student, teacher))
            found["attention"] = attention_losses(
                own, wanted, *common, reductions=self.method.reductions, row_weights=weights
            )
        if self.method.relative:
            found |= self._moments(student, teacher, mask)
        if self.transfer is not None:
            found["transfer"] = self._transfer(self.transfer, student, teacher, batch, weights)
        return found

    def tables(self, own: Mapping[str, Sums], totals: Mapping[str, Sums]) -> LossTables:
        """What ``own`` rows add to the tables of all the rows that are in ``totals``."""
        levels = len(self.fit.weight)
        prediction = self._prediction_table(own, totals)
        if not self.method.hidden_weight:  # levels that have no weight are not looked at: their losses are no number
            nothing = prediction.new_full((levels, len(prediction)), torch.nan)
            return LossTables(nothing, nothing[1:], prediction)
        means = {
            name: own[name].over(totals[name].weight) for name in ("hidden", "attention", "transfer") if name in own
        }
        hidden = means.get("hidden", prediction.new_zeros(levels, len(prediction)))
        attention = means.get("attention", prediction.new_zeros(levels - 1, len(prediction)))
        attention = torch.nn.functional.pad(
            attention, (0, 0, levels - 1 - len(attention), 0)
        )  # of the last level alone
        if self.method.relative and self.method.level_loss == "states":
            hidden, attention = hidden / self.loss_units[0, :, None], attention / self.loss_units[1, 1:, None]
        if self.method.levels == "last":
            hidden, attention = _last_alone(hidden), _last_alone(attention)
        transfer = means.get("transfer")
        return LossTables(
            hidden, attention, prediction, None if transfer is None else self.method.transfer_weight * transfer
        )

    def _fitted(self, means_KDS: Tensor) -> Tensor:
        """Prototypes, (K, D, H), of mean states of the student."""
        if not self.method.hidden_weight:
            levels, width, _ = self.fit.weight.shape
            return means_KDS.new_zeros(levels, means_KDS.shape[1], width)
        with torch.set_grad_enabled(self.method.ratio_gradient and torch.is_grad_enabled()):
            # The fit is linear: that of the means is the mean of the fitted states, at the cost of D rows.
            return torch.stack(self.fit(means_KDS.unbind()))

    def _states(self, student: EncoderTrace, batch: Batch) -> Sums:
        """What prototypes are made of, (K, D, Hs); of no level where none is looked at."""
        counted = torch.ones_like(batch.mask) if self.method.counts_padding else batch.mask
        domains = len(self.student.domains)
        if not self.method.hidden_weight:
            nothing = student.logits.new_zeros(0, domains, 1)
            return Sums(nothing, nothing.new_zeros(domains, 1))
        with torch.set_grad_enabled(self.method.ratio_gradient and torch.is_grad_enabled()):
            return prototypes(student.hidden_states, counted, batch.domain_ids, domains)

    def _hidden(self, student: EncoderTrace, teacher: EncoderTrace, batch: Batch, row_weights: Tensor | None) -> Sums:
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
        self, head: DomainHead, student: EncoderTrace, teacher: EncoderTrace, batch: Batch, weights: Tensor | None
    ) -> Sums:
        """Losses of the features that carry over, (D,)."""
        fitted_BH = torch.nn.functional.linear(
            token_means(student.hidden_states[-1], batch.mask), self.fit.weight[-1], self.fit.bias[-1]
        )
        means = fitted_BH, token_means(teacher.hidden_states[-1].float(), batch.mask)
        ours_BH, theirs_BH = (head.features(each, batch.domain_ids) for each in means)
        return transfer_losses(ours_BH, theirs_BH, batch.domain_ids, len(self.student.domains), row_weights=weights)

    def _prediction(self, student: EncoderTrace, teacher: EncoderTrace, batch: Batch) -> dict[str, Sums]:
        """With the teacher's classes and, where they have a weight, with the labels and the related heads, (D,)."""
        common, weights = (batch.domain_ids, len(self.student.domains)), self._weights(batch)
        found = {}
        found["prediction"] = prediction_losses(
            student.logits,
            teacher.logits,
            *common,
            temperature=self.method.temperature,
            reductions=self.method.reductions,
            row_weights=weights,
        )
        if self.method.label_weight:
            found["labels"] = label_losses(student.logits, batch.labels, *common, row_weights=weights)
        if self.shares is not None:
            heads = cast(Tensor, student.head_logits), cast(Tensor, teacher.head_logits)
            found["related"] = related_losses(
                *heads, self.shares, temperature=self.method.temperature, row_weights=weights
            )
        return found

    def _prediction_table(self, own: Mapping[str, Sums], totals: Mapping[str, Sums]) -> Tensor:
        """What own rows add to the prediction losses of all, with labels and related heads, (D,)."""
        factors = {"prediction": 1.0, "labels": self.method.label_weight, "related": self.method.related_weight}
        first, *more = [factor * own[name].over(totals[name].weight) for name, factor in factors.items() if name in own]
        return sum(more, first)

    def _moments(self, student: EncoderTrace, teacher: EncoderTrace, mask_BT: Tensor) -> dict[str, Sums]:
        """What units are measured by, until they are."""
        if self._has_units or self.loss_units.any():  # a look at the buffer makes a GPU wait
            self._has_units = True
            return {}
        found = {"state moments": state_moments(teacher.hidden_states, mask_BT)}
        if self.attention != "none":
            heads = [(each[0] if isinstance(each, QueriesKeys) else each).shape[1] for each in student.attention]
            found["score moments"] = score_moments(teacher.attention, mask_BT, heads)
        return found

    def _measure_units(self, totals: Mapping[str, Sums]) -> None:
        """Variances of the teacher's states (row 0) and scores (row 1, from level 1) at each level, (2, K)."""
        if "state moments" in totals and not self._has_units:
            self.loss_units[0] = variances(totals["state moments"])
            self.loss_units[1] = 1.0
            if "score moments" in totals:
                self.loss_units[1, 1:] = variances(totals["score moments"])
            self._has_units = True


def _last_alone(losses: Tensor) -> Tensor:
    """The table with zeros in all rows but the last."""
    return torch.cat([torch.zeros_like(losses[:-1]), losses[-1:]])


def _no_autocast(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)
