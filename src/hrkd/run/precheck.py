"""Teacher and student as they will be, checked and shown before anything is trained or asked."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from hrkd.data.batching import check_step_sizes
from hrkd.models.cpu_kernels import use_kernels
from hrkd.models.domain_teachers import AnyTeacher, DomainTeachers, combined, encoders_of
from hrkd.models.families import parts_of
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.loading import folders_of, read_config
from hrkd.models.multi_domain import HeadMode, MultiDomainClassifier
from hrkd.models.scratch import scratch_config, scratch_tokenizer
from hrkd.models.shape import resolve_shape, shape_of, student_config
from hrkd.models.sizes import size_rows
from hrkd.models.start.build import settle_start
from hrkd.models.start.initialise import check_narrower
from hrkd.models.tokenizers import check_fits, check_same_tokenizer, load_tokenizer
from hrkd.models.trace import AttentionKind
from hrkd.models.trial import try_encoder, try_start
from hrkd.report.tables import sizes_table
from hrkd.run.context import Context
from hrkd.run.teacher import finished_teacher
from hrkd.training.checks import attention_kind, check_last_layer

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
    encoders, tokenizer, teacher = _teacher(context, source)
    encoder = encoders_of(teacher)[0]
    wide = shape_of(encoder.config)
    heads: HeadMode = "per_domain" if isinstance(teacher, DomainTeachers) else teacher.config.heads
    checkpoint = recipe.student.checkpoint
    if checkpoint is None:
        small = Encoder("student", _student_config(context, encoder), heads)
    else:
        small = Encoder(f"student.checkpoint: {checkpoint}", read_config(checkpoint)[0], heads)
        check_same_tokenizer(tokenizer, checkpoint)
        _try(context, [small], tokenizer)
    student = _outline(context, small, splits.domains)
    if checkpoint is None:
        _check_start(context, encoder, student.encoder)
    layer_map = resolve_layer_map(recipe.student.layer_map, shape_of(student.encoder.config).layers, wide.layers)
    kind = attention_kind(recipe.method, *encoders_of(teacher), student.encoder)
    _try(context, [*encoders, small], tokenizer, kind)
    if recipe.method.transfer_weight:
        check_last_layer(layer_map, wide.layers)
    context.show(sizes_table(size_rows(teacher, student, layer_map)))


def precheck_teacher(context: Context) -> None:
    """Check the teacher that is to be trained, whatever its student will be.

    Raises:
        ModelError: its family or tokenizer cannot be used, for this method's attention losses or at all.
    """
    encoders, tokenizer, teacher = _teacher(context, None)
    _try(context, encoders, tokenizer, attention_kind(context.recipe.method, *encoders_of(teacher)))


def _try(
    context: Context, encoders: Sequence[Encoder], tokenizer: PreTrainedTokenizerBase, attention: AttentionKind = "none"
) -> None:
    with use_kernels(context.recipe.run.kernels):
        for name, each in {each.name: each for each in encoders}.items():
            token_types = "token_type_ids" in tokenizer.model_input_names
            try_encoder(each.config, attention, where=name, token_types=token_types, device=context.accelerator.device)


def _teacher(
    context: Context, source: str | Mapping[str, str] | None
) -> tuple[list[Encoder], PreTrainedTokenizerBase, AnyTeacher]:
    """A finished teacher at ``source``, or the one to be trained: its encoder or those of the domains, its tokenizer,
    and the whole without its weights. Families and tokenizer can be used at all.
    """
    config, domains = context.recipe.teacher, context.data.splits.domains
    per_domain, several = config.encoders == "per_domain", 1
    if source is not None:
        folders = folders_of(source, domains)
        per_domain = not isinstance(folders, str)
        each_folder = [folders] if isinstance(folders, str) else list(folders.values())
        field = "teacher.fine_tuned: " if source == config.fine_tuned else ""
        encoders = [Encoder(f"{field}{place}", *read_config(place)) for place in each_folder]
        tokenizer = load_tokenizer(each_folder[0])
    elif config.model is not None:
        encoders = [Encoder(f"teacher.model: {config.model}", read_config(config.model)[0], config.heads)]
        tokenizer, several = load_tokenizer(config.model), len(domains)
    else:
        assert config.scratch is not None, "the recipe's own check"
        longest, several, data = context.recipe.data.max_length, len(domains), context.data
        tokenizer = scratch_tokenizer(config.scratch, data.vocabulary, data.splits.train, longest)
        scratch = scratch_config(config.scratch, vocabulary_size=len(tokenizer), max_tokens=longest)
        encoders = [Encoder("teacher.scratch", scratch, config.heads)]
    _try(context, encoders, tokenizer)
    pairs = "text_pair" in context.data.splits.train.rows.column_names
    check_fits(tokenizer, encoders[0].config, pairs=pairs, where=encoders[0].name)
    if not per_domain:
        return encoders, tokenizer, _outline(context, encoders[0], domains)
    own = zip(domains, encoders * several, strict=True)
    outlines = {domain: _outline(context, encoder, (domain,)) for domain, encoder in own}
    return encoders, tokenizer, combined(outlines, config.combine)


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


def _outline(context: Context, encoder: Encoder, domains: Sequence[str]) -> MultiDomainClassifier:
    """A model with shapes and no memory, for counting."""
    labels, config = context.data.splits.labels, copy.deepcopy(encoder.config)
    config.num_labels = len(labels)
    with torch.device("meta"):
        plain = AutoModelForSequenceClassification.from_config(config)
        return MultiDomainClassifier.from_plain(
            plain, domains=domains, labels=labels, heads=encoder.heads, max_tokens=context.recipe.data.max_length
        )
