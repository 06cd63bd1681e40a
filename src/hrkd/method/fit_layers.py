"""Linear maps from the student's width to the teacher's, one per level; used in training only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

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

    def forward(self, hidden_states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Shapes: K tensors (..., Hs) -> K tensors (..., H)."""
        return tuple(self.each(hidden_states))

    def each(self, hidden_states: Sequence[Tensor]) -> Iterator[Tensor]:
        """The same, each made when it is asked for."""
        # One product a level is faster than a batched one, for which the states would have to be copied together.
        for states, weight, bias in zip(hidden_states, self.weight, self.bias, strict=True):
            yield functional.linear(states.to(weight.dtype), weight, bias)
