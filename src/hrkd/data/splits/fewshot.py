"""Small nested shares of a train set."""

from __future__ import annotations

import numpy as np

from hrkd.data.columns import chunks_of, ranks_of
from hrkd.data.splits.draws import stable_rng
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import DataError, RecipeError
from hrkd.recipe.schema import DataConfig
from hrkd.support.messages import first_of

__all__ = ["few_shot"]


def few_shot(
    train: MultiDomainDataset,
    *,
    fraction: float = DataConfig.model_construct().fraction,
    shots: int | None = None,
    seed: int = 0,
) -> MultiDomainDataset:
    """Part of ``train``, drawn per domain and label; smaller draws of one seed are subsets of larger ones.

    Rows keep their order. A draw depends on the seed, the names of domain and label, and the ids; not on the order of
    rows or on other domains. Repeated texts count as rows of their own.

    Args:
        train: The whole train set.
        fraction: Share to keep of every domain and label, rounded to the nearest number (halves up), at least 1 row.
        shots: Rows to keep of every domain and label that occurs; excludes ``fraction``.
        seed: Seed of the draw.

    Raises:
        RecipeError: a share outside of (0, 1], fewer than one shot, or both arguments.
        DataError: fewer rows of a domain and label than ``shots``.
    """
    if not 0 < fraction <= 1:
        raise RecipeError(f"fraction: expected a share over 0 and up to 1, found {fraction:g}")
    if shots is not None and (shots < 1 or fraction != 1.0):
        raise RecipeError(f"shots: expected at least 1 and no fraction, found {shots} and fraction {fraction:g}")
    if shots is not None:
        _check_enough(train, shots)
    elif fraction == 1:
        return train
    ids = ranks_of(chunk["id"] for chunk in chunks_of(train.rows, "id"))
    domain_ids, label_ids = train.domain_ids, train.label_ids
    kept = [np.zeros(0, dtype=np.int64)]
    for d, y in np.unique(np.stack([domain_ids, label_ids]), axis=1).T.tolist():
        rows = np.flatnonzero((domain_ids == d) & (label_ids == y))
        rows = rows[np.argsort(ids[rows])]
        size = max(1, int(fraction * len(rows) + 0.5)) if shots is None else shots
        kept.append(stable_rng(seed, "few shot", train.domains[d], train.labels[y]).permutation(rows)[:size])
    return train.select(np.sort(np.concatenate(kept)))


def _check_enough(train: MultiDomainDataset, shots: int) -> None:
    scarce = [f"{d} has {rows:,} of {y!r}" for (d, y), rows in sorted(train.count().items()) if rows < shots]
    if scarce:
        raise DataError(
            f"shots: {shots} train rows of every domain and label wanted, but {first_of(scarce)}; "
            "ask for fewer shots, or use fraction"
        )
