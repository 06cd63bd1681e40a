"""Relations of tokens within a layer, in the place of states and scores (MiniLMv2, Wang et al. 2021).

How much a token's queries are like those of another, and its keys like the other's: distributions over tokens that do
not depend on a model's width or heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import torch
from torch import Tensor

from hrkd.method.losses import Factors
from hrkd.method.sums import Sums, domain_sums, stacked

__all__ = ["relation_losses"]


def relation_losses(
    student: Sequence[Factors],
    teacher: Sequence[Factors],
    mask_BT: Tensor,
    domain_ids_B: Tensor,
    num_domains: int,
    *,
    heads: int | None = None,
    row_weights: Tensor | None = None,
) -> Sums:
    """Divergence of the student's relations between queries and between keys from the teacher's, (L, D).

    ``KL(softmax(A_t A_t' / sqrt(d)) || softmax(A_s A_s' / sqrt(d)))`` for A the queries or keys of all heads, side by
    side, cut into relation heads of width d (MiniLMv2, eq. 4 to 6); mean over both kinds, relation heads and the
    domain's valid tokens.

    Shapes: L pairs of queries, divided by the root of their heads' width, and keys, (B, N, T, dh) each; mask (B, T);
    domain ids (B,); row weights (B,), factors of each row's loss.

    Args:
        heads: relation heads, which divide both models' widths; default: the most that the teacher's heads have in
            common with the student's width.
    """
    tokens_B = mask_BT.float().sum(dim=1)
    rows = []
    for ours, theirs in zip(student, teacher, strict=True):
        count = heads or gcd(theirs[0].shape[1], ours[0].shape[1] * ours[0].shape[-1])
        divergence_B = torch.zeros_like(tokens_B)
        for mine, its in zip(_unscaled(ours), _unscaled(theirs), strict=True):
            divergence_B = divergence_B + _divergence(_cut(mine, count), _cut(its, count), mask_BT) / 2
        rows.append(domain_sums(divergence_B, tokens_B, domain_ids_B, num_domains, row_weights))
    return stacked(rows)


def _unscaled(factors: Factors) -> Factors:
    queries, keys = factors
    return queries * queries.shape[-1] ** 0.5, keys


def _cut(vectors_BNTd: Tensor, heads: int) -> Tensor:
    """Vectors of all heads, side by side, in ``heads`` equal pieces, each divided by the fourth root of its width."""
    rows, _, tokens, _ = vectors_BNTd.shape
    side_by_side = vectors_BNTd.transpose(1, 2).reshape(rows, tokens, heads, -1)
    pieces: Tensor = side_by_side.transpose(1, 2).to(torch.promote_types(vectors_BNTd.dtype, torch.float32))
    scale: float = pieces.shape[-1] ** -0.25
    return pieces * scale


def _divergence(student_BATd: Tensor, teacher_BATd: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over heads and valid tokens of the divergence between distributions over the valid tokens, (B,)."""
    padding = ~mask_BT.bool()[:, None, None, :]
    scores = (each @ each.mT for each in (student_BATd, teacher_BATd))
    ours, theirs = (each.masked_fill(padding, -torch.inf).log_softmax(dim=-1) for each in scores)
    share = theirs.exp()
    by_token = torch.where(padding, 0, share * (theirs - ours).masked_fill(padding, 0)).sum(dim=-1).mean(dim=1)
    valid = mask_BT.float()
    mean_B: Tensor = (by_token * valid).sum(dim=1) / valid.sum(dim=1).clamp_min(1)
    return mean_B
