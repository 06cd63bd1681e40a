"""Can it pay to relate domains? A linear check, on the rows of :mod:`hrkd.linear.sharing`.

One ridge regression on TF-IDF for all domains, by a kernel: the product of two texts counts by how their domains are
related. With equal relations these are shared and own features; with those of what sets the classes apart, what is said
in related domains counts more. Against the same numbers between other domains it is told whether they say anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hrkd.data.splits.draws import by_turns
from hrkd.data.types import MultiDomainDataset
from hrkd.linear.sharing import mean_over_domains
from hrkd.linear.words import WordCounts

__all__ = ["RelatedRows", "right_by_relations"]

Floats = npt.NDArray[np.float64]
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Inverses of the regularisation to choose from."""
WEIGHTS = ((0.0, 1.0), (0.0, 0.3), (1.0, 1.0))
"""Of what all domains share and of what each has alone, beside the relations, to choose from."""


@dataclass(frozen=True)
class RelatedRows:
    """Rows as TF-IDF, seen only through their products.

    ``within`` (train, train) and ``across`` (dev, train) are products of rows. ``products`` (2, 2, D, D): of what sets
    the classes of a domain apart (:func:`hrkd.method.contrasts.class_contrasts`) in either half of the training rows.
    """

    products: Floats
    within: Floats
    across: Floats
    train: MultiDomainDataset
    dev: MultiDomainDataset

    @classmethod
    def of(cls, train: MultiDomainDataset, dev: MultiDomainDataset) -> RelatedRows:
        """Those of a data set; the words are those of ``train``."""
        from sklearn.feature_extraction.text import TfidfTransformer

        words, counts = WordCounts.fit(train)
        weights = TfidfTransformer(sublinear_tf=True)
        rows = weights.fit_transform(counts)
        others = weights.transform(words.count(dev))
        within = (rows @ rows.T).toarray()
        return cls(_products(train, within), within, (others @ rows.T).toarray(), train, dev)


def right_by_relations(rows: RelatedRows, relations: Mapping[str, Floats]) -> dict[str, npt.NDArray[np.bool_]]:
    """Which dev rows are right with each of the named ``relations``, (D, D) each, (rows,).

    How much is shared beside and kept apart, and how strongly weights are held back, is chosen on dev, for all alike.
    """
    return {name: _right(rows, matrix) for name, matrix in relations.items()}


def _products(train: MultiDomainDataset, within: Floats) -> Floats:
    domains, labels = len(train.domains), len(train.labels)
    cells = train.domain_ids * labels + train.label_ids
    member = np.zeros((2, domains, labels, len(train)))
    member[by_turns(cells), train.domain_ids, train.label_ids, np.arange(len(train))] = 1
    counts = member.sum(axis=-1, keepdims=True)
    means = member / counts.clip(min=1)
    middle = means.sum(axis=2, keepdims=True) / (counts > 0).sum(axis=2, keepdims=True).clip(min=1)
    contrasts = np.where(counts > 0, means - middle, 0)
    found: Floats = np.einsum("adcn,becn->abde", contrasts @ within, contrasts, optimize=True)
    return found


def _right(rows: RelatedRows, relations: Floats) -> npt.NDArray[np.bool_]:
    from sklearn.kernel_ridge import KernelRidge

    train, dev = rows.train, rows.dev
    wanted = np.eye(len(train.labels))
    related, own = _positive(relations), np.eye(len(relations))
    best, right = (-1.0, 0.0), np.zeros(len(dev), dtype=bool)
    for together, apart in WEIGHTS:
        weight = together + related + apart * own
        within = rows.within * weight[np.ix_(train.domain_ids, train.domain_ids)]
        across = rows.across * weight[np.ix_(dev.domain_ids, train.domain_ids)]
        for strength in STRENGTHS:
            ridge = KernelRidge(alpha=1 / strength, kernel="precomputed").fit(within, wanted[train.label_ids])
            said = ridge.predict(across)
            found = said.argmax(axis=1) == dev.label_ids
            error = float(np.square(said - wanted[dev.label_ids]).mean())
            if (merit := (mean_over_domains(found, dev.domain_ids), -error)) > best:
                best, right = merit, found
    return right


def _positive(relations: Floats) -> Floats:
    """The nearest matrix that is one of products, with ones on its diagonal."""
    values, vectors = np.linalg.eigh(relations)
    nearest: Floats = (vectors * values.clip(min=0)) @ vectors.T
    scale = np.sqrt(np.diagonal(nearest))
    return nearest / scale / scale[:, None]
