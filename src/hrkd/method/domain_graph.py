"""The domain-relational graph: what turns level representations into scores, all levels at once.

A graph form is a module that maps level representations (K, D, H) to one score per level and domain (K, D);
:mod:`hrkd.method.ratios` turns scores into ratios. :class:`PublishedGraph` is the paper's form,
:class:`RelationalGraph` and :class:`ContrastGraph` the package's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrkd.method.initial_weights import xavier_uniform

__all__ = ["ContrastGraph", "GraphAttention", "PublishedGraph", "RandomScores", "RelationalGraph", "UniformScores"]


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
        xavier_uniform(self.weight, inputs + outputs)
        for vector in (self.source, self.target):
            xavier_uniform(vector, 2 * outputs + 1)

    def forward(self, nodes_KDF: Tensor) -> Tensor:
        """Shapes: (K, D, inputs) -> (K, D, heads * outputs)."""
        values_KMDG = functional.dropout(nodes_KDF, self.dropout, self.training)[:, None] @ self.weight
        attention_KMDE = functional.dropout(self._attention(values_KMDG), self.dropout, self.training)
        return (attention_KMDE @ values_KMDG).transpose(1, 2).flatten(start_dim=2)

    def attention(self, nodes_KDF: Tensor) -> Tensor:
        """How much each node looks at each other one, without dropout: (K, D, inputs) -> (K, M, D, D)."""
        return self._attention(nodes_KDF[:, None] @ self.weight)

    def _attention(self, values_KMDG: Tensor) -> Tensor:
        source_KMD = torch.einsum("kmdg,kmg->kmd", values_KMDG, self.source)
        target_KMD = torch.einsum("kmdg,kmg->kmd", values_KMDG, self.target)
        scores_KMDE = functional.leaky_relu(source_KMD[..., :, None] + target_KMD[..., None, :], self.negative_slope)
        return scores_KMDE.softmax(dim=-1)


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

    def relations(self, states_KDH: Tensor) -> Tensor:
        """Attention of the first layer, mean over heads: (K, D, H) -> (K, D, D); each row sums to one."""
        return self.relate.attention(states_KDH).mean(dim=1)


class RelationalGraph(nn.Module):
    """A graph that can tell domains apart: dynamic attention and a path for the node itself.

    Dynamic attention is that of GATv2 (Brody et al., ICLR 2022, equation 7): ``e_ij = a' LeakyReLU(L x_i + R x_j)``,
    whose order of neighbours depends on the node. ``y_i = ELU(S x_i + sum_j softmax_j(e_ij) R x_j)`` with heads
    concatenated, ``score_i = v' y_i``. Without the self term ``S x_i``, nodes that see the same neighbours would be
    nearly equal.

    Args:
        levels: K, independent graphs computed together.
        width: H, width of the representations.
        heads: M.
        head_width: width of each of them.
        dropout: on attention, while training.
        negative_slope: of the LeakyReLU.

    Weights: ``left``, ``right`` and ``own`` (K, M, H, head_width), ``attention`` (K, M, head_width), Xavier uniform
    with gain 1.414; ``readout`` v (K, M * head_width) starts at zero, so that ratios start uniform and go where
    learning takes them.
    """

    def __init__(
        self,
        levels: int,
        width: int,
        *,
        heads: int = 8,
        head_width: int = 16,
        dropout: float = 0.1,
        negative_slope: float = 0.2,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.negative_slope = negative_slope
        shape = (levels, heads, width, head_width)
        self.left, self.right, self.own = (nn.Parameter(torch.empty(shape)) for _ in range(3))
        self.attention = nn.Parameter(torch.empty(levels, heads, head_width))
        self.readout = nn.Parameter(torch.zeros(levels, heads * head_width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew, but for the readout, which is put back to zero."""
        inputs, outputs = self.left.shape[-2:]
        for weight in (self.left, self.right, self.own):
            xavier_uniform(weight, inputs + outputs)
        xavier_uniform(self.attention, outputs + 1)
        nn.init.zeros_(self.readout)

    def forward(self, states_KDH: Tensor) -> Tensor:
        """Shapes: (K, D, H) -> scores (K, D)."""
        right_KMDG, own_KMDG = (states_KDH[:, None] @ each for each in (self.right, self.own))
        attention_KMDE = functional.dropout(self._attention(states_KDH, right_KMDG), self.dropout, self.training)
        related_KDF = functional.elu(own_KMDG + attention_KMDE @ right_KMDG).transpose(1, 2).flatten(start_dim=2)
        return torch.einsum("kdf,kf->kd", related_KDF, self.readout)

    def relations(self, states_KDH: Tensor) -> Tensor:
        """Attention, mean over heads: (K, D, H) -> (K, D, D); each row sums to one."""
        return self._attention(states_KDH, states_KDH[:, None] @ self.right).mean(dim=1)

    def _attention(self, states_KDH: Tensor, right_KMDG: Tensor) -> Tensor:
        left_KMDG = states_KDH[:, None] @ self.left
        pairs_KMDEG = functional.leaky_relu(
            left_KMDG[..., :, None, :] + right_KMDG[..., None, :, :], self.negative_slope
        )
        return torch.einsum("kmdeg,kmg->kmde", pairs_KMDEG, self.attention).softmax(dim=-1)


class ContrastGraph(nn.Module):
    """A graph whose domains look at each other in the measure in which the same sets their classes apart.

    ``y_i = ELU(S x_i + sum_j a_ij R x_j)`` with heads concatenated, ``score_i = v' y_i``, where ``a`` are the
    ``shares`` and the rest is as in :class:`RelationalGraph`: what domains have in common is measured
    (:func:`hrkd.training.contrast.contrast_relations`), what follows from it for their ratios is learnt.

    Args:
        shares: (K, D, D), rows sum to one (:func:`hrkd.method.contrasts.shares`).
        width: H, width of the representations.
        heads: M.
        head_width: width of each of them.
        dropout: on the shares, while training.

    Weights: ``related`` and ``own`` (K, M, H, head_width), Xavier uniform with gain 1.414; ``readout`` v
    (K, M * head_width), zero.
    """

    def __init__(
        self, shares: Tensor, width: int, *, heads: int = 8, head_width: int = 16, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.shares: Tensor
        self.register_buffer("shares", shares.detach().clone(), persistent=False)
        shape = (len(shares), heads, width, head_width)
        self.related, self.own = (nn.Parameter(torch.empty(shape)) for _ in range(2))
        self.readout = nn.Parameter(torch.zeros(len(shares), heads * head_width))
        for weight in (self.related, self.own):
            xavier_uniform(weight, width + head_width)

    def forward(self, states_KDH: Tensor) -> Tensor:
        """Shapes: (K, D, H) -> scores (K, D)."""
        related_KMDG, own_KMDG = (states_KDH[:, None] @ each for each in (self.related, self.own))
        shares_K1DE = functional.dropout(self.shares, self.dropout, self.training)[:, None]
        hidden_KDF = functional.elu(own_KMDG + shares_K1DE @ related_KMDG).transpose(1, 2).flatten(start_dim=2)
        return torch.einsum("kdf,kf->kd", hidden_KDF, self.readout)

    def relations(self, states_KDH: Tensor) -> Tensor:
        """The shares, whatever the states: (K, D, H) -> (K, D, D); each row sums to one."""
        return self.shares.expand(len(states_KDH), -1, -1)


class RandomScores(nn.Module):
    """Random loss weighting: scores are drawn from a normal distribution in every step (Lin et al., TMLR 2022).

    An unlearnt graph with dropout is random too, within less. Outside of training all domains score alike.
    """

    def forward(self, states_KDH: Tensor) -> Tensor:
        """Shapes: (K, D, H) -> scores (K, D)."""
        shape = states_KDH.shape[:2]
        return torch.randn(shape, device=states_KDH.device) if self.training else states_KDH.new_zeros(shape)


class UniformScores(nn.Module):
    """No graph: all domains score alike, so that every ratio is 1/D."""

    def forward(self, states_KDH: Tensor) -> Tensor:
        """Shapes: (K, D, H) -> zeros (K, D)."""
        return states_KDH.new_zeros(states_KDH.shape[:2])
