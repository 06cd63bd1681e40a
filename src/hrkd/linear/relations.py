"""How domains are related by what sets their classes apart, and a linear check of whether it can pay to relate them.

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

__all__ = ["RelatedRows", "permuted", "right_by_relations", "smoothed_cosines"]

Floats = npt.NDArray[np.float64]
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Inverses of the regularisation to choose from."""
WEIGHTS = ((0.0, 1.0), (0.0, 0.3), (1.0, 1.0))
"""Of what all domains share and of what each has alone, beside the relations, to choose from."""
LEAST_SIGNAL = 0.5
"""Of a squared length, the share that is taken for signal at least: where both halves differ, none is to be seen."""
TRIES = 200


def smoothed_cosines(products: Floats) -> Floats:
    """Cosines between the contrasts of domains, smoothed, (K, D, D): 1 on the diagonal, symmetric, within -1 and 1.

    Contrasts of few texts are mostly noise. So each is known twice, of either half of the texts: the product of both
    halves is a squared length without the noise (which is not taken for more than half of it), and where the cosines of
    both halves differ as much as those of different pairs of domains do, all are drawn to their mean (James and Stein),
    whereby nothing is told apart. A domain that has no contrast is related to the others by the mean.

    Shapes: products of the contrasts of half a and domain d with those of half b and domain e (2, 2, K, D, D).
    """
    inner = products.mean(axis=(0, 1))
    domains, tiny = inner.shape[-1], np.finfo(float).tiny
    smoothed: Floats = np.ones_like(inner)
    if domains < 2:
        return smoothed
    signal, length = (each.diagonal(axis1=-2, axis2=-1) for each in (products[0, 1], inner))
    scale = np.maximum(np.maximum(signal, LEAST_SIGNAL * length), tiny) ** -0.5
    scales = scale[..., :, None] * scale[..., None, :]
    apart = ~np.eye(domains, dtype=bool)
    others = (inner * scales)[:, apart]
    one, two = ((products[half, half] * scales)[:, apart] for half in (0, 1))
    there = length > 0
    known = (there[..., :, None] & there[..., None, :])[:, apart].astype(float)
    number = known.sum(axis=-1, keepdims=True).clip(min=1)
    mean = (others * known).sum(axis=-1, keepdims=True) / number
    noise = (np.square(one - two) * known).sum(axis=-1, keepdims=True) / number / 4
    spread = (np.square(others - mean) * known).sum(axis=-1, keepdims=True) / number
    kept = ((spread - noise) / spread.clip(min=tiny)).clip(0, 1)
    smoothed[:, apart] = (mean + kept * known * (others - mean)).clip(-1, 1)
    return smoothed


def permuted(relations: Floats, seed: int) -> Floats:
    """The same numbers between other domains, (K, D, D), a control: domains change places, none keeps its own.

    Of many random cycles of the domains the one is taken whose numbers agree least with the true ones, summed over
    levels: else a pair of related domains might come to lie on another. With two domains nothing changes, as there is
    one number.
    """
    generator, domains = np.random.default_rng(seed), relations.shape[-1]
    others = relations * ~np.eye(domains, dtype=bool)
    best, order = np.inf, np.arange(domains)
    for _ in range(TRIES):
        cycle = generator.permutation(domains)
        tried = np.empty_like(cycle)
        tried[cycle] = np.roll(cycle, -1)
        agreement = float((others * others[:, tried][:, :, tried]).sum())
        if agreement < best - 1e-9:
            best, order = agreement, tried
    found: Floats = relations[:, order][:, :, order]
    return found


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
        rows, others = counts, words.count(dev)
        if counts.shape[1]:  # else no text has a word, and nothing is alike
            weights = TfidfTransformer(sublinear_tf=True).fit(counts)
            rows, others = weights.transform(counts), weights.transform(others)
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
