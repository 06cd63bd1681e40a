"""A narrower encoder out of a wide one: every weight projected on principal directions of the hidden states.

With a basis V (H, Hs) a state x of the teacher is z = V'x in the student. Maps that read states become W V, maps that
write them V'W, tables of embeddings E V. Heads and feed-forward layers are narrowed by what they compute:

* attention: see :mod:`hrkd.models.start.narrow_attention`;
* feed-forward and pooling layers: the neurons with the largest product of input and output norms are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hrkd.models.start.narrow_attention import Plan, most_important, narrow_attention, present
from hrkd.models.start.principal import PADDING_SCALE

__all__ = ["narrow_embeddings", "narrow_head", "narrow_layer"]

State = Mapping[str, Tensor]


def narrow_embeddings(plan: Plan, state: State) -> dict[str, Tensor]:
    """Embedding tables, their norm and the relative positions."""
    parts, new = plan.parts, dict[str, Tensor]()
    if f"{parts.embedding_projection}.weight" in state:
        kept = (*parts.tables, parts.embedding_norm)
        new |= {name: tensor for name, tensor in state.items() if name.startswith(kept)}
        projection = [f"{parts.embedding_projection}.{part}" for part in ("weight", "bias")]
        new |= {name: plan.basis.mT @ state[name] for name in projection if name in state}
    else:
        new |= _tables(plan, state, parts.tables)
    norms = [parts.embedding_norm, parts.relative_norm]
    wide = [name for name in present(state, norms) if state[f"{name}.weight"].numel() == plan.teacher.width]
    for name in wide:
        new |= _norm(plan, state, name, 1.0)
    return new | _tables(plan, state, [parts.relative_table])


def narrow_layer(plan: Plan, state: State, number: int) -> dict[str, Tensor]:
    """One layer's weights, by their names within the layer; ``number`` is the teacher's, from 1."""
    parts = plan.parts
    kept = plan.moments.kept_energy(number, plan.basis)
    return {
        **narrow_attention(plan, state, number - 1),
        **_norm(plan, state, parts.attention_norm, kept),
        **_feed_forward(plan, state),
        **_norm(plan, state, parts.layer_norm, kept),
    }


def narrow_head(plan: Plan, dense: State, outs: Sequence[State]) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """A pooling layer and the output maps that read it, of one domain or of all."""
    name, out = plan.parts.dense, plan.parts.out
    weight = dense[f"{name}.weight"] @ plan.basis
    columns = torch.cat([state[f"{out}.weight"] for state in outs])
    kept = most_important(weight.norm(dim=1) * columns.norm(dim=0), plan.student.width)
    narrowed = {f"{name}.weight": weight[kept], f"{name}.bias": dense[f"{name}.bias"][kept]}
    return narrowed, [{**state, f"{out}.weight": state[f"{out}.weight"][:, kept]} for state in outs]


def _tables(plan: Plan, state: State, names: Sequence[str]) -> dict[str, Tensor]:
    return {f"{name}.weight": state[f"{name}.weight"] @ plan.basis for name in present(state, names)}


def _norm(plan: Plan, state: State, name: str, kept: float) -> dict[str, Tensor]:
    """A normalisation whose output is V' of the teacher's, but for what mixes coordinates.

    The student divides by the standard deviation over Hs coordinates that hold the share ``kept`` of the squared
    length over H, which the factor makes good.
    """
    factor = (kept * plan.teacher.width / plan.student.width) ** 0.5
    return {
        f"{name}.weight": factor * (plan.basis.square().mT @ state[f"{name}.weight"]),
        f"{name}.bias": plan.basis.mT @ state[f"{name}.bias"],
    }


def _feed_forward(plan: Plan, state: State) -> dict[str, Tensor]:
    read, write = plan.parts.read, plan.parts.write
    into, out = state[f"{read}.weight"] @ plan.basis, plan.basis.mT @ state[f"{write}.weight"]
    kept = most_important(into.norm(dim=1) * out.norm(dim=0), plan.student.feed_forward)
    more = plan.student.feed_forward - len(kept)
    spare = PADDING_SCALE * torch.randn(more, into.shape[1], generator=plan.generator, dtype=into.dtype)
    return {
        f"{read}.weight": torch.cat([into[kept], spare]),
        f"{read}.bias": torch.cat([state[f"{read}.bias"][kept], into.new_zeros(more)]),
        f"{write}.weight": torch.cat([out[:, kept], out.new_zeros(len(out), more)], 1),
        f"{write}.bias": plan.basis.mT @ state[f"{write}.bias"],
    }
