import torch

from hrkd.method.fit_layers import FitLayers


def test_one_linear_map_per_level():
    fit = FitLayers(2, 3, 5)
    torch.nn.init.normal_(fit.bias)
    states = [torch.randn(4, 6, 3) for _ in range(2)]
    expected = torch.stack([x @ w.T + b for x, w, b in zip(states, fit.weight, fit.bias, strict=True)])
    torch.testing.assert_close(torch.stack(fit(states)), expected)


def test_starts_from_a_basis():
    basis = torch.linalg.qr(torch.randn(5, 3))[0]
    states = torch.randn(4, 6, 5)
    torch.testing.assert_close(FitLayers(1, 3, 5, basis=basis)([states @ basis])[0], states @ basis @ basis.T)


def test_biases_start_at_zero():
    assert FitLayers(2, 3, 5).bias.abs().max() == 0
