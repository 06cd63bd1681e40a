"""Whether words tell domains apart: a linear model that gives a text its domain, cross-validated."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hrkd.data.splits.draws import some_of_each
from hrkd.data.types import MultiDomainDataset
from hrkd.linear.features import Features
from hrkd.linear.words import WordCounts

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["FEWEST", "MOST_ROWS", "PairOfDomains", "tell_domains_apart"]

MOST_ROWS = 3_000
"""Of all domains together, equally many of each, so that it takes some seconds."""
FEWEST = 60
"""Rows of a domain below which nothing is said of it."""
MOST_FEATURES = 30_000
FOLDS = 3
STRENGTH = 3.0


@dataclass(frozen=True)
class PairOfDomains:
    """How many of ``rows`` texts of two domains are given to their own one of the two."""

    one: str
    other: str
    right: int
    rows: int


def tell_domains_apart(dataset: MultiDomainDataset) -> list[PairOfDomains]:
    """Every pair of domains with rows enough, as far as a model of all these tells the two apart.

    Equally many rows of each are drawn, with a fixed seed; each text is judged by a model that has not seen it.
    """
    domain_ids = dataset.domain_ids
    counts = np.bincount(domain_ids, minlength=len(dataset.domains))
    large = np.flatnonzero(counts >= FEWEST)
    if len(large) < 2:
        return []
    groups = np.where(np.isin(domain_ids, large), domain_ids, -1)
    most = len(large) * min(int(counts[large].min()), MOST_ROWS // len(large))
    drawn = dataset.select(some_of_each(groups, most, name="telling apart"))
    owners = drawn.domain_ids
    _, words = WordCounts.fit(drawn)
    features = Features(words, np.zeros(len(drawn), dtype=np.int64), crossed=False, most=MOST_FEATURES)
    if not features.number:
        return []
    said = _cross_validated(features(words, owners), owners)
    place = {int(d): number for number, d in enumerate(large)}
    found = []
    for one, other in combinations(map(int, large), 2):
        own = np.flatnonzero((owners == one) | (owners == other))
        first = said[own, place[one]] > said[own, place[other]]
        right = int((first == (owners[own] == one)).sum())
        found.append(PairOfDomains(dataset.domains[one], dataset.domains[other], right, len(own)))
    return found


def _cross_validated(inputs: csr_matrix, owners: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Probabilities of the domains (those that there are, in order), each row by a model without it."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=STRENGTH, max_iter=100)
        said: npt.NDArray[np.float64] = cross_val_predict(model, inputs, owners, cv=folds, method="predict_proba")
    return said
