"""From prototypes to domain ratios: hierarchy, graph and softmax in one module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hrkd.method.compare_aggregate import Aggregated
from hrkd.method.prototypes import centred

__all__ = ["DomainRatios", "Ratios"]


@dataclass(frozen=True)
class Ratios:
    """How much each domain counts.

    ``domains`` (K, D): each level sums to one. ``hierarchical`` (K, K, D): see
    :class:`hrkd.method.compare_aggregate.Aggregated`. ``relations`` (K, D, D): how much each domain looks at each other
    one, rows sum to one, without gradient; None for forms that relate none.
    """

    domains: Tensor
    hierarchical: Tensor
    relations: Tensor | None = None


@runtime_checkable
class Relates(Protocol):
    """A graph form that can say how much its nodes look at each other."""

    def relations(self, states_KDH: Tensor) -> Tensor:
        """Shapes: (K, D, H) -> (K, D, D)."""


class DomainRatios(nn.Module):
    """Composition of a hierarchy (compare-aggregate, or its ablations) and a graph form.

    ``ratios[k, :] = softmax over domains of graph(hierarchy(prototypes))[k, :] + log weights``.

    Args:
        hierarchy, graph: the parts.
        centre: take what all domains have in common out of the prototypes first
            (:func:`hrkd.method.prototypes.centred`).
        weights: how much each domain counts before the graph speaks, D positive numbers; default: all alike.
    """

    def __init__(
        self, hierarchy: nn.Module, graph: nn.Module, *, centre: bool = False, weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.hierarchy = hierarchy
        self.graph = graph
        self.centre = centre
        self.log_weights: Tensor | None
        known = None if weights is None else torch.tensor(weights).log()
        self.register_buffer("log_weights", known, persistent=False)

    def forward(self, prototypes_KDH: Tensor) -> Ratios:
        """Shapes: (K, D, H) -> ratios (K, D), hierarchical ratios (K, K, D)."""
        if self.centre:
            prototypes_KDH = centred(prototypes_KDH)
        aggregated: Aggregated = self.hierarchy(prototypes_KDH)
        with torch.no_grad():
            relations = self.graph.relations(aggregated.states) if isinstance(self.graph, Relates) else None
        scores_KD = self.graph(aggregated.states)
        if self.log_weights is not None:
            scores_KD = scores_KD + self.log_weights
        return Ratios(scores_KD.softmax(dim=-1), aggregated.hierarchical_ratios, relations)
