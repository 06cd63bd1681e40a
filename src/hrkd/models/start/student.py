"""From the settings of a student to one that can be trained."""

from __future__ import annotations

import numpy as np
import torch
from accelerate.utils import set_seed
from transformers import PreTrainedTokenizerBase

from hrkd.data.batching import TokenizedDataset, length_sorted
from hrkd.models.domain_teachers import AnyTeacher, encoders_of
from hrkd.models.layer_map import resolve_layer_map
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import resolve_shape, shape_of
from hrkd.models.start.build import (
    StartedStudent,
    build_student,
    settle_start,
    static_student,
    student_from_checkpoint,
)
from hrkd.recipe.schema import (
    NEW_LEARNING_RATE,
    PRETRAINED_LEARNING_RATE,
    STATIC_LEARNING_RATE,
    StudentConfig,
    StudentTrainingConfig,
)

__all__ = ["settled_training", "start_student"]

STATES_SAMPLE = 512
"""Training texts whose hidden states decide the principal components."""
STATES_BATCH = 64


def start_student(
    teacher: AnyTeacher,
    settings: StudentConfig,
    train_set: TokenizedDataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seed: int = 0,
    device: torch.device | None = None,
) -> tuple[StartedStudent, tuple[int, ...]]:
    """The student before training, and the teacher layer (from 1) of each of its layers.

    Sets all random states to ``seed``.

    Args:
        teacher: left as it is, on ``device``.
        settings: size and start of the student.
        train_set: some of its rows are read by the teacher, for a start from principal components.
        tokenizer: the teacher's; a ``settings.checkpoint`` must come with the same one.
        device: where the teacher is; default: the processor.

    Raises:
        ModelError: a size, start or checkpoint that does not fit the teacher.
    """
    set_seed(seed)
    config = encoders_of(teacher)[0].config
    if settings.kind == "static":
        return static_student(teacher, tokenizer, settings), ()
    if settings.checkpoint is not None:
        started = student_from_checkpoint(settings.checkpoint, teacher, tokenizer)
        layers = shape_of(started.model.encoder.config).layers
        return started, resolve_layer_map(settings.layer_map, layers, shape_of(config).layers)[1:]
    shape = resolve_shape(config, **settings.size)
    layer_map = resolve_layer_map(settings.layer_map, shape.layers, shape_of(config).layers)
    sample = train_set.select(np.random.default_rng(seed).permutation(len(train_set.texts))[:STATES_SAMPLE])
    batches = (sample.batch(rows) for rows in length_sorted(sample.lengths, STATES_BATCH))
    started = build_student(
        teacher,
        shape,
        start="auto" if settings.start == "checkpoint" else settings.start,
        teacher_layers=settings.teacher_layers,
        layer_map=layer_map,
        batches=(batch.to(device or torch.device("cpu")).inputs for batch in batches),
        seed=seed,
    )
    return started, layer_map[1:]


def settled_training(
    settings: StudentConfig, student: MultiDomainClassifier, teacher: AnyTeacher
) -> StudentTrainingConfig:
    """How a student is trained, its learning rate as a number that suits what it has started from."""
    if settings.training.learning_rate != "auto":
        return settings.training
    rate = PRETRAINED_LEARNING_RATE
    if settings.kind == "static":
        rate = STATIC_LEARNING_RATE
    elif settings.start != "checkpoint" and settings.checkpoint is None:
        shapes = (shape_of(each.config) for each in (student.encoder, encoders_of(teacher)[0]))
        rate = rate if settle_start(settings.start, *shapes) == "teacher_layers" else NEW_LEARNING_RATE
    return settings.training.model_copy(update={"learning_rate": rate})
