"""Building a student: its architecture from the teacher's, its first weights by one of four starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from hrkd.errors import ModelError
from hrkd.models.domain_teachers import AnyTeacher, DomainTeachers
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.multi_domain import HeadMode, MultiDomainClassifier
from hrkd.models.plain import load_plain_classifier
from hrkd.models.shape import StudentShape, shape_of, student_config
from hrkd.models.start.initialise import copy_heads, copy_teacher_layers, narrow_teacher
from hrkd.models.start.principal import StateMoments, principal_components
from hrkd.models.static import StaticConfig, StaticForSequenceClassification, static_config
from hrkd.models.tokenizers import check_same_tokenizer
from hrkd.recipe.schema import StudentConfig

__all__ = [
    "Start",
    "StartedStudent",
    "build_student",
    "settle_start",
    "static_classifier",
    "static_student",
    "student_from_checkpoint",
]

Start = Literal["auto", "teacher_layers", "principal_components", "random"]


@dataclass(frozen=True)
class StartedStudent:
    """A student before training.

    ``basis`` (H, Hs) maps its states to the teacher's, a start for the fit layers; None where the start gives none.
    ``start`` is what was done, ``notes`` are plain sentences about it.
    """

    model: MultiDomainClassifier
    basis: Tensor | None
    start: str
    notes: tuple[str, ...] = ()


def build_student(
    teacher: AnyTeacher,
    shape: StudentShape,
    *,
    start: Start = "auto",
    teacher_layers: Sequence[int] | None = None,
    layer_map: Sequence[int],
    batches: Iterable[Mapping[str, Tensor]] | None = None,
    seed: int = 0,
) -> StartedStudent:
    """A student of the teacher's family, with its domains, labels, kind of heads and longest input.

    Args:
        teacher: left as it is. From a routed teacher, the encoder of its first domain is taken.
        shape: of the student.
        start: "teacher_layers" copies whole layers (same width, heads and feed-forward); "principal_components"
            projects them on the directions that the teacher's states use; "random"; "auto": the first that fits.
        teacher_layers: teacher layer (from 1) that each student layer starts from; default: the one it imitates.
        layer_map: teacher level that each student level imitates (length L + 1, first 0).
        batches: model inputs of some hundred texts, for principal components only.
        seed: of all random weights; torch's own random state is left alone.

    Raises:
        ModelError: layers that the teacher lacks, or a start that the shape or family does not allow.
    """
    source = _first(teacher)
    wide = shape_of(source.encoder.config)
    layers = layer_map[1:]
    if teacher_layers is not None:
        layers = resolve_layer_map(teacher_layers, shape.layers, wide.layers, field="student.teacher_layers")[1:]
    how = settle_start(start, shape, wide)
    model = _new_student(teacher, shape, layer_map, seed).eval()
    if how == "random":
        return StartedStudent(model, None, how, ("start: random weights",))
    named = f"teacher layers {', '.join(map(str, layers))}"
    notes = [f"start: {named}{' on principal components' if how == 'principal_components' else ', copied'}"]
    if isinstance(teacher, DomainTeachers):
        notes.append(f"the encoder starts from the teacher of the first domain, {teacher.domains[0]}")
    model.to(source.device)
    heads = [head.state_dict() for head in _heads(teacher)]
    with _evaluation(source.encoder):
        if how == "teacher_layers":
            without = copy_teacher_layers(source.encoder, model.encoder, layers)
            copy_heads(heads, model)
            notes += [f"without a counterpart in the teacher: {', '.join(without)}"] if without else []
            return StartedStudent(model, torch.eye(wide.width), how, tuple(notes))
        rows = list(batches or ())
        if not rows:
            raise ModelError("student.start: principal_components needs texts to read the teacher's states from")
        basis = narrow_teacher(
            source.encoder, heads, model, layers=layers, layer_map=layer_map, batches=rows, seed=seed
        )
    return StartedStudent(model, basis, how, tuple(notes))


def student_from_checkpoint(
    source: str | Path, teacher: AnyTeacher, tokenizer: str | PreTrainedTokenizerBase
) -> StartedStudent:
    """A student that is a small pre-trained encoder, with the teacher's domains, labels, kind of heads and lengths.

    Args:
        source: folder or hub name; its family may differ from the teacher's.
        teacher: left as it is.
        tokenizer: the teacher's, or where it is; the checkpoint must come with the same one.

    Raises:
        ModelError: no complete encoder, another tokenizer, or too few positions.
    """
    check_same_tokenizer(tokenizer, str(source))
    plain = load_plain_classifier(source, teacher.labels, fine_tuned=False)
    return StartedStudent(_around(plain, teacher).eval(), None, "checkpoint", (f"start: checkpoint {source}",))


def static_student(teacher: AnyTeacher, tokenizer: PreTrainedTokenizerBase, settings: StudentConfig) -> StartedStudent:
    """A student without layers, with the teacher's domains, labels, kind of heads and lengths.

    Args:
        teacher: whose (first) table of embeddings it starts from; left as it is.
        tokenizer: the teacher's.
        settings: its size.
    """
    encoder = _first(teacher).encoder
    config = static_config(encoder, tokenizer.pad_token_id, settings)
    config.num_labels = len(teacher.labels)
    plain = static_classifier(config, encoder.get_input_embeddings().weight)
    note = "start: principal components of the teacher's embeddings; a static student has no levels to imitate"
    return StartedStudent(_around(plain, teacher).eval(), None, "principal_components", (note,))


@torch.no_grad()
def static_classifier(config: StaticConfig, embeddings: Tensor) -> StaticForSequenceClassification:
    """A classifier whose token vectors are those of a teacher, (V, Ht), less their mean, on their principal components.

    They are scaled to a root mean square of 0.02 a number, as random ones would have; pairs start at zero. Where the
    teacher is narrower, further numbers are zero.
    """
    vectors = embeddings.detach().cpu().double()
    vectors = vectors - vectors.mean(dim=0)
    width = min(config.hidden_size, vectors.shape[1])
    moments = StateMoments({0: vectors.mean(dim=0)}, {0: vectors.T @ vectors / len(vectors)})
    projected = vectors @ principal_components(moments, [0], width)
    plain = StaticForSequenceClassification(config)
    table = plain.bag.tokens.weight.zero_()
    table[:, :width] = projected * (0.02 / projected.square().mean().sqrt().clamp_min(1e-12))
    if plain.bag.pairs is not None:
        plain.bag.pairs.weight.zero_()
    plain.eval()
    return plain


def settle_start(
    start: Start, shape: StudentShape, wide: StudentShape
) -> Literal["teacher_layers", "principal_components", "random"]:
    """What ``start`` comes to for a student of ``shape`` under a teacher of shape ``wide``.

    Raises:
        ModelError: teacher layers are to be copied into another shape.
    """
    parts = ("width", "heads", "feed_forward")
    other = [name for name in parts if getattr(shape, name) != getattr(wide, name)]
    if start == "auto":
        return "principal_components" if other else "teacher_layers"
    if start == "teacher_layers" and other:
        found = "; ".join(f"{name}: {getattr(shape, name)}, teacher {getattr(wide, name)}" for name in other)
        raise ModelError(
            f"student.start: teacher_layers copies layers as they are, but the student's shape differs ({found}); "
            "leave these fields out, or use principal_components or random"
        )
    return start


def _new_student(
    teacher: AnyTeacher, shape: StudentShape, layer_map: Sequence[int], seed: int
) -> MultiDomainClassifier:
    config = student_config(_first(teacher).encoder.config, shape, layer_map)
    config.num_labels = len(teacher.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        plain = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
        return _around(plain, teacher)


def _around(plain: PreTrainedModel, teacher: AnyTeacher) -> MultiDomainClassifier:
    mode: HeadMode = "per_domain" if isinstance(teacher, DomainTeachers) else teacher.config.heads
    return MultiDomainClassifier.from_plain(
        plain,
        domains=teacher.domains,
        labels=teacher.labels,
        heads=mode,
        max_tokens=_first(teacher).config.max_tokens,
        new_heads=True,
    )


def _first(teacher: AnyTeacher) -> MultiDomainClassifier:
    return teacher.classifiers[0] if isinstance(teacher, DomainTeachers) else teacher


def _heads(teacher: AnyTeacher) -> list[nn.Module]:
    """The teacher's heads in the order of the student's."""
    if isinstance(teacher, DomainTeachers):
        return [classifier.heads[0] for classifier in teacher.classifiers]
    return list(teacher.heads)


@contextmanager
def _evaluation(encoder: PreTrainedModel) -> Iterator[None]:
    """Evaluation mode for a while."""
    training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(training)
