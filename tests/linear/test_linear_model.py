"""The linear model against scikit-learn's own, the choice of its form, and data on which little can be learnt."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from hrkd.data.readers.sources import load_domains
from hrkd.data.splits.split import split_domains
from hrkd.data.synthetic.corpus import synthetic_reviews
from hrkd.data.types import Splits
from hrkd.errors import TrainingError
from hrkd.linear import model as module
from hrkd.linear import sharing
from hrkd.linear.model import FORMS, fit_each_form, fit_linear
from hrkd.linear.sharing import measure_sharing


def table(rows, **roles):
    names = ("text", "label", "domain", *roles)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    return load_domains({name: list(values) for name, values in columns.items()}, **roles)


def accuracy(model, data):
    return (model.predict(data).argmax(axis=1) == data.label_ids).mean()


@pytest.fixture(scope="module")
def splits():
    return split_domains(synthetic_reviews(domains=2, examples=80, seed=2).dataset, seed=0, dev=0.2, test=0.2)


def test_each_form_is_what_scikit_learn_makes_of_the_same_rows(splits):
    fitted = fit_each_form(splits.train, splits.dev)
    assert tuple(fitted) == FORMS

    def expected(rows, strength):
        texts = [part.rows["text"][:] for part in (rows, splits.test)]
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(texts[0])
        inputs = [vectorizer.transform(each) for each in texts]
        regression = LogisticRegression(C=strength, max_iter=1000).fit(inputs[0], rows.label_ids)
        return regression.predict_proba(inputs[1])

    pooled, own = fitted["pooled"], fitted["own"]
    assert pooled.predict(splits.test) == pytest.approx(expected(splits.train, pooled.strength), abs=1e-6)
    of_own = own.predict(splits.test)
    for d, domain in enumerate(splits.domains):
        here = splits.test.domain_ids == d
        alone = expected(splits.train.of_domain(domain), own.strength)
        assert of_own[here] == pytest.approx(alone[here], abs=1e-6), "of its own rows alone, words and weights too"
    assert np.allclose(fitted["crossed"].predict(splits.test).sum(axis=1), 1)


def test_the_best_on_dev_is_taken_whole_and_the_same_every_time(splits):
    best, again = (fit_linear(splits.train, splits.dev) for _ in range(2))
    every = fit_each_form(splits.train, splits.dev)
    assert accuracy(best, splits.dev) == max(accuracy(model, splits.dev) for model in every.values())
    assert best.form == again.form
    assert np.array_equal(best.predict(splits.test), again.predict(splits.test))
    assert np.array_equal(best.predict(splits.test), every[best.form].predict(splits.test)), "without unused words too"
    assert len(best.words.words) <= len(every[best.form].words.words)
    assert best.seconds > 0
    assert best.rows == len(splits.train)


def reversed_between_domains(copies=12):
    """The same words say the opposite in the other domain."""
    rows = []
    for number in range(copies):
        for d, domain in enumerate(("a", "b")):
            for y, label in enumerate(("bad", "good")):
                rows.append((f"{('hot', 'cold')[(d + y) % 2]} filler{number % 3} thing", label, domain))
    return table(rows)


def test_a_form_that_knows_domains_is_chosen_where_words_mean_different_things():
    data = reversed_between_domains()
    best = fit_linear(data, data)
    assert best.form in ("crossed", "own")
    assert accuracy(best, data) == 1
    assert accuracy(fit_each_form(data, data)["pooled"], data) == 0.5


def test_without_dev_rows_the_stated_default_is_fitted():
    data = reversed_between_domains()
    for dev in (None, data.select([])):
        model = fit_linear(data, dev)
        assert (model.form, model.strength) == ("crossed", 3.0)
        assert accuracy(model, data) == 1


def test_a_domain_of_one_class_gets_that_class_and_one_without_rows_what_is_frequent():
    rows = [("fine thing", "good", "a"), ("poor thing", "bad", "a")] * 4 + [("odd thing", "good", "b")] * 4
    data = table([*rows, ("other thing", "bad", "c")])
    own = fit_each_form(data.select(range(12)), data.select(range(12)))["own"]
    said = own.predict(data)
    assert (data.labels, data.domains) == (("bad", "good"), ("a", "b", "c"))
    assert said[8].tolist() == [0, 1]
    assert said[12] == pytest.approx([4 / 12, 8 / 12])
    assert np.allclose(said.sum(axis=1), 1)


def test_one_class_in_all():
    data = table([("fine thing", "good", "a"), ("other thing", "good", "b"), ("poor thing", "bad", "b")])
    good = data.select([0, 1])
    assert fit_linear(good, good).predict(data).tolist() == [[0, 1]] * 3
    assert fit_linear(good).parameters == 0


@pytest.mark.parametrize(
    "texts", [("?!", "...", "!!", "--"), ("很好", "不好", "很差", "好"), ("😀", "😡", "😀😀", "😡😡")]
)
def test_texts_without_words_or_blanks(texts):
    rows = [(text, ("bad", "good")[i % 2], ("a", "b")[i // 2]) for i, text in enumerate(texts)] * 3
    data = table(rows)
    said = fit_linear(data, data).predict(data)
    assert np.allclose(said.sum(axis=1), 1)
    if texts[0] == "😀":
        assert (said.argmax(axis=1) == data.label_ids).all()


def test_pairs_are_told_by_the_text_in_which_a_word_stands():
    rows = [("yes here", "plain word", "one", "a"), ("plain word", "yes here", "two", "a")] * 5
    rows = [(text, label, domain, pair) for text, pair, label, domain in rows]
    data = table(rows, text_pair="text_pair")
    assert accuracy(fit_linear(data, data), data) == 1


def test_several_classes_and_what_a_model_weighs():
    words = {"red": "r", "green": "g", "blue": "b"}
    data = table([(f"{word} thing", label, domain) for word, label in words.items() for domain in ("a", "b")] * 3)
    model = fit_each_form(data, data)["pooled"]
    assert accuracy(model, data) == 1
    features = len({"red", "green", "blue", "thing", "red thing", "green thing", "blue thing"})
    assert model.parameters == 3 * (features + 1)
    letters = sum(len(word) + 1 for word in model.words.words)
    assert model.megabytes == pytest.approx((4 * (model.parameters + features) + letters) / 1e6)


def test_features_and_text_have_an_end(splits, monkeypatch):
    monkeypatch.setattr(module, "MOST_WEIGHTS", 50)
    for model in fit_each_form(splits.train, splits.dev).values():
        assert sum(part.features.number for part in model.parts) <= 50
        assert model.parameters <= 50 + len(model.parts), "and the intercepts"
    characters = sum(map(len, splits.train.rows["text"][:]))
    monkeypatch.setattr(module, "MOST_CHARACTERS", characters // 2)
    rows = fit_linear(splits.train, splits.dev).rows
    assert 0.4 * len(splits.train) < rows <= len(splits.train) // 2
    assert fit_linear(splits.train, splits.dev).rows == rows


def test_no_rows_are_an_error(splits):
    with pytest.raises(TrainingError, match="no rows to learn from"):
        fit_linear(splits.train.select([]), splits.dev)


def test_sharing_looks_at_as_many_rows_of_each_domain(splits, monkeypatch):
    whole = measure_sharing(splits)
    assert not whole.is_part
    assert set(whole.right) == set(whole.strengths) == set(FORMS)
    assert all(right.shape == (len(splits.dev),) for right in whole.right.values())
    monkeypatch.setattr(sharing, "MOST_ROWS", {"train": 60, "dev": 30})
    part = measure_sharing(splits)
    assert part.is_part
    assert set(part.train.rows_by_domain().values()) == {30}
    assert set(part.dev.rows_by_domain().values()) == {15}


def test_what_domains_give_each_other_is_seen():
    """Words that mean the same everywhere, and too few rows of each domain to know them all."""
    random = np.random.default_rng(0)
    words = [f"word{i}" for i in range(40)]
    some = [(d, w) for d in "abcd" for w in random.permutation(words)[:20]]
    rows = [(f"{w} {d}thing", ("bad", "good")[words.index(w) % 2], d) for d, w in some]
    data = table([*rows, *((f"{w} xthing", ("bad", "good")[i % 2], d) for d in "abcd" for i, w in enumerate(words))])
    splits = Splits(data.select(range(80)), data.select(range(80, 240)), data.select(range(80, 240)))
    right = {form: each.mean() for form, each in measure_sharing(splits).right.items()}
    assert right["pooled"] > right["own"] + 0.15
    assert right["crossed"] > right["own"] + 0.15
