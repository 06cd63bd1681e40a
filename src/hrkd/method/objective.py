"""The training objective: ratios times loss table, plus prediction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["entropy", "objective"]


def objective(
    ratios_KD: Tensor,
    losses_KD: Tensor,
    prediction_D: Tensor,
    *,
    hidden_weight: float = 1.0,
    prediction_weight: float = 1.0,
) -> Tensor:
    """``w_hidden * sum_k sum_d r[k, d] L[k, d] + w_pred * mean_d prediction[d]`` (HRKD, objective), a scalar.

    Shapes: ratios and losses (K, D), each level's ratios sum to one; prediction (D,). With a ``hidden_weight`` of 0
    ratios and losses are not looked at.
    """
    total = prediction_weight * prediction_D.mean()
    return total + hidden_weight * (ratios_KD * losses_KD).sum() if hidden_weight else total


def entropy(ratios_KD: Tensor) -> Tensor:
    """Mean over levels of the entropy of each level's ratios, in units of that of uniform ratios (0 to 1), a scalar.

    Shape: (K, D).
    """
    return -torch.xlogy(ratios_KD, ratios_KD).sum(dim=1).mean() / math.log(max(2, ratios_KD.shape[1]))
