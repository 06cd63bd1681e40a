import torch

import oracles
from hrkd.method import prototypes as prototypes_of
from hrkd.method.sums import Sums, added, domain_sums, example_sums

prototypes = oracles.means(prototypes_of.prototypes)
IDS = [0, 0, 1, 2, 2, 2]


def example(seed=0, tokens=5):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(3, len(IDS), tokens, 4, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, tokens + 1, (len(IDS),), generator=generator)
    return states, (torch.arange(tokens) < lengths[:, None]).long()


def test_equals_the_mean_over_examples_and_valid_tokens():
    states, mask = example()
    expected = oracles.prototypes(states, mask, IDS, 3)
    torch.testing.assert_close(prototypes(states, mask, torch.tensor(IDS), 3), expected)


def test_padding_changes_nothing():
    states, mask = example()
    longer = torch.cat([states, torch.full_like(states, 1e3)], dim=2)
    longer_mask = torch.cat([mask, torch.zeros_like(mask)], dim=1)
    ids = torch.tensor(IDS)
    torch.testing.assert_close(prototypes(longer, longer_mask, ids, 3), prototypes(states, mask, ids, 3))


def test_order_of_examples_changes_nothing():
    states, mask = example()
    order, ids = torch.tensor([3, 1, 5, 0, 2, 4]), torch.tensor(IDS)
    shuffled = prototypes(states[:, order], mask[order], ids[order], 3)
    torch.testing.assert_close(shuffled, prototypes(states, mask, ids, 3))


def test_domain_means_weigh_rows():
    values, weights = torch.tensor([1.0, 3.0, 5.0]), torch.tensor([3.0, 1.0, 2.0])
    found = domain_sums(values, weights, torch.tensor([0, 0, 1]), 3)
    torch.testing.assert_close(found.mean, torch.tensor([1.5, 5.0, 0.0]))


def test_what_parts_add_to_a_mean_is_the_mean_of_all_however_they_are_cut():
    states, mask = example()
    ids, values = torch.tensor(IDS), torch.arange(6.0)
    whole = {"states": prototypes_of.prototypes(states, mask, ids, 3), "values": example_sums(values, ids, 3)}
    parts = [
        {
            "states": prototypes_of.prototypes(states[:, rows], mask[rows], ids[rows], 3),
            "values": example_sums(values[rows], ids[rows], 3),
        }
        for rows in ([0], [1, 2, 3], [4, 5])
    ]
    together = added(parts)
    for name, expected in whole.items():
        assert isinstance(together[name], Sums)
        torch.testing.assert_close(together[name].mean, expected.mean)
        shares = [part[name].over(together[name].weight) for part in parts]
        torch.testing.assert_close(sum(shares), expected.mean)
