"""The one place that picks the parts of the method by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from hrkd.method.compare_aggregate import CompareAggregate, LevelMean, NoHierarchy
from hrkd.method.contrasts import shares
from hrkd.method.domain_graph import ContrastGraph, PublishedGraph, RandomScores, RelationalGraph, UniformScores
from hrkd.method.ratios import DomainRatios

if TYPE_CHECKING:
    from hrkd.recipe.schema import MethodConfig

__all__ = ["build_domain_ratios"]

RELATIONAL_WIDTH = 16


def build_domain_ratios(
    method: MethodConfig,
    *,
    levels: int,
    domains: int,
    width: int,
    domain_weights: Sequence[float] | None = None,
    relations: Tensor | None = None,
) -> DomainRatios:
    """Hierarchy and graph by name, for K ``levels``, D ``domains`` and prototypes of ``width`` H.

    Args:
        method: the fields ``graph`` to ``graph_dropout`` are read. With ``graph: uniform`` or ``random`` hierarchical
            ratios are logged all the same.
        domain_weights: (D), how much each domain counts before the graph speaks; default: all alike.
        relations: (K, D, D), for ``graph: contrast``: :func:`hrkd.training.contrast.contrast_relations`.
    """
    centre = method.form.centred if method.centre_prototypes is None else method.centre_prototypes
    return DomainRatios(
        HIERARCHIES[method.hierarchy](method, levels, domains, width),
        GRAPHS[method.graph](method, levels, width, relations),
        centre=centre,
        weights=domain_weights,
    )


def _published(method: MethodConfig, levels: int, width: int, _: Tensor | None) -> nn.Module:
    return PublishedGraph(levels, width, **_layer(method, width, otherwise=width))


def _relational(method: MethodConfig, levels: int, width: int, _: Tensor | None) -> nn.Module:
    return RelationalGraph(levels, width, **_layer(method, width, otherwise=RELATIONAL_WIDTH))


def _contrast(method: MethodConfig, _: int, width: int, relations: Tensor | None) -> nn.Module:
    if relations is None:
        raise ValueError(f"graph: {method.graph} is made of relations between domains; give them")
    return ContrastGraph(shares(relations), width, **_layer(method, width, otherwise=RELATIONAL_WIDTH))


def _layer(method: MethodConfig, width: int, *, otherwise: int) -> dict[str, Any]:
    """Heads, their width and dropout; ``otherwise`` is the width where the recipe names none."""
    head_width = width if method.graph_width == "hidden" else method.graph_width or otherwise
    return {"heads": method.graph_heads, "head_width": head_width, "dropout": method.graph_dropout}


HIERARCHIES: dict[str, Callable[[MethodConfig, int, int, int], nn.Module]] = {
    "compare_aggregate": lambda method, *sizes: CompareAggregate(
        *sizes, reference_attention=method.reference_attention
    ),
    "mean": lambda *_: LevelMean(),
    "none": lambda *_: NoHierarchy(),
}
GRAPHS: dict[str, Callable[[MethodConfig, int, int, Tensor | None], nn.Module]] = {
    "published": _published,
    "relational": _relational,
    "contrast": _contrast,
    "random": lambda *_: RandomScores(),
    "uniform": lambda *_: UniformScores(),
}
