"""The domain-relational graph: one two-layer graph attention network per level, all levels at once.

A graph form is a module that maps level representations (K, D, H) to one score per level and domain (K, D);
:mod:`hrkd.method.ratios` turns scores into ratios. :class:`PublishedGraph` is the paper's form.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["GraphAttention", "PublishedGraph", "UniformScores"]


class GraphAttention(nn.Module):
    """Multi-head graph attention on the complete graph of D nodes, one graph per level.

    Velickovic et al., ICLR 2018, equations 1 to 5, with self-loops and without bias:
    ``h = W x``, ``e_ij = LeakyReLU(a_source' h_i + a_target' h_j)``, ``y_i = sum_j softmax_j(e_ij) h_j``,
    heads concatenated.

    Args:
        levels: K, independent graphs computed together.
        inputs: width of the nodes.
        outputs: width of each head.
        heads: M.
        dropout: on inputs and attention, while training.
        negative_slope: of the LeakyReLU.

    Weights: ``weight`` (K, M, inputs, outputs), ``source`` and ``target`` (K, M, outputs), all Xavier uniform
    with gain 1.414 (``source`` and ``target`` as the two halves of one (2 * outputs, 1) matrix).
    """

    def __init__(
        self, levels: int, inputs: int, outputs: int, heads: int, *, dropout: float = 0.1, negative_slope: float = 0.2
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.negative_slope = negative_slope
        self.weight = nn.Parameter(torch.empty(levels, heads, inputs, outputs))
        self.source = nn.Parameter(torch.empty(levels, heads, outputs))
        self.target = nn.Parameter(torch.empty(levels, heads, outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        inputs, outputs = self.weight.shape[-2:]
        bound = 1.414 * (6.0 / (inputs + outputs)) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)
        bound = 1.414 * (6.0 / (2 * outputs + 1)) ** 0.5
        nn.init.uniform_(self.source, -bound, bound)
        nn.init.uniform_(self.target, -bound, bound)

    def forward(self, nodes_KDF: Tensor) -> Tensor:
        """Shapes: (K, D, inputs) -> (K, D, heads * outputs)."""
        nodes_KDF = functional.dropout(nodes_KDF, self.dropout, self.training)
        values_KMDG = nodes_KDF[:, None] @ self.weight
        source_KMD = torch.einsum("kmdg,kmg->kmd", values_KMDG, self.source)
        target_KMD = torch.einsum("kmdg,kmg->kmd", values_KMDG, self.target)
        scores_KMDE = functional.leaky_relu(source_KMD[..., :, None] + target_KMD[..., None, :], self.negative_slope)
        attention_KMDE = functional.dropout(scores_KMDE.softmax(dim=-1), self.dropout, self.training)
        return (attention_KMDE @ values_KMDG).transpose(1, 2).flatten(start_dim=2)


class PublishedGraph(nn.Module):
    """The paper's graph: 8 heads of width H with ELU, concatenated, then one head of width 1 with ELU.

    Args:
        levels: K.
        width: H, width of the prototypes.
        heads: heads of the first layer.
        head_width: width of each of them; default H.
        dropout: on inputs and attention of both layers, while training.

    On a complete graph its outputs are nearly equal over the nodes (see docs/method.md): the node's own term
    all but cancels in the softmax. It is kept exact, for parity with the paper.
    """

    def __init__(
        self, levels: int, width: int, *, heads: int = 8, head_width: int | None = None, dropout: float = 0.1
    ) -> None:
        super().__init__()
        head_width = width if head_width is None else head_width
        self.relate = GraphAttention(levels, width, head_width, heads, dropout=dropout)
        self.score = GraphAttention(levels, heads * head_width, 1, 1, dropout=dropout)

    def forward(self, states_KDH: Tensor) -> Tensor:
        """Shapes: (K, D, H) -> scores (K, D)."""
        hidden = functional.elu(self.relate(states_KDH))
        return functional.elu(self.score(hidden)).squeeze(-1)


class UniformScores(nn.Module):
    """No graph: all domains score alike, so that every ratio is 1/D."""

    def forward(self, states_KDH: Tensor) -> Tensor:
        """Shapes: (K, D, H) -> zeros (K, D)."""
        return states_KDH.new_zeros(states_KDH.shape[:2])
