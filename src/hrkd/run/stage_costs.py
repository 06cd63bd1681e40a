"""What each stage of a run costs here: what is left of it, and the steps that were timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrkd.data.batching import TokenizedDataset
from hrkd.data.tokens import token_cache
from hrkd.models.domain_teachers import DomainTeachers, encoders_of
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import shape_of
from hrkd.models.trace import set_attention
from hrkd.recipe.schema import MethodConfig
from hrkd.run.command_record import STAGES_OF
from hrkd.run.context import Context
from hrkd.run.costs import StageCost, State, settings_of, steps_of_epoch
from hrkd.run.student import Baseline, Levels, PupilStage, Student
from hrkd.run.teacher import UnmeasuredTeacher, load_teacher, untrained_teacher
from hrkd.run.timing import Timing, seconds_a_text, steps_within, time_distillation, time_fine_tuning
from hrkd.support.folder_names import folder_names
from hrkd.training.checkpoint import finished_epochs
from hrkd.training.ending import planned_epochs
from hrkd.training.teacher_cache.source import cache_of
from hrkd.training.trainers import live_teacher

__all__ = ["Measured", "measured_costs"]

PUPILS: dict[str, Callable[[Context, UnmeasuredTeacher], PupilStage]] = {
    "levels": Levels,
    "student": Student,
    "baseline": Baseline,
}


@dataclass
class Measured:
    """What was found: the stages, seconds of measuring all models at the end, caches of what the teacher says.

    ``tokens`` are the names of caches of token ids, each with the part of the data that it holds.
    """

    costs: list[StageCost] = field(default_factory=list)
    besides: float = 0.0
    caches: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)


def measured_costs(context: Context, verb: str, *, trains: bool, caches: Path) -> Measured:
    """Time a few steps of each stage that a ``verb`` would make.

    Args:
        context: planned for it (:func:`hrkd.run.ready.ready`).
        verb: the command.
        trains: it makes the teacher, unless that is finished.
        caches: folder that the run would look into for what the teacher says.
    """
    found = Measured()
    done = not trains or _state(context, "teacher")[0] == "finished"
    teacher = load_teacher(context)[0] if done else untrained_teacher(context)
    found.tokens = _token_caches(context, teacher)
    reads = seconds_a_text(context, teacher.model, teacher.data.dev)
    if trains:
        found.costs += _teacher_costs(context, teacher, reads)
    stage = STAGES_OF[verb]
    if stage == "teacher":
        found.besides = reads * len(teacher.data.dev.texts)
        return found
    held_out = len(teacher.data.dev.texts) + len(teacher.data.test.texts)
    found.besides = reads * held_out
    wanted = [stage] if stage == "baseline" or not context.recipe.student.baseline else ["student", "baseline"]
    if "student" in wanted and context.recipe.distillation.stages == "two":
        wanted.insert(0, "levels")
    _Pupils(context, teacher, reads, caches if done else None, found).add(wanted)
    return found


def _token_caches(context: Context, teacher: UnmeasuredTeacher) -> dict[str, str]:
    """The part of the data that each cache of token ids holds; of equal parts, all of them."""
    data, more = context.recipe.data, context.data.unlabelled
    parts = [*context.data.splits, *([] if more is None else [("unlabelled", more.rows)])]
    found: dict[str, str] = {}
    for part, rows in parts:
        if len(rows):
            name = token_cache(rows, teacher.tokenizer, data.max_length, data.keep)
            found[name] = f"{found[name]}, {part}" if name in found else part
    return found


def _state(context: Context, name: str) -> tuple[State, int]:
    """What the folder says of a stage, or a part of one, and the epochs of it that are done."""
    files, stage = context.folder.stage(name), name.partition("/")[0]
    if context.folder.changes(stage, context.planned[stage]):
        return "to make anew", 0
    if files.is_finished:
        return "finished", 0
    if not files.has_checkpoint:
        return "to make", 0
    return "under way", finished_epochs(files.checkpoint)


def _teacher_costs(context: Context, teacher: UnmeasuredTeacher, reads: float) -> list[StageCost]:
    """The teacher, or that of each domain; one of them is timed for all."""
    config, data = context.recipe.teacher, teacher.data
    settings, weight = config.training, config.domain_loss_weight if config.meta_kd else None
    options = {} if weight is None else {"domain_loss_weight": weight}
    parts: list[tuple[str, str, TokenizedDataset, int]] = [("teacher", "teacher", data.train, len(data.dev.texts))]
    if config.encoders == "per_domain":
        names = folder_names(context.data.splits.domains)
        parts = [
            (f"teacher {domain}", f"teacher/{name}", data.train.alone(domain), len(data.dev.alone(domain).texts))
            for domain, name in names.items()
        ]
    timing, costs = None, []
    for title, name, rows, held_out in parts:
        state, epochs = _state(context, name)
        if timing is None and state != "finished":
            timing = time_fine_tuning(context, _first(teacher), rows, settings, **options)
        steps = steps_of_epoch(rows, settings.step_size, altered=None, copies=0)
        costs.append(
            _cost(title, "teacher", state, epochs, rows=len(rows), steps=steps, context=context, timing=timing,
                  between=reads * held_out)
        )  # fmt: skip
    return costs


def _first(teacher: UnmeasuredTeacher) -> MultiDomainClassifier:
    model = teacher.model
    return model.classifiers[0] if isinstance(model, DomainTeachers) else model


def _cost(
    name: str,
    stage: str,
    state: State,
    done: int,
    *,
    rows: int,
    steps: int,
    context: Context,
    timing: Timing | None,
    between: float,
    before: float = 0.0,
) -> StageCost:
    step = None if timing is None or state == "finished" else timing.step
    epochs = planned_epochs(settings_of(context.recipe, stage), steps)
    return StageCost(name, stage, state, rows, steps, epochs, done, step, between, before)


class _Pupils:
    """The stages after the teacher; ``caches``: where what it says may be already, None while it is not trained."""

    def __init__(
        self, context: Context, teacher: UnmeasuredTeacher, reads: float, caches: Path | None, found: Measured
    ) -> None:
        self.context, self.teacher, self.reads, self.caches, self.found = context, teacher, reads, caches, found

    def add(self, stages: Sequence[str]) -> None:
        """Time each that is not finished; one student is started for all, as its weights are of no matter here."""
        dev, test = (len(part.texts) for part in (self.teacher.data.dev, self.teacher.data.test))
        start = time.perf_counter()
        self.started, self.layer_map = PUPILS[stages[0]](self.context, self.teacher).start()
        self.start_seconds = time.perf_counter() - start
        reads = seconds_a_text(self.context, self.started.model, self.teacher.data.dev)
        for name in stages:
            pupil = PUPILS[name](self.context, self.teacher)
            # The student's test rows are predicted whenever a domain's dev score rises.
            between = {"levels": 0, "student": dev + test, "baseline": dev}[name] * reads
            self.found.costs.append(self._cost(name, pupil, between))
            self.found.besides += 0 if name == "levels" else reads * (dev + test)

    def _cost(self, name: str, pupil: PupilStage, between: float) -> StageCost:
        context, train = self.context, self.teacher.data.train
        recipe, state = context.recipe, _state(context, name)
        step_size, distils = recipe.student.training.step_size, name != "baseline"
        rows, copies = (pupil.unaltered, recipe.student.augment) if distils else (train, 0)
        steps = steps_of_epoch(rows, step_size, altered=train, copies=copies)
        timing, before = None, self.start_seconds
        if state[0] != "finished" and distils:
            timing, looks = self._distilled(name, rows, steps)
            before += looks
        elif state[0] != "finished":
            timing = time_fine_tuning(context, self.started.model, train, recipe.student.training)
        if copies:
            self.found.notes.append("Making altered copies (student.augment) is not in the times.")
        count = len(rows) + copies * len(train)
        return _cost(name, name, *state, rows=count, steps=steps, context=context, timing=timing, between=between,
                     before=before)  # fmt: skip

    def _distilled(self, name: str, rows: TokenizedDataset, steps: int) -> tuple[Timing, float]:
        """What was timed of a distillation, and the seconds in which the teacher looks at all rows before it."""
        recipe, training = self.context.recipe, self.context.recipe.student.training
        method: MethodConfig = recipe.distillation
        if method.stages == "two":
            method = method.levels_alone() if name == "levels" else method.predictions_alone()
        epochs = planned_epochs(settings_of(recipe, name), steps)
        started, layer_map = self.started, self.layer_map
        rows_a_step = training.step_size * len(self.teacher.model.domains)
        width, levels = shape_of(encoders_of(self.teacher.model)[0].config).width, 1 + 3 * len(layer_map)
        bytes_a_step = rows_a_step * float(rows.lengths.mean()) * levels * width * 4  # as much as it may be
        timing = time_distillation(
            self.context,
            self.teacher.model,
            started,
            layer_map,
            rows,
            method=method,
            settings=training,
            epochs=epochs,
            steps=steps_within(self.reads * rows_a_step, bytes_a_step),
        )
        looks = timing.row * len(rows)
        if timing.cache is not None:
            live = live_teacher(self.teacher.model, started.model, method, layer_map)
            index = cache_of(timing.cache, live, rows, recipe.cache)
            for encoder in encoders_of(self.teacher.model):
                set_attention(encoder, "none")
            there = self.caches is not None and (self.caches / index.fingerprint / "complete").is_file()
            known = {"name": index.fingerprint if self.caches is not None else None, "bytes": index.bytes}
            self.found.caches.append({"kind": "teacher", **known, "there": there})
            looks = 0.0 if there else looks
        return timing, looks
