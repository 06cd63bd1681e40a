"""Principal directions of hidden states, and the best narrow replacement of a product of two maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

__all__ = ["StateMoments", "principal_components", "product_maps", "read_moments", "valid_states"]

Batches = Iterable[Mapping[str, Tensor]]
PADDING_SCALE = 0.02  # standard deviation of weights that have no counterpart in the teacher


@dataclass(frozen=True)
class StateMoments:
    """First and uncentred second moments of an encoder's states over valid tokens, in 64 bits on the CPU.

    ``means`` (H,) and ``seconds`` (H, H) by level.
    """

    means: Mapping[int, Tensor]
    seconds: Mapping[int, Tensor]

    def kept_energy(self, level: int, basis: Tensor) -> float:
        """Share of the squared length of a level's states that lies in the span of ``basis`` (H, Hs)."""
        second = self.seconds[level]
        return float((basis * (second @ basis)).sum() / second.trace())


def valid_states(encoder: PreTrainedModel, batch: Mapping[str, Tensor], levels: Sequence[int]) -> list[Tensor]:
    """Hidden states of the given levels at valid tokens, each (tokens, H)."""
    inputs = {name: tensor.to(encoder.device) for name, tensor in batch.items()}
    states = encoder(**inputs, output_hidden_states=True, return_dict=True).hidden_states
    valid = inputs["attention_mask"].bool()
    return [states[level][valid] for level in levels]


@torch.no_grad()
def read_moments(encoder: PreTrainedModel, batches: Batches, levels: Sequence[int]) -> StateMoments:
    """Moments of the states of some levels; the encoder should be in evaluation mode."""
    width, count = encoder.config.hidden_size, 0
    means = {level: torch.zeros(width, dtype=torch.float64) for level in levels}
    seconds = {level: torch.zeros(width, width, dtype=torch.float64) for level in levels}
    for batch in batches:
        for level, states in zip(levels, valid_states(encoder, batch, levels), strict=True):
            means[level] += states.sum(0).cpu().double()
            seconds[level] += (states.mT @ states).cpu().double()
        count += int(batch["attention_mask"].sum())
    return StateMoments({k: v / count for k, v in means.items()}, {k: v / count for k, v in seconds.items()})


def principal_components(moments: StateMoments, levels: Sequence[int], width: int) -> Tensor:
    """The ``width`` orthonormal directions that hold most of the states' squared length, shape (H, Hs).

    Every level counts alike, whatever the size of its states. Directions are not centred, since a projection of the
    residual axis has no place for a mean; their sign makes the largest entry positive. At full width it is the
    identity, with which nothing is lost.
    """
    full = moments.means[levels[0]].numel()
    if width == full:
        return torch.eye(full, dtype=torch.float64)
    # States grow from level to level; unscaled, the last would decide alone.
    mean = torch.stack([moments.seconds[level] / moments.seconds[level].trace() for level in levels]).mean(0)
    basis = torch.linalg.eigh(mean).eigenvectors[:, -width:].flip(1)
    # An eigenvector's sign is a matter of the library; a fixed one makes the same student everywhere.
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    signed: Tensor = basis * largest.sign()
    return signed


def product_maps(left: Tensor, right: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Maps P, R (rank, d) such that (P left)' (R right) is nearest to left' right, of shapes (d, n) and (d, m).

    From the singular value decomposition of the product (Eckart and Young, 1936), with the singular values shared
    evenly by both factors. Where ``rank`` is d the maps are the identity. Where it is larger, further rows are small
    random numbers in P and zero in R: they add nothing, yet can be learnt.
    """
    size = len(left)
    if rank >= size:
        maps = torch.eye(rank, size, dtype=left.dtype)
        spare = PADDING_SCALE * torch.randn(rank - size, size, generator=generator, dtype=left.dtype)
        return torch.cat([maps[:size], spare]), maps
    # The product is as large as the states are wide, its rank only d: the triangles of both factors hold its singular
    # values. Dead heads have none, hence the clamp.
    triangle_left, triangle_right = torch.linalg.qr(left.mT).R, torch.linalg.qr(right.mT).R
    u, values, v = torch.linalg.svd(triangle_left @ triangle_right.mT)
    scale = values[:rank].clamp_min(values[0] * 1e-12).rsqrt()[:, None]
    return scale * (v[:rank] @ triangle_right), scale * (u.mT[:rank] @ triangle_left)
