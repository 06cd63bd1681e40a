"""Intervals of shares, of means over domains, and of the difference of two models on the same rows.

All are closed forms, and have width wherever rows are few: also where every row is right, or where two models say the
same of every row, of which a bootstrap makes an interval of a single point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hrkd.errors import DataError

__all__ = ["Interval", "PairedDifference", "mean_interval", "paired_difference", "wilson_interval"]

Interval = tuple[float, float]


@dataclass(frozen=True)
class PairedDifference:
    """How much more accurate one model is than another on the same rows: a mean over domains, with its interval.

    ``better`` rows the first alone has right, ``worse`` the second alone, of ``examples`` in all.
    """

    difference: float
    interval: Interval
    confidence: float
    examples: int
    better: int
    worse: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold."""
        return {**vars(self), "interval": list(self.interval)}


def wilson_interval(hits: float, rows: int, confidence: float) -> Interval:
    """The score interval of a share, ``hits`` of ``rows`` (Wilson, 1927; recommended by Brown, Cai, DasGupta, 2001)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = hits / rows, z * z / rows
    middle = share + spread / 2
    half = (spread * share * (1 - share) + spread * spread / 4) ** 0.5
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return min(max(low, 0.0), share), max(min(high, 1.0), share)  # rounding aside, both hold anyway


def mean_interval(points: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """The interval of the mean of independent figures, from the interval of each.

    MOVER, the method of variance estimates recovery (Zou and Donner, 2008): the distances from each figure to its own
    limits take the place of standard errors. So it holds the mean, and of one figure it is that figure's own interval.
    """
    values, bounds = np.asarray(points, dtype=float), np.asarray(intervals, dtype=float)
    mean = values.mean()
    below, above = np.sqrt(((values[:, None] - bounds) ** 2).sum(axis=0)) / len(values)
    return float(mean - below), float(mean + above)


def paired_difference(one: ArrayLike, other: ArrayLike, domain_ids: ArrayLike, confidence: float) -> PairedDifference:
    """The accuracy of one model less that of another on the same rows, as a mean over the domains that have rows.

    The interval of a domain is Newcombe's for paired shares (1998, method 10: the Wilson limits of both, and their
    correlation over the rows with a correction for continuity); that of the mean is :func:`mean_interval`. It is
    widened to hold 0 where the models differ on so few rows that no exact test could tell them apart, even if all these
    rows spoke for the same one: of m random signs, all are the same with the probability 2^(1 - m).

    Args:
        one, other: whether each row is right, shape (rows,).
        domain_ids: the domain of each row, shape (rows,).
        confidence: level of the interval.

    Raises:
        DataError: no rows, or arrays of different lengths.
    """
    first, second, domains = np.asarray(one, dtype=bool), np.asarray(other, dtype=bool), np.asarray(domain_ids)
    if not len(domains) or {first.shape, second.shape} != {domains.shape}:
        raise DataError(
            f"paired difference: expected the same rows of both, at least one; got {first.shape} and {second.shape} "
            f"in {domains.shape}"
        )
    parts = [(first[domains == d], second[domains == d]) for d in np.unique(domains)]
    points = [float(a.mean() - b.mean()) for a, b in parts]
    low, high = mean_interval(points, [_newcombe(a, b, confidence) for a, b in parts])
    better, worse = int((first & ~second).sum()), int((second & ~first).sum())
    if 2.0 ** (1 - better - worse) > 1 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    return PairedDifference(float(np.mean(points)), (low, high), confidence, len(domains), better, worse)


def _newcombe(one: np.ndarray, other: np.ndarray, confidence: float) -> Interval:
    rows = len(one)
    both, neither = int((one & other).sum()), int((~one & ~other).sum())
    alone, beside = int((one & ~other).sum()), int((other & ~one).sum())
    first, second = (both + alone) / rows, (both + beside) / rows
    product = float(both * neither - alone * beside)
    if product > 0:
        product = max(product - rows / 2, 0.0)
    margins = (both + alone) * (beside + neither) * (both + beside) * (alone + neither)
    correlation = product / margins**0.5 if margins else 0.0
    low, high = wilson_interval(both + alone, rows, confidence)
    other_low, other_high = wilson_interval(both + beside, rows, confidence)

    def distance(ours: float, theirs: float) -> float:
        return float(max(ours * ours - 2 * correlation * ours * theirs + theirs * theirs, 0.0) ** 0.5)

    difference = first - second
    return (
        difference - distance(first - low, other_high - second),
        difference + distance(high - first, second - other_low),
    )
