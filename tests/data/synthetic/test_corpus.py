import hashlib
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from hrkd.data.synthetic.corpus import synthetic_reviews, vocabulary
from hrkd.data.synthetic.lexicon import (
    AMBIGUOUS,
    DOMAINS,
    INTENSIFIERS,
    NEGATIVE,
    NEGATIVE_VERBS,
    NEGATORS,
    PATTERNS,
    PERSONS,
    POSITIVE,
    POSITIVE_VERBS,
    TIMES,
)
from hrkd.errors import RecipeError

NEGATOR = re.compile(rf"\b({'|'.join(NEGATORS)})\b")


def tokens(text):
    return re.findall(r"\w+|[^\w\s]", text)


@pytest.fixture(scope="module")
def corpus():
    return synthetic_reviews(examples=900, seed=11)


@pytest.fixture(scope="module")
def all_domains():
    return synthetic_reviews(domains=8, examples=300, label_noise=0.0, seed=2)


def polarity_of_words(corpus, domain):
    """Every opinion word of a domain and its sign."""
    words = DOMAINS[domain]
    signs = dict.fromkeys((*POSITIVE, *POSITIVE_VERBS, *words.positive), 1)
    signs |= dict.fromkeys((*NEGATIVE, *NEGATIVE_VERBS, *words.negative), -1)
    return signs | dict(zip(AMBIGUOUS, corpus.polarities[domain].tolist(), strict=True))


def counted_clauses(text):
    """The clauses of a review that count, by reading it."""
    for sentence in text.removesuffix(".").split(". "):
        if re.search(r", (but|yet) ", sentence):
            yield re.split(r", (?:but|yet) ", sentence)[1]
        elif re.match(r"(although|even though) ", sentence):
            yield sentence.split(", ")[1]
        else:
            yield from re.split(r" and (?:also )?", sentence)


def read_score(text, signs):
    score = 0
    for clause in counted_clauses(text):
        found = [word for word in tokens(clause) if word in signs]
        assert len(found) <= 1, clause
        if found:
            stress = 2 if set(tokens(clause)) & set(INTENSIFIERS) else 1
            score += signs[found[0]] * stress * (-1 if NEGATOR.search(clause) else 1)
    return score


def fingerprint(corpus):
    rows = corpus.dataset.rows.to_dict()
    content = repr((rows, corpus.polarities.tolist(), corpus.clean_labels.tolist(), corpus.groups))
    return hashlib.sha256(content.encode()).hexdigest()


def test_shape_of_the_corpus(corpus):
    rows = corpus.dataset.rows

    assert corpus.dataset.labels == ("negative", "positive")
    assert corpus.dataset.domains == ("books", "films", "kitchen", "tools")
    assert corpus.groups == (("books", "films"), ("kitchen", "tools"))
    assert set(corpus.dataset.count().values()) == {450}
    assert rows["id"][12] == "synthetic/books#12"
    assert len(set(rows["id"])) == len(rows) == 3600
    assert corpus.clean_labels.shape == (3600,)


def test_texts_are_different_lower_case_and_complete(corpus):
    texts = corpus.dataset.rows["text"][:]

    assert len(set(texts)) == len(texts)
    assert all(re.fullmatch(r"([a-z]+,? )*[a-z]+\.( ([a-z]+,? )*[a-z]+\.)*", text) for text in texts)
    assert {text.count(".") for text in texts} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(("count", "sizes"), [(2, [2]), (3, [2, 1]), (8, [2, 2, 2, 2])])
def test_groups(count, sizes):
    corpus = synthetic_reviews(domains=count, examples=4)

    assert [len(group) for group in corpus.groups] == sizes
    assert sum(corpus.groups, ()) == corpus.dataset.domains
    assert corpus.relatedness.shape == (count, count)


def test_label_is_the_sign_of_the_clauses(all_domains):
    rows = all_domains.dataset.rows
    signs = [polarity_of_words(all_domains, domain) for domain in range(8)]
    scores = [read_score(text, signs[d]) for text, d in zip(rows["text"][:], rows["domain"][:], strict=True)]

    assert [int(score > 0) for score in scores] == rows["label"][:]
    assert 0 not in scores
    assert np.array_equal(all_domains.clean_labels, all_domains.dataset.label_ids)


def test_label_noise_flips_a_share_of_every_domain_and_label():
    corpus = synthetic_reviews(examples=200, label_noise=0.1)
    flipped = corpus.clean_labels != corpus.dataset.label_ids
    cells = Counter(zip(corpus.dataset.domain_ids[flipped], corpus.clean_labels[flipped], strict=True))

    assert set(cells.values()) == {10}
    assert len(cells) == 8


def test_noise_changes_labels_only():
    noisy, clean = synthetic_reviews(examples=60, label_noise=0.2), synthetic_reviews(examples=60, label_noise=0.0)

    assert noisy.dataset.rows["text"][:] == clean.dataset.rows["text"][:]
    assert np.array_equal(noisy.clean_labels, clean.clean_labels)
    assert (noisy.dataset.label_ids != clean.dataset.label_ids).sum() == 48


# Relatedness


def within_groups(corpus):
    return [corpus.relatedness[n, n + 1] for n in range(0, len(corpus.relatedness), 2)]


def test_relatedness_counts_words_with_the_same_polarity(corpus):
    signs = [polarity_of_words(corpus, domain) for domain in range(4)]
    expected = [[np.mean([one[word] == other[word] for word in AMBIGUOUS]) for other in signs] for one in signs]

    np.testing.assert_allclose(corpus.relatedness, expected)


def test_relatedness_one_and_zero():
    one = synthetic_reviews(domains=8, examples=2, relatedness=1.0)
    zero = synthetic_reviews(domains=8, examples=2, relatedness=0.0)

    assert within_groups(one) == [1, 1, 1, 1]
    assert within_groups(zero) == [0.5, 0.5, 0.5, 0.5]


def test_relatedness_is_monotone():
    steps = [synthetic_reviews(domains=8, examples=2, relatedness=r, seed=5) for r in np.linspace(0, 1, 9)]
    shares = np.array([within_groups(corpus) for corpus in steps])

    assert (np.diff(shares, axis=0) >= 0).all()
    assert (shares[-1] > shares[4]).all()
    assert (shares[4] > shares[0]).all()


def test_groups_are_opposed_or_independent():
    relatedness = synthetic_reviews(domains=8, examples=2, relatedness=1.0).relatedness[::2, ::2]

    np.testing.assert_array_equal(relatedness, [[1, 0, 0.5, 0.5], [0, 1, 0.5, 0.5], [0.5, 0.5, 1, 0], [0.5, 0.5, 0, 1]])


def test_polarities_are_balanced(corpus):
    assert corpus.polarities.shape == (4, len(AMBIGUOUS))
    assert corpus.polarities[0].sum() == corpus.polarities[2].sum() == 0
    assert set(np.unique(corpus.polarities)) == {-1, 1}


# The same everywhere


def test_seed_decides():
    first, again, other = (synthetic_reviews(examples=50, seed=seed) for seed in (7, 7, 8))

    assert fingerprint(first) == fingerprint(again)
    assert set(first.dataset.rows["text"]) != set(other.dataset.rows["text"])
    assert not np.array_equal(first.polarities, other.polarities)


def test_more_domains_leave_the_first_ones_as_they_are():
    few, many = synthetic_reviews(domains=2, examples=50), synthetic_reviews(domains=6, examples=50)

    assert many.dataset.rows["text"][:100] == few.dataset.rows["text"][:]
    assert many.dataset.rows["label"][:100] == few.dataset.rows["label"][:]


def test_hash_seed_does_not_matter():
    code = """
from hrkd.data.synthetic.corpus import synthetic_reviews
corpus = synthetic_reviews(examples=50, seed=7)
print(corpus.dataset.rows["text"][:], corpus.dataset.rows["label"][:], corpus.polarities.tolist())
"""
    environment = {**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    here = synthetic_reviews(examples=50, seed=7)

    assert run.stdout.strip() == (
        f"{here.dataset.rows['text'][:]} {here.dataset.rows['label'][:]} {here.polarities.tolist()}"
    )


# Words


def test_vocabulary_is_what_reviews_are_made_of(all_domains):
    words = vocabulary()
    used = {word for text in all_domains.dataset.rows["text"] for word in tokens(text)}

    assert words == sorted(set(words))
    assert 600 <= len(words) <= 1200
    assert used <= set(words)
    assert len(used) > 0.98 * len(words)


def test_opinion_words_have_one_role():
    neutral = [*PERSONS, *TIMES, *INTENSIFIERS, *NEGATORS]
    neutral += [pattern for patterns in vars(PATTERNS).values() for pattern in patterns]
    shared = [*POSITIVE, *NEGATIVE, *POSITIVE_VERBS, *NEGATIVE_VERBS, *AMBIGUOUS]
    assert len(AMBIGUOUS) >= 24
    for words in DOMAINS:
        opinions = [*shared, *words.positive, *words.negative]
        said = [*neutral, words.item, words.deed, *words.aspects, *words.asides]
        assert len(set(opinions)) == len(opinions)
        assert not set(opinions) & {word for text in said for word in re.findall("[a-z]+", re.sub(r"{\w+}", " ", text))}


def test_domains_of_a_group_share_aspects_and_others_do_not():
    aspects = [set(words.aspects) for words in DOMAINS]

    assert all(len(aspects[n] & aspects[n + 1]) >= 8 for n in range(0, 8, 2))
    assert not any(aspects[n] & aspects[m] for n in range(8) for m in range(8) if n // 2 != m // 2)


# Difficulty


def accuracies(corpus, analyzer, pooled=False):
    """Test accuracy per domain of logistic regression, trained on 600 reviews a domain, alone or all together."""
    texts = corpus.dataset.rows["text"][:]
    counts = CountVectorizer(analyzer=analyzer).fit_transform(texts)
    labels, domains = corpus.dataset.label_ids, corpus.dataset.domain_ids
    train = np.arange(len(texts)) % 900 < 600
    found = []
    for d in range(len(corpus.dataset.domains)):
        rows = train if pooled else train & (domains == d)
        model = LogisticRegression(C=0.3, max_iter=300).fit(counts[rows], labels[rows])
        test = ~train & (domains == d)
        found.append(model.score(counts[test], labels[test]))
    return np.array(found)


def structured(text):
    """Words of the clauses that count, marked where the clause is negated."""
    for clause in counted_clauses(text):
        mark = "not_" if NEGATOR.search(clause) else ""
        yield from (mark + word for word in tokens(clause))


def test_word_counts_of_one_domain_are_a_fair_start(corpus):
    assert 0.75 <= accuracies(corpus, tokens).mean() <= 0.88


def test_one_set_of_word_weights_for_all_domains_is_worse(corpus):
    assert accuracies(corpus, tokens, pooled=True).mean() < accuracies(corpus, tokens).mean() - 0.04


def test_negation_and_contrast_carry_information(corpus):
    assert accuracies(corpus, lambda text: list(structured(text))).mean() > accuracies(corpus, tokens).mean() + 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"domains": 1}, "domains: expected 2 to 8, found 1"),
        ({"domains": 9}, "found 9"),
        ({"examples": 0}, "examples: expected at least 1"),
        ({"relatedness": 1.1}, "relatedness: expected 0 to 1, found 1.1"),
        ({"label_noise": 0.5}, "label_noise: .* less than 0.5"),
        ({"domains": 1, "relatedness": -1.0}, "domains: .*; relatedness: "),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(RecipeError, match=message):
        synthetic_reviews(**arguments)
