import pytest
import torch

import oracles
from hrkd.method.compare_aggregate import CompareAggregate, LevelMean, NoHierarchy


def example(domains=3, reference_attention=True):
    torch.manual_seed(1)
    module = CompareAggregate(4, domains, 6, reference_attention=reference_attention).double()
    return module, torch.randn(4, domains, 6, dtype=torch.float64)


@pytest.mark.parametrize("reference_attention", [True, False])
def test_equals_the_loops(reference_attention):
    module, p = example(reference_attention=reference_attention)
    z, alphas = oracles.compare_aggregate(p, module.reference_weight, module.level_weight)
    result = module(p)
    torch.testing.assert_close(result.states, z)
    torch.testing.assert_close(result.hierarchical_ratios, alphas)


def test_weights_have_the_shapes_of_the_paper():
    module, _ = example()
    assert module.reference_weight.shape == (4, 6, 6)
    assert module.level_weight.shape == (4, 3, 6, 6)


def test_level_0_passes_through_and_no_level_sees_a_higher_one():
    module, p = example()
    changed = p.clone()
    changed[2:] += 1
    torch.testing.assert_close(module(p).states[0], p[0])
    torch.testing.assert_close(module(changed).states[:2], module(p).states[:2])
    assert not torch.allclose(module(changed).states[2], module(p).states[2])


def test_permuting_domains_permutes_the_result():
    module, p = example()
    order = torch.tensor([2, 0, 1])
    expected = module(p).states[:, order]
    with torch.no_grad():
        module.level_weight.copy_(module.level_weight[:, order])
    torch.testing.assert_close(module(p[:, order]).states, expected)


def test_one_domain():
    module, p = example(domains=1)
    z, _ = oracles.compare_aggregate(p, module.reference_weight, module.level_weight)
    torch.testing.assert_close(module(p).states, z)


def test_mean_and_none():
    p = torch.arange(6.0).reshape(3, 2, 1)
    torch.testing.assert_close(LevelMean()(p).states, torch.tensor([[[0.0], [1.0]], [[1.0], [2.0]], [[2.0], [3.0]]]))
    result = NoHierarchy()(p)
    torch.testing.assert_close(result.states, p)
    for module in (LevelMean(), NoHierarchy()):
        ratios = module(p).hierarchical_ratios
        torch.testing.assert_close(torch.einsum("kjd,jdh->kdh", ratios, p), module(p).states)


def test_every_weight_above_level_0_gets_a_gradient():
    module, p = example()
    module(p).states.square().sum().backward()
    for weight in module.parameters():
        assert weight.grad[0].abs().max() == 0
        assert all(weight.grad[k].abs().max() > 0 for k in range(1, 4))
