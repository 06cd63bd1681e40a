"""Drawing dev and test rows out of the train rows of every domain, by shares or to exact sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from hrkd.data.splits.draws import Pool, Sides, allocate, draw_sides
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import DataError
from hrkd.support.messages import count_of, first_of

__all__ = ["DEV", "TEST", "TRAIN", "UNUSED", "Sizes", "draw_shares", "draw_sizes"]

Ints = npt.NDArray[np.int64]
Sizes = Mapping[str, tuple[int, int, int]]

TRAIN, DEV, TEST, UNUSED = range(4)


def _pool(sides: Sides, keys: Ints, dataset: MultiDomainDataset) -> tuple[Ints, Pool, Ints]:
    """The train rows: their positions, the pool to draw from, and their number, shape (domains, labels)."""
    rows = np.flatnonzero(sides == TRAIN)
    pool = Pool(keys[rows], dataset.domain_ids[rows], dataset.label_ids[rows], dataset.domains)
    counts = np.zeros((len(dataset.domains), len(dataset.labels)), dtype=np.int64)
    np.add.at(counts, (pool.domain_ids, pool.label_ids), 1)
    return rows, pool, counts


def draw_shares(
    sides: Sides,
    drawn: npt.NDArray[np.bool_],
    keys: Ints,
    dataset: MultiDomainDataset,
    shares: tuple[float, float],
    dev_rows: Literal["random", "last"],
    seed: int,
) -> list[str]:
    """Draw the parts that are not given out of the train rows (writes to ``sides``)."""
    if not drawn.any():
        return []
    rows, pool, counts = _pool(sides, keys, dataset)
    totals = counts.sum(axis=1)
    # Halves go up: round() would send them to the even number, so that sizes would not grow evenly with the rows.
    dev, test = np.where(drawn, [np.maximum(1, np.floor(share * totals + 0.5)) for share in shares], 0).astype(int)
    dev_at_random = dev if dev_rows == "random" else np.zeros_like(dev)
    quotas = [_quota(n, math.inf, d, t) for n, d, t in zip(counts, dev_at_random, test, strict=True)]
    sides[rows] = draw_sides(pool, np.stack(quotas, axis=1), seed=seed)
    notes = _notes_on_twins(pool)
    return notes if dev_rows == "random" else notes + _take_last(sides, rows, pool, dev)


def draw_sizes(sides: Sides, keys: Ints, dataset: MultiDomainDataset, sizes: Sizes, seed: int) -> list[str]:
    """Draw exact numbers of rows (writes to ``sides``)."""
    rows, pool, counts = _pool(sides, keys, dataset)
    quotas = [_quota(n, *sizes[name]) for n, name in zip(counts, dataset.domains, strict=True)]
    sides[rows] = draw_sides(pool, np.stack(quotas, axis=1), seed=seed)
    problems, notes = [], _notes_on_twins(pool)
    domain_ids = dataset.domain_ids
    for d, name in enumerate(dataset.domains):
        found = tuple(np.bincount(sides[domain_ids == d], minlength=4).tolist())
        if found[:3] != tuple(sizes[name]):
            problems.append(f"{name}: {tuple(sizes[name])} wanted and {found[:3]} reached")
        if found[UNUSED]:
            notes.append(f"{name}: {count_of(found[UNUSED])} not used, as sizes ask for fewer")
    if problems:
        raise DataError(
            f"sizes: repeated texts stay on one side, so not all can be met ({first_of(problems)}); change them"
        )
    return notes


def _quota(counts: Ints, train: float, dev: int, test: int) -> Ints:
    """Rows wanted per side (train, dev, test, unused) and label, shape (4, labels), out of ``counts`` (labels,)."""
    rest, quota = counts.copy(), np.zeros((4, len(counts)), dtype=np.int64)
    # Train comes last and takes what is left; so the others may use up a label only where they cannot be filled else.
    for side, wanted in ((TEST, test), (DEV, dev), (TRAIN, train)):
        total = int(min(wanted, rest.sum()))
        one_left = np.maximum(rest - 1, 0)
        limits = one_left if side != TRAIN and total <= one_left.sum() else rest
        quota[side] = allocate(total, rest, limits)
        rest = rest - quota[side]
    quota[UNUSED] = rest
    return quota


def _notes_on_twins(pool: Pool) -> list[str]:
    twins = len(pool.keys) - int(np.count_nonzero(np.bincount(pool.keys)))
    counted = count_of(twins, "repeated text was", "repeated texts were")
    return [f"{counted} kept on the side of their twin"] if twins else []


def _take_last(sides: Sides, rows: Ints, pool: Pool, wanted: Ints) -> list[str]:
    """Move each domain's last ``wanted`` (domains,) train rows to dev, but for texts that also stand before them."""
    in_train = sides[rows] == TRAIN
    last = np.zeros(len(rows), dtype=np.bool_)
    for d, count in enumerate(wanted.tolist()):
        of_domain = np.flatnonzero(in_train & (pool.domain_ids == d))
        last[of_domain[max(0, len(of_domain) - count) :]] = True
    # Rows go to dev as they stand, unlike in a draw: a text that train has too must not go along.
    earlier = np.zeros(pool.keys.max(initial=0) + 1, dtype=np.bool_)
    earlier[pool.keys[~last]] = True
    moved = np.flatnonzero(~earlier[pool.keys])
    if len(np.unique(pool.label_ids[moved])) == 1 < len(np.unique(pool.label_ids)):
        raise DataError(
            "dev_rows: the last rows of all domains have one and the same label, so the source seems to be sorted "
            "by label; set dev_rows to random"
        )
    sides[rows[moved]] = DEV
    stay = int(last.sum()) - len(moved)
    return [f"{count_of(stay)} at the end of a domain stayed in train: text also stands earlier"] if stay else []
