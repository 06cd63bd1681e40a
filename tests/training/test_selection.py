"""The best epoch of each domain: whose test rows are asked again, and what a resumed training finds."""

import json

import numpy as np
import torch

from hrkd.training.evaluate import predict_logits
from hrkd.training.selection import BestPerDomain, merge_best_per_domain


def test_a_domain_keeps_what_its_best_epoch_says_of_its_test_rows(tiny, tmp_path):
    model, file = tiny.model(), tmp_path / "best.json"
    best = BestPerDomain(model, tiny.test, file, batch_size=7)
    first, second, third = tiny.splits.domains
    best.update(1, {first: 0.5, second: 0.5, third: 0.5})
    early = predict_logits(model, tiny.test).argmax(axis=1)
    assert (merge_best_per_domain(best.state, tiny.test) == early).all()

    with torch.no_grad():
        for weights in (each for each in model.parameters() if len(each) == len(model.labels)):
            weights.neg_()
    late = predict_logits(model, tiny.test).argmax(axis=1)
    expected = np.where(tiny.test.domain_ids == 1, late, early)
    assert (late != early).all()
    best = BestPerDomain(model, tiny.test, file, resume=True)
    best.update(2, {first: 0.5, second: 0.6, third: 0.4})
    assert (merge_best_per_domain(best.state, tiny.test) == expected).all()
    assert [best.state[name]["epoch"] for name in (first, second, third)] == [1, 2, 1]

    kept = json.loads(file.read_text())
    assert kept == best.state
    assert {type(label) for own in kept.values() for label in own["predictions"]} == {int}
