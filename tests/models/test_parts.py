"""Shared blocks. Oracles: the papers' formulas, written out with torch's elementary operators."""

import torch

from lenext.models.parts import LocalResponseNorm, PadShortcut, local_response_norm, pooled_linear


def test_local_response_norm_is_the_papers_sum_over_neighbours() -> None:
    x = torch.randn(2, 7, 3, 4, dtype=torch.float64) * 30
    expected = torch.empty_like(x)
    for i in range(7):
        energy = x[:, max(0, i - 2) : min(6, i + 2) + 1].square().sum(1)
        expected[:, i] = x[:, i] / (2 + 1e-4 * energy) ** 0.75
    torch.testing.assert_close(local_response_norm(x, 5, 1e-4, 0.75, 2.0), expected, rtol=1e-12, atol=0)


def test_local_response_norm_is_torchs_with_alpha_times_n() -> None:
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64) * 30
    theirs = torch.nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    torch.testing.assert_close(LocalResponseNorm()(x), theirs(x), rtol=1e-12, atol=0)


def test_option_a_keeps_every_second_pixel_and_appends_zero_maps() -> None:
    x = torch.randn(2, 3, 7, 6)
    by_hand = torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 5, 4, 3)], dim=1)
    assert torch.equal(PadShortcut(8, 2)(x), by_hand)


def test_option_a_keeps_the_identity_where_the_shape_stays() -> None:
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(PadShortcut(4, 1)(x), x)


def test_pooled_linear_is_the_mean_over_places_then_linear() -> None:
    head = pooled_linear(4, 3)
    x = torch.randn(2, 4, 5, 6)
    weight, bias = head.parameters()
    torch.testing.assert_close(head(x), x.mean((2, 3)) @ weight.T + bias)
