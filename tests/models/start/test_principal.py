import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hrkd.models.start.principal import StateMoments, principal_components, product_maps, read_moments, valid_states
from tiny import tiny_batch, tiny_model


@pytest.fixture(scope="module")
def moments():
    encoder = tiny_model().encoder
    return read_moments(encoder, [tiny_batch(seed=seed) for seed in range(5)], range(4))


def test_moments_are_those_of_valid_tokens():
    encoder, batches = tiny_model().encoder, [tiny_batch(seed=seed, rows=3) for seed in range(2)]
    moments = read_moments(encoder, batches, (0, 2))
    with torch.no_grad():
        states = torch.cat([valid_states(encoder, batch, [2])[0] for batch in batches]).double()
    assert states.shape == (2 * (12 + 8 + 12), 32)
    assert torch.allclose(moments.means[2], states.mean(0), atol=1e-6)
    assert torch.allclose(moments.seconds[2], states.mT @ states / len(states), atol=1e-5)
    assert set(moments.means) == {0, 2}


def test_components_are_orthonormal_signed_and_repeatable(moments):
    basis = principal_components(moments, (0, 1, 3), 12)
    assert basis.shape == (32, 12)
    assert torch.allclose(basis.mT @ basis, torch.eye(12, dtype=torch.float64), atol=1e-10)
    assert (basis.gather(0, basis.abs().argmax(0, keepdim=True)) > 0).all()
    assert torch.equal(basis, principal_components(moments, (0, 1, 3), 12))


def test_components_find_the_plane_that_states_lie_in():
    plane = torch.linalg.qr(torch.randn(10, 2, generator=torch.Generator().manual_seed(0)).double()).Q
    second = plane @ torch.diag(torch.tensor([3.0, 1.0]).double()) @ plane.mT
    moments = StateMoments({0: torch.zeros(10).double()}, {0: second})
    basis = principal_components(moments, (0,), 2)
    assert torch.allclose(basis @ basis.mT, plane @ plane.mT, atol=1e-8)
    assert moments.kept_energy(0, basis) == pytest.approx(1)


def test_more_components_keep_more_energy(moments):
    kept = [moments.kept_energy(2, principal_components(moments, (2,), width)) for width in (2, 8, 16, 31, 32)]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1] == pytest.approx(1)
    other = torch.eye(32, dtype=torch.float64)[:, :8]
    assert kept[1] > moments.kept_energy(2, other)


def test_full_width_is_the_identity(moments):
    assert torch.equal(principal_components(moments, (1, 2), 32), torch.eye(32, dtype=torch.float64))


@settings(deadline=None, max_examples=25)
@given(size=st.integers(2, 8), columns=st.integers(8, 12), seed=st.integers(0, 99))
def test_maps_reach_the_best_error_of_their_rank(size, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(size, columns, generator=generator).double() for _ in range(2))
    product = left.mT @ right
    values = torch.linalg.svdvals(product)
    for rank in range(1, size + 1):
        first, second = product_maps(left, right, rank, generator)
        assert first.shape == second.shape == (rank, size)
        error = (product - (first @ left).mT @ (second @ right)).norm()
        assert float(error) == pytest.approx(float(values[rank:].norm()), abs=1e-8)


def test_spare_rows_add_nothing_but_can_be_learnt():
    left, right = torch.randn(3, 6).double(), torch.randn(3, 6).double()
    first, second = product_maps(left, right, 5, torch.Generator().manual_seed(0))
    assert torch.equal((first @ left).mT @ (second @ right), left.mT @ right)
    assert first[3:].abs().min() > 0
    assert second[3:].abs().max() == 0
