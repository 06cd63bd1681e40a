"""What of a step is not finite: which losses of which levels and domains, and which rows by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hrkd.data.batching import Batch, TokenizedDataset
from hrkd.support.messages import first_of
from hrkd.training.record import StepTables

if TYPE_CHECKING:
    from hrkd.training.loop import Trainable

__all__ = ["cells_not_finite", "rows_not_finite"]


def cells_not_finite(tables: StepTables, domains: Sequence[str]) -> list[str]:
    """Entries of a step's loss tables that are not finite, such as "hidden loss of level 2 in books"."""
    found = [f"prediction loss in {domains[d]}" for d in _bad(tables.prediction)]
    before = tables.hidden.shape[0] - tables.attention.shape[0]
    for name, table, first in (("hidden", tables.hidden, 0), ("attention", tables.attention, before)):
        if found and table.isnan().all():
            continue  # as where levels have no weight and are not looked at
        for level, row in enumerate(table, first):
            found += [f"{name} loss of level {level} in {domains[d]}" for d in _bad(row)]
    return found


@torch.no_grad()
def rows_not_finite(module: Trainable, batches: Sequence[Batch], data: TokenizedDataset) -> str:
    """Which rows of ``batches`` give a loss that is not finite when they are alone in a step, in words.

    The module is asked row by row, in evaluation mode, and is not to be trained on afterwards.
    """
    module.eval()
    bad = []
    for batch in batches:
        for position in range(len(batch.labels)):
            row = batch.rows(torch.tensor([position], device=batch.labels.device))
            module.begin_update([row])
            if not module(row).loss.isfinite():
                bad.append(int(row.indices))
    rows = sum(len(batch.labels) for batch in batches)
    if not bad:
        return f"none of its {rows} rows gives such a loss by itself"
    known = data.source.rows.select(bad)
    names = [f"{name} ({data.source.domains[d]})" for name, d in zip(known["id"], known["domain"], strict=True)]
    told = "1 row gives such a loss by itself" if len(bad) == 1 else f"{len(bad)} rows give such a loss by themselves"
    return f"{told}, of {rows}: {first_of(names)}"


def _bad(losses_D: Tensor) -> list[int]:
    found: list[int] = (~losses_D.isfinite()).nonzero().flatten().tolist()
    return found
