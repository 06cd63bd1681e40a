"""Attention heads of a narrower width that compute what the teacher's compute, as nearly as their rank allows.

* Scores: the best approximation of low rank of each head's query-key product, for states distributed as the
  teacher's (their second moments), biases included; scaled so that dividing by the root of the student's head width
  gives scores of the teacher's size.
* Values: the same for each head's value-output product around the mean state, whose image is kept exactly.

With fewer heads than the teacher's, each stands for several that are next to each other: it has the mean of their
scores, which the attention loss compares it with (:mod:`hrkd.method.losses`), and the sum of their value-output
products. Where their number is no divisor of the teacher's, or a family's layers share what belongs to heads, those
with the largest value-output product are kept; in the latter case the same in all layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hrkd.models.families import Parts
from hrkd.models.shape import StudentShape
from hrkd.models.start.principal import StateMoments, product_maps

__all__ = ["Plan", "common_heads", "most_important", "narrow_attention", "present"]

RIDGE = 1e-6  # relative; keeps moments of few states invertible


@dataclass(frozen=True)
class Plan:
    """What is narrowed to what: 64-bit weights on the CPU in, such weights out.

    ``basis`` V has shape (H, Hs); ``moments`` holds the teacher's levels before and after every layer that is used;
    ``generator`` draws what has no counterpart in the teacher. ``heads`` are those kept in all layers; None: each layer
    keeps its own.
    """

    parts: Parts
    teacher: StudentShape
    student: StudentShape
    basis: Tensor
    moments: StateMoments
    generator: torch.Generator
    heads: tuple[int, ...] | None = None


def narrow_attention(plan: Plan, state: Mapping[str, Tensor], level: int) -> dict[str, Tensor]:
    """Query, key, value and output maps of one layer whose input is the teacher's ``level``."""
    mean, second = _moments(plan, level)
    # Attention weights sum to one, so that the mean of the values passes through whatever a head looks at; rank is
    # needed for what differs from the mean alone. Scores have no such constant: they are fitted to whole states.
    spread = _root(second - torch.outer(mean, mean))
    groups = _groups(plan, state, spread)
    return {
        **_queries_and_keys(plan, state, groups, mean, second),
        **_values_and_output(plan, state, groups, plan.moments.means[level], spread),
    }


def _groups(plan: Plan, state: Mapping[str, Tensor], spread: Tensor) -> Tensor:
    """The teacher's heads that each head of the student stands for, (student heads, heads of each)."""
    if plan.heads is not None:
        return torch.tensor(plan.heads)[:, None]
    if plan.teacher.heads % plan.student.heads == 0:
        return torch.arange(plan.teacher.heads).view(plan.student.heads, -1)
    return most_important(_importance(plan, state, spread), plan.student.heads)[:, None]


def common_heads(plan: Plan, layers: Mapping[int, Mapping[str, Tensor]]) -> tuple[int, ...]:
    """The heads that matter most in all ``layers`` (by the level that each reads) together."""
    total = torch.zeros(plan.teacher.heads, dtype=plan.basis.dtype)
    for level, state in layers.items():
        mean, second = _moments(plan, level)
        found = _importance(plan, state, _root(second - torch.outer(mean, mean)))
        total += found / found.sum().clamp_min(torch.finfo(found.dtype).tiny)
    return tuple(most_important(total, plan.student.heads).tolist())


def most_important(importance: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` largest entries (or of all), in rising order."""
    return importance.argsort(descending=True, stable=True)[:count].sort().values


def present(state: Mapping[str, Tensor], names: Sequence[str]) -> list[str]:
    """Those of ``names`` that have a weight in ``state``."""
    return [name for name in names if name and f"{name}.weight" in state]


def _queries_and_keys(
    plan: Plan, state: Mapping[str, Tensor], groups: Tensor, mean: Tensor, second: Tensor
) -> dict[str, Tensor]:
    named, heads = plan.parts, plan.teacher.heads
    # A bias is a weight of a further coordinate that is always 1.
    with_one = torch.cat([torch.cat([second, mean[:, None]], 1), torch.cat([mean, mean.new_ones(1)])[None]])
    root = _root(with_one)
    rank = plan.student.width // plan.student.heads
    # The student divides by the root of its own head width; queries and keys each make good for half of that, and of
    # the number of heads whose mean they give.
    resize = (rank * heads / plan.teacher.width) ** 0.25 * groups.shape[1] ** -0.5
    sides = ((named.query, named.position_query), (named.key, named.position_key))
    rows = {name: _rows(plan, state, name) for side in sides for name in present(state, side)}
    parts: dict[str, list[Tensor]] = {name: [] for name in rows}
    for group in groups:
        several = {name: by_head[group].flatten(0, 1) for name, by_head in rows.items()}
        left, right = several[named.query] @ root, several[named.key] @ root
        for side, linear in zip(sides, product_maps(left, right, rank, plan.generator), strict=True):
            for name in present(state, side):  # projections of positions meet what the other side's states become
                parts[name].append(resize * linear @ several[name])
    stacked = {name: torch.cat(part) for name, part in parts.items()}
    weights = {f"{name}.weight": both[:, :-1] for name, both in stacked.items()}
    return weights | {f"{name}.bias": both[:, -1] for name, both in stacked.items()}


def _values_and_output(
    plan: Plan, state: Mapping[str, Tensor], groups: Tensor, full_mean: Tensor, spread: Tensor
) -> dict[str, Tensor]:
    value, mix = plan.parts.value, plan.parts.mix
    values, outputs = _values(plan, state), _outputs(plan, state)
    rank = plan.student.width // plan.student.heads
    narrow_values, narrow_outputs = [], []
    for group in groups:
        into, out = values[group].flatten(0, 1), outputs[group].movedim(0, 1).flatten(1)
        left, right = product_maps(out.mT, into @ spread, rank, plan.generator)
        narrow_values.append(right @ into)
        narrow_outputs.append(out @ left.mT)
    into, out = torch.cat(narrow_values), torch.cat(narrow_outputs, 1)
    # Whatever the lower rank makes of the mean state, the output's bias puts in its place what the teacher makes of it.
    mean_value = state[f"{value}.weight"] @ full_mean + state[f"{value}.bias"]
    image = plan.basis.mT @ (state[f"{mix}.weight"] @ mean_value + state[f"{mix}.bias"])
    return {
        f"{value}.weight": into,
        f"{value}.bias": into.new_zeros(len(into)),
        f"{mix}.weight": out,
        f"{mix}.bias": image - out @ (into @ (plan.basis.mT @ full_mean)),
    }


def _moments(plan: Plan, level: int) -> tuple[Tensor, Tensor]:
    """Mean (Hs,) and second moments (Hs, Hs) of a level's states on the basis."""
    basis = plan.basis
    return basis.mT @ plan.moments.means[level], basis.mT @ plan.moments.seconds[level] @ basis


def _importance(plan: Plan, state: Mapping[str, Tensor], spread: Tensor) -> Tensor:
    """How large each head's value-output product is, (N,)."""
    products = _outputs(plan, state) @ (_values(plan, state) @ spread)
    sizes: Tensor = torch.linalg.matrix_norm(products)
    return sizes


def _rows(plan: Plan, state: Mapping[str, Tensor], name: str) -> Tensor:
    """Weights on the narrow axis with the bias as last column, by head: (N, dh, Hs + 1)."""
    both = torch.cat([state[f"{name}.weight"] @ plan.basis, state[f"{name}.bias"][:, None]], 1)
    return both.view(plan.teacher.heads, -1, both.shape[1])


def _values(plan: Plan, state: Mapping[str, Tensor]) -> Tensor:
    """Value weights by head: (N, dh, Hs)."""
    weight: Tensor = state[f"{plan.parts.value}.weight"] @ plan.basis
    return weight.view(plan.teacher.heads, -1, plan.basis.shape[1])


def _outputs(plan: Plan, state: Mapping[str, Tensor]) -> Tensor:
    """Output weights by head: (N, Hs, dh)."""
    weight: Tensor = plan.basis.mT @ state[f"{plan.parts.mix}.weight"]
    return weight.view(plan.basis.shape[1], plan.teacher.heads, -1).movedim(1, 0)


def _root(moment: Tensor) -> Tensor:
    """R with RR' = the moment, so that the size of M R is that of M x, root mean square over the states x."""
    ridge = RIDGE * moment.trace() / len(moment) * torch.eye(len(moment), dtype=moment.dtype)
    root: Tensor
    root, failed = torch.linalg.cholesky_ex(moment + ridge)
    while failed:  # moments of fewer states than coordinates, summed in 32 bits, may have roots below -RIDGE
        ridge *= 10
        root, failed = torch.linalg.cholesky_ex(moment + ridge)
    return root
