"""The student of a run, its levels where they come first, and its baseline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from hrkd.data.batching import TokenizedDataset, tokenize
from hrkd.models.augment import Candidates, MaskedWords, Neighbours, augmented, masked_language_model, whole_words
from hrkd.models.domain_teachers import encoders_of
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.sizes import model_sizes
from hrkd.models.start.build import StartedStudent
from hrkd.models.start.student import settled_training, start_student
from hrkd.models.vocabulary import Vocabulary, choose_vocabulary
from hrkd.recipe.schema import MethodConfig, StudentTrainingConfig
from hrkd.run.context import Context
from hrkd.run.stages import ModelStage, TrainedModel, steps_before
from hrkd.run.teacher import UnmeasuredTeacher
from hrkd.training.checkpoint import finished_epochs
from hrkd.training.loop import EpochScore, TrainingHistory
from hrkd.training.record import training_cost
from hrkd.training.routing import fit_router
from hrkd.training.selection import BestPerDomain, DevAccuracy, last_epoch
from hrkd.training.session import Session
from hrkd.training.trainers import distill_from_models, fine_tune

__all__ = ["Baseline", "Levels", "PupilStage", "Student", "share_of"]

logger = logging.getLogger("hrkd")


def share_of(training: StudentTrainingConfig, epochs: int) -> StudentTrainingConfig:
    """The settings of a stage that has so many of a training's epochs, and its share of all steps."""
    share = {"epochs": epochs, "min_steps": -(-training.min_steps * epochs // training.epochs)}
    if training.max_steps is not None:
        share["max_steps"] = -(-training.max_steps * epochs // training.epochs)
    return training.model_copy(update=share)


class PupilStage(ModelStage):
    """A stage that starts as the student does, under an opened ``teacher``."""

    stage: ClassVar[str]

    def __init__(self, context: Context, teacher: UnmeasuredTeacher) -> None:
        super().__init__(context, self.stage)
        self.teacher = teacher

    def start(self) -> tuple[StartedStudent, tuple[int, ...]]:
        """The student before training, and the teacher layer (from 1) of each of its layers."""
        recipe, teacher, device = self.context.recipe, self.teacher, self.context.accelerator.device
        common = teacher.model, recipe.student, teacher.data.train, teacher.tokenizer
        return start_student(*common, seed=recipe.run.seed, device=device)

    @cached_property
    def texts(self) -> TokenizedDataset:
        """The train rows and, behind them, those without labels, as the teacher's token ids."""
        train = self.teacher.data.train
        return train if self.context.data.unlabelled is None else train.followed_by(self._unlabelled())

    @cached_property
    def unaltered(self) -> TokenizedDataset:
        """The same and, behind them, the long ones in windows, without labels, if the recipe asks for them."""
        texts, data = self.texts, self.context.recipe.data
        if not self.context.recipe.student.own_windows:
            return texts
        long = np.unique(texts.owners[texts.lengths >= data.max_length])  # some of them just fit
        if not len(long):
            return texts
        rows, tokenizer = texts.texts.select(long).without_labels(), self.teacher.tokenizer
        windows = tokenize(rows, tokenizer, data.max_length, cache=self.context.cache, keep="windows")
        logger.info("%s: %s long texts in %s windows", self.name, f"{len(long):,}", f"{len(windows):,}")
        return texts.followed_by(windows)

    @cached_property
    def train_set(self) -> TokenizedDataset:
        """The same and, behind them, altered copies of the train rows."""
        return self.unaltered.followed_by(self._altered()) if self.context.recipe.student.augment else self.unaltered

    def vocabulary(
        self, model: MultiDomainClassifier, texts: TokenizedDataset, *, windows: bool = False
    ) -> Vocabulary | None:
        """The part of the teacher's vocabulary that is kept of ``model`` once it is trained on ``texts``; None: all.

        With ``windows`` it is trained on the windows of long texts too.
        """
        student, data = self.context.recipe.student, self.context.recipe.data
        at_least, keep = student.vocabulary, "windows" if windows else data.keep
        if at_least == "all":
            return None
        found = choose_vocabulary(model, self.teacher.tokenizer, texts, data.max_length, at_least, keep=keep)
        logger.info("%s: keeps %s of %s pieces", self.name, f"{len(found.kept):,}", f"{found.before:,}")
        return found

    def held_out(self, part: str, vocabulary: Vocabulary | None) -> TokenizedDataset:
        """Dev or test, split as the finished student will, as the teacher's token ids."""
        teachers: TokenizedDataset = getattr(self.teacher.data, part)
        if vocabulary is None:
            return teachers
        data, cache = self.context.recipe.data, self.context.cache
        texts = tokenize(teachers.texts, vocabulary.tokenizer, data.max_length, cache=cache, keep=data.keep)
        return vocabulary.in_old_ids(texts)

    def trained(
        self, model: MultiDomainClassifier, vocabulary: Vocabulary | None, history: TrainingHistory, **record: Any
    ) -> TrainedModel:
        """What a training gives: with prototypes of the domains, and without the pieces that are not to be kept."""
        if (routing := fit_router(model, self.teacher.data.train, self.held_out("dev", vocabulary))) is not None:
            record["routing"] = routing
        if vocabulary is None:
            return TrainedModel(model, self.teacher.tokenizer, history, record)
        record["vocabulary"] = {
            "at_least": self.context.recipe.student.vocabulary,
            "pieces": len(vocabulary.kept),
            "of": vocabulary.before,
            "parameters_before": model_sizes(model).parameters,
        }
        return TrainedModel(vocabulary.prune(model), vocabulary.tokenizer, history, record)

    def distil(
        self,
        session: Session,
        started: StartedStudent,
        layer_map: Sequence[int],
        *,
        method: MethodConfig,
        epochs: int,
        evaluate: Callable[[int], EpochScore],
    ) -> TrainingHistory:
        """One distillation as the recipe says it, but for ``method`` and ``epochs``, its share of all steps."""
        for note in started.notes:
            logger.info("%s: %s", self.name, note)
        recipe, teacher, training = self.context.recipe, self.teacher, self._training(started.model)
        return distill_from_models(
            teacher.model,
            started.model,
            self.train_set,
            teacher.data.dev,
            method=method,
            settings=share_of(training, epochs),
            layer_map=layer_map,
            basis=started.basis,
            evaluate=evaluate,
            cache=recipe.cache,
            session=session,
        )

    def _training(self, student: MultiDomainClassifier) -> StudentTrainingConfig:
        training = settled_training(self.context.recipe.student, student, self.teacher.model)
        logger.info("%s: learning rate %g", self.name, training.rate)
        return training

    def _unlabelled(self) -> TokenizedDataset:
        context, teacher = self.context, self.teacher
        assert context.data.unlabelled is not None
        rows, data = context.data.unlabelled.rows, context.recipe.data
        with context.progress.bar("tokenising", total=len(rows), unit="texts") as bar:
            return tokenize(rows, teacher.tokenizer, data.max_length, bar.advance, context.cache, keep=data.keep)

    def _altered(self) -> TokenizedDataset:
        recipe, teacher = self.context.recipe, self.teacher
        words, _ = whole_words(teacher.tokenizer)
        has_mask = recipe.teacher.model is not None and teacher.tokenizer.mask_token_id is not None
        model = masked_language_model(str(recipe.teacher.model)) if has_mask else None
        if model is None:
            candidates: Candidates = Neighbours(encoders_of(teacher.model)[0].get_input_embeddings().weight, words)
        else:
            candidates = MaskedWords(model.to(self.context.accelerator.device), teacher.tokenizer, words)
        how = "the masked-language head" if model is not None else "neighbours in the teacher's embeddings"
        copies, rows = recipe.student.augment, len(teacher.data.train)
        logger.info("%s: %d altered copies of %s rows, by %s", self.name, copies, f"{rows:,}", how)
        seed, cache = recipe.run.seed, self.context.cache
        return augmented(teacher.data.train, teacher.tokenizer, candidates, copies, seed=seed, cache=cache)


class Student(PupilStage):
    """The distilled student; with two stages, its levels come first."""

    stage = "student"
    recorded: ClassVar = {**PupilStage.recorded, "best_per_domain": dict, "layer_map": list}

    def train(self, session: Session) -> TrainedModel:
        """Distil; after the levels, if they are a stage of their own, predictions alone."""
        recipe, method = self.context.recipe, self.context.recipe.distillation
        record: dict[str, Any] = {}
        if method.stages == "two":
            levels = Levels(self.context, self.teacher).load()
            started, layer_map = StartedStudent(levels.model, None, "levels"), levels.record["layer_map"]
            record["levels"] = training_cost(levels.record)
            method = method.predictions_alone()
            # Counted anew: the levels' steps, which were not there when the session was made, come before.
            session = replace(session, steps_before=steps_before(self.context.folder.path, self.stage))
        else:
            started, layer_map = self.start()
        own_windows = self.context.recipe.student.own_windows
        vocabulary = self.vocabulary(started.model, self.texts, windows=own_windows)
        best = BestPerDomain(
            started.model,
            self.held_out("test", vocabulary),
            self.files.best_per_domain,
            batch_size=recipe.evaluation.batch_size,
            resume=finished_epochs(self.files.checkpoint) > 0,
            writes=self.context.accelerator.is_main_process,
        )
        evaluate = DevAccuracy(
            started.model,
            self.held_out("dev", vocabulary),
            batch_size=recipe.evaluation.batch_size,
            progress=self.context.progress,
            best_per_domain=best,
        )
        epochs = recipe.student_epochs[1]
        history = self.distil(session, started, layer_map, method=method, epochs=epochs, evaluate=evaluate)
        record |= {"best_per_domain": best.state, "layer_map": layer_map}
        return self.trained(started.model, vocabulary, history, **record)


class Levels(PupilStage):
    """The student after the first of two stages: hidden states and attention alone; its heads are not trained."""

    stage = "levels"
    recorded: ClassVar = {**PupilStage.recorded, "layer_map": list}

    def train(self, session: Session) -> TrainedModel:
        """Distil levels; the last epoch is kept, as the dev set says nothing of a student without trained heads."""
        recipe = self.context.recipe
        started, layer_map = self.start()
        method, epochs = recipe.method.levels_alone(), recipe.student_epochs[0]
        history = self.distil(session, started, layer_map, method=method, epochs=epochs, evaluate=last_epoch)
        return TrainedModel(started.model, self.teacher.tokenizer, history, {"layer_map": layer_map})


class Baseline(PupilStage):
    """The same student, started and trained alike but on labels alone."""

    stage = "baseline"

    def train(self, session: Session) -> TrainedModel:
        """Fine-tune on labels."""
        model, train_set = self.start()[0].model, self.teacher.data.train
        vocabulary = self.vocabulary(model, train_set)
        settings, dev_set = self._training(model), self.held_out("dev", vocabulary)
        history = fine_tune(model, train_set, dev_set, settings=settings, session=session)
        return self.trained(model, vocabulary, history)
