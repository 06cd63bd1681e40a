"""Scores per domain, their mean, the worst domain and the worst class, with intervals.

A figure is listed once, in :data:`METRICS`, with the rule of its interval in a domain; the interval of a mean over
domains follows from those of the domains (:func:`hrkd.training.intervals.mean_interval`). Both hold the figure, and
both have width where all rows are right.
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
from hrkd.training.intervals import Interval, mean_interval, wilson_interval

__all__ = ["METRICS", "DomainScores", "Metric", "Scores", "WorstClass", "WorstDomain", "label_ids_of", "score"]

DEFAULTS = EvaluationConfig()

Array = NDArray[Any]


@dataclass(frozen=True)
class WorstClass:
    """The label with the lowest recall (the share of its rows that are right), and how many rows have it.

    Of equally low ones that with the most rows, then the first. Labels without rows do not count.
    """

    label: str
    recall: float
    examples: int


@dataclass(frozen=True)
class DomainScores:
    """Figures of one domain, or their means over all, by the names of :data:`METRICS`; without those not measured.

    ``intervals`` are (low, high). ``worst_class`` of all domains is that of their rows together.
    """

    examples: int
    values: Mapping[str, float]
    intervals: Mapping[str, Interval]
    worst_class: WorstClass

    @property
    def accuracy(self) -> float:
        """The figure that models are chosen and compared by."""
        return self.values["accuracy"]

    def to_dict(self) -> dict[str, Any]:
        """Flat data that JSON can hold; None for what was not measured."""
        intervals = {name: self.intervals.get(name) for name, metric in METRICS.items() if metric.bounds is not None}
        return {
            "examples": self.examples,
            **{name: self.values.get(name) for name in METRICS},
            **{f"{name}_interval": found and list(found) for name, found in intervals.items()},
            "worst_class": asdict(self.worst_class),
        }


@dataclass(frozen=True)
class WorstDomain:
    """The domain with the lowest accuracy; of equal ones the first."""

    domain: str
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """All figures of one model on one split.

    ``domains`` are those that have rows. ``mean`` is the unweighted mean over them (its ``examples`` are those of all
    domains together). ``confidence`` is the level of the intervals, None if there are none.
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


@dataclass(frozen=True)
class _Bounds:
    """How intervals are made: their level, and the draws of those that are drawn."""

    confidence: float
    draws: int
    seed: tuple[int, int]


class _Domain:
    """What a model says of the rows of one domain."""

    def __init__(self, labels: Array, predictions: Array, teacher: Array | None) -> None:
        self.labels, self.predicted = labels, label_ids_of(predictions)
        self.examples = len(labels)
        self._probabilities = predictions if predictions.ndim == 2 else None
        self._agrees = None if teacher is None else self.predicted == label_ids_of(teacher)

    def accuracy(self) -> float:
        """Share of rows that are right."""
        return float((self.labels == self.predicted).mean())

    def agreement(self) -> float | None:
        """Share of rows on which the teacher predicts the same."""
        return None if self._agrees is None else float(self._agrees.mean())

    def macro_f1(self) -> float:
        """Unweighted mean of F1 over the classes among the labels or predictions, as in scikit-learn."""
        cells, counts = np.unique(np.stack([self.labels, self.predicted], axis=1), axis=0, return_counts=True)
        return float(_macro_f1(cells, counts[None].astype(float), self._classes())[0])

    def log_loss(self) -> float | None:
        """Mean of -log of the label's probability."""
        if self._probabilities is None:
            return None
        likelihoods = self._probabilities[np.arange(self.examples), self.labels].astype(float)
        return float(-np.log(np.maximum(likelihoods, np.finfo(float).eps)).mean())

    def share_bounds(self, share: float, rules: _Bounds) -> Interval:
        """Of a share of the rows."""
        return wilson_interval(share * self.examples, self.examples, rules.confidence)

    def f1_bounds(self, f1: float, rules: _Bounds) -> Interval:
        """Of macro-F1: the middle of draws from a Dirichlet posterior of the confusion matrix (Caelen, 2017).

        The prior weighs as much as one row: half right, half wrong, shared by the classes that occur, where a wrong
        one goes to the next class (a single one to a class that does not occur). So accuracy would have the interval
        of Jeffreys, which has width where all rows are right; it is widened to hold the figure. With a few rows of each
        of many classes it is a little too narrow, as classes that do not occur are not in it.
        """
        classes = self._classes()
        others = np.roll(classes, -1) if len(classes) > 1 else np.array([-1])
        rows = np.stack([self.labels, self.predicted], axis=1)
        prior = np.concatenate([np.stack([classes, classes], axis=1), np.stack([classes, others], axis=1)])
        cells, place = np.unique(np.concatenate([rows, prior]), axis=0, return_inverse=True)
        weights = np.bincount(place.ravel(), np.concatenate([np.ones(len(rows)), np.full(len(prior), 1 / len(prior))]))
        # F1 does not depend on the sum of the cells, so that draws of the gamma distribution need not be divided by it.
        drawn = np.random.default_rng(rules.seed).standard_gamma(weights, size=(rules.draws, len(weights)))
        tails = [(1 - rules.confidence) / 2, (1 + rules.confidence) / 2]
        low, high = np.quantile(_macro_f1(cells, drawn, classes), tails).tolist()
        return min(low, f1), max(high, f1)

    def _classes(self) -> Array:
        """Those that occur among labels or predictions."""
        return np.unique(np.concatenate([self.labels, self.predicted]))


def _macro_f1(cells: Array, weights: Array, classes: Array) -> Array:
    """Mean of F1 over ``classes``, (R,), of R weights (R, cells) of the ``cells`` (label, prediction), (cells, 2)."""
    labelled, predicted = ((cells[:, [side]] == classes).astype(float) for side in (0, 1))  # (cells, classes)
    f1 = 2 * (weights @ (labelled * predicted)) / (weights @ (labelled + predicted))
    return np.asarray(f1.mean(axis=1))


@dataclass(frozen=True)
class Metric:
    """One figure: how it is computed, and how people are told.

    ``title`` heads a table's column and ``form`` writes a value there. ``hub`` is what the Hub calls it; None: model
    cards do not tell it to the Hub. ``bounds`` gives the interval in a domain; None: it has none.
    """

    title: str
    compute: Callable[[_Domain], float | None]
    form: Callable[[float], str] = percent
    hub: str | None = None
    bounds: Callable[[_Domain, float, _Bounds], Interval] | None = _Domain.share_bounds


METRICS = {
    "accuracy": Metric("Accuracy", _Domain.accuracy, hub="accuracy"),
    "macro_f1": Metric("Macro-F1", _Domain.macro_f1, hub="f1", bounds=_Domain.f1_bounds),
    "agreement": Metric("Agreement", _Domain.agreement),
    "log_loss": Metric("Log loss (nats)", _Domain.log_loss, form="{:.3f}".format, bounds=None),
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
    label_names: Sequence[str] | None = None,
    teacher_predictions: ArrayLike | None = None,
    bootstrap: int = DEFAULTS.bootstrap,
    confidence: float = DEFAULTS.confidence,
    seed: int = 0,
) -> Scores:
    """Score what a model says against the true labels, domain by domain.

    The rows may have some of the labels and of the domains only: domains without rows are left out, of the mean too.

    Args:
        predictions: Probabilities of the labels, shape (rows, C); or label ids, shape (rows,), which do not tell the
            figures that need probabilities.
        labels: True label ids, shape (rows,).
        domain_ids: Indices into ``domains``, shape (rows,).
        domains: Names of the domains.
        num_labels: Number of classes C; ids are 0 to C - 1.
        label_names: What the worst class is called; None: its id.
        teacher_predictions: The same of the teacher, for the agreement.
        bootstrap: Draws for the intervals that are drawn; 0: no intervals at all.
        confidence: Level of the intervals.
        seed: Of the draws.

    Raises:
        DataError: arrays of different lengths, ids out of range, no probabilities, or no rows at all.
    """
    given = {"labels": labels, "predictions": predictions, "teacher_predictions": teacher_predictions}
    rows = {name: _checked(name, values, num_labels) for name, values in given.items() if values is not None}
    domain_of = _checked("domain_ids", domain_ids, len(domains))
    for name, array in {**rows, "domain_ids": domain_of}.items():
        if array.shape[:1] != rows["labels"].shape:
            raise DataError(f"scoring: {name} has shape {array.shape}, labels have {rows['labels'].shape}")
    if not len(domain_of):
        raise DataError("scoring: no examples of any domain; there is nothing to measure")
    names = [str(c) for c in range(num_labels)] if label_names is None else label_names
    teacher, found = rows.get("teacher_predictions"), dict[str, DomainScores]()
    for d in np.unique(domain_of).tolist():
        own = domain_of == d
        part = _Domain(rows["labels"][own], rows["predictions"][own], None if teacher is None else teacher[own])
        rules = _Bounds(confidence, bootstrap, (seed, d)) if bootstrap else None
        found[domains[d]] = _scores_of(part, rules, names)
    worst = min(found, key=lambda name: found[name].accuracy)
    return Scores(
        domains=found,
        mean=_mean(list(found.values()), _worst_class(rows["labels"], label_ids_of(rows["predictions"]), names)),
        worst=WorstDomain(worst, found[worst].accuracy),
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


def _scores_of(part: _Domain, rules: _Bounds | None, names: Sequence[str]) -> DomainScores:
    known = {name: metric.compute(part) for name, metric in METRICS.items()}
    values = {name: value for name, value in known.items() if value is not None}
    intervals = {}
    if rules is not None:
        bounds = {name: METRICS[name].bounds for name in values}
        intervals = {name: rule(part, values[name], rules) for name, rule in bounds.items() if rule is not None}
    return DomainScores(part.examples, values, intervals, _worst_class(part.labels, part.predicted, names))


def _mean(domains: Sequence[DomainScores], worst_class: WorstClass) -> DomainScores:
    """The mean over domains of every figure."""
    values = {name: [own.values[name] for own in domains] for name in domains[0].values}
    intervals = {
        name: mean_interval(values[name], [own.intervals[name] for own in domains]) for name in domains[0].intervals
    }
    means = {name: float(np.mean(each)) for name, each in values.items()}
    return DomainScores(sum(own.examples for own in domains), means, intervals, worst_class)


def _worst_class(labels: Array, predicted: Array, names: Sequence[str]) -> WorstClass:
    classes, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    recalls = np.bincount(place, labels == predicted) / counts
    worst = np.lexsort((-counts, recalls))[0]
    return WorstClass(str(names[classes[worst]]), float(recalls[worst]), int(counts[worst]))
