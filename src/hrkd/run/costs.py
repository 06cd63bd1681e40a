"""What the stages of a run cost: steps, epochs, seconds; by what was timed, and by what a recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal

import numpy as np

from hrkd.data.batching import TokenizedDataset
from hrkd.recipe.schema import Recipe, TrainingConfig
from hrkd.run.student import share_of
from hrkd.training.ending import planned_epochs

__all__ = ["StageCost", "State", "settings_of", "steps_of_epoch", "total_seconds", "with_recipe"]

State = Literal["to make", "to make anew", "under way", "finished"]


@dataclass(frozen=True)
class StageCost:
    """A stage, or the teacher of one domain.

    Args:
        name: "teacher", "levels", "student", "baseline"; of a domain's teacher "teacher books".
        stage: the stage that it is, or is a part of.
        state: what the folder of the run says of it.
        rows: that it is trained on.
        steps_of_epoch: steps of an epoch.
        epochs: of the whole training, if nothing ends it early.
        epochs_done: of a training that goes on.
        step: seconds of a step; None where none is to be made.
        between: seconds of what follows each epoch.
        before: seconds of what comes before the first step.
    """

    name: str
    stage: str
    state: State
    rows: int
    steps_of_epoch: int
    epochs: int
    epochs_done: int = 0
    step: float | None = None
    between: float = 0.0
    before: float = 0.0

    @property
    def steps(self) -> int:
        """Those that are left."""
        return 0 if self.state == "finished" else max(0, self.epochs - self.epochs_done) * self.steps_of_epoch

    @property
    def seconds(self) -> float:
        """What is left takes about so long."""
        if self.state == "finished" or self.step is None:
            return 0.0
        return self.before + self.steps * self.step + max(0, self.epochs - self.epochs_done) * self.between

    @property
    def is_begun(self) -> bool:
        """Whether its settings are settled, as something is there that was made with them."""
        return self.state in ("under way", "finished")

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "rows": self.rows,
            "steps_of_epoch": self.steps_of_epoch,
            "epochs": self.epochs,
            "epochs_done": self.epochs_done,
            "steps_left": self.steps,
            "seconds_of_step": self.step,
            "seconds": self.seconds,
        }


def steps_of_epoch(data: TokenizedDataset, step_size: int, *, altered: TokenizedDataset | None, copies: int) -> int:
    """Steps of a pass over the largest domain; ``copies`` of the rows of ``altered`` come besides those of ``data``."""
    counts = np.bincount(data.domain_ids)
    if altered is not None:
        counts = counts + copies * np.bincount(altered.domain_ids, minlength=len(counts))
    return ceil(int(counts.max()) / step_size)


def settings_of(recipe: Recipe, stage: str) -> TrainingConfig:
    """The settings of the training of a stage, with its share of all epochs."""
    if stage == "teacher":
        return recipe.teacher.training
    if stage == "baseline":
        return recipe.student.training
    levels, student = recipe.student_epochs
    return share_of(recipe.student.training, levels if stage == "levels" else student)


def with_recipe(costs: Sequence[StageCost], recipe: Recipe) -> list[StageCost]:
    """The same stages with the epochs that another recipe asks for, as far as they are not begun."""
    return [
        cost
        if cost.is_begun
        else replace(cost, epochs=planned_epochs(settings_of(recipe, cost.stage), cost.steps_of_epoch))
        for cost in costs
    ]


def total_seconds(costs: Sequence[StageCost]) -> float:
    """Of all stages."""
    return sum(cost.seconds for cost in costs)
