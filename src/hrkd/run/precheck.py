"""Teacher and student as they will be, checked and shown before anything is trained or asked."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from hrkd.data.batching import check_step_sizes
from hrkd.models.domain_teachers import AnyTeacher, DomainTeachers, combined, encoders_of
from hrkd.models.families import parts_of
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.loading import places_of, read_config
from hrkd.models.multi_domain import HeadMode, MultiDomainClassifier
from hrkd.models.scratch import scratch_config, scratch_tokenizer
from hrkd.models.shape import resolve_shape, shape_of, student_config
from hrkd.models.sizes import size_rows
from hrkd.models.start.build import settle_start
from hrkd.models.start.initialise import check_narrower
from hrkd.models.tokenizers import check_fits, check_same_tokenizer, load_tokenizer
from hrkd.models.trace import AttentionKind, choose_attention
from hrkd.models.trial import try_encoder, try_start
from hrkd.report.tables import sizes_table
from hrkd.run.context import Context
from hrkd.run.teacher import finished_teacher
from hrkd.training.checks import check_last_layer

__all__ = ["precheck", "precheck_teacher"]


@dataclass(frozen=True)
class Encoder:
    """One of a teacher's, as it will be or is; ``name`` is what messages call it."""

    name: str
    config: PreTrainedConfig
    heads: HeadMode


def precheck(context: Context, *, trained: bool) -> None:
    """Check that student and data fit the teacher, and show both side by side.

    Args:
        context: of the run.
        trained: the teacher is finished: another run's, the recipe's fine-tuned one, or the run's own.

    Raises:
        ArtifactError: there is no such teacher.
        ModelError: families, sizes, layers, start, attention or tokenizer that do not fit.
        DataError: a domain with fewer examples than a step needs.
    """
    recipe, splits = context.recipe, context.data.splits
    for training in (recipe.student.training, recipe.teacher.training):
        check_step_sizes(splits.train, training.batch_size, context.accelerator.num_processes)
    source = finished_teacher(context)[0] if trained else None
    encoders, teacher = _teacher(context, source)
    encoder = encoders_of(teacher)[0]
    wide = shape_of(encoder.config)
    heads: HeadMode = "per_domain" if isinstance(teacher, DomainTeachers) else teacher.config.heads
    checkpoint = recipe.student.checkpoint
    if checkpoint is None:
        small = Encoder("student", _student_config(context, encoder), heads)
    else:
        small = Encoder(f"student.checkpoint: {checkpoint}", read_config(checkpoint)[0], heads)
        _check_checkpoint(context, source, checkpoint)
        _try(context, [small], "none")
    student = _outline(context, small, splits.domains)
    if checkpoint is None:
        _check_start(context, encoder, student.encoder)
    layer_map = resolve_layer_map(recipe.student.layer_map, shape_of(student.encoder.config).layers, wide.layers)
    kind = _attention(context, *encoders_of(teacher), student.encoder)
    _try(context, [*encoders, small], kind)
    if recipe.method.transfer_weight:
        check_last_layer(layer_map, wide.layers)
    context.show(sizes_table(size_rows(teacher, student, layer_map)))


def precheck_teacher(context: Context) -> None:
    """Check the teacher that is to be trained, whatever its student will be.

    Raises:
        ModelError: its family or tokenizer cannot be used, for this method's attention losses or at all.
    """
    encoders, teacher = _teacher(context, None)
    _try(context, encoders, _attention(context, *encoders_of(teacher)))


def _try(context: Context, encoders: Sequence[Encoder], attention: AttentionKind) -> None:
    for name, config in {each.name: each.config for each in encoders}.items():
        try_encoder(config, attention, where=name, device=context.accelerator.device)


def _attention(context: Context, *encoders: PreTrainedModel) -> AttentionKind:
    """What the levels' losses will read of them."""
    method = context.recipe.method
    if not method.hidden_weight:
        return "none"
    return choose_attention(method.attention, *encoders, factored=method.reductions == "masked")


def _teacher(context: Context, source: str | Mapping[str, str] | None) -> tuple[list[Encoder], AnyTeacher]:
    """A finished teacher at ``source``, or the one to be trained: its encoder or that of each domain, and the whole
    without its weights. Families and tokenizer can be used at all.
    """
    config, domains = context.recipe.teacher, context.data.splits.domains
    places = None if source is None else places_of(source, domains)
    per_domain = config.encoders == "per_domain" if places is None else not isinstance(places, str)
    tokens_of = config.model
    if places is not None:
        each_place = [places] if isinstance(places, str) else list(places.values())
        field = "teacher.fine_tuned: " if source == config.fine_tuned else ""
        encoders = [Encoder(f"{field}{place}", *read_config(place)) for place in each_place]
        tokens_of = each_place[0]
    elif config.model is not None:
        encoders = [Encoder(f"teacher.model: {config.model}", read_config(config.model)[0], config.heads)]
    else:
        assert config.scratch is not None, "the recipe's own check"
        size = len(_scratch_tokenizer(context))
        scratch = scratch_config(config.scratch, vocabulary_size=size, max_tokens=context.recipe.data.max_length)
        encoders = [Encoder("teacher.scratch", scratch, config.heads)]
    _try(context, encoders, "none")
    if tokens_of is not None:
        pairs = "text_pair" in context.data.splits.train.rows.column_names
        check_fits(load_tokenizer(tokens_of), encoders[0].config, pairs=pairs, where=encoders[0].name)
    if not per_domain:
        return encoders, _outline(context, encoders[0], domains)
    each_encoder = encoders if places is not None else encoders * len(domains)
    outlines = {name: _outline(context, each, (name,)) for name, each in zip(domains, each_encoder, strict=True)}
    return encoders, combined(outlines, config.combine)


def _student_config(context: Context, teacher: PreTrainedModel) -> PreTrainedConfig:
    config, wide = context.recipe.student, shape_of(teacher.config)
    shape = resolve_shape(teacher.config, **config.size)
    if config.teacher_layers is not None:
        resolve_layer_map(config.teacher_layers, shape.layers, wide.layers, field="student.teacher_layers")
    return student_config(teacher.config, shape, resolve_layer_map(config.layer_map, shape.layers, wide.layers))


def _check_start(context: Context, teacher: PreTrainedModel, student: PreTrainedModel) -> None:
    config = context.recipe.student
    shapes = shape_of(student.config), shape_of(teacher.config)
    start = settle_start("auto" if config.start == "checkpoint" else config.start, *shapes)
    if start == "principal_components":
        check_narrower(parts_of(teacher.config), teacher, student)
    try_start(teacher.config, student.config, start)


def _check_checkpoint(context: Context, source: str | Mapping[str, str] | None, checkpoint: str) -> None:
    config = context.recipe.teacher
    if source is None:
        source = config.model
    if source is None:
        check_same_tokenizer(_scratch_tokenizer(context), checkpoint)
    else:
        check_same_tokenizer(source if isinstance(source, str) else next(iter(source.values())), checkpoint)


def _outline(context: Context, encoder: Encoder, domains: Sequence[str]) -> MultiDomainClassifier:
    """A model with shapes and no memory, for counting."""
    labels, config = context.data.splits.labels, copy.deepcopy(encoder.config)
    config.num_labels = len(labels)
    with torch.device("meta"):
        plain = AutoModelForSequenceClassification.from_config(config)
        return MultiDomainClassifier.from_plain(
            plain, domains=domains, labels=labels, heads=encoder.heads, max_tokens=context.recipe.data.max_length
        )


def _scratch_tokenizer(context: Context) -> PreTrainedTokenizerBase:
    scratch, data, length = context.recipe.teacher.scratch, context.data, context.recipe.data.max_length
    assert scratch is not None, "looked at before"
    return scratch_tokenizer(scratch, data.vocabulary, data.splits.train, length)
