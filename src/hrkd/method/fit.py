"""Linear maps from the student's width to the teacher's, one per level; used in training only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["FitLayers"]


class FitLayers(nn.Module):
    """K linear maps Hs -> H, applied level by level (TinyBERT, eq. 8: the learnable W_h).

    Args:
        levels: K.
        student_width: Hs.
        teacher_width: H.
        basis: optional (H, Hs) start for every map, such as the principal components that the student was
            started from; default: PyTorch's start of a linear layer's weight.

    Weights: ``weight`` (K, H, Hs); ``bias`` (K, H), which starts at zero.
    """

    def __init__(self, levels: int, student_width: int, teacher_width: int, *, basis: Tensor | None = None) -> None:
        super().__init__()
        bound = student_width**-0.5
        self.weight = nn.Parameter(torch.empty(levels, teacher_width, student_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(levels, teacher_width))
        if basis is not None:
            with torch.no_grad():
                self.weight.copy_(basis.to(self.weight))

    def forward(self, hidden_states: Sequence[Tensor]) -> Tensor:
        """Shapes: K tensors (B, T, Hs) -> (K, B, T, H)."""
        states_KPS = torch.stack([states.flatten(0, 1).to(self.weight.dtype) for states in hidden_states])
        fitted_KPH = torch.baddbmm(self.bias[:, None], states_KPS, self.weight.mT)
        return fitted_KPH.reshape(len(fitted_KPH), *hidden_states[0].shape[:2], -1)
