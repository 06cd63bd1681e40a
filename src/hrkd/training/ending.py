"""When a training ends: how many epochs it has, whether it was over too early, and the average of its second half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hrkd.recipe.schema import TrainingConfig

__all__ = ["AVERAGE", "SecondHalf", "ended_by", "is_over", "planned_epochs", "still_learning"]

AVERAGE = 0
"""The epoch that averaged weights are scored as; others are counted from 1."""
PREFIX = "average."
LATE = 4
"""The last of so many parts of a training says whether it was still learning: single short epochs rise by little."""


def planned_epochs(settings: TrainingConfig, steps_of_epoch: int) -> int:
    """Epochs of a training that nothing ends early: ``epochs``, if they are neither too few nor too many steps."""
    most = settings.epochs if settings.max_steps is None else max(1, settings.max_steps // steps_of_epoch)
    return max(min(settings.epochs, most), ceil(settings.min_steps / steps_of_epoch))


def is_over(settings: TrainingConfig, steps_of_epoch: int, epochs: int, best_epoch: int) -> bool:
    """Whether a training ends after ``epochs``, of which ``best_epoch`` was the best.

    Patience counts from the first step on, and ends nothing before ``min_steps`` are done.
    """
    if epochs >= planned_epochs(settings, steps_of_epoch):
        return True
    is_enough = epochs * steps_of_epoch >= settings.min_steps
    return is_enough and settings.patience is not None and epochs - best_epoch >= settings.patience


def ended_by(settings: TrainingConfig, steps_of_epoch: int, epochs: int) -> str:
    """The field that ended a training after ``epochs``: patience, or what says how many there are."""
    planned = planned_epochs(settings, steps_of_epoch)
    if epochs < planned:
        return "patience"
    return "max_steps" if planned < settings.epochs else "min_steps" if planned > settings.epochs else "epochs"


def still_learning(epochs: Sequence[Mapping[str, Any]]) -> str:
    """Whether dev rose in the last quarter of the epochs by more than its standard error, in words.

    Of fewer than eight epochs the last one is that quarter; nothing is said of a single one.
    """
    last = max(1, len(epochs) // LATE)
    before, late = epochs[:-last], epochs[-last:]
    error = float(epochs[-1].get("standard_error") or 0)
    if not before or not error:
        return ""
    reached, risen = (max(float(epoch["selection"]) for epoch in part) for part in (before, late))
    if risen - reached <= error:
        return ""
    part = "the last" if last == 1 else f"the last {last}"
    return f"dev rose from {100 * reached:.1f} to {100 * risen:.1f} % in {part} of {len(epochs)} epochs"


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
