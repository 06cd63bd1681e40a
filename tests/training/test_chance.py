"""The guard against a teacher that guesses."""

import numpy as np
import pytest

from hrkd.errors import DataError
from hrkd.training.chance import majority_share, no_better_than_chance
from hrkd.training.metrics import score


def test_majority_share_is_the_mean_over_domains():
    labels, domain_ids = [0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 1, 1]
    assert majority_share(labels, domain_ids) == pytest.approx((0.75 + 0.5) / 2)
    with pytest.raises(DataError, match="nothing to guess"):
        majority_share([], [])


def test_guessing_is_recognised():
    rng = np.random.default_rng(0)
    labels, domain_ids = rng.integers(2, size=900), np.arange(900) % 3
    options = {"domains": ["a", "b", "c"], "num_labels": 2, "bootstrap": 0}

    def judge(predictions):
        return no_better_than_chance(score(predictions, labels, domain_ids, **options), labels, domain_ids)

    assert judge(rng.integers(2, size=900))
    assert judge(np.zeros(900, dtype=int))
    assert not judge(np.where(rng.random(900) < 0.7, labels, 1 - labels))


def test_the_bar_for_chance_is_one_sided_95_percent():
    labels, domain_ids = np.arange(400) % 2, np.zeros(400, dtype=int)
    one_domain = {"domains": ["a"], "num_labels": 2, "bootstrap": 0}
    bar = 0.5 + 1.645 * np.sqrt(0.25 / 400)  # 0.541: 216 of 400 fail, 217 pass
    for hits, expected in ((216, True), (217, False)):
        predictions = np.where(np.arange(400) < hits, labels, 1 - labels)
        assert bool(hits / 400 <= bar) is expected
        scores = score(predictions, labels, domain_ids, **one_domain)
        assert no_better_than_chance(scores, labels, domain_ids) is expected
