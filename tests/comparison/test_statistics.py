"""Paired statistics against slow loops and scipy, and what must hold of any of them."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hrkd.comparison import statistics as paired
from hrkd.comparison.statistics import bootstrap_interval, domain_mean, holm, mcnemar_test, sign_flip_test


def example(seeds=3, sizes=(9, 14), seed=0):
    """Differences (S, N) of two methods of unequal strength, and domain ids (N,)."""
    draw = np.random.default_rng(seed)
    domain_ids = np.repeat(np.arange(len(sizes)), sizes)
    hard = draw.random(domain_ids.size)
    one, other = ((draw.random((seeds, domain_ids.size)) < strength * hard).astype(int) for strength in (1.1, 0.6))
    return one - other, domain_ids


def slow_mean(values, domain_ids):
    """Mean over seeds of the mean over domains of the mean over items, with loops."""
    total = 0.0
    for row in values:
        domains = sorted(set(domain_ids))
        for domain in domains:
            mine = [value for value, own in zip(row, domain_ids, strict=True) if own == domain]
            total += sum(mine) / len(mine) / len(domains)
    return total / len(values)


def slow_bootstrap(values, domain_ids, resamples, tails=(0.025, 0.975)):
    """Items within domains, then seeds, drawn one by one."""
    draw, found = random.Random(1), []
    places = [[i for i, own in enumerate(domain_ids) if own == domain] for domain in sorted(set(domain_ids))]
    for _ in range(resamples):
        items = [draw.choice(mine) for mine in places for _ in mine]
        seeds = [draw.randrange(len(values)) for _ in values]
        found.append(slow_mean([[values[s][i] for i in items] for s in seeds], [domain_ids[i] for i in items]))
    return np.quantile(found, tails)


def slow_sign_flips(values, domain_ids):
    """All 2^N sign changes of the per-item means."""
    means = values.mean(axis=0)
    observed = abs(slow_mean([means], domain_ids))
    far = [
        abs(slow_mean([means * np.array(signs)], domain_ids)) >= observed - 1e-12
        for signs in itertools.product((-1, 1), repeat=len(means))
    ]
    return sum(far) / len(far)


def test_mean_of_domains_counts_every_domain_the_same():
    values, domain_ids = example()
    assert domain_mean(values, domain_ids) == pytest.approx(slow_mean(values, domain_ids))
    assert domain_mean([[1, 0, 0, 0]], [0, 1, 1, 1]) == 0.5


@pytest.mark.parametrize("seeds", [1, 3])
def test_bootstrap_against_drawing_one_by_one(seeds):
    values, domain_ids = example(seeds)
    fast = bootstrap_interval(values, domain_ids, lowest=-1, resamples=20_000)
    assert fast == pytest.approx(slow_bootstrap(values, domain_ids, 2_000), abs=0.03)


def test_bootstrap_of_one_seed_and_domain_against_scipy():
    values, domain_ids = example(seeds=1, sizes=(60,))
    fast = bootstrap_interval(values, domain_ids, lowest=-1, resamples=20_000)
    other = stats.bootstrap((values[0],), np.mean, n_resamples=5_000, method="percentile", rng=0).confidence_interval
    assert fast == pytest.approx(tuple(other), abs=0.02)


def test_seeds_widen_the_interval_where_they_disagree():
    alike = np.ones((3, 40)) * np.tile([1, 0], 20)
    apart = np.array([np.ones(40), np.tile([1, 0], 20), np.zeros(40)])
    narrow, wide = (bootstrap_interval(values, np.zeros(40, int), lowest=0) for values in (alike, apart))
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


@pytest.mark.parametrize(("seeds", "sizes"), [(1, (5, 5)), (1, (4, 7)), (2, (3, 6)), (3, (10,))])
def test_sign_flips_against_all_sign_changes(seeds, sizes):
    values, domain_ids = example(seeds, sizes, seed=3)
    found = sign_flip_test(values, domain_ids)
    assert found.exact
    assert found.p == pytest.approx(slow_sign_flips(values, domain_ids))


def test_sign_flips_against_scipy():
    values, domain_ids = example(seeds=2, sizes=(12,))
    other = stats.permutation_test(
        (values.mean(axis=0),), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert sign_flip_test(values, domain_ids).p == pytest.approx(other.pvalue)


def test_random_sign_flips_are_near_the_exact_ones(monkeypatch):
    values, domain_ids = example(seed=5)
    exact = sign_flip_test(values, domain_ids)
    monkeypatch.setattr(paired, "MOST_OUTCOMES", 1)
    estimated = sign_flip_test(values, domain_ids, resamples=20_000)
    assert (exact.exact, estimated.exact) == (True, False)
    assert estimated.p == pytest.approx(exact.p, abs=0.01)


def test_one_seed_and_equal_domains_make_the_sign_flips_mcnemars_test():
    values, domain_ids = example(seeds=1, sizes=(30, 30))
    assert sign_flip_test(values, domain_ids).p == pytest.approx(mcnemar_test(values[0]).p)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (5, 5), (12, 3), (0, 7), (40, 60)])
def test_mcnemar_is_the_exact_binomial_test_of_the_items_that_differ(better, worse):
    found = mcnemar_test(np.array([1] * better + [-1] * worse + [0] * 20))
    expected = min(1.0, 2 * stats.binom.cdf(min(better, worse), better + worse, 0.5))
    assert (found.better, found.worse) == (better, worse)
    assert found.p == pytest.approx(expected)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


differences = (
    st.integers(1, 3)
    .flatmap(
        lambda seeds: st.lists(
            st.lists(st.sampled_from([-1, 0, 1]), min_size=seeds, max_size=seeds), min_size=2, max_size=12
        )
    )
    .map(lambda columns: np.array(columns).T)
)


@given(differences, st.randoms(use_true_random=False))
def test_swapping_methods_and_permuting_items(values, shuffle):
    domain_ids = np.arange(values.shape[1]) % 2
    mean, p = domain_mean(values, domain_ids), sign_flip_test(values, domain_ids).p
    low, high = bootstrap_interval(values, domain_ids, lowest=-1, resamples=200)
    assert domain_mean(-values, domain_ids) == pytest.approx(-mean)
    assert sign_flip_test(-values, domain_ids).p == pytest.approx(p)
    assert mcnemar_test(-values[0]).p == pytest.approx(mcnemar_test(values[0]).p)
    order = list(range(values.shape[1]))
    shuffle.shuffle(order)
    moved, moved_ids = values[:, order], domain_ids[order]
    assert domain_mean(moved, moved_ids) == pytest.approx(mean)
    assert sign_flip_test(moved, moved_ids).p == pytest.approx(p)
    assert bootstrap_interval(moved, moved_ids, lowest=-1, resamples=200) == pytest.approx((low, high))


@pytest.mark.parametrize("items", [1, 2, 10, 400])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_method_against_itself_does_not_differ_as_far_as_the_items_tell(items, seeds):
    nothing, domain_ids = np.zeros((seeds, items), dtype=int), np.arange(items) % 2
    assert domain_mean(nothing, domain_ids) == 0
    low, high = bootstrap_interval(nothing, domain_ids, lowest=-1)
    assert low == pytest.approx(-high, abs=0.05)
    assert 0.5 / items < high < 6 / items
    assert (sign_flip_test(nothing, domain_ids).p, mcnemar_test(nothing[0]).p) == (1, 1)


@pytest.mark.parametrize(("hits", "items"), [(2, 2), (10, 10), (9, 10), (0, 3)])
def test_the_interval_of_a_single_method_is_that_of_jeffreys_and_holds_its_share(hits, items):
    right = np.array([[1] * hits + [0] * (items - hits)])
    found = bootstrap_interval(right, np.zeros(items, int), lowest=0, resamples=40_000)
    low, high = stats.beta(hits + 0.5, items - hits + 0.5).ppf([0.025, 0.975])
    assert found == pytest.approx((min(low, hits / items), max(high, hits / items)), abs=0.01)


def test_many_domains_of_few_items_are_not_pulled_to_the_middle():
    low, high = bootstrap_interval(np.ones((1, 60)), np.arange(60), lowest=0)
    assert high == 1
    assert 0.93 < low < 0.99, "as 60 right items of 60 in one domain"
