"""The student as it will be, checked and shown before anything is trained."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig

from hrkd.data.batching import check_step_sizes
from hrkd.errors import ModelError
from hrkd.models.families import family_of
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.scratch import scratch_config
from hrkd.models.shape import resolve_shape, shape_of, student_config
from hrkd.models.sizes import size_rows
from hrkd.models.student import settle_start
from hrkd.models.teachers import check_same_tokenizer
from hrkd.report.tables import sizes_table
from hrkd.stages import Job, scratch_tokenizer

__all__ = ["plan"]


def plan(job: Job, teacher: PreTrainedConfig | None = None) -> None:
    """Check that student and data fit the teacher, and show both side by side.

    Args:
        teacher: configuration of a finished teacher's encoder; default: that of the one to be trained.

    Raises:
        ModelError: sizes, layer map, start or tokenizer that do not fit.
        DataError: a domain with fewer examples than a step needs.
    """
    recipe, splits = job.recipe, job.data.splits
    teacher = teacher or _teacher_config(job)
    config = recipe.student
    for training in (recipe.student.training, recipe.teacher.training):
        check_step_sizes(splits.train, training.batch_size, job.accelerator.num_processes)
    wide = shape_of(teacher)
    if config.checkpoint is not None:
        if recipe.teacher.model is not None:
            check_same_tokenizer(recipe.teacher.model, config.checkpoint)
        student = _read_config(config.checkpoint, "student.checkpoint")
    else:
        shape = resolve_shape(teacher, **config.size)
        start = "auto" if config.start == "checkpoint" else config.start
        if settle_start(start, shape, wide) == "principal_components":
            family_of(teacher)
        layer_map = resolve_layer_map(config.layer_map, shape.layers, wide.layers)
        student = student_config(teacher, shape, layer_map)
    layer_map = resolve_layer_map(config.layer_map, shape_of(student).layers, wide.layers)
    job.show(sizes_table(size_rows(_outline(job, teacher), _outline(job, student), layer_map)))


def _teacher_config(job: Job) -> PreTrainedConfig:
    config = job.recipe.teacher
    if config.scratch is not None:
        size = len(scratch_tokenizer(job))
        return scratch_config(config.scratch, vocabulary_size=size, max_tokens=job.recipe.data.max_length)
    assert config.model is not None, "the recipe's own check"
    return _read_config(config.model, "teacher.model")


def _read_config(source: str, field: str) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise ModelError(f"{field}: {source}: no configuration of an encoder: {reason}") from error


def _outline(job: Job, config: PreTrainedConfig) -> Any:
    """A model with shapes and no memory, for counting."""
    splits = job.data.splits
    config.num_labels = len(splits.labels)
    with torch.device("meta"):
        plain = AutoModelForSequenceClassification.from_config(config)
        return MultiDomainClassifier.from_plain(
            plain,
            domains=splits.domains,
            labels=splits.labels,
            heads=job.recipe.teacher.heads,
            max_tokens=job.recipe.data.max_length,
        )
