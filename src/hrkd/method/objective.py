"""The training objective: ratios times loss table, plus prediction."""

from __future__ import annotations

from torch import Tensor

__all__ = ["objective"]


def objective(
    ratios_KD: Tensor,
    losses_KD: Tensor,
    prediction_D: Tensor,
    *,
    hidden_weight: float = 1.0,
    prediction_weight: float = 1.0,
) -> Tensor:
    """``w_hidden * sum_k sum_d r[k, d] L[k, d] + w_pred * mean_d prediction[d]`` (HRKD, objective), a scalar.

    Shapes: ratios and losses (K, D), each level's ratios sum to one; prediction (D,).
    """
    return hidden_weight * (ratios_KD * losses_KD).sum() + prediction_weight * prediction_D.mean()
