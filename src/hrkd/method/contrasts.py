"""What sets the classes apart in each domain, and how alike that is in different domains.

A prototype, the mean over all classes of a domain, does not tell whether what speaks for a class in one domain speaks
for it in another. The contrasts of the classes do: where the same words mean different labels they point apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["class_contrasts", "contrast_relations", "permuted", "related_losses", "shares", "smoothed_cosines"]

POWER = 4
TRIES = 200
LEAST_SIGNAL = 0.5
"""Of a squared length, the share that is taken for signal at least: where both halves differ, none is to be seen."""


def class_contrasts(sums_KDCH: Tensor, counts_DC: Tensor) -> Tensor:
    """Mean of each class of a domain minus the mean of these means, (K, D, C * H); 0 for a class without texts.

    Shapes: sums of the token means of texts (K, D, C, H), numbers of texts (D, C).
    """
    there = (counts_DC > 0).to(sums_KDCH.dtype)[..., None]
    means = sums_KDCH / counts_DC.clamp_min(1)[..., None].to(sums_KDCH.dtype)
    middle = (means * there).sum(dim=-2, keepdim=True) / there.sum(dim=-2, keepdim=True).clamp_min(1)
    return ((means - middle) * there).flatten(start_dim=-2)


def contrast_relations(halves_2KDF: Tensor) -> Tensor:
    """:func:`smoothed_cosines` of the contrasts of either half of the texts, (2, K, D, F) -> (K, D, D)."""
    return smoothed_cosines(torch.einsum("akdf,bkef->abkde", halves_2KDF, halves_2KDF))


def smoothed_cosines(products_22KDD: Tensor) -> Tensor:
    """Cosines between the contrasts of domains, smoothed, (K, D, D): 1 on the diagonal, symmetric, within -1 and 1.

    Contrasts of few texts are mostly noise. So each is known twice, of either half of the texts: the product of both
    halves is a squared length without the noise (which is not taken for more than half of it), and where the
    cosines of both halves differ as much as those of different pairs of domains do, all are drawn to their mean (James
    and Stein), whereby nothing is told apart. A domain that has no contrast is related to the
    others by the mean.

    Shapes: products of the contrasts of half a and domain d with those of half b and domain e (2, 2, K, D, D).
    """
    inner_KDD = products_22KDD.mean(dim=(0, 1))
    tiny = torch.finfo(inner_KDD.dtype).tiny
    signal_KD, length_KD = (each.diagonal(dim1=-2, dim2=-1) for each in (products_22KDD[0, 1], inner_KDD))
    scale_KD = torch.maximum(signal_KD, LEAST_SIGNAL * length_KD).clamp_min(tiny).rsqrt()
    scale_KDD = scale_KD[..., :, None] * scale_KD[..., None, :]
    cosines = inner_KDD * scale_KDD
    domains = cosines.shape[-1]
    same = torch.eye(domains, dtype=torch.bool, device=cosines.device)
    if domains < 2:
        return torch.ones_like(cosines)
    halves = [(products_22KDD[half, half] * scale_KDD)[:, ~same] for half in (0, 1)]
    others, there = cosines[:, ~same], length_KD > 0
    known = (there[..., :, None] & there[..., None, :])[:, ~same].to(cosines.dtype)
    number_K1 = known.sum(dim=-1, keepdim=True).clamp_min(1)
    mean_K1 = (others * known).sum(dim=-1, keepdim=True) / number_K1
    noise_K1 = ((halves[0] - halves[1]).square() * known).sum(dim=-1, keepdim=True) / number_K1 / 4
    spread_K1 = ((others - mean_K1).square() * known).sum(dim=-1, keepdim=True) / number_K1
    kept_K1 = ((spread_K1 - noise_K1) / spread_K1.clamp_min(tiny)).clamp(0, 1)
    smoothed = torch.ones_like(cosines)
    smoothed[:, ~same] = (mean_K1 + kept_K1 * known * (others - mean_K1)).clamp(-1, 1)
    return smoothed


def permuted(relations_KDD: Tensor, seed: int) -> Tensor:
    """The same numbers between other domains, a control: domains change places, none keeps its own.

    Of many random cycles of the domains the one is taken whose numbers agree least with the true ones, summed over
    levels: else a pair of related domains might come to lie on another. With two domains nothing changes, as there is
    one number.
    """
    generator = torch.Generator().manual_seed(seed)
    domains = relations_KDD.shape[-1]
    others = relations_KDD - torch.diag_embed(relations_KDD.diagonal(dim1=-2, dim2=-1))
    best, order = torch.inf, torch.arange(domains)
    for _ in range(TRIES):
        cycle = torch.randperm(domains, generator=generator)
        tried = torch.empty_like(cycle)
        tried[cycle] = cycle.roll(-1)
        agreement = float((others * others[..., tried, :][..., tried]).sum())
        if agreement < best - 1e-9:
            best, order = agreement, tried
    return relations_KDD[..., order, :][..., order]


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
) -> Tensor:
    """Soft cross-entropy of every head of the student with the teacher's heads of related domains, (D,).

    ``-t^2 sum_c (sum_e shares[d, e] softmax(teacher_e / t))_c log softmax(student_d / t)_c``, mean over the texts of
    all domains.

    Shapes: logits of every head (B, D, C); shares (D, D), rows sum to one; ``row_weights`` (B,).
    """
    said_BDC = (teacher_BDC.float() / temperature).softmax(dim=-1)
    target_BDC = torch.einsum("de,bec->bdc", shares_DD, said_BDC)
    loss_BD = -(target_BDC * (student_BDC.float() / temperature).log_softmax(dim=-1)).sum(dim=-1) * temperature**2
    if row_weights is not None:
        loss_BD = loss_BD * row_weights[:, None]
    return loss_BD.mean(dim=0)
