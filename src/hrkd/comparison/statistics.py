"""Whether one method is better than another, from what both say of the same test items.

All functions take ``values`` of shape (S, N): one row per seed, one column per test item. Of a comparison they are
right - right of the other method (-1, 0, 1), the rows paired by seed; of one method they are right or wrong (1, 0).
``domain_ids`` (N,) say which domain an item belongs to. The figure in question is always the mean over seeds of the
mean over domains of the mean over the domain's items, so that every domain counts the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from hrkd.comparison.grid import Grid
from hrkd.recipe.schema import EvaluationConfig
from hrkd.training.chance import paired_p

__all__ = ["McNemar", "SignTest", "bootstrap_interval", "domain_mean", "holm", "mcnemar_test", "sign_flip_test"]

DEFAULTS = EvaluationConfig()
RESAMPLES: int = Grid.model_fields["resamples"].default

MOST_OUTCOMES = 1_000_000
"""Sums of differences, with equal ones told as one, up to which the sign-flip test is computed exactly."""
TIE = 1e-12
"""Sums of fractions nearer than this are taken as equal."""

Array = NDArray[Any]


@dataclass(frozen=True)
class SignTest:
    """``p`` is two-sided; ``exact``, or estimated from random sign changes."""

    p: float
    exact: bool


@dataclass(frozen=True)
class McNemar:
    """Items that one method alone gets right (``better``), that the other alone does (``worse``), two-sided exact p."""

    better: int
    worse: int
    p: float


def domain_mean(values: ArrayLike, domain_ids: ArrayLike) -> float:
    """The figure in question."""
    per_item, domain_ids = np.asarray(values, dtype=float).mean(axis=0), np.asarray(domain_ids)
    return float(np.mean([per_item[domain_ids == domain].mean() for domain in np.unique(domain_ids)]))


def bootstrap_interval(
    values: ArrayLike,
    domain_ids: ArrayLike,
    *,
    lowest: float,
    resamples: int = RESAMPLES,
    confidence: float = DEFAULTS.confidence,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of :func:`domain_mean` under resampling of items and of seeds, widened to hold it.

    Items are resampled by the Bayesian bootstrap (Rubin, 1981): a resample draws, within every domain, a weight for
    each item, and an item brings its values of all seeds; then it draws S of the S seeds, with replacement. With one
    seed only items are drawn.

    So that few items, or items that are all the same, do not make an interval without width, there is a prior as heavy
    as one item in all: in each domain an equal part of it, of which one half has the value ``lowest`` with all seeds
    (0 of a method, -1 of a comparison), the other 1. For one method, seed and domain that is the interval of Jeffreys.

    Items of a domain with the same values in all seeds are interchangeable, so that the weights of such groups are
    drawn (Dirichlet) and not those of the items one by one.
    """
    values, domain_ids = np.asarray(values, dtype=float), np.asarray(domain_ids)
    seeds, domains, random = len(values), np.unique(domain_ids), np.random.default_rng(seed)
    means, ends = np.zeros((resamples, seeds)), np.tile([lowest, 1.0], (seeds, 1))
    for domain in domains:
        own = values[:, domain_ids == domain]
        groups, place = np.unique(np.concatenate([own, ends], axis=1), axis=1, return_inverse=True)
        prior = np.full(2, 1 / (2 * len(domains)))
        counts = np.bincount(place.ravel(), np.concatenate([np.ones(own.shape[1]), prior]))
        means += random.dirichlet(counts, size=resamples) @ groups.T / len(domains)
    weights = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile((means * weights).sum(axis=1), tails).tolist()
    mean = domain_mean(values, domain_ids)
    return min(low, mean), max(high, mean)


def sign_flip_test(
    differences: ArrayLike, domain_ids: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> SignTest:
    """Randomisation test of no difference: the two methods' answers to an item could as well have been exchanged.

    The differences of an item are averaged over the seeds; the sign of this average is then as likely plus as minus,
    independently of other items. ``p`` is the probability of a :func:`domain_mean` at least as far from 0 as the
    observed one. It speaks of test items like these and of these seeds.
    """
    per_item = np.asarray(differences, dtype=float).mean(axis=0)
    domains, place, counts = np.unique(np.asarray(domain_ids), return_inverse=True, return_counts=True)
    terms = per_item / (counts[place] * len(domains))
    observed = abs(terms.sum()) - TIE
    sizes, many = np.unique(np.abs(terms[terms != 0]), return_counts=True)
    if np.log1p(many).sum() <= np.log(MOST_OUTCOMES):
        sums, chances = np.zeros(1), np.ones(1)
        for size, count in zip(sizes, many, strict=True):
            positive = np.arange(count + 1)
            sums = (sums[:, None] + size * (2 * positive - count)).ravel()
            chances = (chances[:, None] * stats.binom.pmf(positive, count, 0.5)).ravel()
        return SignTest(min(1.0, float(chances[np.abs(sums) >= observed].sum())), exact=True)
    positive = np.random.default_rng(seed).binomial(many, 0.5, size=(resamples, len(many)))
    hits = np.abs((2 * positive - many) @ sizes) >= observed
    return SignTest(float((1 + hits.sum()) / (1 + resamples)), exact=False)


def mcnemar_test(differences: ArrayLike) -> McNemar:
    """McNemar's exact test on the differences of one seed, shape (N,): all domains together."""
    differences = np.asarray(differences)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return McNemar(better, worse, paired_p(better, worse))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of several p-values: what each is worth as one of so many, in the given order."""
    given = np.asarray(p_values, dtype=float)
    order = np.argsort(given, kind="stable")
    steps = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(steps, 1.0)
    return [float(p) for p in corrected]
