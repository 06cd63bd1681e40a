"""How domains are related in what the teacher makes of their labelled texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from hrkd.data.batching import TokenizedDataset
from hrkd.data.splits.draws import by_turns, some_of_each
from hrkd.errors import DataError
from hrkd.linear.relations import smoothed_cosines
from hrkd.method.contrasts import class_contrasts
from hrkd.method.losses import widened
from hrkd.method.meta_kd import token_means
from hrkd.support.progress import Progress
from hrkd.training.evaluate import token_batches
from hrkd.training.live_teacher import TeacherSource
from hrkd.training.together import everyone, most, summed

__all__ = ["check_contrasts", "contrast_relations", "in_words", "measure_relations"]

MOST_NAMED = 3
MOST_TEXTS = 4_000
"""That are looked at, of all domains together."""


@torch.no_grad()
def measure_relations(
    source: TeacherSource, data: TokenizedDataset, device: torch.device, *, progress: Progress | None = None
) -> Tensor:
    """:func:`contrast_relations` at every level that ``source`` gives, (K, D, D), on ``device``.

    Texts without a label are left out; of more than :data:`MOST_TEXTS`, some of each class of each domain are drawn,
    with a fixed seed. All windows of a text are in the same half.

    Raises:
        DataError: as :func:`check_contrasts`.
    """
    check_contrasts(data)
    domains, labels = len(data.texts.domains), len(data.texts.labels)
    cells = data.texts.domain_ids * labels + data.texts.label_ids_or_none
    texts = some_of_each(np.where(data.texts.label_ids_or_none < 0, -1, cells), MOST_TEXTS, name="relations")
    halves = np.full(len(data.texts), -1)
    halves[texts] = by_turns(cells[texts])
    drawn = np.flatnonzero(halves[data.owners] >= 0)
    places = torch.from_numpy(halves * domains * labels + cells).to(device)
    owners = torch.from_numpy(data.owners).to(device)
    sums, counts = torch.empty(0), torch.zeros(2 * domains * labels, device=device)
    with (progress or Progress(False)).bar("relations", total=len(drawn), unit="texts") as bar:
        for rows in everyone().share(token_batches(data.lengths, drawn, device)):
            batch = data.batch(rows).to(device)
            means = torch.stack([token_means(widened(level), batch.mask) for level in source(batch).hidden_states])
            if not len(sums):
                sums = means.new_zeros(len(means), len(counts), means.shape[-1])
            into = places[owners[batch.indices]]
            sums.index_add_(1, into, means)
            counts.index_add_(0, into, torch.ones_like(counts[into]))
            bar.advance(len(rows))
    shape = most(len(sums), device), len(counts), most(sums.shape[-1], device)
    sums, counts = summed([sums if sums.numel() else counts.new_zeros(shape), counts], device)
    sums = sums.view(len(sums), 2, domains, labels, -1)
    numbers = counts.view(2, domains, labels)
    return contrast_relations(torch.stack([class_contrasts(sums[:, half], numbers[half]) for half in (0, 1)]))


def contrast_relations(halves_2KDF: Tensor) -> Tensor:
    """:func:`hrkd.linear.relations.smoothed_cosines` of the contrasts of either half of the texts.

    Shapes: (2, K, D, F) -> (K, D, D), where they lie.
    """
    products = torch.einsum("akdf,bkef->abkde", halves_2KDF, halves_2KDF)
    found = smoothed_cosines(products.detach().cpu().double().numpy())
    return torch.from_numpy(found).to(halves_2KDF)


def check_contrasts(data: TokenizedDataset) -> None:
    """Whether two domains have texts that tell what sets their classes apart: two of either half, of two classes.

    Raises:
        DataError: they have not.
    """
    labels, known = len(data.texts.labels), data.texts.label_ids_or_none >= 0
    cells = data.texts.domain_ids[known] * labels + data.texts.label_ids_or_none[known]
    counts = np.bincount(cells, minlength=len(data.texts.domains) * labels).reshape(-1, labels)
    if ((counts > 1).sum(axis=1) > 1).sum() < 2:
        raise DataError(
            "relations between domains: fewer than two domains have two labelled texts of two classes each, so nothing "
            "tells what sets their classes apart; give more labelled rows, or leave graph: contrast and related_weight "
            "out"
        )


def in_words(relations_DD: Tensor, domains: Sequence[str]) -> str:
    """Mean relation between two domains, and the pairs that are most and least related."""
    pairs = [(float(relations_DD[one, other]), one, other) for one, other in combinations(range(len(domains)), 2)]
    order = sorted(pairs, reverse=True)
    told = [f"{domains[one]} and {domains[other]} {value:.2f}" for value, one, other in order]
    some = told if len(told) <= 2 * MOST_NAMED else [*told[:MOST_NAMED], "...", *told[-MOST_NAMED:]]
    mean = sum(value for value, *_ in pairs) / max(1, len(pairs))
    return f"{mean:.2f} on average ({', '.join(some)})"
