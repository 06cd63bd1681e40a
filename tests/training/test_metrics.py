"""Scores: equality with scikit-learn and intervals that cover what they should."""

import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from hrkd.errors import DataError
from hrkd.training.metrics import score

DOMAINS = ("books", "dvd", "music")


def draw(rows=300, classes=4, accuracy=0.7, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    wrong = rng.random(rows) > accuracy
    predictions = np.where(wrong, rng.integers(classes, size=rows), labels)
    return predictions, labels, rng.integers(len(DOMAINS), size=rows)


def scored(predictions, labels, domain_ids, **options):
    return score(predictions, labels, domain_ids, domains=DOMAINS, num_labels=4, **{"bootstrap": 0} | options)


def sklearn_f1(labels, predictions):
    return f1_score(labels, predictions, average="macro", zero_division=0)


def slow_f1(labels, predictions):
    f1s = []
    for c in set(labels) | set(predictions):
        hits = np.sum((labels == c) & (predictions == c))
        f1s.append(2 * hits / (np.sum(labels == c) + np.sum(predictions == c)))
    return np.mean(f1s)


def test_points_are_those_of_scikit_learn():
    predictions, labels, domain_ids = draw()
    teacher = draw(seed=1)[0]
    scores = scored(predictions, labels, domain_ids, teacher_predictions=teacher)
    for d, name in enumerate(DOMAINS):
        mine, own = domain_ids == d, scores.domains[name]
        assert own.examples == mine.sum()
        assert own.accuracy == pytest.approx(accuracy_score(labels[mine], predictions[mine]))
        assert own.values["macro_f1"] == pytest.approx(sklearn_f1(labels[mine], predictions[mine]))
        assert own.values["agreement"] == pytest.approx(np.mean(predictions[mine] == teacher[mine]))
    assert scores.mean.examples == 300
    for metric in ("accuracy", "macro_f1", "agreement"):
        expected = np.mean([own.values[metric] for own in scores.domains.values()])
        assert scores.mean.values[metric] == pytest.approx(expected)


def test_probabilities_give_the_figures_of_their_likeliest_labels_and_the_log_loss_of_scikit_learn():
    _, labels, domain_ids = draw()
    rng = np.random.default_rng(2)
    said, teacher = rng.dirichlet(np.ones(4), size=(2, 300)).astype(np.float32)
    scores = scored(said, labels, domain_ids, teacher_predictions=teacher, bootstrap=20)
    plain = scored(said.argmax(1), labels, domain_ids, teacher_predictions=teacher.argmax(1), bootstrap=20)
    for name, own in {**scores.domains, "mean": scores.mean}.items():
        beside = plain.mean if name == "mean" else plain.domains[name]
        assert own.values == {**beside.values, "log_loss": own.values["log_loss"]}
        assert own.intervals == beside.intervals
        assert own.worst_class == beside.worst_class
    losses = [log_loss(labels[domain_ids == d], said[domain_ids == d], labels=range(4)) for d in range(3)]
    assert [own.values["log_loss"] for own in scores.domains.values()] == pytest.approx(losses)
    assert scores.mean.values["log_loss"] == pytest.approx(np.mean(losses))


def test_the_log_loss_of_what_was_held_impossible_is_finite():
    own = score([[1.0, 0.0]], [1], [0], domains=["a"], num_labels=2, bootstrap=0).mean
    assert own.values["log_loss"] == pytest.approx(log_loss([1], [[1.0, 0.0]], labels=[0, 1]))


def test_macro_f1_is_over_the_classes_that_occur_in_the_domain():
    labels, predictions = [0, 0, 2, 2, 1, 1], [0, 3, 2, 2, 1, 1]
    own = scored(predictions, labels, [0, 0, 0, 0, 1, 2]).domains
    assert own["books"].values["macro_f1"] == pytest.approx(sklearn_f1(labels[:4], predictions[:4]))
    assert own["books"].values["macro_f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert own["dvd"].values["macro_f1"] == 1.0


def test_intervals_are_those_of_resampled_items():
    predictions, labels, domain_ids = draw(rows=240)
    scores = scored(predictions, labels, domain_ids, bootstrap=4000, confidence=0.9)
    rng = np.random.default_rng(5)
    accuracies, f1s = [], []
    for _ in range(600):
        parts = [rng.choice(np.flatnonzero(domain_ids == d), size=(domain_ids == d).sum()) for d in range(3)]
        accuracies.append(np.mean([np.mean(predictions[p] == labels[p]) for p in parts]))
        f1s.append(np.mean([slow_f1(labels[p], predictions[p]) for p in parts]))
    assert scores.mean.intervals["accuracy"] == pytest.approx(np.quantile(accuracies, [0.05, 0.95]), abs=0.01)
    assert scores.mean.intervals["macro_f1"] == pytest.approx(np.quantile(f1s, [0.05, 0.95]), abs=0.012)
    assert scores.confidence == 0.9


@pytest.mark.parametrize("classes", [1, 2, 4])
@pytest.mark.parametrize("rows", [1, 2, 10, 400])
def test_intervals_have_width_where_all_is_right(classes, rows):
    labels = np.arange(rows) % classes
    scores = scored(labels, labels, np.arange(rows) % 3 % rows, teacher_predictions=labels, bootstrap=400)
    for own in (*scores.domains.values(), scores.mean):
        for name in ("accuracy", "macro_f1", "agreement"):
            low, high = own.intervals[name]
            assert 0 < low < 1 - 1e-4
            assert high == own.values[name] == 1.0
    lowest = min(own.intervals["accuracy"][0] for own in scores.domains.values())
    assert scores.mean.intervals["accuracy"][0] >= lowest - 1e-9


def test_ten_right_rows_of_ten_do_not_promise_a_hundred_per_cent():
    own = score([0, 1] * 5, [0, 1] * 5, [0] * 10, domains=["a"], num_labels=2).domains["a"]
    assert own.intervals["accuracy"] == pytest.approx((0.7225, 1.0), abs=1e-4), "Wilson's"
    # With two classes the prior makes Jeffreys' interval of the accuracy: Beta(10.5, 0.5) has its 2.5 % at 0.783.
    assert own.intervals["macro_f1"][0] == pytest.approx(0.77, abs=0.03)


def test_macro_f1_intervals_cover_as_often_as_they_say():
    confusion = np.array([[0.55, 0.05, 0.0], [0.05, 0.2, 0.02], [0.03, 0.0, 0.1]])
    true = np.mean(2 * np.diag(confusion) / (confusion.sum(0) + confusion.sum(1)))
    cells, rng, held = np.argwhere(confusion >= 0), np.random.default_rng(3), 0
    for _ in range(300):
        labels, said = cells[rng.choice(9, p=confusion.ravel(), size=80)].T
        low, high = score(said, labels, [0] * 80, domains=["a"], num_labels=3, bootstrap=300).mean.intervals["macro_f1"]
        held += low <= true <= high
    assert 0.9 < held / 300 < 0.985


def test_some_labels_and_domains_are_enough():
    scores = scored([3, 3, 1], [3, 3, 3], [2, 2, 2], teacher_predictions=[3, 1, 1], bootstrap=20)
    assert list(scores.domains) == ["music"]
    assert scores.mean.values == scores.domains["music"].values
    assert scores.mean.values["accuracy"] == pytest.approx(2 / 3)
    assert scores.mean.values["macro_f1"] == pytest.approx((0.8 + 0) / 2), "of the classes that occur"
    assert (scores.worst.domain, scores.mean.examples) == ("music", 3)
    two = scored([0, 1, 1], [0, 1, 0], [0, 2, 2])
    assert list(two.domains) == ["books", "music"]
    assert two.mean.values["accuracy"] == pytest.approx(0.75), "of the domains that have rows"
    assert "NaN" not in json.dumps(scores.to_dict())


def test_the_worst_class_is_that_of_the_lowest_recall_with_its_rows():
    names = ["billing", "refund", "delivery", "other"]
    labels, said = [0, 0, 0, 1, 1, 2, 0, 1], [0, 0, 1, 1, 0, 2, 0, 0]
    scores = scored(said, labels, [0] * 6 + [1] * 2, label_names=names)
    worst = {name: vars(own.worst_class) for name, own in scores.domains.items()}
    assert worst["books"] == {"label": "refund", "recall": 0.5, "examples": 2}
    assert worst["dvd"] == {"label": "refund", "recall": 0.0, "examples": 1}
    assert vars(scores.mean.worst_class) == {"label": "refund", "recall": pytest.approx(1 / 3), "examples": 3}
    assert scored([2, 3], [0, 1], [0, 0]).mean.worst_class.label == "0", "without names its number; of equals the first"
    assert scored([2, 3, 3], [0, 1, 1], [0, 0, 0]).mean.worst_class.label == "1", "of equals that with the most rows"


def test_intervals_hold_the_point_shrink_with_rows_and_repeat_with_the_seed():
    few = scored(*draw(rows=100), bootstrap=500)
    many = scored(*draw(rows=10_000), bootstrap=500)
    for scores in (few, many):
        low, high = scores.mean.intervals["accuracy"]
        assert low < scores.mean.accuracy < high
    width = lambda s: s.mean.intervals["accuracy"][1] - s.mean.intervals["accuracy"][0]  # noqa: E731
    assert width(many) < width(few) / 5
    assert scored(*draw(rows=100), bootstrap=500) == few
    assert scored(*draw(rows=100), bootstrap=500, seed=1) != few


def test_without_bootstrap_and_teacher_nothing_is_invented():
    scores = scored(*draw())
    assert scores.mean.intervals == {}
    assert scores.mean.values.keys() == {"accuracy", "macro_f1"}
    assert scores.confidence is None
    content = scores.mean.to_dict()
    told = [name for name, value in content.items() if value is not None]
    assert told == ["examples", "accuracy", "macro_f1", "worst_class"]
    assert "agreement" not in scored(*draw(), bootstrap=10).mean.intervals


def test_worst_domain_is_the_first_of_equal_ones():
    scores = scored([0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [2, 2, 1, 1, 0, 0])
    assert (scores.worst.domain, scores.worst.accuracy) == ("dvd", 0.0)
    tied = scored([1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0], [2, 2, 1, 1, 0, 0])
    assert tied.worst.domain == "dvd"


def test_scores_survive_json():
    scores = scored(*draw(), teacher_predictions=draw(seed=1)[0], bootstrap=50)
    content = json.loads(json.dumps(scores.to_dict()))
    assert isinstance(content["mean"]["accuracy_interval"], list)
    assert content["mean"]["accuracy_interval"] == list(scores.mean.intervals["accuracy"])
    assert list(content["mean"]) == [
        *("examples", "accuracy", "macro_f1", "agreement", "log_loss"),
        *("accuracy_interval", "macro_f1_interval", "agreement_interval", "worst_class"),
    ]
    assert content["worst"] == {"domain": scores.worst.domain, "accuracy": scores.worst.accuracy}


def test_bad_input_is_named():
    with pytest.raises(DataError, match="no examples of any domain"):
        scored([], [], [])
    with pytest.raises(DataError, match=r"predictions has shape \(3,\)"):
        scored([0, 1, 0], [0, 1], [0, 1])
    with pytest.raises(DataError, match="predictions must be whole numbers from 0 to 3"):
        scored([0, 4, 0], [0, 1, 2], [0, 1, 2])
    with pytest.raises(DataError, match="domain_ids must be whole numbers from 0 to 2"):
        scored([0, 1, 0], [0, 1, 2], [0, 1, 3])
    with pytest.raises(DataError, match="predictions must be whole"):
        scored([0.5, 1, 0], [0, 1, 2], [0, 1, 2])
    for rows in ([[0.5, 0.5]] * 3, [[1, 1, 0, 0]] * 3, [[2, -1, 0, 0]] * 3):
        with pytest.raises(DataError, match="predictions must be probabilities of 4 labels with the sum 1 in every"):
            scored(rows, [0, 1, 2], [0, 1, 2])
    with pytest.raises(DataError, match=r"predictions has shape \(2, 4\)"):
        scored([[1, 0, 0, 0]] * 2, [0, 1, 2], [0, 1, 2])
    with pytest.raises(DataError, match="no examples of any domain"):
        score([], [], [], domains=[], num_labels=2)
