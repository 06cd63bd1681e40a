"""Fine-tuning on labels: how a teacher is made, and the student's baseline without distillation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hrkd.data.batching import Batch
from hrkd.method.losses import widened
from hrkd.method.meta_kd import corrupted_domains, token_means
from hrkd.method.sums import example_sums
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import shape_of
from hrkd.training.loop import StepOutput, Trainable
from hrkd.training.together import summed

__all__ = ["FineTuning"]


class FineTuning(Trainable):
    """Cross-entropy with the labels, mean over each domain's examples, then over domains (multi-task).

    For a meta-teacher (Meta-KD, Pan et al. 2021) the cross-entropy between what the model's domain head says of an
    example and a domain drawn at random is added.

    Args:
        model: whose heads and encoder are trained.
        row_weights: factors of the examples' losses, one for each row of the training set, (N,), not negative.
        domain_loss_weight: of the domain head's loss, before the factors; 0: the head, if there is one, is left alone.
    """

    def __init__(
        self, model: MultiDomainClassifier, *, row_weights: Tensor | None = None, domain_loss_weight: float = 0.0
    ) -> None:
        super().__init__()
        self.model = model
        self.row_weights = row_weights
        self.domain_loss_weight = domain_loss_weight
        self._rows_D: Tensor | None = None

    def selected(self) -> nn.Module:
        """The model."""
        return self.model

    def begin_update(self, batches: Sequence[Batch]) -> None:
        """Count the rows of each domain, by which the losses of all are divided."""
        rows = torch.cat([batch.domain_ids for batch in batches])
        (self._rows_D,) = summed([torch.bincount(rows, minlength=len(self.model.domains)).float()], rows.device)

    def forward(self, batch: Batch) -> StepOutput:
        """What one batch adds to the loss of its update; of one batch alone where no update was begun."""
        head = self.model.domain_head if self.domain_loss_weight else None
        levels = () if head is None else (shape_of(self.model.encoder.config).layers,)
        trace = self.model(**batch.inputs, domain_ids=batch.domain_ids, hidden_states=levels)
        losses_B = nn.functional.cross_entropy(widened(trace.logits), batch.labels, reduction="none")
        if head is not None:
            domain_logits = widened(head(token_means(trace.hidden_states[0], batch.mask), batch.domain_ids))
            wanted = corrupted_domains(batch.domain_ids, len(self.model.domains))
            domain_losses_B = nn.functional.cross_entropy(domain_logits, wanted, reduction="none")
            losses_B = losses_B + self.domain_loss_weight * domain_losses_B
        weights_B = None if self.row_weights is None else self.row_weights[batch.indices.cpu()].to(losses_B)
        sums = example_sums(losses_B, batch.domain_ids, len(self.model.domains), weights_B)
        return StepOutput(sums.over(sums.weight if self._rows_D is None else self._rows_D).mean())
