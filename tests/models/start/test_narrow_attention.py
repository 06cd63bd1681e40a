from dataclasses import replace

import pytest
import torch

from hrkd.models.families import BERT
from hrkd.models.shape import StudentShape, shape_of
from hrkd.models.start.narrow_attention import Plan, _root, most_important, narrow_attention
from hrkd.models.start.principal import read_moments
from tiny import tiny_batch, tiny_model

QUERY, KEY, VALUE, MIX = BERT.query, BERT.key, BERT.value, BERT.mix


@pytest.fixture
def layer():
    """Weights of a layer whose four heads use half of their eight dimensions each, and a plan that keeps four."""
    encoder = tiny_model().encoder
    moments = read_moments(encoder, [tiny_batch(seed=seed, rows=8) for seed in range(4)], (1,))
    state = {name: tensor.double() for name, tensor in encoder.encoder.layer[1].state_dict().items()}
    for name in (QUERY, KEY, VALUE):
        for part in ("weight", "bias"):
            state[f"{name}.{part}"].view(4, 8, -1)[:, 4:] = 0
    identity = torch.eye(32, dtype=torch.float64)
    student = StudentShape(1, 16, 4, 48)
    return state, Plan(BERT, shape_of(encoder.config), student, identity, moments, torch.Generator())


def heads(state, name, states):
    return (states @ state[f"{name}.weight"].mT + state[f"{name}.bias"]).unflatten(-1, (4, -1)).transpose(0, 1)


def test_scores_that_fit_the_rank_are_kept_in_size_and_sign(layer):
    state, plan = layer
    new = narrow_attention(plan, state, 1)
    assert new[f"{QUERY}.weight"].shape == (16, 32)
    states = torch.randn(7, 32, generator=torch.Generator().manual_seed(0)).double()
    wide = heads(state, QUERY, states) @ heads(state, KEY, states).mT / 8**0.5
    narrow = heads(new, QUERY, states) @ heads(new, KEY, states).mT / 4**0.5
    assert torch.allclose(narrow, wide, atol=1e-6)
    assert wide.std() > 0.1


def test_outputs_that_fit_the_rank_are_kept(layer):
    state, plan = layer
    new = narrow_attention(plan, state, 1)
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 32, generator=generator).double()
    weights = torch.rand(4, 7, 7, generator=generator).double()
    weights = weights / weights.sum(-1, keepdim=True)

    def output(layer):
        mixed = (weights @ heads(layer, VALUE, states)).transpose(0, 1).flatten(1)
        return mixed @ layer[f"{MIX}.weight"].mT + layer[f"{MIX}.bias"]

    assert torch.allclose(output(new), output(state), atol=1e-6)


def test_a_number_of_heads_that_divides_nothing_keeps_those_that_say_most(layer):
    state, plan = layer
    state[f"{MIX}.weight"].view(32, 4, 8)[:, 1] = 0
    three = replace(plan, student=StudentShape(1, 24, 3, 48))
    new, states = narrow_attention(three, state, 1), torch.randn(5, 32).double()
    wide = heads(state, QUERY, states) @ heads(state, KEY, states).mT / 8**0.5
    of_three = [
        (states @ new[f"{name}.weight"].mT + new[f"{name}.bias"]).unflatten(-1, (3, 8)).transpose(0, 1)
        for name in (QUERY, KEY)
    ]
    assert torch.allclose(of_three[0] @ of_three[1].mT / 8**0.5, wide[[0, 2, 3]], atol=1e-6)


def test_the_mean_state_keeps_its_image_at_any_rank(layer):
    state, plan = layer
    plan = Plan(BERT, plan.teacher, StudentShape(1, 2, 2, 48), plan.basis, plan.moments, plan.generator)
    new = narrow_attention(plan, state, 1)
    mean = plan.moments.means[1]

    def output(layer):
        value = layer[f"{VALUE}.weight"] @ mean + layer[f"{VALUE}.bias"]
        return layer[f"{MIX}.weight"] @ value + layer[f"{MIX}.bias"]

    assert new[f"{VALUE}.weight"].shape == (2, 32)
    assert torch.allclose(output(new), output(state), atol=1e-8)


def test_most_important_come_in_rising_order():
    assert most_important(torch.tensor([1.0, 9.0, 3.0, 7.0]), 2).tolist() == [1, 3]
    assert most_important(torch.tensor([1.0, 9.0]), 5).tolist() == [0, 1]


def test_moments_of_few_states_have_a_root():
    few = torch.randn(3, 40)  # rank 3, summed in 32 bits: some eigenvalues come out below zero
    moment = (few.mT @ few).double() / 3 - 1e-5 * torch.eye(40, dtype=torch.float64)
    root = _root(moment)
    torch.testing.assert_close(root @ root.mT, moment, atol=1e-2, rtol=0)
