from itertools import pairwise

import datasets
import numpy as np
import pytest

from hrkd.data.splits.fewshot import few_shot
from hrkd.data.types import MultiDomainDataset
from hrkd.errors import DataError, RecipeError

LABELS = ("negative", "positive")


def build(counts, domains=("a", "b")):
    """Rows by (domain, label), shuffled; ids tell domain, label and number."""
    rows = [(d, y, f"{d}/{y}#{n}") for (d, y), count in counts.items() for n in range(count)]
    order = np.random.default_rng(0).permutation(len(rows))
    rows = [rows[n] for n in order]
    columns = {"id": [row[2] for row in rows], "text": ["same text"] * len(rows)}
    columns |= {"label": [LABELS.index(y) for _, y, _ in rows], "domain": [domains.index(d) for d, _, _ in rows]}
    return MultiDomainDataset(datasets.Dataset.from_dict(columns), LABELS, domains)


TRAIN = build({("a", "negative"): 100, ("a", "positive"): 25, ("b", "negative"): 7, ("b", "positive"): 50})


def ids(dataset):
    return dataset.rows["id"][:]


def test_fraction_of_every_domain_and_label():
    part = few_shot(TRAIN, fraction=0.1)

    assert part.count() == {
        ("a", "negative"): 10,
        ("a", "positive"): 3,
        ("b", "negative"): 1,
        ("b", "positive"): 5,
    }


def test_at_least_one_row_of_each():
    assert set(few_shot(TRAIN, fraction=0.001).count().values()) == {1}


def test_shots():
    assert set(few_shot(TRAIN, shots=7).count().values()) == {7}


def test_smaller_draws_are_subsets():
    draws = [set(ids(few_shot(TRAIN, fraction=share, seed=3))) for share in np.linspace(0.01, 1, 30)]
    draws_of_shots = [set(ids(few_shot(TRAIN, shots=shots, seed=3))) for shots in range(1, 8)]

    assert all(one <= other for one, other in pairwise(draws))
    assert all(one < other for one, other in pairwise(draws_of_shots))
    assert len({len(draw) for draw in draws}) > 20


def test_shots_and_fractions_are_nested_in_each_other():
    rows = build({("a", "negative"): 40, ("a", "positive"): 40})

    assert ids(few_shot(rows, shots=4)) == ids(few_shot(rows, fraction=0.1))


def test_rows_keep_their_order():
    kept = set(ids(few_shot(TRAIN, fraction=0.3)))

    assert ids(few_shot(TRAIN, fraction=0.3)) == [name for name in ids(TRAIN) if name in kept]


def test_everything_by_default():
    assert ids(few_shot(TRAIN)) == ids(TRAIN)


def test_seed_decides_and_not_order_or_other_domains():
    only_a = TRAIN.of_domain("a")
    reverse = TRAIN.select(np.arange(len(TRAIN))[::-1])

    assert ids(few_shot(TRAIN, shots=5, seed=1)) != ids(few_shot(TRAIN, shots=5, seed=2))
    assert ids(few_shot(only_a, shots=5, seed=1)) == [n for n in ids(few_shot(TRAIN, shots=5, seed=1)) if n[0] == "a"]
    assert ids(few_shot(reverse, shots=5, seed=1)) == ids(few_shot(TRAIN, shots=5, seed=1))[::-1]


def test_a_label_that_a_domain_lacks_is_no_error():
    rows = build({("a", "negative"): 9, ("a", "positive"): 9, ("b", "positive"): 9})

    assert few_shot(rows, shots=2).count() == {("a", "negative"): 2, ("a", "positive"): 2, ("b", "positive"): 2}


def test_more_shots_than_rows():
    with pytest.raises(DataError, match=r"30 train rows .* but a has 25 of 'positive', b has 7 of 'negative'; ask for"):
        few_shot(TRAIN, shots=30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 0.0}, "found 0"),
        ({"fraction": 1.5}, "found 1.5"),
        ({"fraction": float("nan")}, "found nan"),
        ({"shots": 0}, "at least 1"),
        ({"shots": 3, "fraction": 0.5}, "found 3 and fraction 0.5"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(RecipeError, match=message):
        few_shot(TRAIN, **arguments)
