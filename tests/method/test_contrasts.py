import math

import pytest
import torch

from hrkd.linear import relations as linear
from hrkd.method.contrasts import class_contrasts, related_losses, shares
from hrkd.training.contrast import contrast_relations


def permuted(relations, seed):
    return torch.from_numpy(linear.permuted(relations.numpy(), seed))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_contrasts_are_class_means_without_what_the_classes_share():
    sums, counts = drawn(2, 3, 4, 5), torch.tensor([[2, 1, 3, 4], [1, 0, 2, 5], [0, 0, 0, 0]])
    found = class_contrasts(sums, counts)
    for level in range(2):
        for domain in range(3):
            there = [c for c in range(4) if counts[domain, c]]
            means = {c: sums[level, domain, c] / counts[domain, c] for c in there}
            middle = sum(means.values()) / len(there) if there else 0
            rows = [means[c] - middle if c in there else torch.zeros(5, dtype=torch.float64) for c in range(4)]
            torch.testing.assert_close(found[level, domain], torch.cat(rows))


def noisy_halves(truth, noise, seed=0):
    """Contrasts of both halves: the true ones of each domain with noise of its own."""
    return torch.stack([truth + noise * drawn(*truth.shape, seed=seed + half) for half in (1, 2)])[:, None]


def test_without_noise_relations_are_cosines():
    truth = drawn(4, 6)
    found = contrast_relations(torch.stack([truth, truth])[:, None])[0]
    for one in range(4):
        for other in range(4):
            cosine = float(truth[one] @ truth[other] / truth[one].norm() / truth[other].norm())
            assert math.isclose(float(found[one, other]), cosine, abs_tol=1e-12)


def test_noise_is_taken_out_of_lengths():
    base = drawn(1, 2000, seed=7)
    truth = torch.cat([base, base, -base])
    halves = noisy_halves(truth, noise=1.3)
    whole = halves.mean(dim=0)[0]
    plain = torch.nn.functional.cosine_similarity(whole[0], whole[1], dim=0)
    assert plain < 0.6, "nearly half of the length is noise"
    found = contrast_relations(halves)[0]
    torch.testing.assert_close(found[0], torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64), atol=0.1, rtol=0)


def test_pure_noise_tells_no_pair_from_another():
    spreads = []
    for seed in range(20):
        found = contrast_relations(noisy_halves(torch.zeros(5, 40, dtype=torch.float64), noise=1.0, seed=10 * seed))[0]
        spreads.append(float(found[~torch.eye(5, dtype=torch.bool)].std()))
    assert sum(spread < 0.05 for spread in spreads) > 10, spreads


def test_they_are_symmetric_within_bounds_and_follow_the_domains():
    halves = noisy_halves(drawn(5, 12), noise=0.7)
    found = contrast_relations(halves)
    assert torch.equal(found, found.mT)
    assert found.abs().max() <= 1
    assert (found.diagonal(dim1=-2, dim2=-1) == 1).all()
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(contrast_relations(halves[:, :, order]), found[:, order][:, :, order])
    assert torch.equal(contrast_relations(halves[:, :, :1]), torch.ones(1, 1, 1, dtype=torch.float64))


def test_a_domain_without_contrasts_changes_nothing_among_the_others():
    halves = noisy_halves(drawn(4, 8), noise=0.3)
    more = torch.cat([halves, torch.zeros_like(halves[:, :, :1])], dim=2)
    found, expected = contrast_relations(more), contrast_relations(halves)
    torch.testing.assert_close(found[:, :4, :4], expected)
    apart = expected[:, ~torch.eye(4, dtype=torch.bool)]
    torch.testing.assert_close(found[0, 4, :4], apart.mean().expand(4))


@pytest.mark.parametrize("pairs", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_the_control_relates_no_pair_that_is_related(pairs, seed):
    relations = torch.block_diag(*[torch.ones(2, 2)] * pairs)[None]
    others = ~torch.eye(2 * pairs, dtype=torch.bool)
    assert not ((permuted(relations, seed) == 1) & (relations == 1))[:, others].any()


@pytest.mark.parametrize("domains", [3, 4, 8])
def test_the_control_has_the_same_numbers_between_other_domains(domains):
    relations = contrast_relations(noisy_halves(drawn(domains, 9), noise=0.1))
    found = permuted(relations, seed=3)
    assert torch.equal(found.flatten().sort().values, relations.flatten().sort().values)
    assert torch.equal(found.diagonal(dim1=-2, dim2=-1), relations.diagonal(dim1=-2, dim2=-1))
    rows = [row.sort().values for row in relations[0]]
    assert all(not torch.equal(found[0, d].sort().values, rows[d]) for d in range(domains)), "each has another's place"
    assert torch.equal(permuted(relations, seed=3), found)


def test_shares_are_positive_relations():
    found = shares(torch.tensor([[1.0, 0.5, -0.3], [0.5, 1.0, 0.0], [-0.3, 0.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[16 / 17, 1 / 17, 0], [1 / 17, 16 / 17, 0], [0, 0, 1]]))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 0.0, 3.0, 0.5])])
def test_related_losses_text_by_text(temperature, weights):
    student, teacher = drawn(4, 3, 2, seed=1).float(), drawn(4, 3, 2, seed=2).float()
    parts = shares(contrast_relations(noisy_halves(drawn(3, 6), noise=0.1))[0].float())
    found = related_losses(student, teacher, parts, temperature=temperature, row_weights=weights).mean
    for head in range(3):
        total = 0.0
        for text in range(4):
            target = sum(parts[head, other] * (teacher[text, other] / temperature).softmax(0) for other in range(3))
            entropy = -(target * (student[text, head] / temperature).log_softmax(0)).sum() * temperature**2
            total += float(entropy) * (1.0 if weights is None else float(weights[text])) / 4
        assert math.isclose(float(found[head]), total, rel_tol=1e-5)
