"""Which words are counted, and how counts become features."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from hrkd.data.readers.sources import load_domains
from hrkd.linear.features import Features
from hrkd.linear.words import WordCounts


def rows_of(*texts, **more):
    columns = {"text": list(texts), "domain": ["a"] * len(texts), **more}
    return load_domains(columns, label=None, **{name: name for name in more})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good, very good!", ["good", "good very", "very", "very good"]),
        ("a I x", []),
        ("很好吃", ["很", "好", "吃", "很 好", "好 吃"]),
        ("iPhone很好", ["iphone", "很", "好", "iphone 很", "很 好"]),
        ("좋은 책", ["좋은"]),
        ("so good 😀😀", ["so", "good", "😀", "so good", "good 😀", "😀 😀"]),
        ("?! -- ...", []),
    ],
)
def test_words_and_pairs_of_words(text, expected):
    words, counts = WordCounts.fit(rows_of(text))
    assert sorted(words.words) == sorted(expected)
    assert counts.shape == (1, len(expected))


def test_both_texts_of_a_pair_are_kept_apart():
    data = rows_of("good book", "bad book", text_pair=["good", "fine book"])
    words, counts = WordCounts.fit(data)
    assert sorted(words.words) == sorted(
        ["good", "book", "good book", "bad", "bad book", "good", "fine", "book", "fine book"]
    )
    assert counts.sum(axis=1).A1.tolist() == [4, 6]


def test_counts_of_some_words_are_those_columns():
    data = rows_of("good book", "bad book", text_pair=["good", "fine book"])
    words, counts = WordCounts.fit(data)
    chosen = np.array([1, 4, 6, 8])
    fewer = words.only(chosen)
    assert fewer.words == [words.words[i] for i in chosen]
    assert np.array_equal(fewer.count(data).toarray(), counts[:, chosen].toarray())
    assert words.only(np.array([], dtype=int)).count(data).shape == (2, 0)


COUNTS = csr_matrix(np.array([[1.0, 0, 2, 0], [0, 3, 1, 0], [1, 1, 0, 0], [0, 0, 1, 0]]))
DOMAINS = np.array([0, 1, 1, 0])


def tf_idf(counts):
    """Slowly: (1 + log count) * (1 + log((1 + N) / (1 + rows))), rows of length 1."""
    dense = counts.toarray()
    idf = 1 + np.log((1 + len(dense)) / (1 + (dense > 0).sum(axis=0)))
    weighted = np.where(dense > 0, 1 + np.log(np.where(dense > 0, dense, 1)), 0) * idf
    return weighted / np.linalg.norm(weighted, axis=1, keepdims=True)


def test_features_are_sublinear_tf_idf_of_words_that_occur():
    features = Features(COUNTS, DOMAINS, crossed=False, most=100)
    assert features.columns.tolist() == [0, 1, 2]
    assert features(COUNTS, DOMAINS).toarray() == pytest.approx(tf_idf(COUNTS[:, :3]))


def test_crossed_features_stand_once_for_all_and_once_for_each_domain():
    features = Features(COUNTS, DOMAINS, crossed=True, most=100)
    shared = tf_idf(COUNTS[:, :3])
    own = [np.where((d == DOMAINS)[:, None], shared, 0) for d in (0, 1)]
    everything = np.concatenate([shared, *own], axis=1)
    expected = everything[:, (everything != 0).any(axis=0)]
    assert features(COUNTS, DOMAINS).toarray() == pytest.approx(expected)
    elsewhere = features(COUNTS[:1], np.array([1])).toarray()[0]
    assert elsewhere == pytest.approx([*shared[0], 0, 0, shared[0][0], 0, shared[0][2]])


def test_of_too_many_features_the_most_frequent_stay():
    features = Features(COUNTS, DOMAINS, crossed=False, most=1)
    assert features.columns.tolist() == [2]
    assert Features(COUNTS, DOMAINS, crossed=True, most=4).number <= 4


def test_rows_without_words_and_no_rows_have_features_too():
    features = Features(COUNTS, DOMAINS, crossed=True, most=100)
    empty = features(csr_matrix((2, 4)), np.array([0, 1]))
    assert empty.shape == (2, features.number)
    assert empty.nnz == 0
    assert features(csr_matrix((0, 4)), np.array([], dtype=int)).shape == (0, features.number)
