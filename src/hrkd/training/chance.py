"""What guessing would reach, and whether a model is better than that, or than another one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from hrkd.errors import DataError
from hrkd.training.metrics import Scores

__all__ = ["majority_share", "no_better_than_chance", "paired_p"]

Array = NDArray[Any]
ONE_SIDED_95 = 1.6449  # 95 % quantile of the standard normal distribution


def majority_share(labels: ArrayLike, domain_ids: ArrayLike) -> float:
    """Accuracy, averaged over domains, of always guessing each domain's most frequent class.

    Both arrays have shape (rows,); domains without rows do not count.
    """
    return float(np.mean(_majority(labels, domain_ids)[0]))


def no_better_than_chance(scores: Scores, labels: ArrayLike, domain_ids: ArrayLike) -> bool:
    """Whether the mean accuracy could be that of guessing each domain's most frequent class.

    The rule: a one-sided binomial test at 95 %. With the majority share p and the rows n of each of D domains, the
    accuracy of guessing has the standard error sqrt(sum p (1 - p) / n) / D; a model is better than chance if its mean
    accuracy exceeds the mean of p by more than 1.645 of these. Accuracy alone decides: where one class makes up nearly
    everything, a model with a good macro-F1 may still fail.
    """
    shares, counts = _majority(labels, domain_ids)
    error = np.sqrt((shares * (1 - shares) / counts).sum()) / len(shares)
    return bool(scores.mean.accuracy <= shares.mean() + ONE_SIDED_95 * error)


def paired_p(better: int, worse: int) -> float:
    """McNemar's exact test, two-sided, of two models on the same rows: those that one alone gets right, or the other.

    1 where there are none.
    """
    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def _majority(labels: ArrayLike, domain_ids: ArrayLike) -> tuple[Array, Array]:
    """Share of the most frequent class and number of rows, by domain; shapes (D,)."""
    labels, domain_ids = np.asarray(labels), np.asarray(domain_ids)
    parts = [np.unique(labels[domain_ids == d], return_counts=True)[1] for d in np.unique(domain_ids)]
    if not parts:
        raise DataError("scoring: no examples; there is nothing to guess")
    counts = np.asarray([part.sum() for part in parts])
    return np.asarray([part.max() for part in parts]) / counts, counts
