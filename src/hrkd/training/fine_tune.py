"""Fine-tuning on labels: how a teacher is made, and the student's baseline without distillation."""

from __future__ import annotations

import torch
from torch import nn

from hrkd.data.batching import Batch
from hrkd.method.prototypes import domain_means
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.training.loop import StepOutput, Trainable

__all__ = ["FineTuning"]


class FineTuning(Trainable):
    """Cross-entropy with the labels, mean over each domain's examples, then over domains (multi-task)."""

    def __init__(self, model: MultiDomainClassifier) -> None:
        super().__init__()
        self.model = model

    def selected(self) -> nn.Module:
        """The model."""
        return self.model

    def forward(self, batch: Batch) -> StepOutput:
        """The loss of one batch."""
        logits = self.model(**batch.inputs, domain_ids=batch.domain_ids).logits.float()
        losses_B = nn.functional.cross_entropy(logits, batch.labels, reduction="none")
        losses_D = domain_means(losses_B, torch.ones_like(losses_B), batch.domain_ids, len(self.model.domains))
        return StepOutput(losses_D.mean())
