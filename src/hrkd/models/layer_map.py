"""Which teacher layer each student layer imitates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from hrkd.errors import ModelError

__all__ = ["resolve_layer_map", "uniform_layer_map"]


def uniform_layer_map(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """Teacher level of every student level, spread evenly: l * Lt / L, rounded half up (TinyBERT's uniform map).

    Length L + 1; the first entry is 0, the embeddings; the last is Lt. Strictly increasing, since Lt / L >= 1.

    Raises:
        ModelError: the student has more layers than the teacher.
    """
    if student_layers > teacher_layers:
        raise ModelError(
            f"student.layers: the student has {student_layers} layers, the teacher {teacher_layers}; a uniform layer "
            "map needs at most as many: take fewer layers, or name the teacher layers in student.layer_map"
        )
    doubled = (2 * level * teacher_layers for level in range(student_layers + 1))
    return tuple((numerator + student_layers) // (2 * student_layers) for numerator in doubled)


def resolve_layer_map(
    wanted: Literal["uniform"] | Sequence[int],
    student_layers: int,
    teacher_layers: int,
    *,
    field: str = "student.layer_map",
) -> tuple[int, ...]:
    """The layer map as levels: length L + 1, first 0 (embeddings), then the teacher layer (from 1) of each layer.

    Args:
        wanted: "uniform", or the teacher layer of each student layer, in an order that never goes back.
        student_layers: L.
        teacher_layers: Lt.
        field: what messages call the map.

    Raises:
        ModelError: wrong length, a layer that the teacher lacks, or a map that goes back; all problems at once.
    """
    if isinstance(wanted, str):
        return uniform_layer_map(student_layers, teacher_layers)
    layers = tuple(wanted)
    problems = []
    if len(layers) != student_layers:
        problems.append(f"it has {len(layers)} entries, the student {student_layers} layers")
    outside = [layer for layer in layers if not 1 <= layer <= teacher_layers]
    if outside:
        problems.append(f"{_listed(outside)} is not between 1 and {teacher_layers}, the teacher's layers")
    if any(later < earlier for earlier, later in pairwise(layers)):
        problems.append("it goes back; later student layers must not imitate earlier teacher layers")
    if problems:
        raise ModelError(f"{field}: {_listed(layers)}: " + "; ".join(problems))
    return (0, *layers)


def _listed(layers: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, layers)) + "]"
