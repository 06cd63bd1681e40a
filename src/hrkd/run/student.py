"""The student of a run, its levels where they come first, and its baseline."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from accelerate.utils import set_seed

from hrkd.data.batching import length_sorted_batches
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.shape import resolve_shape, shape_of
from hrkd.models.start.build import StartedStudent, build_student, student_from_checkpoint
from hrkd.run.context import Job, Made, Staged, cache_rules, make_stage
from hrkd.run.folder import training_cost
from hrkd.run.teacher import Teacher
from hrkd.training.loop import TrainingHistory
from hrkd.training.selection import BestPerDomain
from hrkd.training.trainers import distill_from_models, fine_tune

__all__ = [
    "distil_student",
    "fine_tune_baseline",
]

logger = logging.getLogger("hrkd")

STATES_SAMPLE = 512
"""Training texts whose hidden states decide the principal components."""
LEVELS_ALONE = {"prediction_weight": 0.0, "label_weight": 0.0, "keep": "last"}
LOGITS_ALONE = {
    "hidden_weight": 0.0,
    "graph": "uniform",
    "hierarchy": "none",
    "learning": "fixed",
    "expertise": False,
    "transfer_weight": 0.0,
    "domain_weights": None,
}
"""What the two stages of ``method.stages: two`` have of their own; the second has no levels to be weighed."""


def distil_student(job: Job, teacher: Teacher) -> Staged:
    """Build the student and distil the teacher into it, unless that is done; with two stages, the levels come first."""
    recipe = job.recipe

    def make() -> Made:
        record: dict[str, Any] = {}
        if recipe.method.stages == "two":
            levels = _distil_levels(job, teacher)
            started, layer_map = StartedStudent(levels.model, None, "levels"), levels.record["layer_map"]
            record["levels"] = training_cost(levels.record)
        else:
            started, layer_map = _start_student(job, teacher)
        best = BestPerDomain(
            started.model,
            teacher.data.test,
            job.run.notes("student"),
            batch_size=recipe.evaluation.batch_size,
            resume=job.run.checkpoint("student").is_dir(),
            writes=job.accelerator.is_main_process,
        )
        choices: dict[str, Any] = {"best_per_domain": best, **(LOGITS_ALONE if record else {})}
        history = _distil(job, teacher, "student", started, layer_map, epochs=recipe.student_epochs[1], **choices)
        return (
            started.model,
            teacher.tokenizer,
            history,
            {"best_per_domain": best.state, "layer_map": layer_map, **record},
        )

    return make_stage(job, "student", job.made_with("student", teacher.foreign), make)


def _distil_levels(job: Job, teacher: Teacher) -> Staged:
    """Build the student and distil the teacher's levels into it, without predictions, unless that is done."""

    def make() -> Made:
        started, layer_map = _start_student(job, teacher)
        epochs = job.recipe.student_epochs[0]
        history = _distil(job, teacher, "levels", started, layer_map, epochs=epochs, **LEVELS_ALONE)
        return started.model, teacher.tokenizer, history, {"layer_map": layer_map}

    return make_stage(job, "levels", job.made_with("levels", teacher.foreign), make)


def _distil(
    job: Job,
    teacher: Teacher,
    stage: str,
    started: StartedStudent,
    layer_map: Sequence[int],
    *,
    epochs: int,
    **choices: Any,
) -> TrainingHistory:
    """One distillation as the recipe says it, but for the ``choices``."""
    recipe = job.recipe
    for note in started.notes:
        logger.info("%s: %s", stage, note)
    return distill_from_models(
        teacher.model,
        started.model,
        job.distillation_set(teacher.tokenizer, teacher.data.train),
        teacher.data.dev,
        layer_map=layer_map,
        basis=started.basis,
        cache=cache_rules(recipe.cache),
        **recipe.method.model_dump(exclude={"stages", "level_epochs"}) | choices,
        **job.training(recipe.student.training.model_copy(update={"epochs": epochs}), stage),
    )


def fine_tune_baseline(job: Job, teacher: Teacher) -> Staged:
    """The same student, started and trained alike but on labels alone, unless that is done."""

    def make() -> Made:
        model = _start_student(job, teacher)[0].model
        training = job.training(job.recipe.student.training, "baseline")
        history = fine_tune(model, teacher.data.train, teacher.data.dev, **training)
        return model, teacher.tokenizer, history, {}

    return make_stage(job, "baseline", job.made_with("baseline", teacher.foreign), make)


def _start_student(job: Job, teacher: Teacher) -> tuple[StartedStudent, tuple[int, ...]]:
    """The student before training, and the teacher layer (from 1) of each of its layers."""
    config, seed = job.recipe.student, job.recipe.run.seed
    set_seed(seed)
    if config.checkpoint is not None:
        started = student_from_checkpoint(config.checkpoint, teacher.model, teacher.tokenizer)
        layers = shape_of(started.model.encoder.config).layers
        return started, resolve_layer_map(config.layer_map, layers, shape_of(teacher.encoder.config).layers)[1:]
    shape = resolve_shape(teacher.encoder.config, **config.size)
    layer_map = resolve_layer_map(config.layer_map, shape.layers, shape_of(teacher.encoder.config).layers)
    train_set = teacher.data.train
    sample = train_set.select(np.random.default_rng(seed).permutation(len(train_set))[:STATES_SAMPLE])
    started = build_student(
        teacher.model,
        shape,
        start="auto" if config.start == "checkpoint" else config.start,
        teacher_layers=config.teacher_layers,
        layer_map=layer_map,
        batches=(batch.to(job.accelerator.device).inputs for batch in length_sorted_batches(sample, 64)),
        seed=seed,
    )
    return started, layer_map[1:]
