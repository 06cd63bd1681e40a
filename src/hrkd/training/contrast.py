"""How domains are related in what the teacher makes of their labelled texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from hrkd.data.batching import TokenizedDataset
from hrkd.data.splits.draws import by_turns, stable_rng
from hrkd.errors import DataError
from hrkd.method.contrasts import class_contrasts, contrast_relations
from hrkd.method.meta_kd import token_means
from hrkd.support.progress import Progress
from hrkd.training.live_teacher import TeacherSource

__all__ = ["in_words", "measure_relations"]

MOST_NAMED = 3
MOST_ROWS = 4_000
"""That are looked at, of all domains together."""
TOKENS_IN_A_BATCH = 8_192


@torch.no_grad()
def measure_relations(
    source: TeacherSource, data: TokenizedDataset, device: torch.device, *, progress: Progress | None = None
) -> Tensor:
    """:func:`hrkd.method.contrasts.contrast_relations` at every level that ``source`` gives, (K, D, D), on ``device``.

    Rows without a label are left out; of more than :data:`MOST_ROWS`, some are drawn, with a fixed seed.

    Raises:
        DataError: no domain has labelled texts of two classes.
    """
    labels, domains = data.label_ids_or_none, data.domain_ids
    drawn = stable_rng(0, "relations").permutation(np.flatnonzero(labels >= 0))[:MOST_ROWS]
    sizes = len(data.source.domains), len(data.source.labels)
    halves = by_turns(domains[drawn] * sizes[1] + labels[drawn])
    order = np.argsort(-data.lengths[drawn], kind="stable")
    sums = torch.empty(0)
    counts = torch.zeros(2, *sizes, device=device)
    with (progress or Progress(False)).bar("relations", total=len(drawn), unit="texts") as bar:
        start = 0
        while start < len(order):
            places = order[start : start + max(1, TOKENS_IN_A_BATCH // int(data.lengths[drawn[order[start]]]))]
            batch = data.batch(drawn[places]).to(device)
            states = source(batch).hidden_states
            means = torch.stack([token_means(level.float(), batch.mask) for level in states])
            cells = (torch.from_numpy(halves[places]).to(device) * sizes[0] + batch.domain_ids) * sizes[
                1
            ] + batch.labels
            if not len(sums):
                sums = means.new_zeros(len(means), 2 * sizes[0] * sizes[1], means.shape[-1])
            sums.index_add_(1, cells, means)
            counts.view(-1).index_add_(0, cells, torch.ones_like(cells, dtype=counts.dtype))
            bar.advance(len(places))
            start += len(places)
    if not ((counts > 0).all(dim=0).sum(dim=-1) > 1).any():
        raise DataError(
            "relations between domains: none has two labelled texts of two classes each, so nothing tells what sets "
            "its classes apart; give more labelled rows, or leave graph: contrast and related_weight out"
        )
    sums = sums.view(len(sums), 2, *sizes, -1)
    return contrast_relations(torch.stack([class_contrasts(sums[:, half], counts[half]) for half in (0, 1)]))


def in_words(relations_DD: Tensor, domains: Sequence[str]) -> str:
    """Mean relation between two domains, and the pairs that are most and least related."""
    pairs = [(float(relations_DD[one, other]), one, other) for one, other in combinations(range(len(domains)), 2)]
    order = sorted(pairs, reverse=True)
    told = [f"{domains[one]} and {domains[other]} {value:.2f}" for value, one, other in order]
    some = told if len(told) <= 2 * MOST_NAMED else [*told[:MOST_NAMED], "...", *told[-MOST_NAMED:]]
    mean = sum(value for value, *_ in pairs) / max(1, len(pairs))
    return f"{mean:.2f} on average ({', '.join(some)})"
