"""What the rest of the package has to know of each form of the domain graph. Nothing here imports torch.

The modules themselves are picked in :mod:`hrkd.method.build`. A new form is a name in :data:`Graph`, a line in
:data:`GRAPH_FORMS` and a module there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["GRAPH_FORMS", "Graph", "GraphForm"]

Graph = Literal["published", "relational", "contrast", "random", "uniform"]


@dataclass(frozen=True)
class GraphForm:
    """The properties of a form.

    Args:
        relates: it relates domains to each other; else it is an ablation.
        weighs: its ratios can differ from 1/D, so that they are worth showing.
        learnable: it has weights.
        starts_uniform: it gives 1/D until it is learnt.
        centred: what all domains have in common is taken out of the prototypes, unless a recipe says otherwise.
        momentum: of the prototypes, unless a recipe says otherwise.
        reads_relations: it is given what sets the classes apart in each domain, and how alike that is.
    """

    relates: bool = False
    weighs: bool = False
    learnable: bool = False
    starts_uniform: bool = False
    centred: bool = False
    momentum: float = 0.0
    reads_relations: bool = False


GRAPH_FORMS: dict[Graph, GraphForm] = {
    "published": GraphForm(relates=True, weighs=True, learnable=True),
    # What sets domains apart is small beside how much 8 texts of one differ from 8 others: hence a long memory, and
    # nothing of what they share.
    "relational": GraphForm(
        relates=True, weighs=True, learnable=True, starts_uniform=True, centred=True, momentum=0.95
    ),
    "contrast": GraphForm(
        relates=True,
        weighs=True,
        learnable=True,
        starts_uniform=True,
        centred=True,
        momentum=0.95,
        reads_relations=True,
    ),
    "random": GraphForm(weighs=True),
    "uniform": GraphForm(),
}
