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
from hrkd.method.sums import Sums

__all__ = ["score_moments", "state_moments", "variances"]


def variances(moments: Sums) -> Tensor:
    """Variances over all rows, (levels,), of :func:`state_moments` or :func:`score_moments`; mean over the width."""
    mean, square = moments.mean
    variance_KH: Tensor = square - mean.square()
    return variance_KH.clamp_min(0).mean(dim=1)


@torch.no_grad()
def state_moments(states: Sequence[Tensor], mask_BT: Tensor) -> Sums:
    """Sums over valid tokens of each level's states and of their squares, (2, K, H), in double precision.

    Shapes: K tensors (B, T, H), mask (B, T).
    """
    valid = mask_BT.bool()
    return _moments([_exact(level[valid]) for level in states])


@torch.no_grad()
def score_moments(attention: Sequence[Tensor | Factors], mask_BT: Tensor, student_heads: Sequence[int]) -> Sums:
    """The same over heads and valid pairs of tokens of each layer's scores (or probabilities), (2, L, 1).

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
        found.append(_exact(chosen)[:, None])
    return _moments(found)


def _moments(levels: Sequence[Tensor]) -> Sums:
    """Shapes: levels tensors (n, width)."""
    totals = [
        torch.stack([level.sum(dim=0) for level in levels]),
        torch.stack([(level**2).sum(dim=0) for level in levels]),
    ]
    counts = torch.tensor([float(len(level)) for level in levels], dtype=torch.double)
    return Sums(torch.stack(totals), counts[:, None])


def _exact(values: Tensor) -> Tensor:
    # In double precision, since a variance is then the difference of two means; some accelerators have none.
    return values.cpu().double()
