import math

import pytest
import torch

import oracles
from hrkd.method import losses, meta_kd
from hrkd.method.meta_kd import DomainHead, corrupted_domains, expertise_weights, prototype_scores, token_means

transfer_losses = oracles.means(meta_kd.transfer_losses)
attention_losses, hidden_losses = map(oracles.means, (losses.attention_losses, losses.hidden_losses))
prediction_losses, score_product_losses = map(oracles.means, (losses.prediction_losses, losses.score_product_losses))

LABELS = torch.tensor([0, 1, 0, 1, 0, 0, 1])
DOMAINS = torch.tensor([0, 0, 0, 1, 1, 2, 0])  # domain 2 has no example of label 1


def features(rows=7, width=5, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_scores(rows, labels, domains, count):
    """Equation 1 of Meta-KD, an example at a time."""
    found = []
    for row, label, domain in zip(rows, labels.tolist(), domains.tolist(), strict=True):
        cosine = {}
        for other in range(count):
            members = [rows[i] for i in range(len(rows)) if labels[i] == label and domains[i] == other]
            if members:
                centroid = sum(members) / len(members)
                cosine[other] = float(row @ centroid / (row.norm() * centroid.norm()))
        others = [value for other, value in cosine.items() if other != domain]
        found.append((cosine[domain] + sum(others) / len(others)) / 2 if others else cosine[domain])
    return torch.tensor(found, dtype=rows.dtype)


def test_prototype_scores_equal_the_loops():
    expected = slow_scores(features(), LABELS, DOMAINS, 3)
    torch.testing.assert_close(prototype_scores(features(), LABELS, DOMAINS, 2, 3), expected)


def test_an_example_of_a_class_that_no_other_domain_has_is_compared_with_its_own_alone():
    labels, domains = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1])
    torch.testing.assert_close(
        prototype_scores(features(3), labels, domains, 2, 2), slow_scores(features(3), labels, domains, 2)
    )


def test_renaming_domains_and_labels_changes_no_score():
    renamed = torch.tensor([2, 0, 1])[DOMAINS], 1 - LABELS
    torch.testing.assert_close(
        prototype_scores(features(), renamed[1], renamed[0], 2, 3), prototype_scores(features(), LABELS, DOMAINS, 2, 3)
    )


def test_expertise_is_high_where_the_example_is_typical_and_the_teacher_right():
    logits = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    scores, labels = torch.tensor([0.5, -0.2, 0.9]), torch.tensor([0, 0, 0])
    wrong = 1 / (1 + math.exp(3))
    expected = [
        (1 + score) / (math.exp((1 - right) ** 2) + 1)
        for score, right in zip(scores.tolist(), (0.5, 1 - wrong, wrong), strict=True)
    ]
    torch.testing.assert_close(expertise_weights(scores, logits, labels), torch.tensor(expected))


def test_corrupted_domains_say_nothing_of_the_own():
    torch.manual_seed(0)
    ids = torch.arange(3).repeat(3000)
    drawn = corrupted_domains(ids, 3)
    shares = torch.stack([torch.bincount(drawn[ids == own], minlength=3) / 3000 for own in range(3)])
    torch.testing.assert_close(shares, torch.full((3, 3), 1 / 3), rtol=0, atol=0.03)


def test_token_means_leave_padding_out():
    states = torch.randn(2, 4, 3)
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    expected = torch.stack([states[0, :2].mean(dim=0), states[1].mean(dim=0)])
    torch.testing.assert_close(token_means(states, mask), expected)


def test_a_domain_head_keeps_what_it_knows_of_the_domains_that_stay():
    torch.manual_seed(0)
    head, means = DomainHead(4, 3), torch.randn(5, 4)
    ids = torch.tensor([0, 2, 2, 0, 2])
    before = head(means, ids)[:, [2, 0]]
    head.keep_domains([2, 0])
    torch.testing.assert_close(head(means, torch.tensor([1, 0, 0, 1, 0])), before)


def test_equal_features_have_no_transfer_loss():
    rows = features().float()
    assert transfer_losses(rows, rows, DOMAINS, 3).abs().max() == 0
    off = transfer_losses(rows + 2, rows, DOMAINS, 3, row_weights=torch.arange(7.0))
    means = [4 * torch.arange(7.0)[domain == DOMAINS].mean() for domain in range(3)]
    torch.testing.assert_close(off, torch.stack(means))


@pytest.mark.parametrize("name", ["hidden", "scores", "factors", "predictions"])
def test_row_weights_are_factors_of_each_rows_loss(name):
    """Each row in a domain of its own: then every entry of a table is one row's loss."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(4, 2, 3, 3, generator=generator) for _ in range(2))
    mask, ids, weights = torch.ones(4, 3, dtype=torch.long), torch.arange(4), torch.tensor([0.0, 0.5, 1.0, 2.0])
    masked = {"reductions": "masked"}
    by_name = {
        "hidden": lambda **more: hidden_losses([ours[:, 0]], [theirs[:, 0]], mask, ids, 4, **masked, **more)[0],
        "scores": lambda **more: attention_losses([ours], [theirs], mask, ids, 4, **masked, **more)[0],
        "factors": lambda **more: score_product_losses([(ours, ours)], [(theirs, theirs)], mask, ids, 4, **more)[0],
        "predictions": lambda **more: prediction_losses(
            ours[:, 0, 0], theirs[:, 0, 0], ids, 4, temperature=1.0, **masked, **more
        ),
    }
    of_rows = by_name[name]
    torch.testing.assert_close(of_rows(row_weights=weights), of_rows() * weights)
