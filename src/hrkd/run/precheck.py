"""Teacher and student as they will be, checked and shown before anything is trained or asked."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from hrkd.data.batching import check_step_sizes
from hrkd.errors import ArtifactError, ModelError
from hrkd.models.cpu_kernels import use_kernels
from hrkd.models.domain_teachers import AnyTeacher, DomainTeachers, combined, encoders_of
from hrkd.models.families import parts_of
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.loading import check_answers, folders_of, load_fine_tuned, read_config
from hrkd.models.multi_domain import HeadMode, MultiDomainClassifier
from hrkd.models.plain import load_plain_classifier
from hrkd.models.probe import check_outputs
from hrkd.models.scratch import scratch_config, scratch_tokenizer
from hrkd.models.shape import resolve_shape, shape_of, student_config
from hrkd.models.sizes import model_sizes, size_rows
from hrkd.models.start.build import settle_start
from hrkd.models.start.initialise import check_narrower
from hrkd.models.static import static_config
from hrkd.models.tokenizers import check_fits, check_same_tokenizer, load_tokenizer
from hrkd.models.trace import AttentionKind
from hrkd.models.trial import try_encoder, try_start, try_vocabulary
from hrkd.report.tables import sizes_table
from hrkd.run.context import Context
from hrkd.run.teacher import finished_teacher
from hrkd.training.checks import attention_kind, check_heads, check_last_layer, check_states

__all__ = ["precheck", "precheck_teacher"]


NEAR = 0.02
"""How far from what was asked a size may be without a word."""
FIELD = re.compile(r"(data|teacher|student|method)\.\w+")


@dataclass(frozen=True)
class Encoder:
    """One of a teacher's, as it will be or is; ``name`` is what messages call it."""

    name: str
    config: PreTrainedConfig
    heads: HeadMode


def precheck(context: Context, *, trained: bool) -> list[dict[str, Any]]:
    """Check that student and data fit the teacher, and show both side by side; returns their sizes.

    Models that exist are opened here, and asked about a few texts, before anything is made of them.

    Args:
        context: of the run.
        trained: the teacher is finished: another run's, the recipe's fine-tuned one, or the run's own.

    Raises:
        ArtifactError: there is no such teacher, or it is damaged.
        ModelError: models that cannot be opened or used; families, sizes, layers, start, attention or tokenizer that
            do not fit.
        DataError: a domain with fewer examples than a step needs.
    """
    recipe, splits = context.recipe, context.data.splits
    for training in (recipe.student.training, *([] if trained else [recipe.teacher.training])):
        sizes = training.batch_size, training.gradient_accumulation, context.accelerator.num_processes
        check_step_sizes(splits.train, *sizes)
    encoders, tokenizer, teacher = _teacher(context, *(finished_teacher(context) if trained else (None, None)))
    check_states(teacher, recipe.distillation)
    check_heads(teacher, None, recipe.distillation)
    encoder = encoders_of(teacher)[0]
    wide = shape_of(encoder.config)
    heads: HeadMode = "per_domain" if isinstance(teacher, DomainTeachers) else teacher.config.heads
    checkpoint = recipe.student.checkpoint
    if recipe.student.kind == "static":
        _try(context, encoders, tokenizer)
        small = Encoder("student", static_config(encoder, tokenizer.pad_token_id, recipe.student), heads)
        if recipe.student.vocabulary != "all":
            try_vocabulary(small.config, tokenizer)
        return _shown(context, size_rows(teacher, _outline(context, small, splits.domains), ()))
    if checkpoint is None:
        small = Encoder("student", _student_config(context, encoder), heads)
        student = _outline(context, small, splits.domains)
        _check_start(context, encoder, student.encoder)
    else:
        with _named_by("student.checkpoint"):
            config = read_config(checkpoint, splits.labels)[0]
            small = Encoder(f"student.checkpoint: {checkpoint}", config, heads)
            check_same_tokenizer(tokenizer, checkpoint)
            _try(context, [small], tokenizer)
            student = _pretrained(context, checkpoint, small, tokenizer)
    layer_map = resolve_layer_map(recipe.student.layer_map, shape_of(student.encoder.config).layers, wide.layers)
    kind = attention_kind(recipe.method, *encoders_of(teacher), student.encoder)
    _try(context, [*encoders, small], tokenizer, kind)
    if recipe.student.vocabulary != "all":
        try_vocabulary(small.config, tokenizer)
    if recipe.method.transfer_weight:
        check_last_layer(layer_map, wide.layers)
    found = _shown(context, size_rows(teacher, student, layer_map))
    asked, reached = recipe.student.times_smaller, found[1]["times_smaller"]
    if asked is not None and abs(reached / asked - 1) > NEAR:
        context.show(
            f"student.times_smaller: {asked:g} asked, {reached:.1f} is the nearest with whole heads and layers"
        )
    return found


def _shown(context: Context, sizes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    context.show(sizes_table(sizes))
    return sizes


def precheck_teacher(context: Context, *, trained: bool = False) -> list[dict[str, Any]]:
    """Check the teacher, whatever its student will be; returns its size.

    Args:
        trained: as of :func:`precheck`.

    Raises:
        ArtifactError: there is no such teacher, or it is damaged.
        ModelError: its family or tokenizer cannot be used, for this method's attention losses or at all.
    """
    encoders, tokenizer, teacher = _teacher(context, *(finished_teacher(context) if trained else (None, None)))
    check_states(teacher, context.recipe.method)
    check_heads(teacher, None, context.recipe.method)
    _try(context, encoders, tokenizer, attention_kind(context.recipe.method, *encoders_of(teacher)))
    return [{"title": "Teacher", **asdict(model_sizes(teacher))}]


def _try(
    context: Context, encoders: Sequence[Encoder], tokenizer: PreTrainedTokenizerBase, attention: AttentionKind = "none"
) -> None:
    with use_kernels(context.recipe.run.kernels):
        for name, each in {each.name: each for each in encoders}.items():
            token_types = "token_type_ids" in tokenizer.model_input_names
            try_encoder(each.config, attention, where=name, token_types=token_types, device=context.accelerator.device)


def _teacher(
    context: Context, source: str | Mapping[str, str] | None, record: Mapping[str, Any] | None
) -> tuple[list[Encoder], PreTrainedTokenizerBase, AnyTeacher]:
    """A finished teacher at ``source`` (with the ``record`` of its training), or the one to be trained: its encoder or
    those of the domains, its tokenizer, and the whole. Families and tokenizer can be used at all, and what is there
    already answers.
    """
    config, labels = context.recipe.teacher, context.data.splits.labels
    if source is not None:
        with _named_by("teacher.fine_tuned" if source == config.fine_tuned else None):
            return _finished(context, source, None if record is not None else config.labels)
    if config.model is not None:
        with _named_by("teacher.model"):
            encoder = Encoder(f"teacher.model: {config.model}", read_config(config.model, labels)[0], config.heads)
            tokenizer = load_tokenizer(config.model)
    else:
        assert config.scratch is not None, "the recipe's own check"
        longest, data = context.recipe.data.max_length, context.data
        tokenizer = scratch_tokenizer(config.scratch, data.vocabulary, data.splits.train, longest)
        scratch = scratch_config(config.scratch, vocabulary_size=len(tokenizer), max_tokens=longest)
        encoder = Encoder("teacher.scratch", scratch, config.heads)
    _try(context, [encoder], tokenizer)
    check_fits(tokenizer, encoder.config, pairs=_has_pairs(context), where=encoder.name)
    if config.model is not None:
        with _named_by("teacher.model"):
            _pretrained(context, config.model, encoder, tokenizer)
    domains = context.data.splits.domains
    if config.encoders == "shared":
        return [encoder], tokenizer, _outline(context, encoder, domains)
    outlines = {domain: _outline(context, encoder, (domain,)) for domain in domains}
    return [encoder], tokenizer, combined(outlines, config.combine)


def _finished(
    context: Context, source: str | Mapping[str, str], teacher_labels: Sequence[str] | None
) -> tuple[list[Encoder], PreTrainedTokenizerBase, AnyTeacher]:
    config, splits, longest = context.recipe.teacher, context.data.splits, context.recipe.data.max_length
    folders = folders_of(source, splits.domains)
    places = [folders] if isinstance(folders, str) else list(folders.values())
    field = "teacher.fine_tuned: " if source == config.fine_tuned else ""
    encoders = [Encoder(f"{field}{place}", *read_config(place)) for place in dict.fromkeys(places)]
    tokenizer, pairs = load_tokenizer(places[0]), _has_pairs(context)
    _try(context, encoders, tokenizer)
    teacher = load_fine_tuned(
        source,
        domains=splits.domains,
        labels=splits.labels,
        max_tokens=longest,
        teacher_labels=teacher_labels,
        combine=config.combine,
    )
    check_answers(teacher, tokenizer, [f"{field}{place}" for place in places], longest=longest, pairs=pairs)
    return encoders, tokenizer, teacher


def _pretrained(
    context: Context, source: str, encoder: Encoder, tokenizer: PreTrainedTokenizerBase
) -> MultiDomainClassifier:
    """A model around a pre-trained encoder, with random heads, that answers."""
    splits, longest = context.data.splits, context.recipe.data.max_length
    with torch.random.fork_rng(devices=[]):
        plain = load_plain_classifier(source, splits.labels, fine_tuned=False)
        model = MultiDomainClassifier.from_plain(
            plain, domains=splits.domains, labels=splits.labels, heads=encoder.heads, max_tokens=longest
        )
    check_outputs(model.eval(), tokenizer, where=encoder.name, longest=longest, pairs=_has_pairs(context))
    return model


@contextmanager
def _named_by(field: str | None) -> Iterator[None]:
    """Errors about a model begin with the field that names it, unless they are about another field."""
    try:
        yield
    except (ArtifactError, ModelError) as error:
        if field is None or FIELD.match(str(error)):
            raise
        raise type(error)(f"{field}: {error}") from error


def _has_pairs(context: Context) -> bool:
    return "text_pair" in context.data.splits.train.rows.column_names


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
        plain = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
        return MultiDomainClassifier.from_plain(
            plain, domains=domains, labels=labels, heads=encoder.heads, max_tokens=context.recipe.data.max_length
        )
