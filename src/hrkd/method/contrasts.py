"""What sets the classes apart in each domain, and how alike that is in different domains.

A prototype, the mean over all classes of a domain, does not tell whether what speaks for a class in one domain speaks
for it in another. The contrasts of the classes do: where the same words mean different labels they point apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hrkd.method.losses import widened
from hrkd.method.sums import Sums

__all__ = ["class_contrasts", "related_losses", "shares"]

POWER = 4


def class_contrasts(sums_KDCH: Tensor, counts_DC: Tensor) -> Tensor:
    """Mean of each class of a domain minus the mean of these means, (K, D, C * H); 0 for a class without texts.

    Shapes: sums of the token means of texts (K, D, C, H), numbers of texts (D, C).
    """
    there = (counts_DC > 0).to(sums_KDCH.dtype)[..., None]
    means = sums_KDCH / counts_DC.clamp_min(1)[..., None].to(sums_KDCH.dtype)
    middle = (means * there).sum(dim=-2, keepdim=True) / there.sum(dim=-2, keepdim=True).clamp_min(1)
    return ((means - middle) * there).flatten(start_dim=-2)


def shares(relations_DD: Tensor) -> Tensor:
    """How much each domain takes of each other one, (..., D, D): positive relations to the power of 4, rows sum to one.

    Domains that share half of what sets their classes apart disagree about the other half: a 16th is taken of these.
    """
    positive = relations_DD.clamp_min(0) ** POWER
    return positive / positive.sum(dim=-1, keepdim=True)


def related_losses(
    student_BDC: Tensor,
    teacher_BDC: Tensor,
    shares_DD: Tensor,
    *,
    temperature: float,
    row_weights: Tensor | None = None,
) -> Sums:
    """Soft cross-entropy of every head of the student with the teacher's heads of related domains, (D,).

    ``-t^2 sum_c (sum_e shares[d, e] softmax(teacher_e / t))_c log softmax(student_d / t)_c``, mean over the texts of
    all domains.

    Shapes: logits of every head (B, D, C); shares (D, D), rows sum to one; ``row_weights`` (B,).
    """
    said_BDC = (widened(teacher_BDC) / temperature).softmax(dim=-1)
    target_BDC = torch.einsum("de,bec->bdc", shares_DD, said_BDC)
    loss_BD = -(target_BDC * (widened(student_BDC) / temperature).log_softmax(dim=-1)).sum(dim=-1) * temperature**2
    if row_weights is not None:
        loss_BD = loss_BD * row_weights[:, None]
    return Sums(loss_BD.sum(dim=0), loss_BD.new_tensor(float(len(loss_BD))))
