"""Starting weights of a student, read off its teacher: chosen layers as they are, or narrowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hrkd.errors import ModelError
from hrkd.models.families import Parts, layer_list, parts_of
from hrkd.models.multi_domain import MultiDomainClassifier
from hrkd.models.shape import shape_of
from hrkd.models.start.calibrate import calibrate_norms
from hrkd.models.start.narrow import narrow_embeddings, narrow_head, narrow_layer
from hrkd.models.start.narrow_attention import Plan, common_heads
from hrkd.models.start.principal import principal_components, read_moments

__all__ = ["check_narrower", "copy_heads", "copy_teacher_layers", "narrow_teacher"]


def copy_teacher_layers(teacher: PreTrainedModel, student: PreTrainedModel, layers: Sequence[int]) -> list[str]:
    """Copy embeddings, the chosen layers (from 1) and all else into a student of equal width, in place.

    Returns:
        Names of weights without a counterpart, where a family's first layer lacks a normalisation that the others have:
        the student's, which keep their neutral start, and the teacher's, which are left out.

    Raises:
        ModelError: a weight's shape differs.
    """
    have, wanted = _layers_taken(teacher, layers), student.state_dict()
    without, new = sorted(have.keys() ^ wanted.keys()), {}
    for name, tensor in wanted.items():
        if name not in have:
            continue
        if have[name].shape != tensor.shape:
            raise ModelError(
                f"student.start: teacher_layers needs the teacher's width, heads and feed_forward; {name} has "
                f"the shape {tuple(tensor.shape)} in the student, {tuple(have[name].shape)} in the teacher"
            )
        new[name] = have[name]
    student.load_state_dict(new, strict=False)
    return without


def copy_heads(teacher_heads: Sequence[Mapping[str, Tensor]], student: MultiDomainClassifier) -> None:
    """Load the states of the teacher's heads (in the student's order of domains) into the student's."""
    for head, state in zip(student.heads, teacher_heads, strict=True):
        head.load_state_dict(state)


def narrow_teacher(
    teacher: PreTrainedModel,
    teacher_heads: Sequence[Mapping[str, Tensor]],
    student: MultiDomainClassifier,
    *,
    layers: Sequence[int],
    layer_map: Sequence[int],
    batches: Sequence[Mapping[str, Tensor]],
    seed: int,
) -> Tensor:
    """Fill a narrower student of the teacher's family from its weights, in place.

    Args:
        teacher: encoder in evaluation mode.
        teacher_heads: states of its heads, in the student's order.
        student: to be filled; no weight keeps its random start, but neurons and head dimensions that the teacher
            does not have are small random numbers that change nothing yet.
        layers: teacher layer (from 1) that each student layer comes from.
        layer_map: teacher level that each student level imitates.
        batches: model inputs of some hundred texts.
        seed: of the small random numbers.

    Returns:
        The basis V (H, Hs), with which V z approximates the teacher's state x for the student's z.

    Raises:
        ModelError: a family, or a shape, that this start is not made for; the message names other starts.
    """
    parts = parts_of(teacher.config)
    wide, narrow = shape_of(teacher.config), shape_of(student.encoder.config)
    check_narrower(parts, teacher, student.encoder)
    needed = sorted({*layer_map, *layers, *(layer - 1 for layer in layers)})
    moments = read_moments(teacher, batches, needed)
    basis = principal_components(moments, layer_map, narrow.width)
    plan = Plan(parts, wide, narrow, basis, moments, torch.Generator().manual_seed(seed))
    state, heads = _precise(teacher.state_dict()), [_precise(head) for head in teacher_heads]
    new = narrow_embeddings(plan, state)
    if parts.head_bias:
        of_layers = {layer - 1: _below(state, f"{parts.layers}.{layer - 1}.") for layer in layers}
        heads_kept = common_heads(plan, of_layers)
        plan, bias = replace(plan, heads=heads_kept), f"{parts.head_bias}.weight"
        new[bias] = state[bias][:, list(heads_kept)]
    for index, layer in enumerate(layers):
        part = narrow_layer(plan, _below(state, f"{parts.layers}.{layer - 1}."), layer)
        new |= {f"{parts.layers}.{index}.{name}": tensor for name, tensor in part.items()}
    new |= _fill_heads(plan, state, heads, student)
    student.encoder.load_state_dict(new)
    norms = {level: f"{parts.layers}.{level - 1}.{parts.layer_norm}" for level in range(1, narrow.layers + 1)}
    if f"{parts.embedding_norm}.weight" in new and new[f"{parts.embedding_norm}.weight"].numel() == narrow.width:
        norms = {0: parts.embedding_norm, **norms}
    calibrate_norms(student.encoder, teacher, batches, layer_map=layer_map, norms=norms, basis=basis)
    return basis.float()


def _layers_taken(teacher: PreTrainedModel, layers: Sequence[int]) -> dict[str, Tensor]:
    """The state with the chosen layers (from 1) only, counted anew; all of it where all layers share their weights."""
    state, found = teacher.state_dict(), layer_list(teacher)
    if found is None:
        return dict(state)
    prefix = f"{found[0]}."
    taken = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    for index, layer in enumerate(layers):
        part = _below(state, f"{prefix}{layer - 1}.")
        taken |= {f"{prefix}{index}.{name}": tensor for name, tensor in part.items()}
    return taken


def _fill_heads(
    plan: Plan, state: Mapping[str, Tensor], heads: Sequence[dict[str, Tensor]], student: MultiDomainClassifier
) -> dict[str, Tensor]:
    """Load narrowed heads into the student; returns the encoder's pooling layer, where it stands there."""
    heads = [_below(head, "classifier.") for head in heads]
    if plan.parts.pools:
        pooler, outs = narrow_head(plan, state, heads)
        narrowed = outs
    else:
        pooler, narrowed = {}, []
        for head in heads:
            dense, outs = narrow_head(plan, head, [head])
            narrowed.append({**outs[0], **dense})
    copy_heads([{f"classifier.{name}": tensor for name, tensor in head.items()} for head in narrowed], student)
    return pooler


def check_narrower(parts: Parts, teacher: PreTrainedModel, student: PreTrainedModel) -> None:
    """Whether the student's encoder can be started from principal components of the teacher's (of any weights).

    Raises:
        ModelError: it cannot.
    """
    wide, narrow = shape_of(teacher.config), shape_of(student.config)
    more = [name for name in ("width", "heads") if getattr(narrow, name) > getattr(wide, name)]
    if more:
        raise ModelError(
            f"student.start: principal_components makes students with at most the teacher's {' and '.join(more)} "
            f"(teacher {_named(wide, more)}, student {_named(narrow, more)}); take less, or start: random"
        )
    narrow_table = f"{parts.embedding_projection}.weight"
    if narrow_table in teacher.state_dict() and narrow_table not in student.state_dict():
        raise ModelError(
            f"student.width: {narrow.width} is the width of the teacher's embedding table, where this family has no "
            "projection of the embeddings; for start: principal_components take another width"
        )


def _named(shape: object, names: Sequence[str]) -> str:
    return ", ".join(f"{name} {getattr(shape, name)}" for name in names)


def _precise(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().double() for name, tensor in state.items()}


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
