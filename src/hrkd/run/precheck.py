"""The student as it will be, checked and shown before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from hrkd.data.batching import check_step_sizes
from hrkd.errors import ModelError
from hrkd.models.domain_teachers import AnyTeacher, DomainTeachers, combined, encoders_of
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.loading import check_same_tokenizer
from hrkd.models.multi_domain import HeadMode, MultiDomainClassifier
from hrkd.models.scratch import scratch_config
from hrkd.models.shape import resolve_shape, shape_of, student_config
from hrkd.models.sizes import size_rows
from hrkd.models.start.build import settle_start
from hrkd.models.start.families import family_of
from hrkd.models.start.initialise import check_narrower
from hrkd.models.trace import choose_attention
from hrkd.report.tables import sizes_table
from hrkd.run.context import Job
from hrkd.run.teacher import scratch_tokenizer
from hrkd.support.messages import first_line
from hrkd.training.trainers import check_last_layer

__all__ = ["plan"]


def plan(job: Job, teacher: AnyTeacher | None = None) -> None:
    """Check that student and data fit the teacher, and show both side by side.

    Args:
        teacher: a finished one; default: the one to be trained, as its configuration describes it.

    Raises:
        ModelError: sizes, layers, start, attention or tokenizer that do not fit.
        DataError: a domain with fewer examples than a step needs.
    """
    recipe, splits = job.recipe, job.data.splits
    for training in (recipe.student.training, recipe.teacher.training):
        check_step_sizes(splits.train, training.batch_size, job.accelerator.num_processes)
    if teacher is None:
        teacher = _teacher_outline(job)
    encoder = encoders_of(teacher)[0]
    wide = shape_of(encoder.config)
    heads: HeadMode = "per_domain" if isinstance(teacher, DomainTeachers) else teacher.config.heads
    if recipe.student.checkpoint is not None:
        _check_checkpoint(job, recipe.student.checkpoint)
        config = _read_config(recipe.student.checkpoint, "student.checkpoint")
        student = _outline(job, config, heads, splits.domains)
    else:
        student = _student_outline(job, encoder, heads)
    layer_map = resolve_layer_map(recipe.student.layer_map, shape_of(student.encoder.config).layers, wide.layers)
    choose_attention(recipe.method.attention, encoder, student.encoder)
    if recipe.method.transfer_weight:
        check_last_layer(layer_map, wide.layers)
    job.show(sizes_table(size_rows(teacher, student, layer_map)))


def _teacher_outline(job: Job) -> AnyTeacher:
    """The teacher to be trained, without its weights."""
    teacher, config, domains = job.recipe.teacher, _teacher_config(job), job.data.splits.domains
    if teacher.encoders == "shared":
        return _outline(job, config, teacher.heads, domains)
    outlines = {domain: _outline(job, config, teacher.heads, (domain,)) for domain in domains}
    return combined(outlines, teacher.combine)


def _student_outline(job: Job, teacher: PreTrainedModel, heads: HeadMode) -> MultiDomainClassifier:
    config, wide = job.recipe.student, shape_of(teacher.config)
    shape = resolve_shape(teacher.config, **config.size)
    layer_map = resolve_layer_map(config.layer_map, shape.layers, wide.layers)
    if config.teacher_layers is not None:
        resolve_layer_map(config.teacher_layers, shape.layers, wide.layers, field="student.teacher_layers")
    student = _outline(job, student_config(teacher.config, shape, layer_map), heads, job.data.splits.domains)
    start = "auto" if config.start == "checkpoint" else config.start
    if settle_start(start, shape, wide) == "principal_components":
        check_narrower(family_of(teacher.config), teacher, student.encoder)
    return student


def _check_checkpoint(job: Job, checkpoint: str) -> None:
    config = job.recipe.teacher
    if config.model is not None:
        check_same_tokenizer(config.model, checkpoint)
    elif config.scratch is not None:
        check_same_tokenizer(scratch_tokenizer(job), checkpoint)


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
        raise ModelError(
            f"{field}: {source}: no folder with the configuration of an encoder, and no name that the hub answers "
            f"to: {first_line(error)}"
        ) from error


def _outline(job: Job, config: PreTrainedConfig, heads: HeadMode, domains: Sequence[str]) -> MultiDomainClassifier:
    """A model with shapes and no memory, for counting."""
    labels, config = job.data.splits.labels, copy.deepcopy(config)
    config.num_labels = len(labels)
    with torch.device("meta"):
        plain = AutoModelForSequenceClassification.from_config(config)
        return MultiDomainClassifier.from_plain(
            plain,
            domains=domains,
            labels=labels,
            heads=heads,
            max_tokens=job.recipe.data.max_length,
        )
