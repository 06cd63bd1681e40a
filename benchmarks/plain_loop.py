"""Distillation as the paper's public code goes about it: a pass per domain, padding to 128, the teacher in every step.

The mathematics of the losses is that of ``hrkd.method`` (means over valid tokens), written down directly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrkd.data.batching import Batch
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.trace import set_attention


class PlainLoop(nn.Module):
    """The loss of one step.

    Args:
        teacher, student: both give raw attention scores.
        fit: one linear layer a level.
        ratios: maps prototypes (K, D, H) to ratios.
        layer_map: teacher level of each student level.
        length: to which all rows are padded.
    """

    def __init__(
        self,
        teacher: MultiDomainClassifier,
        student: MultiDomainClassifier,
        fit: nn.ModuleList,
        ratios: nn.Module,
        layer_map: tuple[int, ...],
        length: int = 128,
    ) -> None:
        super().__init__()
        self.teacher, self.student, self.fit, self.ratios = teacher, student, fit, ratios
        self.layer_map, self.length = layer_map, length
        for model in (teacher, student):
            set_attention(model.encoder, "scores")
        teacher.eval().requires_grad_(False)
        ratios.requires_grad_(False)

    def forward(self, batch: Batch) -> Tensor:
        """The objective."""
        levels, predictions, prototypes = [], [], []
        for d in range(len(self.student.domains)):
            part = batch.rows((batch.domain_ids == d).nonzero().squeeze(1))
            losses, prediction, means = self._domain(part)
            levels.append(losses)
            predictions.append(prediction)
            prototypes.append(means)
        ratios = self.ratios(torch.stack(prototypes, dim=1).detach()).domains
        return (ratios * torch.stack(levels, dim=1)).sum() + torch.stack(predictions).mean()

    def _domain(self, part: Batch) -> tuple[Tensor, Tensor, Tensor]:
        missing = self.length - part.inputs["input_ids"].shape[1]
        inputs = {name: functional.pad(tensor, (0, missing)) for name, tensor in part.inputs.items()}
        own = self.student(**inputs, domain_ids=part.domain_ids, hidden_states=True, attention=True)
        with torch.no_grad():
            said = self.teacher(**inputs, domain_ids=part.domain_ids, hidden_states=True, attention=True)
        mask = inputs["attention_mask"].float()
        pairs = mask[:, None, :, None] * mask[:, None, None, :]
        losses, prototypes = [], []
        for level, wanted in enumerate(self.layer_map):
            fitted = self.fit[level](own.hidden_states[level])
            error = functional.mse_loss(fitted, said.hidden_states[wanted], reduction="none")
            loss = (error * mask[..., None]).sum() / mask.sum() / error.shape[-1]
            if level > 0:
                scores, target = own.attention[level - 1], said.attention[wanted - 1]
                error = functional.mse_loss(
                    scores.masked_fill(pairs == 0, 0.0), target.masked_fill(pairs == 0, 0.0), reduction="none"
                )
                loss = loss + error.sum() / pairs.sum() / scores.shape[1]
            losses.append(loss)
            prototypes.append((fitted * mask[..., None]).sum(dim=(0, 1)) / mask.sum())
        soft = -(said.logits.softmax(dim=-1) * own.logits.log_softmax(dim=-1)).sum(dim=-1).mean()
        return torch.stack(losses), soft, torch.stack(prototypes)
