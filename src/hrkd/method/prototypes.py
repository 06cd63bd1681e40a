"""Domain prototypes: what a level looks like, on average, to each domain."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hrkd.method.sums import Sums

__all__ = ["centred", "prototypes"]


def prototypes(states: Sequence[Tensor], mask_BT: Tensor, domain_ids_B: Tensor, num_domains: int) -> Sums:
    """Mean state over the examples and valid tokens of each domain, per level (HRKD, prototypes), as sums.

    The paper takes fitted states; as fitting is linear, the fitted means of states are the means of fitted states.

    Shapes: states K tensors (B, T, H), mask (B, T) of 0/1, domain ids (B,) -> (K, D, H), with weights (D, 1). With a
    mask of ones the mean runs over padding too, as in the paper's public code.
    """
    mask_BT = mask_BT.to(states[0].dtype)
    sums_KBH = torch.stack([torch.einsum("bth,bt->bh", level, mask_BT) for level in states])
    member_BD = torch.nn.functional.one_hot(domain_ids_B, num_domains).to(mask_BT.dtype)
    tokens_D = (member_BD * mask_BT.sum(dim=1)[:, None]).sum(dim=0)
    sums_KDH = torch.einsum("kbh,bd->kdh", sums_KBH, member_BD)
    return Sums(sums_KDH, tokens_D[:, None])


def centred(prototypes_KDH: Tensor) -> Tensor:
    """Prototypes without what the domains of a level have in common, and with a root mean square of 1 in each level.

    Means over many tokens are nearly equal, so that a graph sees what they share and hardly what sets them apart.
    Shapes: (K, D, H) -> (K, D, H).
    """
    difference_KDH = prototypes_KDH - prototypes_KDH.mean(dim=1, keepdim=True)
    square_K11 = difference_KDH.square().mean(dim=(1, 2), keepdim=True)
    return difference_KDH * square_K11.clamp_min(torch.finfo(square_K11.dtype).eps ** 2).rsqrt()
