"""The size of an encoder: read from a teacher, settled for a student, written into a configuration."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import cache
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig

from hrkd.errors import ModelError
from hrkd.models.families import (
    FOLLOW_HEADS,
    FOLLOW_WIDTH,
    NOT_INHERITED,
    OTHER_FAMILY,
    PER_LAYER,
    family_of,
    without_use,
)
from hrkd.models.kind import STATIC
from hrkd.models.layer_map import uniform_layer_map
from hrkd.support.messages import count_of

__all__ = [
    "StudentShape",
    "feed_forward_for",
    "layers_from_a_third",
    "resolve_shape",
    "shape_of",
    "student_config",
]

SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads")  # transformers' names; the feed-forward's differs
NARROWEST_HEAD = 4


@dataclass(frozen=True)
class StudentShape:
    """Transformer layers L, hidden size Hs, attention heads N, width of the feed-forward layers."""

    layers: int
    width: int
    heads: int
    feed_forward: int


def shape_of(config: PreTrainedConfig) -> StudentShape:
    """The shape that an encoder's configuration describes, whatever its family calls the fields; a static one has none.

    Raises:
        ModelError: the configuration lacks one of them.
    """
    if config.model_type == STATIC:
        return StudentShape(0, config.hidden_size, 0, 0)
    names = (*SIZES, family_of(config).feed_forward)
    sizes: list[Any] = [getattr(config, name, None) for name in names]
    if missing := [name for name, size in zip(names, sizes, strict=True) if not isinstance(size, int)]:
        raise ModelError(
            f"the {config.model_type} family is not supported: its configuration does not tell {', '.join(missing)}; "
            f"{OTHER_FAMILY}"
        )
    if small := [f"{name}: {size}" for name, size in zip(names, sizes, strict=True) if size < 1]:
        raise ModelError(f"sizes of an encoder are 1 or more, its configuration says {', '.join(small)}; correct it")
    return StudentShape(*sizes)


def resolve_shape(
    teacher_config: PreTrainedConfig,
    *,
    layers: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    feed_forward: int | None = None,
    times_smaller: float | None = None,
) -> StudentShape:
    """The student's shape; what is left out follows from the teacher.

    Layers and width default to the teacher's, heads to the teacher's number, the feed-forward width to the teacher's
    ratio to the hidden size, rounded to a multiple of 8.

    With ``times_smaller`` the shape has as nearly as possible the teacher's parameters (with embeddings and one head)
    divided by it. Layers: the smallest divisor of the teacher's layers that is at least a third of them (12 -> 4,
    6 -> 2), or the next one up while even the teacher's width would give too few parameters. Width: the multiple of
    the teacher's heads that comes nearest.

    Raises:
        ModelError: the heads do not divide the width, or the vocabulary makes ``times_smaller`` unreachable.
    """
    teacher = shape_of(teacher_config)
    if times_smaller is not None:
        shape = _shape_for(teacher_config, times_smaller)
    else:
        width = width or teacher.width
        shape = StudentShape(
            layers or teacher.layers, width, heads or teacher.heads, feed_forward or feed_forward_for(teacher, width)
        )
    _check_heads(shape, teacher, rotary=family_of(teacher_config).rotary, named=heads is not None)
    return shape


def student_config(
    teacher_config: PreTrainedConfig, shape: StudentShape, layer_map: Sequence[int] | None = None
) -> PreTrainedConfig:
    """A configuration of the teacher's family with another shape; vocabulary, positions and the rest as the teacher.

    Embeddings narrower than the hidden states (ELECTRA) stay as narrow as the teacher's. Where layers are of several
    kinds (ModernBERT: local and global attention), each student layer is of the kind of the teacher layer that
    ``layer_map`` (levels; default: uniform) gives it.

    Raises:
        ModelError: the family has no encoder of that shape.
    """
    teacher, family = shape_of(teacher_config), family_of(teacher_config)
    given = without_use(teacher_config.to_dict())
    fields = {name: value for name, value in given.items() if name not in NOT_INHERITED}
    fields |= {"id2label": teacher_config.id2label, "label2id": teacher_config.label2id}
    sizes = zip((*SIZES, family.feed_forward), astuple(shape), strict=True)
    fields |= {teacher_config.attribute_map.get(name, name): size for name, size in sizes}
    fields |= {name: shape.width for name in FOLLOW_WIDTH if fields.get(name) == teacher.width}
    for name in FOLLOW_HEADS:
        if fields.get(name):
            fields[name] = max(1, fields[name] * shape.heads // teacher.heads)
    levels = layer_map or uniform_layer_map(shape.layers, teacher.layers)
    for name in PER_LAYER:
        if isinstance(fields.get(name), list):
            fields[name] = [fields[name][level - 1] for level in levels[1:]]
    try:
        return AutoConfig.for_model(**fields)
    except (StrictDataclassError, ValueError, TypeError) as error:
        layers, heads = count_of(shape.layers, "layer", "layers"), count_of(shape.heads, "head", "heads")
        told = f"{layers} of width {shape.width}, {heads}, feed_forward {shape.feed_forward}"
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelError(
            f"student: there is no encoder of the {teacher_config.model_type} family with {told}: {reason}; take "
            "other sizes"
        ) from error


def feed_forward_for(teacher: StudentShape, width: int) -> int:
    """Of a student of some width: the teacher's, scaled by width and rounded to a multiple of 8."""
    if width == teacher.width:
        return teacher.feed_forward
    return max(8, 8 * round(teacher.feed_forward * width / teacher.width / 8))


def layers_from_a_third(teacher: StudentShape) -> list[int]:
    """The divisors of a teacher's layers that are at least a third of them."""
    return [n for n in range(1, teacher.layers + 1) if teacher.layers % n == 0 and 3 * n >= teacher.layers]


def _check_heads(shape: StudentShape, teacher: StudentShape, *, rotary: bool, named: bool) -> None:
    step = 2 if rotary else 1
    if shape.width % (step * shape.heads) == 0:
        return
    counts = [count for count in range(1, shape.width + 1) if shape.width % (step * count) == 0]
    near = {shape.heads * step * (shape.width // (shape.heads * step) + more) for more in (0, 1)} - {0}
    whose = f"student.heads: {shape.heads}" if named else f"the teacher's {teacher.heads} heads"
    even = " into heads of even width (rotary positions)" if rotary else ""
    raise ModelError(
        f"student.width: {shape.width} cannot be divided{even} by {whose}; take a width of "
        f"{' or '.join(map(str, sorted(near)))}, or another number of heads ({', '.join(map(str, counts[:12]))}); "
        "with as many heads as the teacher, attention is compared head by head"
    )


def _shape_for(config: PreTrainedConfig, times_smaller: float) -> StudentShape:
    teacher = shape_of(config)
    target = _parameters(config, teacher) / times_smaller
    full = [replace(teacher, layers=n) for n in layers_from_a_third(teacher)]
    first = next((shape for shape in full if _parameters(config, shape) >= target), teacher)
    step = teacher.heads * (2 if family_of(config).rotary else 1)
    widths = range(min(teacher.width, teacher.heads * NARROWEST_HEAD), teacher.width + 1, step)
    shapes = [replace(first, width=width, feed_forward=feed_forward_for(teacher, width)) for width in widths]
    count = cache(lambda index: _parameters(config, shapes[index]))
    if count(0) > target:
        reachable = _parameters(config, teacher) / count(0)
        raise ModelError(
            f"student.times_smaller: {times_smaller:g} cannot be reached: with the teacher's vocabulary of "
            f"{config.vocab_size:,} tokens, {reachable:.1f} is the most "
            f"({count_of(shapes[0].layers, 'layer', 'layers')} of width {shapes[0].width}); ask for less, or name a "
            "small encoder in student.checkpoint"
        )
    above = bisect_left(range(len(shapes)), target, key=count)
    near = [index for index in (above - 1, above) if 0 <= index < len(shapes)]
    return shapes[min(near, key=lambda index: abs(count(index) - target))]


def _parameters(config: PreTrainedConfig, shape: StudentShape) -> int:
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(student_config(config, shape), trust_remote_code=False)
    return sum(parameter.numel() for parameter in model.parameters())
