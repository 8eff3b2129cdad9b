"""ConvNeXt V2. Oracles: Woo et al. 2023 (Algorithm 1 in numpy), and the names of the authors' release."""

import numpy as np
import pytest
import torch
from torch import nn

from lenext.models.catalog import build, small_row
from lenext.models.convnext import Block, LayerScale
from lenext.models.convnextv2 import GlobalResponseNorm
from lenext.models.init import initialise
from lenext.weights import convert
from tests.models.test_convnext import BLOCK, original


@pytest.mark.parametrize(
    ("name", "millions"),
    [("atto", 3.7), ("femto", 5.2), ("pico", 9.1), ("nano", 15.6), ("tiny", 28.6), ("base", 89), ("large", 198)],
)
def test_parameters_as_printed(name: str, millions: float) -> None:
    with torch.device("meta"):
        params = sum(value.numel() for value in build(f"convnextv2_{name}").parameters())
    assert round(params / 1e6, 0 if millions > 50 else 1) == millions


def test_a_block_has_seven_more_parameters_a_channel_than_that_of_v1() -> None:
    with torch.device("meta"):
        one, two = (sum(value.numel() for value in build(name).parameters()) for name in V1_AND_V2)
    assert two - one == 7 * (3 * 96 + 3 * 192 + 9 * 384 + 3 * 768)  # 4c gammas and 4c betas, less c scales


V1_AND_V2 = ("convnext_tiny", "convnextv2_tiny")


def test_global_response_normalisation_is_algorithm_1() -> None:
    generator = np.random.default_rng(0)
    x, gamma, beta = (generator.normal(size=shape) for shape in ((2, 5, 7, 6), (6,), (6,)))  # (N, H, W, C)
    norms = np.sqrt((x**2).sum((1, 2), keepdims=True))
    expected = gamma * (x * (norms / (norms.mean(-1, keepdims=True) + 1e-6))) + beta + x
    layer = GlobalResponseNorm(6).double()
    layer.gamma.data, layer.beta.data = (torch.from_numpy(value)[:, None, None] for value in (gamma, beta))
    found = layer(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-12)


def test_a_channel_that_is_zero_everywhere_has_a_gradient() -> None:
    x = torch.zeros(1, 3, 4, 4, requires_grad=True)
    layer = GlobalResponseNorm(3)
    nn.init.ones_(layer.gamma)
    layer(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_a_new_response_normalisation_is_the_identity() -> None:
    model = build("convnextv2_atto_small")
    initialise(model, "convnext", seed=0)
    layers = [module for module in model.modules() if isinstance(module, GlobalResponseNorm)]
    x = torch.randn(2, 160, 3, 3)
    assert len(layers) == 12 and torch.equal(layers[0](x), x)


def test_the_response_is_normalised_behind_the_activation_and_nothing_is_scaled() -> None:
    with torch.device("meta"):
        blocks = [module for module in build("convnextv2_nano").modules() if isinstance(module, Block)]
    assert len(blocks) == 14
    for block in blocks:
        kinds = [type(layer) for layer in block.branch]
        assert kinds[kinds.index(nn.GELU) + 1] is GlobalResponseNorm and LayerScale not in kinds


def test_every_tensor_of_the_authors_release_has_its_place() -> None:
    grn = {"grn.gamma": (-1, -1, -1, 4), "grn.beta": (-1, -1, -1, 4)}
    weights = convert(original((2, 2, 6, 2), 40, {**BLOCK, **grn}), "convnextv2_atto", "original")
    assert len(weights) == 140
    assert weights["stages.res5.1.branch.grn.beta"].shape == (1280, 1, 1)


def test_the_form_for_small_images_is_found() -> None:
    assert small_row("convnextv2_atto") == "convnextv2_atto_small"
