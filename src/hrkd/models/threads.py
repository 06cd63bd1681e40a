"""How many of a processor's cores a training or a prediction takes: as many as there is work for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["threads_for"]

SEVERAL_FROM = 2.5e8
"""Weights times tokens of a batch from which there are several: a training step then takes a core some 50 ms. In less,
threads wait for each other most of the time, and burn what they wait. A judgement: the crossing was not measured."""


@contextmanager
def threads_for(*models: nn.Module, tokens: float) -> Iterator[None]:
    """One thread within the context, if all ``models`` are small; else as many as torch has.

    Sizes alone decide, so that a command computes the same sums in the same order whenever it is given.

    Args:
        models: what is run; tables that are only looked up do not count.
        tokens: in a batch, of all rows together.
    """
    before = torch.get_num_threads()
    if sum(map(_weights, models)) * tokens < SEVERAL_FROM:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _weights(model: nn.Module) -> int:
    counted = (module for module in model.modules() if not isinstance(module, nn.Embedding))
    return sum(parameter.numel() for module in counted for parameter in module.parameters(recurse=False))
