"""How much the teacher's states and scores vary: units in which the losses of different levels can be compared.

A squared error of 4 is little where states have a variance of 100 and all where it is 4; and summed over levels such
losses are many times the prediction loss. Divided by these variances every loss is a share: 1 is what a student would
have that gives the teacher's mean everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import torch
from torch import Tensor

from hrkd.method.losses import Factors, merge_heads

__all__ = ["score_variances", "state_variances"]


@torch.no_grad()
def state_variances(states: Sequence[Tensor], mask_BT: Tensor) -> Tensor:
    """Variance over valid tokens, mean over the width, of each level's states, (K,).

    Shapes: K tensors (B, T, H), mask (B, T).
    """
    valid = mask_BT.bool()
    return torch.stack([level[valid].float().var(dim=0, correction=0).mean() for level in states])


@torch.no_grad()
def score_variances(attention: Sequence[Tensor | Factors], mask_BT: Tensor, student_heads: Sequence[int]) -> Tensor:
    """Variance of each layer's scores (or probabilities) over heads and valid pairs of tokens, (L,).

    Shapes: L tensors (B, N, T, T), or pairs of queries and keys (B, N, T, dh) each; mask (B, T); the student's heads of
    each layer, for the heads are merged as in :func:`hrkd.method.losses.attention_losses`.
    """
    valid = mask_BT.bool()
    pairs = (valid[:, :, None] & valid[:, None, :])[:, None]
    found = []
    for layer, heads in zip(attention, student_heads, strict=True):
        scores = layer.float() if isinstance(layer, Tensor) else layer[0].float() @ layer[1].float().mT
        scores = merge_heads(scores, gcd(heads, scores.shape[1]))
        chosen = scores[pairs.expand_as(scores) & ~scores.isneginf()]
        found.append(chosen.var(correction=0))
    return torch.stack(found)
