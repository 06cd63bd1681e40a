"""Weighted means that are not divided yet: those of parts of a batch, wherever they are computed, add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Sums", "added", "domain_sums", "example_sums", "stacked"]


@dataclass(frozen=True)
class Sums:
    """Weighted sums, ``total``, and what they are divided by for a mean, ``weight``, which broadcasts with them."""

    total: Tensor
    weight: Tensor

    @property
    def mean(self) -> Tensor:
        """The weighted means of these rows alone; 0 where nothing has weight."""
        return self.over(self.weight)

    def over(self, weight: Tensor) -> Tensor:
        """What these rows add to the means over more rows, of which ``weight`` is the whole weight."""
        return self.total / weight.clamp_min(torch.finfo(self.total.dtype).tiny)


def added(parts: Sequence[Mapping[str, Sums]]) -> dict[str, Sums]:
    """Sums by name over all parts of a batch, which have the same names."""
    return {
        name: Sums(sum(part[name].total for part in parts), sum(part[name].weight for part in parts))  # type: ignore[arg-type]
        for name in parts[0]
    }


def stacked(rows: Sequence[Sums]) -> Sums:
    """Sums of several levels, (D,) each, as those of a table, (levels, D)."""
    return Sums(torch.stack([row.total for row in rows]), torch.stack([row.weight for row in rows]))


def domain_sums(
    values_B: Tensor, weights_B: Tensor, domain_ids_B: Tensor, num_domains: int, factors_B: Tensor | None = None
) -> Sums:
    """Sums of ``values_B``, each times its weight and its factor, if there are any, over the rows of each domain.

    Factors are not in the weights that a mean is divided by.

    Shapes: values (..., B), weights (B,) not negative, domain ids (B,), factors (B,) -> total (..., D), weight (D,).
    """
    if factors_B is not None:
        values_B = values_B * factors_B
    member_BD = torch.nn.functional.one_hot(domain_ids_B, num_domains).to(values_B.dtype)
    member_BD = member_BD * weights_B.to(values_B.dtype)[:, None]
    return Sums(values_B @ member_BD, member_BD.sum(dim=0))


def example_sums(values_B: Tensor, domain_ids_B: Tensor, num_domains: int, factors_B: Tensor | None = None) -> Sums:
    """:func:`domain_sums` of rows that all weigh the same."""
    return domain_sums(values_B, torch.ones_like(domain_ids_B), domain_ids_B, num_domains, factors_B)
