"""The student as it will be, checked and shown before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hrkd.data.batching import check_step_sizes
from hrkd.errors import ModelError
from hrkd.models.domain_teachers import AnyTeacher, DomainTeachers, combined, encoders_of
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.loading import check_same_tokenizer
from hrkd.models.multi_domain import HeadMode, MultiDomainClassifier
from hrkd.models.scratch import scratch_config, scratch_tokenizer
from hrkd.models.shape import resolve_shape, shape_of, student_config
from hrkd.models.sizes import size_rows
from hrkd.models.start.build import settle_start
from hrkd.models.start.families import family_of
from hrkd.models.start.initialise import check_narrower
from hrkd.models.trace import choose_attention
from hrkd.report.tables import sizes_table
from hrkd.run.context import Context
from hrkd.support.messages import first_line
from hrkd.training.checks import check_last_layer

__all__ = ["precheck"]


def precheck(context: Context, teacher: AnyTeacher | None = None) -> None:
    """Check that student and data fit the teacher, and show both side by side.

    Args:
        teacher: a finished one; default: the one to be trained, as its configuration describes it.

    Raises:
        ModelError: sizes, layers, start, attention or tokenizer that do not fit.
        DataError: a domain with fewer examples than a step needs.
    """
    recipe, splits = context.recipe, context.data.splits
    for training in (recipe.student.training, recipe.teacher.training):
        check_step_sizes(splits.train, training.batch_size, context.accelerator.num_processes)
    if teacher is None:
        teacher = _teacher_outline(context)
    encoder = encoders_of(teacher)[0]
    wide = shape_of(encoder.config)
    heads: HeadMode = "per_domain" if isinstance(teacher, DomainTeachers) else teacher.config.heads
    if recipe.student.checkpoint is not None:
        _check_checkpoint(context, recipe.student.checkpoint)
        config = _read_config(recipe.student.checkpoint, "student.checkpoint")
        student = _outline(context, config, heads, splits.domains)
    else:
        student = _student_outline(context, encoder, heads)
    layer_map = resolve_layer_map(recipe.student.layer_map, shape_of(student.encoder.config).layers, wide.layers)
    choose_attention(recipe.method.attention, encoder, student.encoder)
    if recipe.method.transfer_weight:
        check_last_layer(layer_map, wide.layers)
    context.show(sizes_table(size_rows(teacher, student, layer_map)))


def _teacher_outline(context: Context) -> AnyTeacher:
    """The teacher to be trained, without its weights."""
    teacher, config, domains = context.recipe.teacher, _teacher_config(context), context.data.splits.domains
    if teacher.encoders == "shared":
        return _outline(context, config, teacher.heads, domains)
    outlines = {domain: _outline(context, config, teacher.heads, (domain,)) for domain in domains}
    return combined(outlines, teacher.combine)


def _student_outline(context: Context, teacher: PreTrainedModel, heads: HeadMode) -> MultiDomainClassifier:
    config, wide = context.recipe.student, shape_of(teacher.config)
    shape = resolve_shape(teacher.config, **config.size)
    layer_map = resolve_layer_map(config.layer_map, shape.layers, wide.layers)
    if config.teacher_layers is not None:
        resolve_layer_map(config.teacher_layers, shape.layers, wide.layers, field="student.teacher_layers")
    student = _outline(context, student_config(teacher.config, shape, layer_map), heads, context.data.splits.domains)
    start = "auto" if config.start == "checkpoint" else config.start
    if settle_start(start, shape, wide) == "principal_components":
        check_narrower(family_of(teacher.config), teacher, student.encoder)
    return student


def _check_checkpoint(context: Context, checkpoint: str) -> None:
    config = context.recipe.teacher
    if config.model is not None:
        check_same_tokenizer(config.model, checkpoint)
    elif config.scratch is not None:
        check_same_tokenizer(_scratch_tokenizer(context, config.scratch), checkpoint)


def _teacher_config(context: Context) -> PreTrainedConfig:
    config = context.recipe.teacher
    if config.scratch is not None:
        size = len(_scratch_tokenizer(context, config.scratch))
        return scratch_config(config.scratch, vocabulary_size=size, max_tokens=context.recipe.data.max_length)
    assert config.model is not None, "the recipe's own check"
    return _read_config(config.model, "teacher.model")


def _scratch_tokenizer(context: Context, scratch: Mapping[str, int]) -> PreTrainedTokenizerBase:
    length = context.recipe.data.max_length
    return scratch_tokenizer(scratch, context.data.vocabulary, context.data.splits.train, length)


def _read_config(source: str, field: str) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{field}: {source}: no folder with the configuration of an encoder, and no name that the hub answers "
            f"to: {first_line(error)}"
        ) from error


def _outline(
    context: Context, config: PreTrainedConfig, heads: HeadMode, domains: Sequence[str]
) -> MultiDomainClassifier:
    """A model with shapes and no memory, for counting."""
    labels, config = context.data.splits.labels, copy.deepcopy(config)
    config.num_labels = len(labels)
    with torch.device("meta"):
        plain = AutoModelForSequenceClassification.from_config(config)
        return MultiDomainClassifier.from_plain(
            plain,
            domains=domains,
            labels=labels,
            heads=heads,
            max_tokens=context.recipe.data.max_length,
        )
