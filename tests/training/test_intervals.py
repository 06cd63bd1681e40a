"""Intervals against scipy and published figures, their coverage, and width where a bootstrap has none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from hrkd.errors import DataError
from hrkd.training.intervals import mean_interval, paired_difference, wilson_interval


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95]))
def test_wilson_is_that_of_scipy_and_holds_the_share(counted, confidence):
    hits, rows = counted
    low, high = wilson_interval(hits, rows, confidence)
    expected = binomtest(hits, rows).proportion_ci(confidence, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= hits / rows <= high <= 1
    assert high > low


def test_the_mean_of_one_figure_has_its_own_interval_and_more_domains_narrow_it():
    assert mean_interval([0.7], [(0.5, 0.8)]) == pytest.approx((0.5, 0.8))
    assert mean_interval([0.7, 0.9], [(0.6, 0.8), (0.7, 0.95)]) == pytest.approx(
        (0.8 - (0.1**2 + 0.2**2) ** 0.5 / 2, 0.8 + (0.1**2 + 0.05**2) ** 0.5 / 2)
    )
    perfect = [wilson_interval(10, 10, 0.95)]
    assert mean_interval([1.0], perfect)[0] < mean_interval([1.0] * 3, perfect * 3)[0] < 1.0


@pytest.mark.parametrize("shares", [(0.95, 0.6), (0.9, 0.9, 0.8)])
def test_the_interval_of_a_mean_covers_as_often_as_it_says(shares):
    rng, rows, held = np.random.default_rng(0), 25, 0
    for hits in rng.binomial(rows, shares, size=(2000, len(shares))):
        low, high = mean_interval(hits / rows, [wilson_interval(each, rows, 0.9) for each in hits])
        held += low <= np.mean(shares) <= high
    assert 0.88 < held / 2000 < 0.95


def paired(better, worse, both=0, neither=0, **options):
    one = [1] * better + [0] * worse + [1] * both + [0] * neither
    other = [0] * better + [1] * worse + [1] * both + [0] * neither
    return paired_difference(one, other, options.pop("domain_ids", [0] * len(one)), options.pop("confidence", 0.95))


def test_a_paired_difference_has_the_published_interval():
    found = paired(better=12, worse=2, both=36)  # the example of Newcombe, 1998, method 10
    assert found.difference == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0569, 0.3404), abs=5e-5)
    assert (found.examples, found.better, found.worse) == (50, 12, 2)


@pytest.mark.parametrize(
    "rows", [{"both": 2}, {"neither": 2}, {"both": 1, "neither": 1}, {"both": 500, "neither": 500}]
)
def test_the_same_answers_are_a_difference_of_0_with_width(rows):
    found = paired(0, 0, **rows)
    low, high = found.interval
    assert found.difference == 0
    assert low < -1e-4
    assert high > 1e-4
    assert low == pytest.approx(-high)


@pytest.mark.parametrize(("differing", "told"), [(2, False), (5, False), (6, True)])
def test_no_verdict_from_fewer_rows_than_an_exact_test_needs(differing, told):
    low, high = paired(differing, 0).interval
    assert (low > 0) is told
    assert high == 1
    low, high = paired(0, differing).interval
    assert (high < 0) is told
    spread = paired(differing, 0, domain_ids=list(range(differing)))
    assert (spread.interval[0] > 0) is told


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 2)), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_what_holds_of_any_paired_difference(rows, shuffle):
    found, ids = paired_difference(*zip(*rows, strict=True), 0.95), {row[2] for row in rows}
    low, high = found.interval
    assert -1 <= low <= found.difference <= high <= 1
    assert high > low
    means = [np.mean([a - b for a, b, own in rows if own == d]) for d in ids]
    assert found.difference == pytest.approx(np.mean(means))
    swapped = paired_difference(*zip(*[(b, a, d) for a, b, d in rows], strict=True), 0.95)
    assert swapped.interval == pytest.approx((-high, -low))
    shuffle.shuffle(rows)
    assert paired_difference(*zip(*rows, strict=True), 0.95).interval == pytest.approx((low, high))


def test_a_paired_difference_covers_as_often_as_it_says():
    rng, held = np.random.default_rng(1), 0
    chances = [0.7, 0.12, 0.06, 0.12]  # both, one alone, the other alone, neither
    for counts in rng.multinomial(60, chances, size=2000):
        low, high = paired(counts[1], counts[2], counts[0], counts[3]).interval
        held += low <= 0.06 <= high
    assert 0.93 < held / 2000 < 0.985


def test_a_paired_difference_needs_rows_of_both():
    for one, other, ids in (([], [], []), ([1], [1, 0], [0]), ([1], [1], [0, 0])):
        with pytest.raises(DataError, match="expected the same rows of both"):
            paired_difference(one, other, ids, 0.95)
