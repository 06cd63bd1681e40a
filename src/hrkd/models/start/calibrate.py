"""Normalisations of a student whose outputs lie nearest to the teacher's states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hrkd.models.start.principal import valid_states

__all__ = ["calibrate_norms"]


@torch.no_grad()
def calibrate_norms(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    batches: Sequence[Mapping[str, Tensor]],
    *,
    layer_map: Sequence[int],
    norms: Mapping[int, str],
    basis: Tensor,
) -> None:
    """Set, from the embeddings upwards, weight and bias of the normalisations that end a level, in place.

    Each coordinate's weight and bias are the least-squares fit of what comes out of the normalisation to the teacher's
    projected state V'x at the level that ``layer_map`` gives. A projection keeps a normalisation's function only
    roughly, and skipped layers move the states; this sets both right as far as one number per coordinate can.

    Args:
        student: encoder in evaluation mode.
        teacher: encoder in evaluation mode.
        batches: the same texts for both.
        layer_map: teacher level of every student level.
        norms: name of the normalisation by student level, rising.
        basis: V, shape (H, Hs).
    """
    levels = [layer_map[level] for level in norms]
    down = basis.to(teacher.device, torch.float32)
    targets = [[states @ down for states in valid_states(teacher, batch, levels)] for batch in batches]
    # One after the other: the states that a level is fitted to are those that the levels below, set right, give it.
    for index, (level, name) in enumerate(norms.items()):
        norm = student.get_submodule(name)
        assert isinstance(norm, nn.LayerNorm)
        norm.weight.fill_(1.0)  # what comes out is then what weight and bias are to be fitted to
        norm.bias.zero_()
        states = torch.cat([valid_states(student, batch, [level])[0] for batch in batches])
        weight, bias = _fit(states, torch.cat([target[index] for target in targets]))
        norm.weight.copy_(weight)
        norm.bias.copy_(bias)


def _fit(states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares weight and bias of each coordinate; shapes (n, Hs), (n, Hs) -> (Hs,), (Hs,)."""
    states, targets = states.cpu().double(), targets.cpu().double()
    mean, target_mean = states.mean(0), targets.mean(0)
    centred = states - mean
    weight = (centred * (targets - target_mean)).mean(0) / centred.square().mean(0).clamp_min(1e-12)
    return weight, target_mean - weight * mean
