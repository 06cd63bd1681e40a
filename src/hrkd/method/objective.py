"""The training objective: ratios times loss table, plus prediction."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["entropy", "objective"]


def objective(
    ratios_KD: Tensor, losses_KD: Tensor, prediction_D: Tensor, *, hidden_weight: float, prediction_weight: float
) -> Tensor:
    """``w_hidden * sum_k sum_d r[k, d] L[k, d] + w_pred * mean_d prediction[d]`` (HRKD, objective), a scalar.

    Shapes: ratios and losses (K, D), each level's ratios sum to one; prediction (D,). With a ``hidden_weight`` of 0
    ratios and losses are not looked at.
    """
    total = prediction_weight * prediction_D.mean()
    return total + hidden_weight * (ratios_KD * losses_KD).sum() if hidden_weight else total


def entropy(ratios_KD: Tensor) -> Tensor:
    """Sum over levels of the entropy of each level's ratios, in nats (K log D where all are uniform), a scalar.

    Shape: (K, D). Of the ratios of a level, those that maximise ``sum_d r[d] e[d] + w * entropy`` are softmax(e / w).
    """
    return -torch.xlogy(ratios_KD, ratios_KD).sum()
