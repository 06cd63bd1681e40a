"""The one place that picks the parts of the method by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from hrkd.method.compare_aggregate import CompareAggregate, LevelMean, NoHierarchy
from hrkd.method.domain_graph import PublishedGraph, RandomScores, RelationalGraph, UniformScores
from hrkd.method.ratios import DomainRatios

__all__ = ["Graph", "Hierarchy", "build_domain_ratios"]

Graph = Literal["published", "relational", "random", "uniform"]
Hierarchy = Literal["compare_aggregate", "mean", "none"]
RELATIONAL_WIDTH = 16


def build_domain_ratios(
    levels: int,
    domains: int,
    width: int,
    *,
    graph: Graph = "published",
    hierarchy: Hierarchy = "compare_aggregate",
    reference_attention: bool = True,
    graph_heads: int = 8,
    graph_width: int | Literal["hidden"] | None = None,
    graph_dropout: float = 0.1,
    centre_prototypes: bool | None = None,
    domain_weights: Sequence[float] | None = None,
) -> DomainRatios:
    """Hierarchy and graph by name, for K ``levels``, D ``domains`` and prototypes of ``width`` H.

    ``graph="uniform"`` gives ratios of 1/D, whatever the hierarchy, and "random" draws them; hierarchical ratios are
    logged all the same. ``graph_width`` of each head: default 16 for "relational", and H / heads for "published", so
    that all heads together are as wide as a prototype and the graph has about 1/heads of the paper's weights (K x heads
    x H x H); "hidden": H, the paper's. ``centre_prototypes``: default with "relational" only.
    ``domain_weights`` (D): how much each domain counts before the graph speaks; default: all alike.
    """
    if hierarchy == "compare_aggregate":
        compare: nn.Module = CompareAggregate(levels, domains, width, reference_attention=reference_attention)
    else:
        compare = LevelMean() if hierarchy == "mean" else NoHierarchy()
    centre = graph == "relational" if centre_prototypes is None else centre_prototypes
    if graph in ("uniform", "random"):
        scores = UniformScores() if graph == "uniform" else RandomScores()
        return DomainRatios(compare, scores, centre=centre, weights=domain_weights)
    own = graph == "relational"
    if graph_width is None:
        graph_width = RELATIONAL_WIDTH if own else max(1, width // graph_heads)
    options: dict[str, Any] = {
        "heads": graph_heads,
        "head_width": width if graph_width == "hidden" else graph_width,
        "dropout": graph_dropout,
    }
    form = RelationalGraph if own else PublishedGraph
    return DomainRatios(compare, form(levels, width, **options), centre=centre, weights=domain_weights)
