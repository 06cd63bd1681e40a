"""What a level sees of the levels below it: the hierarchical part of HRKD.

Each module maps prototypes (K, D, H) to :class:`Aggregated` representations of the same shape, which the
domain graph then relates. Level 0 always passes through.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hrkd.method.initial_weights import xavier_uniform

__all__ = ["Aggregated", "CompareAggregate", "LevelMean", "NoHierarchy", "levels_up_to"]


@dataclass(frozen=True)
class Aggregated:
    """Level representations and how they were mixed.

    ``states`` (K, D, H); ``hierarchical_ratios`` (K, K, D): entry [k, j, d] is the weight of level j in
    level k for domain d; rows j sum to one and are 0 above k.
    """

    states: Tensor
    hierarchical_ratios: Tensor


def levels_up_to(levels: int, device: torch.device | None = None) -> Tensor:
    """Boolean (K, K): entry [k, j] says whether level k may look at level j, that is j <= k."""
    return torch.ones(levels, levels, dtype=torch.bool, device=device).tril()


class CompareAggregate(nn.Module):
    """Attention of each level over itself and the levels below (HRKD, compare-aggregate).

    For level k >= 1: ``A = softmax(P W1[k] P')`` row-wise over domains with P (D, H) the level's prototypes;
    the reference of the domains is ``R = A P``; ``s[j] = p[j, d]' W2[k, d] R[d]`` for j = 0..k;
    ``alpha = softmax(s)`` over j; ``z[k, d] = sum_j alpha[j] p[j, d]``. Level 0 has only itself to look at.

    Args:
        levels: K, number of student levels (layers + 1).
        domains: D.
        width: H, width of the prototypes.
        reference_attention: if False the reference is the domain's own prototype, R = P.

    Weights: ``reference_weight`` W1 (K, H, H) and ``level_weight`` W2 (K, D, H, H), Xavier uniform with gain
    1.414. Their entries of level 0 have no effect and are kept for the shapes of the paper.
    """

    def __init__(self, levels: int, domains: int, width: int, *, reference_attention: bool) -> None:
        super().__init__()
        self.reference_attention = reference_attention
        self.level_weight = nn.Parameter(torch.empty(levels, domains, width, width))
        if reference_attention:
            self.reference_weight = nn.Parameter(torch.empty(levels, width, width))
        else:
            self.register_parameter("reference_weight", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        for weight in self.parameters():
            xavier_uniform(weight, 2 * weight.shape[-1])

    def forward(self, prototypes_KDH: Tensor) -> Aggregated:
        """Shapes: (K, D, H) -> states (K, D, H), hierarchical ratios (K, K, D)."""
        reference_KDH = self._reference(prototypes_KDH)
        keys_KDH = torch.einsum("kdhg,kdg->kdh", self.level_weight, reference_KDH)
        scores_KJD = torch.einsum("jdh,kdh->kjd", prototypes_KDH, keys_KDH)
        hidden = ~levels_up_to(len(prototypes_KDH), prototypes_KDH.device)
        alpha_KJD = scores_KJD.masked_fill(hidden[:, :, None], -torch.inf).softmax(dim=1)
        return Aggregated(torch.einsum("kjd,jdh->kdh", alpha_KJD, prototypes_KDH), alpha_KJD)

    def _reference(self, prototypes_KDH: Tensor) -> Tensor:
        if self.reference_weight is None:
            return prototypes_KDH
        scores_KDE = prototypes_KDH @ self.reference_weight @ prototypes_KDH.transpose(1, 2)
        return scores_KDE.softmax(dim=-1) @ prototypes_KDH


class LevelMean(nn.Module):
    """Ablation: the mean of each level and those below, in the place of compare-aggregate."""

    def forward(self, prototypes_KDH: Tensor) -> Aggregated:
        """Shapes: (K, D, H) -> states (K, D, H), hierarchical ratios (K, K, D)."""
        levels, domains = prototypes_KDH.shape[:2]
        weight_KJ = levels_up_to(levels, prototypes_KDH.device).to(prototypes_KDH.dtype)
        weight_KJ = weight_KJ / weight_KJ.sum(dim=1, keepdim=True)
        states = torch.einsum("kj,jdh->kdh", weight_KJ, prototypes_KDH)
        return Aggregated(states, weight_KJ[:, :, None].expand(levels, levels, domains))


class NoHierarchy(nn.Module):
    """Ablation: each level sees itself alone."""

    def forward(self, prototypes_KDH: Tensor) -> Aggregated:
        """Shapes: (K, D, H) -> states (K, D, H), hierarchical ratios (K, K, D)."""
        levels, domains = prototypes_KDH.shape[:2]
        weight_KJ = torch.eye(levels, dtype=prototypes_KDH.dtype, device=prototypes_KDH.device)
        return Aggregated(prototypes_KDH, weight_KJ[:, :, None].expand(levels, levels, domains))
