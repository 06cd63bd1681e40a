"""Scores per domain, their mean and the worst domain, with bootstrap intervals.

A figure is listed once, in :data:`METRICS`. Those with intervals are computed from counts: the items of a domain fall
into cells (label, prediction, agrees with the teacher or not). Drawing n of n items with replacement draws the cells'
counts from a multinomial distribution, so that all resamples are made in one call, and accuracy, macro-F1 and
agreement follow by matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrkd.errors import DataError
from hrkd.recipe.schema import EvaluationConfig
from hrkd.support.text_table import percent

__all__ = ["METRICS", "DomainScores", "Interval", "Metric", "Scores", "WorstDomain", "label_ids_of", "score"]

DEFAULTS = EvaluationConfig()

Interval = tuple[float, float]
Array = NDArray[Any]


@dataclass(frozen=True)
class DomainScores:
    """Figures of one domain, or their means over all, by the names of :data:`METRICS`; without those not measured.

    ``intervals`` are (low, high), from a bootstrap.
    """

    examples: int
    values: Mapping[str, float]
    intervals: Mapping[str, Interval]

    @property
    def accuracy(self) -> float:
        """The figure that models are chosen and compared by."""
        return self.values["accuracy"]

    def to_dict(self) -> dict[str, Any]:
        """Flat data that JSON can hold; None for what was not measured."""
        intervals = {name: self.intervals.get(name) for name, metric in METRICS.items() if metric.resampled}
        return {
            "examples": self.examples,
            **{name: self.values.get(name) for name in METRICS},
            **{f"{name}_interval": found and list(found) for name, found in intervals.items()},
        }


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
        return {
            "domains": {name: own.to_dict() for name, own in self.domains.items()},
            "mean": self.mean.to_dict(),
            "worst": asdict(self.worst),
            "confidence": self.confidence,
        }


class _Domain:
    """What a model says of the rows of one domain: cells, and how many rows each has.

    Every metric takes R rows of cell counts (R, cells) and gives R values, or None where it cannot be told.
    """

    def __init__(self, labels: Array, predictions: Array, teacher: Array | None) -> None:
        predicted = label_ids_of(predictions)
        agrees = np.zeros_like(labels) if teacher is None else (predicted == label_ids_of(teacher)).astype(np.int64)
        cells, self.counts = np.unique(np.stack([labels, predicted, agrees], axis=1), axis=0, return_counts=True)
        self.examples, self._labels = len(labels), labels
        self._probabilities = predictions if predictions.ndim == 2 else None
        self._hit = (cells[:, 0] == cells[:, 1]).astype(float)
        self._agrees = None if teacher is None else cells[:, 2].astype(float)
        # Only classes that occur here: others would add columns of zeros.
        classes = np.unique(cells[:, :2])
        self._labelled = (cells[:, :1] == classes).astype(float)  # (cells, classes)
        self._predicted = (cells[:, 1:2] == classes).astype(float)

    def accuracy(self, counts: Array) -> Array:
        """Share of rows that are right."""
        return np.asarray(counts @ self._hit / self.examples)

    def macro_f1(self, counts: Array) -> Array:
        """Unweighted mean of F1 over the classes among the labels or predictions, as in scikit-learn."""
        hits = (counts * self._hit) @ self._labelled  # (R, classes)
        both = counts @ (self._labelled + self._predicted)
        occurs = both > 0
        f1 = np.divide(2 * hits, both, out=np.zeros_like(both), where=occurs)
        return np.asarray(f1.sum(axis=1) / occurs.sum(axis=1))

    def agreement(self, counts: Array) -> Array | None:
        """Share of rows on which the teacher predicts the same."""
        return None if self._agrees is None else np.asarray(counts @ self._agrees / self.examples)

    def log_loss(self, _: Array) -> Array | None:
        """Mean of -log of the label's probability; of the rows as they are, as cells do not tell it."""
        if self._probabilities is None:
            return None
        likelihoods = self._probabilities[np.arange(self.examples), self._labels].astype(float)
        return np.asarray(-np.log(np.maximum(likelihoods, np.finfo(float).eps)).mean(keepdims=True))


@dataclass(frozen=True)
class Metric:
    """One figure: how it is computed, and how people are told.

    ``title`` heads a table's column and ``form`` writes a value there. ``hub`` is what the Hub calls it; None: model
    cards do not tell it to the Hub. ``resampled``: it follows from the cells' counts, and so has intervals.
    """

    title: str
    compute: Callable[[_Domain, Array], Array | None]
    form: Callable[[float], str] = percent
    hub: str | None = None
    resampled: bool = True


METRICS = {
    "accuracy": Metric("Accuracy", _Domain.accuracy, hub="accuracy"),
    "macro_f1": Metric("Macro-F1", _Domain.macro_f1, hub="f1"),
    "agreement": Metric("Agreement", _Domain.agreement),
    "log_loss": Metric("Log loss (nats)", _Domain.log_loss, form="{:.3f}".format, resampled=False),
}
"""All figures, by their names in results.json and in their order in tables: the one place that lists them."""


def label_ids_of(predictions: Array) -> Array:
    """Label ids, shape (rows,), of label ids or of probabilities, shape (rows, C)."""
    return predictions.argmax(axis=1) if predictions.ndim == 2 else predictions


def score(
    predictions: ArrayLike,
    labels: ArrayLike,
    domain_ids: ArrayLike,
    *,
    domains: Sequence[str],
    num_labels: int,
    teacher_predictions: ArrayLike | None = None,
    bootstrap: int = DEFAULTS.bootstrap,
    confidence: float = DEFAULTS.confidence,
    seed: int = 0,
) -> Scores:
    """Score what a model says against the true labels, domain by domain.

    Args:
        predictions: Probabilities of the labels, shape (rows, C); or label ids, shape (rows,), which do not tell the
            figures that need probabilities.
        labels: True label ids, shape (rows,).
        domain_ids: Indices into ``domains``, shape (rows,).
        domains: Names of the domains; each must have rows.
        num_labels: Number of classes C; ids are 0 to C - 1.
        teacher_predictions: The same of the teacher, for the agreement.
        bootstrap: Resamples for the percentile intervals; 0: no intervals.
        confidence: Level of the intervals.
        seed: Of the resamples.

    Raises:
        DataError: arrays of different lengths, ids out of range, no probabilities, or a domain without rows.
    """
    given = {"labels": labels, "predictions": predictions, "teacher_predictions": teacher_predictions}
    rows = {name: _checked(name, values, num_labels) for name, values in given.items() if values is not None}
    domain_of = _checked("domain_ids", domain_ids, len(domains))
    for name, array in {**rows, "domain_ids": domain_of}.items():
        if array.shape[:1] != rows["labels"].shape:
            raise DataError(f"scoring: {name} has shape {array.shape}, labels have {rows['labels'].shape}")
    empty = [name for d, name in enumerate(domains) if d not in domain_of]
    if empty or not domains:
        raise DataError(f"scoring: no examples of {', '.join(empty) or 'any domain'}; every domain needs some")
    members = [domain_of == d for d in range(len(domains))]
    teacher = rows.get("teacher_predictions")
    parts = [
        _Domain(rows["labels"][own], rows["predictions"][own], None if teacher is None else teacher[own])
        for own in members
    ]
    points = [_values(part, part.counts[None], METRICS) for part in parts]
    draws = [_resampled(part, bootstrap, [seed, d]) for d, part in enumerate(parts)]
    per_domain = [
        _figures(part.examples, point, drawn, confidence)
        for part, point, drawn in zip(parts, points, draws, strict=True)
    ]
    worst = min(range(len(domains)), key=lambda d: per_domain[d].accuracy)
    return Scores(
        domains=dict(zip(domains, per_domain, strict=True)),
        mean=_figures(len(domain_of), _mean(points), _mean(draws), confidence),
        worst=WorstDomain(domains[worst], per_domain[worst].accuracy),
        confidence=confidence if bootstrap else None,
    )


def _checked(name: str, values: ArrayLike, bound: int) -> Array:
    """Ids, (rows,), below ``bound``; of predictions also probabilities, (rows, bound)."""
    array = np.asarray(values)
    if array.ndim == 2 and name.endswith("predictions"):
        if array.shape[1] != bound or not (array.min(initial=0) >= 0 and np.allclose(array.sum(axis=1), 1, atol=1e-3)):
            raise DataError(
                f"scoring: {name} must be probabilities of {bound} labels with the sum 1 in every row; a model that "
                "gives others is damaged"
            )
        return array
    if array.ndim != 1:
        raise DataError(f"scoring: {name} has shape {array.shape}; expected one number for each row")
    if array.size and not (np.issubdtype(array.dtype, np.integer) and array.min() >= 0 and array.max() < bound):
        raise DataError(f"scoring: {name} must be whole numbers from 0 to {bound - 1}")
    return array.astype(np.int64)


def _values(part: _Domain, counts: Array, metrics: Mapping[str, Metric]) -> dict[str, Array]:
    """Values of those metrics that can be told, shape (R,), for R rows of cell counts (R, cells)."""
    found = {name: metric.compute(part, counts.astype(float)) for name, metric in metrics.items()}
    return {name: values for name, values in found.items() if values is not None}


def _resampled(part: _Domain, times: int, seed: Sequence[int]) -> dict[str, Array]:
    if times == 0:
        return {}
    counts = np.random.default_rng(seed).multinomial(part.examples, part.counts / part.examples, size=times)
    return _values(part, counts, {name: metric for name, metric in METRICS.items() if metric.resampled})


def _mean(values: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Mean over domains of every metric, for each resample."""
    return {name: np.mean([v[name] for v in values], axis=0) for name in values[0]}


def _figures(examples: int, points: Mapping[str, Array], draws: Mapping[str, Array], confidence: float) -> DomainScores:
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    intervals: dict[str, Interval] = {}
    for name, drawn in draws.items():
        low, high = np.quantile(drawn, tails).tolist()
        intervals[name] = low, high
    return DomainScores(examples, {name: float(value[0]) for name, value in points.items()}, intervals)
