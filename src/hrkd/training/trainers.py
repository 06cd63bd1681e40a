"""Trainings on live objects, without recipes and folders: fine-tuning and distillation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Literal

import torch
from accelerate.utils import set_seed
from torch import Tensor

from hrkd.data.batching import MultiDomainLoader, TokenizedDataset
from hrkd.errors import DataError, ModelError, TrainingError
from hrkd.linear.relations import permuted
from hrkd.method.build import build_domain_ratios
from hrkd.method.contrasts import shares
from hrkd.method.fit_layers import FitLayers
from hrkd.method.meta_kd import DomainHead, expertise_weights
from hrkd.method.ratios import DomainRatios
from hrkd.models.domain_teachers import AnyTeacher, encoders_of
from hrkd.models.dropout import without_dropout
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import StudentShape, shape_of
from hrkd.models.static import is_static
from hrkd.models.trace import set_attention
from hrkd.recipe.presets import recommended
from hrkd.recipe.schema import (
    NEW_LEARNING_RATE,
    CacheConfig,
    MethodConfig,
    StudentConfig,
    StudentTrainingConfig,
    TrainingConfig,
)
from hrkd.training.checks import (
    attention_kind,
    check_heads,
    check_last_layer,
    check_meta_teacher,
    check_states,
    weights_of_domains,
)
from hrkd.training.contrast import check_contrasts, in_words, measure_relations
from hrkd.training.distill import Distillation
from hrkd.training.ending import planned_epochs
from hrkd.training.evaluate import typicality
from hrkd.training.fine_tune import FineTuning
from hrkd.training.live_teacher import LiveTeacher, TeacherSource
from hrkd.training.loop import EpochScore, TrainingHistory, train
from hrkd.training.selection import DevAccuracy
from hrkd.training.session import Session, computing, grouped_accelerator
from hrkd.training.teacher_cache.source import CachedTeacher, not_cached, teacher_source

__all__ = ["distill_from_models", "fine_tune", "live_teacher"]

logger = logging.getLogger("hrkd.training")


def fine_tune(
    model: MultiDomainClassifier,
    train_set: TokenizedDataset,
    dev_set: TokenizedDataset,
    *,
    settings: TrainingConfig | None = None,
    domain_loss_weight: float | None = None,
    session: Session | None = None,
) -> TrainingHistory:
    """Fine-tune ``model`` in place on the labels of all domains; its best epoch on the dev set is kept.

    Afterwards it is in evaluation mode.

    Args:
        settings: epochs, learning rate and the like; default: those of :class:`hrkd.recipe.schema.TrainingConfig`.
        domain_loss_weight: make it a meta-teacher (Meta-KD, Pan et al. 2021): examples are weighed by how typical they
            are of their class in all domains, as ``model`` sees them at the start, and a domain head is added, whose
            features are to say little of the domain, by a loss of this weight (:mod:`hrkd.method.meta_kd`).
        session: device, seed, files and progress; default: the accelerator that there is, seed 0, no files.

    Raises:
        DataError: too few examples, or domains that are not the model's; a meta-teacher with one domain.
        TrainingError: a row has no label, or the loss is not finite.
    """
    settings, session = settings or TrainingConfig(), _titled(session, "fine-tuning")
    _check_domains(model, train_set)
    _check_labels(train_set, dev_set)
    set_seed(session.run.seed)
    set_attention(model.encoder, "none")
    row_weights = None
    with computing(session.run, model, data=train_set, rows=settings.batch_size * len(model.domains)):
        if domain_loss_weight is not None:
            check_meta_teacher(model.domains)
            row_weights = _make_meta_teacher(model, train_set, session)
        session.draw_apart()
        history = train(
            FineTuning(model, row_weights=row_weights, domain_loss_weight=domain_loss_weight or 0.0),
            _loader(train_set, settings, session),
            settings=settings,
            evaluate=_dev_accuracy(model, dev_set, session),
            session=session,
            recorder=session.recorder(model.domains),
        )
    model.eval()
    return history


def distill_from_models(
    teacher: AnyTeacher,
    student: MultiDomainClassifier,
    train_set: TokenizedDataset,
    dev_set: TokenizedDataset,
    *,
    method: MethodConfig | None = None,
    settings: TrainingConfig | None = None,
    layer_map: Literal["uniform"] | Sequence[int] = "uniform",
    basis: Tensor | None = None,
    ratios: DomainRatios | None = None,
    evaluate: Callable[[int], EpochScore] | None = None,
    cache: CacheConfig | None = None,
    session: Session | None = None,
) -> TrainingHistory:
    """Distil ``teacher`` into ``student`` in place (HRKD); the student's best epoch on the dev set is kept.

    Afterwards both models compute attention as usual again and are in evaluation mode.

    One call is one stage. The two of TinyBERT's task-specific distillation (Jiao et al. 2020; ``method.stages: two``)
    are two calls with the same student: ``method.levels_alone()`` with ``evaluate=last_epoch``, as the dev set says
    nothing while the heads are not trained, then ``method.predictions_alone()``.

    Args:
        train_set: labels of its rows are read for ``expertise``, ``label_weight``, ``related_weight`` and the contrast
            graph alone; else they may have none.
        method: losses, graph, hierarchy and how they are learnt; ``stages`` is not looked at. Default: what is
            recommended (:mod:`hrkd.recipe.presets`), of which a student without layers has the predictions alone.
        settings: epochs, learning rate and the like; default: what is recommended for a student of its kind. A rate of
            ``auto`` goes by whether the student is narrower than the teacher.
        layer_map: teacher layer (from 1) of each student layer, or "uniform".
        basis: (H, Hs) start of the fit layers, such as the principal components the student came from.
        ratios: a module of one's own, in the place of the graph and hierarchy that ``method`` names; it maps prototypes
            (K, D, H) of K student levels, D domains and the teacher's width H to :class:`hrkd.method.ratios.Ratios`.
        evaluate: scores an epoch, the highest is kept; default: :class:`hrkd.training.selection.DevAccuracy`.
        cache: keep what the teacher says on disk, if more than one epoch reads it; default: ask the teacher in every
            step.
        session: device, seed, files and progress; default: the accelerator that there is, seed 0, no files.

    Raises:
        ArtifactError: the teacher cache is damaged, or there is no room for it.
        DataError: too few examples, domains that are not the models', a weight for a domain that is none of them, or no
            labels to tell relations between domains by.
        ModelError: a layer map that does not fit, attention that a family cannot give, ``transfer_weight`` with a
            teacher that has no domain head, ``expertise`` or relations with an encoder for each domain, or
            ``related_weight`` with one head for all.
        TrainingError: a row of the dev set has no label (with ``label_weight``: no training row has one), or the loss
            is not finite.
    """
    if is_static(student):
        method = method or MethodConfig().predictions_alone()
        settings = settings or StudentConfig(kind="static").training
    method = method or MethodConfig()
    settings = settings or StudentTrainingConfig(**recommended(("student", "training")))
    if settings.learning_rate == "auto" and shape_of(student.encoder.config).width < _shape(teacher).width:
        settings = settings.model_copy(update={"learning_rate": NEW_LEARNING_RATE})
    session = _titled(session, "distillation")
    _check_fit(teacher, student, train_set, dev_set, method)
    set_seed(session.run.seed)
    levels = _levels(teacher, student, method, layer_map)
    transfer = _domain_head(teacher, levels) if method.transfer_weight else None
    attention = attention_kind(method, *encoders_of(teacher), student.encoder)
    if method.attention == "auto" and attention == "probabilities":
        logger.info("%s: no raw attention scores in this family; attention losses compare probabilities", session.title)
    fit = FitLayers(len(levels), shape_of(student.encoder.config).width, _shape(teacher).width, basis=basis)
    momentum = method.momentum if ratios is None else method.prototype_momentum or 0.0
    weights = weights_of_domains(method.domain_weights, student.domains)
    rows = settings.batch_size * len(student.domains)
    pad_to = student.config.max_tokens if method.counts_padding else None  # or its averages would depend on the batch
    try:
        with computing(session.run, teacher, student, data=train_set, rows=rows):
            set_attention(student.encoder, attention)
            device = session.accelerator.device
            live = live_teacher(teacher.to(device), student, method, layer_map)
            loader = _loader(train_set, settings, session, pad_to=pad_to)
            epochs = planned_epochs(settings, len(loader))
            source = _teacher_source(live, train_set, method, cache, session, epochs=epochs)
            relations = None
            if method.related_weight or (ratios is None and method.reads_relations):
                relations = _relations(source, teacher, train_set, method, session)
            if ratios is None:
                ratios = build_domain_ratios(
                    method,
                    levels=len(levels),
                    domains=len(student.domains),
                    width=_shape(teacher).width,
                    domain_weights=weights,
                    relations=relations,
                )
            trust = expertise_weights(*_typicality(source, train_set, session)) if method.expertise else None
            module = Distillation(
                student,
                fit,
                ratios,
                source,
                method,
                prototype_momentum=momentum,
                attention=attention,
                row_weights=trust,
                transfer=transfer,
                shares=shares(relations[-1]) if live.every_head and relations is not None else None,
            )
            session.draw_apart()
            with nullcontext() if method.student_dropout else without_dropout(student):
                return train(
                    module,
                    loader,
                    settings=settings,
                    evaluate=evaluate or _dev_accuracy(student, dev_set, session),
                    session=session,
                    recorder=session.recorder(student.domains),
                )
    finally:
        for encoder in (*encoders_of(teacher), student.encoder):
            set_attention(encoder, "none")
        student.eval()


def live_teacher(
    teacher: AnyTeacher,
    student: MultiDomainClassifier,
    method: MethodConfig,
    layer_map: Literal["uniform"] | Sequence[int],
) -> LiveTeacher:
    """The teacher as a distillation asks it, which it is made ready for.

    Raises:
        ModelError: as :func:`distill_from_models`.
    """
    levels = _levels(teacher, student, method, layer_map)
    attention = attention_kind(method, *encoders_of(teacher), student.encoder)
    asked = levels if method.hidden_weight else ()
    return LiveTeacher(teacher, asked, attention=attention, every_head=method.related_weight > 0)


def _levels(
    teacher: AnyTeacher,
    student: MultiDomainClassifier,
    method: MethodConfig,
    layer_map: Literal["uniform"] | Sequence[int],
) -> tuple[int, ...]:
    """Teacher level of each student level, the first 0."""
    own = shape_of(student.encoder.config).layers
    if not own and method.hidden_weight:
        raise ModelError("a student without layers has no levels to imitate; set method.hidden_weight: 0")
    return resolve_layer_map(layer_map, own, _shape(teacher).layers) if own else (0,)


def _make_meta_teacher(model: MultiDomainClassifier, train_set: TokenizedDataset, session: Session) -> Tensor:
    """Add a domain head; returns the weights of the training rows, (N,)."""
    model.add_domain_head()
    model.to(session.accelerator.device).eval()
    last = (shape_of(model.encoder.config).layers,)
    scores, _, _ = _typicality(
        lambda batch: model(**batch.inputs, domain_ids=batch.domain_ids, hidden_states=last), train_set, session
    )
    return scores.clamp_min(0)  # a negative factor would leave the loss without a lower bound


def _dev_accuracy(model: MultiDomainClassifier, dev_set: TokenizedDataset, session: Session) -> DevAccuracy:
    return DevAccuracy(model, dev_set, batch_size=session.evaluation.batch_size, progress=session.progress)


def _titled(session: Session | None, title: str) -> Session:
    """A session, by default on the accelerator that there is, that has a title."""
    session = session or Session(grouped_accelerator())
    return session if session.title else replace(session, title=title)


def _check_fit(
    teacher: AnyTeacher,
    student: MultiDomainClassifier,
    train_set: TokenizedDataset,
    dev_set: TokenizedDataset,
    method: MethodConfig,
) -> None:
    """Whether models, data and method go together, before any time is spent."""
    for model in (teacher, student):
        _check_domains(model, train_set)
    _check_labels(dev_set)
    if tuple(teacher.labels) != tuple(student.labels):
        raise ModelError(f"teacher and student differ in labels: {teacher.labels} and {student.labels}")
    check_states(teacher, method)
    check_heads(teacher, student, method)
    if method.reads_relations:
        check_contrasts(train_set)
    if method.label_weight and (train_set.label_ids_or_none < 0).all():
        raise TrainingError("label_weight: no row of the training set has a label; leave it out")


def _teacher_source(
    live: LiveTeacher,
    train_set: TokenizedDataset,
    method: MethodConfig,
    cache: CacheConfig | None,
    session: Session,
    *,
    epochs: int,
) -> TeacherSource:
    """What the teacher says of a batch: live, or from a cache where it can be kept, in little space."""
    if cache is None:
        return live
    reasons = {
        "cache.gigabytes is 0": cache.gigabytes == 0,
        "one epoch reads it once": epochs == 1,
        "public_code reductions read padding too": method.counts_padding,
        "this family's attention cannot be kept as queries and keys": live.attention not in ("queries_keys", "none"),
    }
    against = [reason for reason, holds in reasons.items() if holds]
    if against:
        logger.info("%s: no teacher cache: %s", session.title, against[0])
        return not_cached(live, cache)
    device = session.accelerator.device
    source = teacher_source(live, train_set, rules=cache, device=device, progress=session.progress)
    if isinstance(source, CachedTeacher) and source.live is None:
        live.teacher.cpu()  # an accelerator's memory is for the student now
    return source


def _relations(
    source: TeacherSource,
    teacher: AnyTeacher,
    train_set: TokenizedDataset,
    method: MethodConfig,
    session: Session,
) -> Tensor:
    """Those of the domains at every level, (K, D, D)."""
    device = session.accelerator.device
    if method.hidden_weight:
        found = measure_relations(source, train_set, device, progress=session.progress)
    else:  # the source gives no states, and a student may have no layers
        was_on = encoders_of(teacher)[0].device
        own = LiveTeacher(teacher.to(device), (_shape(teacher).layers,), attention="none")
        found = measure_relations(own, train_set, device, progress=session.progress)
        teacher.to(was_on)
    if method.domain_relations == "permuted":
        found = torch.from_numpy(permuted(found.cpu().numpy(), session.run.seed)).to(found)
    told = in_words(found[-1], train_set.source.domains)
    logger.info("%s: relations between domains at the last level: %s", session.title, told)
    return found


def _typicality(source: TeacherSource, train_set: TokenizedDataset, session: Session) -> tuple[Tensor, Tensor, Tensor]:
    size = session.evaluation.batch_size
    return typicality(source, train_set, session.accelerator.device, batch_size=size, progress=session.progress)


def _shape(teacher: AnyTeacher) -> StudentShape:
    """The size of a teacher, or of each one's where domains have their own: they are all alike."""
    return shape_of(encoders_of(teacher)[0].config)


def _domain_head(teacher: AnyTeacher, layer_map: Sequence[int]) -> DomainHead:
    """The head whose features a student is to have."""
    head = teacher.domain_head if isinstance(teacher, MultiDomainClassifier) else None
    if head is None:
        raise ModelError(
            "transfer_weight: this teacher has no features that carry over between domains; train it with "
            "teacher.meta_kd, or leave transfer_weight out"
        )
    check_last_layer(layer_map, _shape(teacher).layers)
    return head


def _loader(
    data: TokenizedDataset, settings: TrainingConfig, session: Session, *, pad_to: int | None = None
) -> MultiDomainLoader:
    return MultiDomainLoader(
        data,
        batch_size=settings.batch_size,
        seed=session.run.seed,
        accumulation=settings.gradient_accumulation,
        process_index=session.accelerator.process_index,
        num_processes=session.accelerator.num_processes,
        group_by_length=settings.group_by_length and pad_to is None,
        pad_to=pad_to,
    )


def _check_domains(model: AnyTeacher, data: TokenizedDataset) -> None:
    if tuple(model.domains) != tuple(data.source.domains):
        raise DataError(
            f"the model serves the domains {', '.join(model.domains)}, the data has {', '.join(data.source.domains)}; "
            "they must be the same, in the same order"
        )


def _check_labels(*data: TokenizedDataset) -> None:
    """Read the labels of all rows, which raises where there is none, before any time is spent."""
    for each in data:
        _ = each.texts.label_ids
