"""When a training ends: how many epochs it has, whether it was over too early, and the average of its second half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hrkd.recipe.schema import TrainingConfig

__all__ = ["AVERAGE", "SecondHalf", "is_over", "planned_epochs", "still_learning"]

AVERAGE = 0
"""The epoch that averaged weights are scored as; others are counted from 1."""
PREFIX = "average."


def planned_epochs(settings: TrainingConfig, steps_of_epoch: int) -> int:
    """Epochs of a training that nothing ends early: ``epochs``, if they are neither too few nor too many steps."""
    most = settings.epochs if settings.max_steps is None else max(1, settings.max_steps // steps_of_epoch)
    return max(min(settings.epochs, most), ceil(settings.min_steps / steps_of_epoch))


def is_over(epochs: int, best_epoch: int, planned: int, patience: int | None) -> bool:
    """Whether a training of ``planned`` epochs ends after ``epochs`` of them, of which ``best_epoch`` was the best."""
    return epochs >= planned or (patience is not None and epochs - best_epoch >= patience)


def still_learning(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Whether the last of all epochs was better on dev than all before by more than its standard error, in words."""
    *before, last = epochs
    if not before or not last.get("standard_error"):
        return ""
    reached = max(float(epoch["selection"]) for epoch in before)
    if last["selection"] - reached <= last["standard_error"]:
        return ""
    return f"dev rose from {100 * reached:.1f} to {100 * last['selection']:.1f} % in the last of {len(epochs)} epochs"


class SecondHalf:
    """The mean of a model's weights over the updates of a training's second half (Izmailov et al. 2018).

    Args:
        model: the weights of which are averaged; a copy is held.
        updates: of the whole training, if nothing ends it early.
    """

    def __init__(self, model: nn.Module, updates: int) -> None:
        self.averaged = AveragedModel(model)
        self.first = updates // 2

    @property
    def updates(self) -> int:
        """How many are averaged so far."""
        return int(self.averaged.n_averaged)

    def add(self, model: nn.Module, update: int) -> None:
        """Take in the weights after ``update`` (from 1), if it is of the second half."""
        if update > self.first:
            with torch.no_grad():
                self.averaged.update_parameters(model)

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, on the processor."""
        return {name: value.detach().cpu().clone() for name, value in self.averaged.module.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {f"{PREFIX}{name}": value.detach() for name, value in self.averaged.state_dict().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take what :meth:`state` gave out of ``state``."""
        mine = {name: state.pop(name) for name in list(state) if name.startswith(PREFIX)}
        self.averaged.load_state_dict({name.removeprefix(PREFIX): value for name, value in mine.items()})
