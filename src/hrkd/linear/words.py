"""How often words, and pairs of neighbours, stand in texts: the counts that TF-IDF is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hrkd.data.columns import chunks_of
from hrkd.data.types import MultiDomainDataset

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["WordCounts", "frequencies"]

UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Characters of Chinese and Japanese, which are written without blanks: each is a word, and so are pairs of them."""
WORD = f"[{UNSPACED}]|[^\\W{UNSPACED}]{{2,}}|[\u2600-\u27bf\U0001f300-\U0001faff]"
"""Else a word is two letters or digits at least (scikit-learn's rule), or an emoji."""
LONGEST = 2
"""Words of the longest features."""


class WordCounts:
    """The words and pairs of words that stand in some texts; of a pair task, those of each text are kept apart."""

    def __init__(self, vocabularies: Sequence[Any]) -> None:
        self._vectorizers = vocabularies

    @classmethod
    def fit(cls, dataset: MultiDomainDataset) -> tuple[WordCounts, csr_matrix]:
        """The words of a data set, and their counts there, shape (rows, words)."""
        from sklearn.feature_extraction.text import CountVectorizer

        vectorizers, counts = [], []
        for column in dataset.text_columns:
            vectorizer = CountVectorizer(ngram_range=(1, LONGEST), token_pattern=WORD, dtype=np.float64)
            words = vectorizer.build_analyzer()
            if any(words(text) for text in _texts(dataset, column)):  # else there is no vocabulary to fit
                counts.append(vectorizer.fit_transform(_texts(dataset, column)))
                vectorizers.append((column, vectorizer))
        return cls(vectorizers), _beside(counts, len(dataset))

    @property
    def words(self) -> list[str]:
        """What each column counts."""
        return [str(word) for _, vectorizer in self._vectorizers for word in vectorizer.get_feature_names_out()]

    def count(self, dataset: MultiDomainDataset) -> csr_matrix:
        """Counts of the same words in other texts, shape (rows, words)."""
        counts = [vectorizer.transform(_texts(dataset, column)) for column, vectorizer in self._vectorizers]
        return _beside(counts, len(dataset))

    def only(self, columns: npt.NDArray[np.int64]) -> WordCounts:
        """The same with some of its columns, in their order, so that nothing else is looked up."""
        from sklearn.feature_extraction.text import CountVectorizer

        start, kept = 0, []
        for column, vectorizer in self._vectorizers:
            words = vectorizer.get_feature_names_out()
            own = columns[(columns >= start) & (columns < start + len(words))] - start
            start += len(words)
            if len(own):
                fewer = CountVectorizer(**vectorizer.get_params() | {"vocabulary": list(words[own])})
                kept.append((column, fewer))
        return WordCounts(kept)


def frequencies(counts: csr_matrix) -> npt.NDArray[np.int64]:
    """In how many rows each column is not 0, shape (columns,)."""
    return np.bincount(counts.indices, minlength=counts.shape[1])


def _texts(dataset: MultiDomainDataset, column: str) -> Iterator[str]:
    return chain.from_iterable(chunk[column] for chunk in chunks_of(dataset.rows, column))


def _beside(counts: Sequence[csr_matrix], rows: int) -> csr_matrix:
    from scipy.sparse import csr_matrix, hstack

    return hstack(counts, format="csr") if counts else csr_matrix((rows, 0))
