"""From counts of words to TF-IDF, with a copy of each feature for every domain where that is asked for."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hrkd.linear.words import frequencies

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Features"]

Ints = npt.NDArray[np.int64]


class Features:
    """The features that some rows have: sublinear TF-IDF, each row of length 1.

    Crossed features (Daumé, "Frustratingly easy domain adaptation", 2007) are these and, beside them, the same once
    more for every domain, 0 in rows of other domains.

    Args:
        counts: of words, shape (rows, words).
        domain_ids: of the rows.
        crossed: whether to have features of each domain.
        most: how many features there may be; the most frequent stay.
    """

    def __init__(self, counts: csr_matrix, domain_ids: Ints, *, crossed: bool, most: int) -> None:
        from sklearn.feature_extraction.text import TfidfTransformer

        self.columns = _worth(counts, most // 2 if crossed else most)
        self._places = self.columns
        self._weights: Any = TfidfTransformer(sublinear_tf=True)
        self._own: Ints | None = None
        if len(self.columns):
            weighted = self._weights.fit_transform(counts[:, self.columns])
            self._own = _worth(_of_domains(weighted, domain_ids), most - len(self.columns)) if crossed else None
        self.number = len(self.columns) + (0 if self._own is None else len(self._own))

    def __call__(self, counts: csr_matrix, domain_ids: Ints) -> csr_matrix:
        """Those of rows, shape (rows, number)."""
        from scipy.sparse import csr_matrix, hstack

        if not counts.shape[0] or not len(self.columns):
            return csr_matrix((counts.shape[0], self.number))
        weighted = self._weights.transform(counts[:, self._places])
        if self._own is None:
            return weighted
        return hstack([weighted, _of_domains(weighted, domain_ids, self._own)], format="csr")

    def among(self, words: Ints) -> Features:
        """The same for counts of some ``words`` alone (columns of the former counts, sorted)."""
        other = copy(self)
        other._places = np.searchsorted(words, self.columns)
        return other


def _worth(counts: csr_matrix, most: int) -> Ints:
    """Columns that are features, in their order: those in most rows, if there are too many."""
    in_rows = frequencies(counts)
    kept = np.flatnonzero(in_rows)
    if len(kept) > most:
        kept = np.sort(kept[np.argsort(-in_rows[kept], kind="stable")[:most]])
    return kept


def _of_domains(weighted: csr_matrix, domain_ids: Ints, kept: Ints | None = None) -> csr_matrix:
    """Each row's features at the place of its domain, shape (rows, domains * features), or those columns ``kept``."""
    from scipy.sparse import csr_matrix

    rows, width = weighted.shape
    domains = int(domain_ids.max(initial=0)) + 1
    places = weighted.indices.astype(np.int64) + np.repeat(domain_ids * width, np.diff(weighted.indptr))
    if kept is None:
        return csr_matrix((weighted.data, places, weighted.indptr), shape=(rows, domains * width))
    found = np.searchsorted(kept, places).clip(max=max(len(kept) - 1, 0))
    there = kept[found] == places if len(kept) else np.zeros(len(places), dtype=bool)
    ends = np.concatenate([[0], np.cumsum(there)])[weighted.indptr]
    return csr_matrix((weighted.data[there], found[there], ends), shape=(rows, len(kept)))
