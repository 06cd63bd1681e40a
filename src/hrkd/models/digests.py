"""Hashes of what models are made of."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["bytes_of"]


def bytes_of(tensor: Tensor) -> memoryview:
    """The numbers of a tensor, for a hash."""
    content: memoryview = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return content
