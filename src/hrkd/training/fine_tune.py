"""Fine-tuning on labels: how a teacher is made, and the student's baseline without distillation."""

from __future__ import annotations

from torch import Tensor, nn

from hrkd.data.batching import Batch
from hrkd.method.meta_kd import corrupted_domains, token_means
from hrkd.method.prototypes import example_means
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import shape_of
from hrkd.training.loop import StepOutput, Trainable

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

    def selected(self) -> nn.Module:
        """The model."""
        return self.model

    def forward(self, batch: Batch) -> StepOutput:
        """The loss of one batch."""
        head = self.model.domain_head if self.domain_loss_weight else None
        levels = () if head is None else (shape_of(self.model.encoder.config).layers,)
        trace = self.model(**batch.inputs, domain_ids=batch.domain_ids, hidden_states=levels)
        losses_B = nn.functional.cross_entropy(trace.logits.float(), batch.labels, reduction="none")
        if head is not None:
            domain_logits = head(token_means(trace.hidden_states[0], batch.mask), batch.domain_ids).float()
            wanted = corrupted_domains(batch.domain_ids, len(self.model.domains))
            domain_losses_B = nn.functional.cross_entropy(domain_logits, wanted, reduction="none")
            losses_B = losses_B + self.domain_loss_weight * domain_losses_B
        weights_B = None if self.row_weights is None else self.row_weights[batch.indices.cpu()].to(losses_B)
        return StepOutput(example_means(losses_B, batch.domain_ids, len(self.model.domains), weights_B).mean())
