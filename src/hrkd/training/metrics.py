"""Scores per domain, their mean and the worst domain, with bootstrap intervals; and what guessing would reach.

Everything is computed from counts: the items of a domain fall into cells (label, prediction, agrees with the
teacher or not). Drawing n of n items with replacement draws the cells' counts from a multinomial distribution, so
that all resamples are made in one call, and accuracy, macro-F1 and agreement follow by matrix products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrkd.errors import DataError

__all__ = ["DomainScores", "Interval", "Scores", "WorstDomain", "majority_share", "no_better_than_chance", "score"]

Interval = tuple[float, float]
Array = NDArray[Any]
METRICS = ("accuracy", "macro_f1", "agreement")
ONE_SIDED_95 = 1.6449  # 95 % quantile of the standard normal distribution


@dataclass(frozen=True)
class DomainScores:
    """Fractions from 0 to 1, of one domain or averaged over all, with (low, high) bootstrap intervals.

    ``macro_f1`` is the unweighted mean of F1 over the classes that occur among the labels or predictions of the
    domain, as in scikit-learn; ``agreement`` is the share of items on which the teacher predicts the same. None: not
    measured (no teacher, no bootstrap).
    """

    examples: int
    accuracy: float
    macro_f1: float
    agreement: float | None = None
    accuracy_interval: Interval | None = None
    macro_f1_interval: Interval | None = None
    agreement_interval: Interval | None = None


@dataclass(frozen=True)
class WorstDomain:
    """The domain with the lowest accuracy; of equal ones the first."""

    domain: str
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """All figures of one model on one split.

    ``mean`` is the unweighted mean over domains (its ``examples`` are those of all domains together); its intervals
    come from a bootstrap stratified by domain. ``confidence`` is the level of the intervals, None if there are none.
    """

    domains: dict[str, DomainScores]
    mean: DomainScores
    worst: WorstDomain
    confidence: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain nested data that JSON can hold; intervals are lists of two numbers."""
        content = asdict(self)
        for figures in (*content["domains"].values(), content["mean"]):
            for metric in METRICS:
                interval = figures[f"{metric}_interval"]
                figures[f"{metric}_interval"] = None if interval is None else list(interval)
        return content


def score(
    predictions: ArrayLike,
    labels: ArrayLike,
    domain_ids: ArrayLike,
    *,
    domains: Sequence[str],
    num_labels: int,
    teacher_predictions: ArrayLike | None = None,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Scores:
    """Score predicted label ids against the true ones, domain by domain.

    Args:
        predictions: Predicted label ids, shape (rows,).
        labels: True label ids, shape (rows,).
        domain_ids: Indices into ``domains``, shape (rows,).
        domains: Names of the domains; each must have rows.
        num_labels: Number of classes; ids are 0 to ``num_labels - 1``.
        teacher_predictions: Label ids that the teacher predicts, shape (rows,), for the agreement.
        bootstrap: Resamples for the percentile intervals; 0: no intervals.
        confidence: Level of the intervals.
        seed: Of the resamples.

    Raises:
        DataError: arrays of different lengths, ids out of range, or a domain without rows.
    """
    rows = _checked(predictions, labels, domain_ids, teacher_predictions, len(domains), num_labels)
    domain_of = rows.pop("domain_ids")
    _check_every_domain(domain_of, domains)
    cells = [_Cells({name: ids[domain_of == d] for name, ids in rows.items()}) for d in range(len(domains))]
    figures = [cell.metrics(cell.counts[None]) for cell in cells]
    draws = [_resample(cell, bootstrap, [seed, d]) for d, cell in enumerate(cells)]
    per_domain = [
        _figures(cell.examples, point, drawn, confidence)
        for cell, point, drawn in zip(cells, figures, draws, strict=True)
    ]
    mean = _figures(len(domain_of), _mean(figures), _mean(draws), confidence)
    worst = min(range(len(domains)), key=lambda d: per_domain[d].accuracy)
    return Scores(
        domains=dict(zip(domains, per_domain, strict=True)),
        mean=mean,
        worst=WorstDomain(domains[worst], per_domain[worst].accuracy),
        confidence=confidence if bootstrap else None,
    )


def _checked(
    predictions: ArrayLike,
    labels: ArrayLike,
    domain_ids: ArrayLike,
    teacher_predictions: ArrayLike | None,
    num_domains: int,
    num_labels: int,
) -> dict[str, Array]:
    given = {"predictions": predictions, "labels": labels, "domain_ids": domain_ids}
    if teacher_predictions is not None:
        given["teacher_predictions"] = teacher_predictions
    arrays = {name: np.asarray(values) for name, values in given.items()}
    for name, array in arrays.items():
        bound = num_domains if name == "domain_ids" else num_labels
        if array.shape != arrays["labels"].shape or array.ndim != 1:
            raise DataError(f"scoring: {name} has shape {array.shape}, labels have {arrays['labels'].shape}")
        if array.size and not (np.issubdtype(array.dtype, np.integer) and array.min() >= 0 and array.max() < bound):
            raise DataError(f"scoring: {name} must be whole numbers from 0 to {bound - 1}")
    return {name: array.astype(np.int64) for name, array in arrays.items()}


def _check_every_domain(domain_ids: Array, domains: Sequence[str]) -> None:
    counts = np.bincount(domain_ids, minlength=len(domains))
    empty = [name for name, count in zip(domains, counts, strict=True) if not count]
    if empty or not domains:
        raise DataError(f"scoring: no examples of {', '.join(empty) or 'any domain'}; every domain needs some")


class _Cells:
    """The occupied cells of one domain: counts (cells,), and which of them count as a hit, as an agreement, ..."""

    def __init__(self, rows: Mapping[str, Array]) -> None:
        labels, predictions, teacher = rows["labels"], rows["predictions"], rows.get("teacher_predictions")
        agrees = np.zeros_like(labels) if teacher is None else (predictions == teacher).astype(np.int64)
        cells, self.counts = np.unique(np.stack([labels, predictions, agrees], axis=1), axis=0, return_counts=True)
        self.examples = len(labels)
        self._hit = (cells[:, 0] == cells[:, 1]).astype(float)
        self._agrees = None if teacher is None else cells[:, 2].astype(float)
        # Only classes that occur here: others would add columns of zeros.
        classes = np.unique(cells[:, :2])
        self._labelled = (cells[:, :1] == classes).astype(float)  # (cells, classes)
        self._predicted = (cells[:, 1:2] == classes).astype(float)

    def metrics(self, counts: Array) -> dict[str, Array]:
        """Values of all metrics, shape (R,), for R rows of cell counts (R, cells)."""
        counts = counts.astype(float)
        values = {"accuracy": counts @ self._hit / self.examples, "macro_f1": self._macro_f1(counts)}
        if self._agrees is not None:
            values["agreement"] = counts @ self._agrees / self.examples
        return values

    def _macro_f1(self, counts: Array) -> Array:
        hits = (counts * self._hit) @ self._labelled  # (R, classes)
        both = counts @ (self._labelled + self._predicted)
        occurs = both > 0
        f1 = np.divide(2 * hits, both, out=np.zeros_like(both), where=occurs)
        return np.asarray(f1.sum(axis=1) / occurs.sum(axis=1))


def _resample(cells: _Cells, times: int, seed: Sequence[int]) -> dict[str, Array]:
    if times == 0:
        return {}
    counts = np.random.default_rng(seed).multinomial(cells.examples, cells.counts / cells.examples, size=times)
    return cells.metrics(counts)


def _mean(values: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Mean over domains of every metric, for each resample."""
    return {name: np.mean([v[name] for v in values], axis=0) for name in values[0]}


def _figures(examples: int, values: Mapping[str, Array], draws: Mapping[str, Array], confidence: float) -> DomainScores:
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    points = {name: float(value[0]) for name, value in values.items()}
    intervals = {f"{name}_interval": tuple(np.quantile(drawn, tails).tolist()) for name, drawn in draws.items()}
    return DomainScores(examples=examples, **points, **intervals)  # type: ignore[arg-type]


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


def _majority(labels: ArrayLike, domain_ids: ArrayLike) -> tuple[Array, Array]:
    """Share of the most frequent class and number of rows, by domain; shapes (D,)."""
    labels, domain_ids = np.asarray(labels), np.asarray(domain_ids)
    parts = [np.unique(labels[domain_ids == d], return_counts=True)[1] for d in np.unique(domain_ids)]
    if not parts:
        raise DataError("scoring: no examples; there is nothing to guess")
    counts = np.asarray([part.sum() for part in parts])
    return np.asarray([part.max() for part in parts]) / counts, counts
