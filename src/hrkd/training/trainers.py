"""Trainings on live objects, without recipes and folders: fine-tuning and distillation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor

from hrkd.data.batching import MultiDomainLoader, TokenizedDataset
from hrkd.errors import DataError, ModelError, TrainingError
from hrkd.method.build import Graph, Hierarchy, build_domain_ratios
from hrkd.method.fit_layers import FitLayers
from hrkd.method.losses import Reductions
from hrkd.method.meta_kd import DomainHead, expertise_weights
from hrkd.method.ratios import DomainRatios
from hrkd.models.domain_teachers import AnyTeacher, DomainTeachers, encoders_of
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import shape_of
from hrkd.models.threads import threads_for
from hrkd.models.trace import AttentionKind, choose_attention, set_attention
from hrkd.recipe.rules import method_contradictions
from hrkd.support.progress import Progress
from hrkd.training.distill import Distillation, Learning
from hrkd.training.evaluate import typicality
from hrkd.training.fine_tune import FineTuning
from hrkd.training.live_teacher import LiveTeacher, TeacherSource
from hrkd.training.loop import TrainingHistory, train
from hrkd.training.record import Recorder
from hrkd.training.selection import BestPerDomain, DevAccuracy, last_epoch
from hrkd.training.teacher_cache.source import CachedTeacher, CacheRules, teacher_source

__all__ = ["distill_from_models", "fine_tune"]

logger = logging.getLogger("hrkd.training")

RELATIONAL_MOMENTUM = 0.95
"""Of the prototypes of the relational graph: what sets domains apart is small beside how much 8 texts differ from 8."""


def fine_tune(
    model: MultiDomainClassifier,
    train_set: TokenizedDataset,
    dev_set: TokenizedDataset,
    *,
    meta_kd: bool = False,
    domain_loss_weight: float = 0.5,
    batch_size: int = 8,
    group_by_length: bool = True,
    seed: int = 0,
    accelerator: Accelerator | None = None,
    evaluation_batch_size: int = 64,
    metrics: Path | None = None,
    log_every: int = 1,
    progress: Progress | None = None,
    title: str = "fine-tuning",
    **training: Any,
) -> TrainingHistory:
    """Fine-tune ``model`` in place on the labels of all domains; its best epoch on the dev set is kept.

    Afterwards it is in evaluation mode.

    Args:
        meta_kd: make it a meta-teacher (Meta-KD, Pan et al. 2021): examples are weighed by how typical they are of
            their class in all domains, as ``model`` sees them at the start, and a domain head is added, whose features
            are to say little of the domain (:mod:`hrkd.method.meta_kd`).
        domain_loss_weight: of the domain head's loss.
        batch_size: examples of every domain in a step.
        group_by_length: put texts of similar length into the same step.
        metrics: folder for the tables of every ``log_every``-th step.
        training: passed to :func:`hrkd.training.loop.train` (epochs, learning_rate, checkpoint, ...).

    Raises:
        DataError: too few examples, or domains that are not the model's; ``meta_kd`` with one domain.
        TrainingError: a row has no label, or the loss is not finite.
    """
    accelerator = accelerator or Accelerator()
    _check_domains(model, train_set)
    _check_labels(train_set, dev_set)
    set_seed(seed)
    set_attention(model.encoder, "none")
    row_weights = None
    if meta_kd:
        check_meta_teacher(model.domains)
        model.add_domain_head()
        model.to(accelerator.device).eval()
        last = (shape_of(model.encoder.config).layers,)
        scores, _, _ = typicality(
            lambda batch: model(**batch.inputs, domain_ids=batch.domain_ids, hidden_states=last),
            train_set,
            accelerator.device,
            batch_size=evaluation_batch_size,
            progress=progress,
        )
        row_weights = scores.clamp_min(0)  # a negative factor would leave the loss without a lower bound
    _draw_apart(accelerator, seed)
    history = threads_for(model, tokens=_tokens(train_set, batch_size))(train)(
        FineTuning(model, row_weights=row_weights, domain_loss_weight=domain_loss_weight if meta_kd else 0.0),
        _loader(train_set, batch_size, seed, accelerator, group_by_length=group_by_length),
        evaluate=DevAccuracy(model, dev_set, batch_size=evaluation_batch_size, progress=progress),
        accelerator=accelerator,
        recorder=None if metrics is None else Recorder(metrics, model.domains, every=log_every),
        progress=progress,
        title=title,
        **training,
    )
    model.eval()
    return history


def distill_from_models(
    teacher: AnyTeacher,
    student: MultiDomainClassifier,
    train_set: TokenizedDataset,
    dev_set: TokenizedDataset,
    *,
    layer_map: Literal["uniform"] | Sequence[int] = "uniform",
    basis: Tensor | None = None,
    graph: Graph = "published",
    hierarchy: Hierarchy = "compare_aggregate",
    reference_attention: bool = True,
    ratios: DomainRatios | None = None,
    learning: Learning = "fixed",
    ratio_learning_rate: float = 5e-3,
    entropy_weight: float = 1.0,
    meta_interval: int = 10,
    attention: Literal["auto", "scores", "probabilities", "none"] = "auto",
    reductions: Reductions = "masked",
    hidden_weight: float = 1.0,
    prediction_weight: float = 1.0,
    temperature: float = 1.0,
    label_weight: float = 0.0,
    relative: bool = False,
    ratio_gradient: bool = False,
    expertise: bool = False,
    transfer_weight: float = 0.0,
    graph_heads: int = 8,
    graph_width: int | Literal["hidden"] | None = None,
    graph_dropout: float = 0.1,
    centre_prototypes: bool | None = None,
    prototype_momentum: float | None = None,
    domain_weights: Mapping[str, float] | None = None,
    epochs: int = 3,
    batch_size: int = 8,
    group_by_length: bool = True,
    seed: int = 0,
    accelerator: Accelerator | None = None,
    evaluation_batch_size: int = 64,
    metrics: Path | None = None,
    log_every: int = 1,
    keep: Literal["best", "last"] = "best",
    best_per_domain: BestPerDomain | None = None,
    cache: CacheRules | None = None,
    progress: Progress | None = None,
    title: str = "distillation",
    **training: Any,
) -> TrainingHistory:
    """Distil ``teacher`` into ``student`` in place (HRKD); the student's best epoch on the dev set is kept.

    Afterwards both models compute attention as usual again and are in evaluation mode.

    One call is one stage. The two of TinyBERT's task-specific distillation (Jiao et al. 2020) are two calls with the
    same student: ``prediction_weight=0, keep="last"``, then ``hidden_weight=0, graph="uniform", learning="fixed"``.

    Args:
        train_set: labels of its rows are read for ``expertise`` and ``label_weight`` alone; else they may have none.
        layer_map: teacher layer (from 1) of each student layer, or "uniform".
        basis: (H, Hs) start of the fit layers, such as the principal components the student came from.
        graph, hierarchy, reference_attention, graph_heads, graph_width, graph_dropout, centre_prototypes: see
            :func:`hrkd.method.build.build_domain_ratios`.
        prototype_momentum: weight of earlier steps in the prototypes that ratios are made of; default: 0.95 with the
            relational graph, else 0.
        domain_weights: how much a domain counts at every level before the graph speaks, by name; default: 1.
        ratios: a module of one's own, in the place of the parts named by those arguments, which then have no effect;
            it maps prototypes (K, D, H) of K student levels, D domains and the teacher's width H to
            :class:`hrkd.method.ratios.Ratios`.
        learning, ratio_learning_rate, entropy_weight, meta_interval: how the ratios' parameters are learnt; see
            :class:`hrkd.training.distill.Distillation`.
        attention: what the attention losses compare; "auto": raw scores where both families have them,
            probabilities elsewhere (see :func:`hrkd.models.trace.set_attention` about their dropout).
        reductions, hidden_weight, prediction_weight, temperature, label_weight, relative, ratio_gradient: see
            :class:`hrkd.training.distill.Distillation`.
        expertise: weigh every example by how far the teacher is to be trusted on it (Meta-KD;
            :func:`hrkd.method.meta_kd.expertise_weights`); the teacher's answer stands in for a missing label.
        transfer_weight: of the losses of a meta-teacher's features that carry over between domains.
        batch_size: examples of every domain in a step.
        group_by_length: put texts of similar length into the same step (see
            :class:`hrkd.data.batching.MultiDomainLoader`).
        metrics: folder for the tables of every ``log_every``-th step.
        epochs: passes over the largest domain.
        keep: the epoch that is "best" on the dev set, or the "last" one, without a look at the dev set, which says
            nothing while the heads are not trained (``prediction_weight=0``); ``best_per_domain`` is then not updated.
        cache: keep what the teacher says on disk, if more than one epoch reads it, and read it if it is there; default:
            ask the teacher in every step.
        training: passed to :func:`hrkd.training.loop.train` (learning_rate, checkpoint, ...).

    Raises:
        ArtifactError: the teacher cache is damaged.
        DataError: too few examples, domains that are not the models', or a weight for a domain that is none of them.
        ModelError: choices that rule each other out, a layer map that does not fit, attention that a family cannot
            give, ``transfer_weight`` with a teacher that has no domain head, or ``expertise`` with one for each domain.
        TrainingError: a row of the dev set has no label (with ``label_weight``: no training row has one), or the loss
            is not finite.
    """
    wrong = method_contradictions(
        graph=graph if ratios is None else "own",
        learning=learning,
        hidden_weight=hidden_weight,
        prediction_weight=prediction_weight,
        label_weight=label_weight,
        expertise=expertise,
        transfer_weight=transfer_weight,
        domain_weights=domain_weights,
    )
    if problems := list(wrong):
        raise ModelError("; ".join(problems))
    accelerator = accelerator or Accelerator()
    for model in (teacher, student):
        _check_domains(model, train_set)
    _check_labels(dev_set)
    if tuple(teacher.labels) != tuple(student.labels):
        raise ModelError(f"teacher and student differ in labels: {teacher.labels} and {student.labels}")
    set_seed(seed)
    big, small = shape_of(encoders_of(teacher)[0].config), shape_of(student.encoder.config)
    levels = resolve_layer_map(layer_map, small.layers, big.layers)
    weights = weights_of_domains(domain_weights, student.domains)
    if expertise:
        check_expertise(teacher)
    if label_weight and (train_set.label_ids_or_none < 0).all():
        raise TrainingError("label_weight: no row of the training set has a label; leave it out")
    transfer = _domain_head(teacher, levels, big.layers) if transfer_weight else None
    encoders = [*encoders_of(teacher), student.encoder]
    kind: AttentionKind = "none"
    if hidden_weight:
        kind = choose_attention(attention, *encoders, factored=reductions == "masked")
    if attention == "auto" and kind == "probabilities":
        logger.info("%s: no raw attention scores in this family; attention losses compare probabilities", title)
    fit = FitLayers(len(levels), small.width, big.width, basis=basis)
    momentum = prototype_momentum
    if momentum is None:
        momentum = RELATIONAL_MOMENTUM if graph == "relational" and ratios is None else 0.0
    if ratios is None:
        ratios = build_domain_ratios(
            len(levels),
            len(student.domains),
            big.width,
            graph=graph,
            hierarchy=hierarchy,
            reference_attention=reference_attention,
            graph_heads=graph_heads,
            graph_width=graph_width,
            graph_dropout=graph_dropout,
            centre_prototypes=centre_prototypes,
            domain_weights=weights,
        )
    pad_to = student.config.max_tokens if reductions == "public_code" else None  # padding counts in its averages
    dev = DevAccuracy(
        student, dev_set, batch_size=evaluation_batch_size, progress=progress, best_per_domain=best_per_domain
    )
    threads = ExitStack()
    try:
        threads.enter_context(threads_for(teacher, student, tokens=_tokens(train_set, batch_size)))
        set_attention(student.encoder, kind)
        read = levels if hidden_weight else ()
        live = LiveTeacher(teacher.to(accelerator.device), read, attention=kind)
        said: TeacherSource = live
        if cache is not None and _can_be_cached(kind, reductions, cache, title):
            said = teacher_source(
                live, train_set, rules=cache, device=accelerator.device, build=epochs > 1, progress=progress
            )
            if isinstance(said, CachedTeacher) and said.live is None:
                teacher.cpu()  # an accelerator's memory is for the student now
        row_weights = None
        if expertise:
            weighed = typicality(
                said, train_set, accelerator.device, batch_size=evaluation_batch_size, progress=progress
            )
            row_weights = expertise_weights(*weighed)
        module = Distillation(
            student,
            fit,
            ratios,
            said,
            attention=kind,
            reductions=reductions,
            hidden_weight=hidden_weight,
            prediction_weight=prediction_weight,
            temperature=temperature,
            label_weight=label_weight,
            relative=relative,
            ratio_gradient=ratio_gradient,
            prototype_momentum=momentum,
            row_weights=row_weights,
            transfer=transfer,
            transfer_weight=transfer_weight,
            learning=learning,
            ratio_learning_rate=ratio_learning_rate,
            entropy_weight=entropy_weight,
            meta_interval=meta_interval,
        )
        _draw_apart(accelerator, seed)
        return train(
            module,
            _loader(train_set, batch_size, seed, accelerator, group_by_length=group_by_length, pad_to=pad_to),
            evaluate=dev if keep == "best" else last_epoch,
            accelerator=accelerator,
            epochs=epochs,
            recorder=None if metrics is None else Recorder(metrics, student.domains, every=log_every),
            progress=progress,
            title=title,
            **training,
        )
    finally:
        for encoder in encoders:
            set_attention(encoder, "none")
        student.eval()
        threads.close()


def _domain_head(teacher: AnyTeacher, layer_map: Sequence[int], layers: int) -> DomainHead:
    """The head whose features a student is to have."""
    head = teacher.domain_head if isinstance(teacher, MultiDomainClassifier) else None
    if head is None:
        raise ModelError(
            "transfer_weight: this teacher has no features that carry over between domains; train it with "
            "teacher.meta_kd, or leave transfer_weight out"
        )
    check_last_layer(layer_map, layers)
    return head


def weights_of_domains(named: Mapping[str, float] | None, domains: Sequence[str]) -> tuple[float, ...] | None:
    """One weight for each of the ``domains``, 1 where none is ``named``; None if none is at all.

    Raises:
        DataError: a name that is none of the ``domains``.
    """
    if not named:
        return None
    if unknown := [name for name in named if name not in domains]:
        raise DataError(
            f"method.domain_weights: no domain is called {' or '.join(map(repr, unknown))}; there are: "
            f"{', '.join(domains)}"
        )
    return tuple(float(named.get(name, 1.0)) for name in domains)


def check_meta_teacher(domains: Sequence[str]) -> None:
    """Whether a meta-teacher has anything to relate.

    Raises:
        DataError: fewer than two ``domains``.
    """
    if len(domains) < 2:
        raise DataError("a meta-teacher relates domains, and the data has one; leave teacher.meta_kd out")


def check_last_layer(layer_map: Sequence[int], layers: int) -> None:
    """Whether a student imitates the last of a teacher's ``layers``, whose features ``transfer_weight`` is about.

    Raises:
        ModelError: it does not.
    """
    if layer_map[-1] != layers:
        raise ModelError(
            f"transfer_weight: its features are those of the teacher's last layer, {layers}, which the layer map does "
            "not imitate; end student.layer_map with it"
        )


def check_expertise(teacher: AnyTeacher) -> None:
    """Whether the states of all domains lie in one space, so that ``expertise`` can compare them.

    Raises:
        ModelError: each domain has an encoder of its own.
    """
    if isinstance(teacher, DomainTeachers):
        raise ModelError(
            "expertise: compares examples of different domains in the teacher's states, and here each domain has an "
            "encoder of its own; use one teacher for all, or leave expertise out"
        )


def _can_be_cached(kind: AttentionKind, reductions: Reductions, cache: CacheRules, title: str) -> bool:
    """Whether what the teacher says can be kept, in little space."""
    reasons = {
        "cache.gigabytes is 0": cache.gigabytes == 0,
        "public_code reductions read padding too": reductions == "public_code",
        "this family's attention cannot be kept as queries and keys": kind not in ("queries_keys", "none"),
    }
    against = [reason for reason, holds in reasons.items() if holds]
    if against:
        logger.info("%s: no teacher cache: %s", title, against[0])
    return not against


def _draw_apart(accelerator: Accelerator, seed: int) -> None:
    """From here on every process draws dropout of its own; all weights are drawn before, alike in each."""
    if accelerator.num_processes > 1:
        set_seed(seed, device_specific=True)


def _tokens(data: TokenizedDataset, batch_size: int) -> float:
    """Those of a step of one process, in the mean."""
    return batch_size * len(data.source.domains) * float(data.lengths.mean())


def _loader(
    data: TokenizedDataset,
    batch_size: int,
    seed: int,
    accelerator: Accelerator,
    *,
    group_by_length: bool,
    pad_to: int | None = None,
) -> MultiDomainLoader:
    return MultiDomainLoader(
        data,
        batch_size=batch_size,
        seed=seed,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        group_by_length=group_by_length and pad_to is None,
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
        _ = each.label_ids
