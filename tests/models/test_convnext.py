"""ConvNeXt. Oracles: Liu et al. 2022, torch's own operators channels-last, and the names of the authors' release."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.errors import UsageError
from lenext.models.catalog import build, small_row
from lenext.models.convnext import Block, LayerScale
from lenext.models.init import initialise
from lenext.models.parts import DropPath
from lenext.weights import convert


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("convnext_tiny", 29),
        ("convnext_small", 50),
        ("convnext_base", 89),
        ("convnext_large", 198),
        ("convnext_xlarge", 350),
    ],
)
def test_parameters_of_table_1(name: str, millions: int) -> None:
    with torch.device("meta"):
        assert round(sum(value.numel() for value in build(name).parameters()) / 1e6) == millions


def test_a_block_is_the_papers_with_linear_layers_on_channels_last_maps() -> None:
    torch.manual_seed(0)
    block = Block(8, 0.0, scale=LayerScale(8)).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    p = {name.removeprefix("branch."): value for name, value in block.named_parameters()}
    x = torch.randn(2, 8, 9, 9, dtype=torch.float64)
    y = F.conv2d(x, p["dwconv.weight"], p["dwconv.bias"], padding=3, groups=8).permute(0, 2, 3, 1)
    y = F.layer_norm(y, (8,), p["norm.weight"], p["norm.bias"], 1e-6)
    y = F.gelu(F.linear(y, p["pwconv1.weight"][:, :, 0, 0], p["pwconv1.bias"]))
    y = F.linear(y, p["pwconv2.weight"][:, :, 0, 0], p["pwconv2.bias"]).permute(0, 3, 1, 2)
    torch.testing.assert_close(block(x), x + p["scale.gamma"] * y, rtol=1e-12, atol=1e-12)


def test_a_new_network_is_nearly_one_of_shortcuts() -> None:
    model = build("convnext_tiny_small")
    initialise(model, "convnext", seed=0)
    scales = [module.gamma for module in model.modules() if isinstance(module, LayerScale)]
    assert len(scales) == 18 and all(torch.equal(gamma, torch.full_like(gamma, 1e-6)) for gamma in scales)


def test_drop_path_rises_linearly_over_all_blocks() -> None:
    with torch.device("meta"):
        model = build("convnext_small")
    rates = {name.partition(".branch")[0]: m.rate for name, m in model.named_modules() if isinstance(m, DropPath)}
    assert "stages.res2.0" not in rates and rates["stages.res5.2"] == 0.4
    assert list(rates.values()) == pytest.approx(torch.linspace(0, 0.4, 36, dtype=torch.float64)[1:].tolist())


def test_a_block_normalises_once_and_activates_once() -> None:
    kinds = [type(layer) for layer in Block(8, 0.1, scale=LayerScale(8)).branch if not list(layer.children())]
    assert sum(issubclass(kind, nn.LayerNorm) for kind in kinds) == sum(kind is nn.GELU for kind in kinds) == 1


def test_downsampling_opens_its_stage_and_norm_comes_before_it() -> None:
    with torch.device("meta"):
        stages = build("convnext_tiny").stages
    assert not isinstance(next(stages.get_submodule("res2").children()), nn.LayerNorm)
    for name in ("res3", "res4", "res5"):
        norm, conv, first = list(stages.get_submodule(name).children())[:3]
        assert isinstance(norm, nn.LayerNorm) and isinstance(conv, nn.Conv2d) and isinstance(first, Block)
        assert conv.kernel_size == conv.stride == (2, 2)


@pytest.mark.parametrize(
    ("name", "size", "sides"),
    [
        ("convnext_tiny", 64, [16, 16, 8, 4, 2]),
        ("convnext_tiny_small", 32, [16, 16, 8, 4, 2]),
        ("convnext_tiny_small", 28, [14, 14, 7, 3, 1]),
        ("convnext_tiny_small", 16, [8, 8, 4, 2, 1]),
    ],
)
def test_sides_of_the_maps(name: str, size: int, sides: list[int]) -> None:
    with torch.device("meta"):
        model = build(name).eval()
        found = model.features(torch.empty(1, 3, size, size), model.places()[:-1])
    assert [x.shape[-1] for x in found.values()] == sides


def test_an_image_that_would_end_in_no_pixel_is_refused() -> None:
    model = build("convnext_tiny_small")
    with pytest.raises(UsageError, match="16 x 16 pixels and larger"):
        model(torch.zeros(1, 3, 15, 15))
    with pytest.raises(RuntimeError):
        model.stages(model.stem(torch.zeros(1, 3, 15, 15)))


def test_the_form_for_small_images_is_found() -> None:
    assert small_row("convnext_t") == "convnext_tiny_small"


def original(repeats: tuple[int, ...], width: int, block: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """An empty file of the authors' release; block: shapes of a block's tensors, in channels of the stage."""
    shapes: dict[str, tuple[int, ...]] = {"downsample_layers.0.0.weight": (width, 3, 4, 4)}
    for name in ("0.0.bias", "0.1.weight", "0.1.bias"):
        shapes[f"downsample_layers.{name}"] = (width,)
    for i, count in enumerate(repeats):
        c = width * 2**i
        if i:
            shapes |= {f"downsample_layers.{i}.0.{name}": (c // 2,) for name in ("weight", "bias")}
            shapes |= {f"downsample_layers.{i}.1.weight": (c, c // 2, 2, 2), f"downsample_layers.{i}.1.bias": (c,)}
        for j in range(count):
            shapes |= {f"stages.{i}.{j}.{k}": tuple(n * c if n > 0 else -n for n in v) for k, v in block.items()}
    c = width * 2 ** (len(repeats) - 1)
    shapes |= {"norm.weight": (c,), "norm.bias": (c,), "head.weight": (1000, c), "head.bias": (1000,)}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


# a positive number counts the stage's channels, a negative one is itself
BLOCK = {
    "dwconv.weight": (1, -1, -7, -7),
    "dwconv.bias": (1,),
    "norm.weight": (1,),
    "norm.bias": (1,),
    "pwconv1.weight": (4, 1),
    "pwconv1.bias": (4,),
    "pwconv2.weight": (1, 4),
    "pwconv2.bias": (1,),
}


def test_every_tensor_of_the_authors_release_has_its_place() -> None:
    weights = convert(original((3, 3, 9, 3), 96, {**BLOCK, "gamma": (1,)}), "convnext_tiny", "original")
    assert len(weights) == 182
    assert weights["stages.res4.8.branch.scale.gamma"].shape == (384, 1, 1)
    assert weights["stages.res3.conv.weight"].shape == (192, 96, 2, 2)
