"""The one place that picks the parts of the method by name."""

from __future__ import annotations

from typing import Literal

from torch import nn

from hrkd.method.compare_aggregate import CompareAggregate, LevelMean, NoHierarchy
from hrkd.method.domain_graph import PublishedGraph, UniformScores
from hrkd.method.ratios import DomainRatios

__all__ = ["Graph", "Hierarchy", "build_domain_ratios"]

Graph = Literal["published", "uniform"]
Hierarchy = Literal["compare_aggregate", "mean", "none"]


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
) -> DomainRatios:
    """Hierarchy and graph by name, for K ``levels``, D ``domains`` and prototypes of ``width`` H.

    ``graph_width`` of each head: default H / heads, so that all heads together are as wide as a prototype and the graph
    has about 1/heads of the paper's weights (K x heads x H x H); "hidden": H, the paper's.

    ``graph="uniform"`` gives ratios of 1/D, whatever the hierarchy; its hierarchical ratios are logged all the same.
    """
    if hierarchy == "compare_aggregate":
        compare: nn.Module = CompareAggregate(levels, domains, width, reference_attention=reference_attention)
    else:
        compare = LevelMean() if hierarchy == "mean" else NoHierarchy()
    if graph == "uniform":
        return DomainRatios(compare, UniformScores())
    if graph_width is None:
        graph_width = max(1, width // graph_heads)
    head_width = width if graph_width == "hidden" else graph_width
    return DomainRatios(
        compare, PublishedGraph(levels, width, heads=graph_heads, head_width=head_width, dropout=graph_dropout)
    )
