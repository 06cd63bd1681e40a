"""The student of a run, its levels where they come first, and its baseline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from hrkd.models.start.build import StartedStudent
from hrkd.models.start.student import start_student
from hrkd.recipe.schema import MethodConfig
from hrkd.run.context import Context
from hrkd.run.prepare import distillation_set
from hrkd.run.stages import FinishedStage, ModelStage, TrainedModel
from hrkd.run.teacher import Teacher
from hrkd.training.loop import EpochScore, TrainingHistory
from hrkd.training.record import training_cost
from hrkd.training.selection import BestPerDomain, DevAccuracy, last_epoch
from hrkd.training.session import Session
from hrkd.training.trainers import distill_from_models, fine_tune

__all__ = ["distil_student", "fine_tune_baseline"]

logger = logging.getLogger("hrkd")


def distil_student(context: Context, teacher: Teacher) -> FinishedStage:
    """Build the student and distil the teacher into it, unless that is done; with two stages, the levels come first."""
    return Student(context, teacher).load()


def fine_tune_baseline(context: Context, teacher: Teacher) -> FinishedStage:
    """The same student, started and trained alike but on labels alone, unless that is done."""
    return Baseline(context, teacher).load()


class Student(ModelStage):
    """The distilled student."""

    def __init__(self, context: Context, teacher: Teacher) -> None:
        super().__init__(context, "student")
        self.teacher = teacher

    def train(self, session: Session) -> TrainedModel:
        """Distil; after the levels, if they are a stage of their own, predictions alone."""
        context, method = self.context, self.context.recipe.method
        record: dict[str, Any] = {}
        if method.stages == "two":
            levels = Levels(context, self.teacher).load()
            started, layer_map = StartedStudent(levels.model, None, "levels"), levels.record["layer_map"]
            record["levels"] = training_cost(levels.record)
            method = method.predictions_alone()
        else:
            started, layer_map = _start(context, self.teacher)
        best = BestPerDomain(
            started.model,
            self.teacher.data.test,
            self.files.best_per_domain,
            batch_size=context.recipe.evaluation.batch_size,
            resume=self.files.checkpoint.is_dir(),
            writes=context.accelerator.is_main_process,
        )
        evaluate = DevAccuracy(
            started.model,
            self.teacher.data.dev,
            batch_size=context.recipe.evaluation.batch_size,
            progress=context.progress,
            best_per_domain=best,
        )
        epochs = context.recipe.student_epochs[1]
        history = _distil(self, session, started, layer_map, method, epochs, evaluate)
        record |= {"best_per_domain": best.state, "layer_map": layer_map}
        return TrainedModel(started.model, self.teacher.tokenizer, history, record)


class Levels(ModelStage):
    """The student after the first of two stages: hidden states and attention alone; its heads are not trained."""

    def __init__(self, context: Context, teacher: Teacher) -> None:
        super().__init__(context, "levels")
        self.teacher = teacher

    def train(self, session: Session) -> TrainedModel:
        """Distil levels; the last epoch is kept, as the dev set says nothing of a student without trained heads."""
        context, method = self.context, self.context.recipe.method.levels_alone()
        started, layer_map = _start(context, self.teacher)
        epochs = context.recipe.student_epochs[0]
        history = _distil(self, session, started, layer_map, method, epochs, last_epoch)
        return TrainedModel(started.model, self.teacher.tokenizer, history, {"layer_map": layer_map})


class Baseline(ModelStage):
    """The student without distillation."""

    def __init__(self, context: Context, teacher: Teacher) -> None:
        super().__init__(context, "baseline")
        self.teacher = teacher

    def train(self, session: Session) -> TrainedModel:
        """Fine-tune on labels."""
        model, data = _start(self.context, self.teacher)[0].model, self.teacher.data
        settings = self.context.recipe.student.training
        history = fine_tune(model, data.train, data.dev, settings=settings, session=session)
        return TrainedModel(model, self.teacher.tokenizer, history)


def _distil(
    stage: Student | Levels,
    session: Session,
    started: StartedStudent,
    layer_map: Sequence[int],
    method: MethodConfig,
    epochs: int,
    evaluate: Callable[[int], EpochScore],
) -> TrainingHistory:
    """One distillation as the recipe says it, but for ``method`` and ``epochs``."""
    for note in started.notes:
        logger.info("%s: %s", stage.name, note)
    context, teacher = stage.context, stage.teacher
    train_set = distillation_set(
        context.data,
        teacher.data.train,
        teacher.tokenizer,
        context.recipe.data.max_length,
        cache=context.cache,
        progress=context.progress,
    )
    return distill_from_models(
        teacher.model,
        started.model,
        train_set,
        teacher.data.dev,
        method=method,
        settings=context.recipe.student.training.model_copy(update={"epochs": epochs}),
        layer_map=layer_map,
        basis=started.basis,
        evaluate=evaluate,
        cache=context.recipe.cache,
        session=session,
    )


def _start(context: Context, teacher: Teacher) -> tuple[StartedStudent, tuple[int, ...]]:
    """The student before training, and the teacher layer (from 1) of each of its layers."""
    return start_student(
        teacher.model,
        context.recipe.student,
        teacher.data.train,
        teacher.tokenizer,
        seed=context.recipe.run.seed,
        device=context.accelerator.device,
    )
