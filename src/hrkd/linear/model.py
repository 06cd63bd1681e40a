"""Logistic regression on TF-IDF of whole texts: of all domains together, with features of each, or one for each."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from hrkd.data.columns import CHUNK
from hrkd.data.splits.draws import stable_rng
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import TrainingError
from hrkd.linear.features import Features
from hrkd.linear.words import WordCounts

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["FORMS", "Form", "LinearModel", "fit_each_form", "fit_linear"]

Form = Literal["pooled", "crossed", "own"]
FORMS: tuple[Form, ...] = get_args(Form)
"""One model of all domains; one with features of each domain besides; one for each domain, of its rows alone."""

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Values of C, the inverse of the regularisation, to choose from."""
DEFAULT_STRENGTH = 3.0
DEFAULT_FORM: Form = "crossed"
"""What is taken where no dev rows choose."""
PATIENCE = 2
"""Values of C in a row that are no better than an earlier one, after which larger ones are not tried."""
MOST_WEIGHTS = 1_000_000
"""Of a model, whatever its form: the optimiser's time grows with them, and it holds some twenty times as many numbers.
With many classes there are fewer features, those that stand in most rows."""
MOST_STEPS = 200
"""Of the optimiser. Some fits with many classes end here, a little short of their optimum; dev judges them as well."""
MOST_CHARACTERS = 60_000_000
"""Text to learn from, or to choose by; of more, rows are drawn, as all words of all would not fit into memory."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Merit = tuple[float, float]
"""Accuracy and -log loss."""


@dataclass(frozen=True)
class _Part:
    """One logistic regression, or where there is nothing to learn, the ``shares`` of the labels, (C,)."""

    features: Features
    shares: Floats
    regression: Any = None

    def probabilities(self, features: csr_matrix) -> Floats:
        """Of every label, shape (rows, C)."""
        if self.regression is None or not features.shape[0]:
            return np.tile(self.shares, (features.shape[0], 1))
        found = np.zeros((features.shape[0], len(self.shares)))
        found[:, self.regression.classes_] = self.regression.predict_proba(features)
        return found

    @property
    def weights(self) -> int:
        """Numbers that are learnt."""
        return 0 if self.regression is None else int(self.regression.coef_.size + self.regression.intercept_.size)


@dataclass(frozen=True)
class LinearModel:
    """A fitted model.

    ``strength`` is C, ``rows`` the number of rows that it has learnt from, ``seconds`` how long it took to fit, with
    all that was tried.
    """

    form: Form
    strength: float
    rows: int
    words: WordCounts
    parts: tuple[_Part, ...]
    seconds: float = 0.0

    def predict(self, dataset: MultiDomainDataset) -> Floats:
        """Probabilities of the labels, shape (rows, C); the text of some rows is in memory at a time."""
        found = np.zeros((len(dataset), len(self.parts[0].shares)))
        for start in range(0, len(dataset), CHUNK):
            rows = dataset.select(np.arange(start, min(start + CHUNK, len(dataset))))
            counts, domain_ids = self.words.count(rows), rows.domain_ids
            for part, own in zip(self.parts, _places(self.form, domain_ids, len(self.parts)), strict=True):
                found[start + own] = part.probabilities(part.features(counts[own], domain_ids[own]))
        return found

    @property
    def parameters(self) -> int:
        """Weights, of all parts."""
        return sum(part.weights for part in self.parts)

    @property
    def megabytes(self) -> float:
        """Weights and frequencies of words as 32-bit numbers, and the words as UTF-8."""
        numbers = self.parameters + sum(len(part.features.columns) for part in self.parts)
        return (4 * numbers + sum(len(word.encode()) + 1 for word in self.words.words)) / 1e6


def fit_linear(train: MultiDomainDataset, dev: MultiDomainDataset | None = None) -> LinearModel:
    """The best of all forms and strengths by the mean accuracy over domains on dev; of equal ones by the log loss.

    Nothing is drawn by chance but the rows of more than 60 million characters of text, with a fixed seed. Where all
    labels are the same, or no text has a word, the model says how frequent labels are.

    Args:
        train: rows to learn from.
        dev: rows to choose by; None: the crossed form with C = 3.

    Raises:
        TrainingError: no rows, or rows without labels.
    """
    import sklearn.feature_extraction.text
    import sklearn.linear_model  # noqa: F401 - its seconds are not those of the fit

    start = time.perf_counter()
    forms = FORMS if dev is not None and len(dev) else (DEFAULT_FORM,)
    _, best = max(_fitted(train, dev, forms), key=lambda each: each[0])
    lean = _without_unused_words(best)
    return replace(lean, seconds=time.perf_counter() - start)


def fit_each_form(train: MultiDomainDataset, dev: MultiDomainDataset) -> dict[Form, LinearModel]:
    """The best of each form. Args, Raises: as :func:`fit_linear`."""
    return {model.form: model for _, model in _fitted(train, dev, FORMS)}


@dataclass(frozen=True)
class _Rows:
    """Rows as counts of words, with their domains and labels."""

    counts: csr_matrix
    domain_ids: Ints
    labels: Ints

    def __getitem__(self, places: Ints) -> _Rows:
        return _Rows(self.counts[places], self.domain_ids[places], self.labels[places])


class _Learner:
    """What learns from some rows: their features, made once for all strengths; ``fallback``: shares without rows."""

    def __init__(self, rows: _Rows, fallback: Floats, *, crossed: bool, most: int) -> None:
        classes = np.bincount(rows.labels, minlength=len(fallback))
        self.features = Features(rows.counts, rows.domain_ids, crossed=crossed, most=most)
        self.shares = classes / classes.sum() if len(rows.labels) else fallback
        self.inputs, self.labels = self.features(rows.counts, rows.domain_ids), rows.labels
        self.learns = np.count_nonzero(classes) > 1 and self.features.number > 0

    def fit(self, strength: float) -> _Part:
        """A regression of this strength."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        if not self.learns:
            return _Part(self.features, self.shares)
        regression = LogisticRegression(C=strength, max_iter=MOST_STEPS)
        # Sums over a vector are short: several threads mostly wait for each other.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit(self.inputs, self.labels)
        return _Part(self.features, self.shares, regression)


def _fitted(
    train: MultiDomainDataset, dev: MultiDomainDataset | None, forms: Sequence[Form]
) -> Iterator[tuple[Merit, LinearModel]]:
    """Each form with the strength that is best on dev, and how good that is."""
    if not len(train):
        raise TrainingError("a linear model: no rows to learn from; expected one at least")
    train = _affordable(train)
    words, counts = WordCounts.fit(train)
    rows, choosing = _Rows(counts, train.domain_ids, train.label_ids), None
    if dev is not None and len(dev):
        dev = _affordable(dev)
        choosing = _Rows(words.count(dev), dev.domain_ids, dev.label_ids)
    shares = np.bincount(rows.labels, minlength=len(train.labels)) / len(train)
    for form in forms:
        number, crossed = len(train.domains) if form == "own" else 1, form == "crossed"
        most = max(2, MOST_WEIGHTS // (number * (1 if len(shares) == 2 else len(shares))))
        places = _places(form, rows.domain_ids, number)
        learners = [_Learner(rows[own], shares, crossed=crossed, most=most) for own in places]
        merit, strength, parts = _best(form, learners, choosing)
        yield merit, LinearModel(form, strength, len(train), words, parts)


def _best(form: Form, learners: Sequence[_Learner], choosing: _Rows | None) -> tuple[Merit, float, tuple[_Part, ...]]:
    """The strength that is best for the rows to choose by, how good that is, and what was learnt."""
    if choosing is None:
        return (0.0, 0.0), DEFAULT_STRENGTH, tuple(each.fit(DEFAULT_STRENGTH) for each in learners)
    places = _places(form, choosing.domain_ids, len(learners))
    owns = [choosing[own] for own in places]
    inputs = [each.features(own.counts, own.domain_ids) for each, own in zip(learners, owns, strict=True)]

    def tried(strength: float) -> tuple[Merit, float, tuple[_Part, ...]]:
        parts = tuple(each.fit(strength) for each in learners)
        said = np.zeros((len(choosing.labels), len(parts[0].shares)))
        for part, own, features in zip(parts, places, inputs, strict=True):
            said[own] = part.probabilities(features)
        return _merit(said, choosing.labels, choosing.domain_ids), strength, parts

    best, since = tried(STRENGTHS[0]), 0
    for strength in STRENGTHS[1:]:
        found = tried(strength)
        best, since = (found, 0) if found[0] > best[0] else (best, since + 1)
        if since == PATIENCE:
            break
    return best


def _places(form: Form, domain_ids: Ints, parts: int) -> list[Ints]:
    """The rows that each part of a model is about."""
    return [np.flatnonzero(domain_ids == d) for d in range(parts)] if form == "own" else [np.arange(len(domain_ids))]


def _merit(said: Floats, labels: Ints, domain_ids: Ints) -> Merit:
    """Accuracy, and -log loss, as means over the domains that have rows."""
    right = said.argmax(axis=1) == labels
    log = np.log(np.maximum(said[np.arange(len(labels)), labels], np.finfo(float).eps))
    domains = [domain_ids == d for d in np.unique(domain_ids)]
    return float(np.mean([right[own].mean() for own in domains])), float(np.mean([log[own].mean() for own in domains]))


def _without_unused_words(model: LinearModel) -> LinearModel:
    """The same, which looks up no word that is not a feature."""
    used = np.unique(np.concatenate([part.features.columns for part in model.parts]))
    parts = tuple(replace(part, features=part.features.among(used)) for part in model.parts)
    return replace(model, words=model.words.only(used), parts=parts)


def _affordable(dataset: MultiDomainDataset) -> MultiDomainDataset:
    """All rows, or as many, drawn with a fixed seed, as have the most characters that are read."""
    table = dataset.rows.with_format("arrow")
    characters = 0
    for chunk in table.select_columns(list(dataset.text_columns)).iter(CHUNK):
        characters += sum(pc.sum(pc.utf8_length(chunk[name])).as_py() or 0 for name in dataset.text_columns)
    if characters <= MOST_CHARACTERS:
        return dataset
    number = max(1, len(dataset) * MOST_CHARACTERS // characters)
    return dataset.select(np.sort(stable_rng(0, "linear").permutation(len(dataset))[:number]))
