"""A stage of a run: what decides its weights, how it is trained, and its folder, which is finished or absent."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedTokenizerBase

from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.open_model import open_model
from hrkd.run.context import Context
from hrkd.support.allocator import peak_megabytes
from hrkd.support.atomic_files import replace_folder, write_json, writing
from hrkd.support.stage_files import STAGES, StageFiles, versions
from hrkd.training.loop import TrainingHistory
from hrkd.training.session import Session
from hrkd.training.watch import phase

__all__ = ["FinishedStage", "ModelStage", "Stage", "TrainedModel", "steps_before"]

logger = logging.getLogger("hrkd")


@dataclass(frozen=True)
class TrainedModel:
    """What a training gives; ``record`` is what goes to the record of the training beside its ``history``."""

    model: MultiDomainClassifier
    tokenizer: PreTrainedTokenizerBase
    history: TrainingHistory
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FinishedStage:
    """A finished stage: its model with its tokenizer, and the record of its training."""

    model: MultiDomainClassifier
    tokenizer: PreTrainedTokenizerBase
    record: dict[str, Any]


class Stage(ABC):
    """A stage, or a part of one, of the run of ``context``.

    Args:
        name: that of its folder.
        title: what progress and trackers call it; default: the name.
        steps: those of the parts before.
    """

    recorded: ClassVar[Mapping[str, type | tuple[type, ...]]] = {"epochs": list, "steps": int, "best_epoch": object}
    """Keys of the record of its training, with their types."""

    def __init__(self, context: Context, name: str, *, title: str = "", steps: int = 0) -> None:
        self.context = context
        self.name = name
        self.title = title or name
        self.steps = steps
        self.files = context.folder.stage(name)
        self.settings = context.planned[name.partition("/")[0]]

    @abstractmethod
    def make(self) -> None:
        """Train, and write the folder, ``files.settings`` last."""

    def finish(self) -> dict[str, Any]:
        """Make it unless that is done; returns the record of its training."""
        accelerator, files = self.context.accelerator, self.files
        self._tell_other_versions()
        if files.is_finished:  # and whole: that was looked at before anything was begun
            logger.info("%s: finished before, taken from %s", self.name, files.model)
        else:
            if accelerator.is_main_process:
                self.context.folder.lock.check()
                self._begin()
            accelerator.wait_for_everyone()
            self.make()
        if accelerator.is_main_process:
            self.context.folder.lock.check()
            self._end()
        accelerator.wait_for_everyone()
        what = f"the record of the {self.name}'s training"
        record: dict[str, Any] = files.record(files.training, what=what, needs=self.recorded)
        return record

    def record_to_write(self) -> dict[str, Any]:
        """What decides the weights, with what is noted beside it."""
        return {**self.settings, "versions": versions()}

    def _begin(self) -> None:
        """Note what is being made, so that a later run knows whether it may go on with what is there."""
        if not self.files.has_checkpoint:
            self.files.remove_metrics()  # of an earlier attempt; those of finished parts lie deeper
        if self.files.begun is not None:
            write_json(self.files.begun, self.record_to_write())

    def _end(self) -> None:
        """Remove what was needed only while it was under way."""
        with writing(self.files.checkpoint):
            self.files.remove_checkpoint()

    def _tell_other_versions(self) -> None:
        """Say so where what is taken up was made with other versions of packages."""
        if other := self.files.other_versions:
            what = "made" if self.files.is_finished else "begun"
            logger.warning(
                "%s: was %s with %s; its numbers are not exactly those that it would have now", self.name, what,
                ", ".join(other),
            )  # fmt: skip


class ModelStage(Stage):
    """A stage that is one model."""

    @abstractmethod
    def train(self, session: Session) -> TrainedModel:
        """Train the model."""

    def make(self) -> None:
        """Train the model, and write it with both records in one step."""
        trained = self.train(self._session())
        with phase("save"):
            self._save(trained)

    def _save(self, trained: TrainedModel) -> None:
        if self.context.accelerator.is_main_process:
            self.context.folder.lock.check()
            trained.model.config.columns = self.context.data.columns
            trained.model.config.keep = self.context.recipe.data.keep
            trained.model.config.hrkd_version = metadata.version("hrkd")
            with replace_folder(self.files.model) as new:
                trained.model.save_pretrained(new)
                trained.tokenizer.save_pretrained(new)
                cost = {"peak_megabytes": peak_megabytes()}
                write_json(new / self.files.training.name, {**vars(trained.history), **cost, **trained.record})
                write_json(new / self.files.settings.name, self.record_to_write())

    def load(self) -> FinishedStage:
        """Make it unless that is done, then read it: what follows works with what is on the disk."""
        record = self.finish()
        model, tokenizer = open_model(self.files.model)
        return FinishedStage(model.to(self.context.accelerator.device), tokenizer, record)

    def _session(self) -> Session:
        """How its training is executed."""
        context = self.context
        return Session(
            context.accelerator,
            context.recipe.run,
            context.recipe.evaluation,
            metrics=self.files.metrics,
            checkpoint=self.files.checkpoint,
            before_saving=context.folder.lock.check,
            steps_before=steps_before(context.folder.path, self.name.partition("/")[0]) + self.steps,
            progress=context.progress,
            title=self.title,
        )


def steps_before(run: Path, stage: str) -> int:
    """Training steps of the finished stages that come before ``stage`` in the folder of a ``run``."""
    before = [StageFiles.of(run, name) for name in STAGES[: STAGES.index(stage)]]
    needs = {"steps": int}
    records = [
        files.record(files.training, what="the record of a training", needs=needs)
        for files in before
        if files.training.is_file()
    ]
    return sum(record["steps"] for record in records)
