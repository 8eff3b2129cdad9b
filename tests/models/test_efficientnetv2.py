"""EfficientNetV2. Oracles: Table 4 of Tan & Le 2021, the release's scaling worked out here, torch's own functions."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.models.convolutions import ConvStyle
from lenext.models.efficientnetv2 import FusedMBConv
from lenext.models.parts import DropPath, SqueezeExcite

# fmt: off
TABLE_4 = [
    # stage, fused, gated, expansion, channels, layers, stride
    ("1", True,  False, 1, 24,  2,  1),
    ("2", True,  False, 4, 48,  4,  2),
    ("3", True,  False, 4, 64,  4,  2),
    ("4", False, True,  4, 128, 6,  2),
    ("5", False, True,  6, 160, 9,  1),
    ("6", False, True,  6, 256, 15, 2),  # arXiv v1 prints 272
]
# fmt: on


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name)


def test_s_is_table_4() -> None:
    network, channels, found = on_meta("tf_efficientnetv2_s"), 24, []
    for name, stage in network.stages.named_children():
        fused = any(isinstance(module, FusedMBConv) for module in stage.children())
        gated = any(isinstance(module, SqueezeExcite) for module in stage.modules())
        threes = [m for m in stage.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        last = [m for m in stage.modules() if isinstance(m, nn.Conv2d)][-1]
        assert all((conv.groups == 1) == fused for conv in threes)
        expansion = threes[0].out_channels // channels
        found.append((name, fused, gated, expansion, last.out_channels, len(threes), threes[0].stride[0]))
        channels = last.out_channels
    assert found == TABLE_4


def channels_of(network: Classifier) -> list[int]:
    """Of stem and stages."""
    images = torch.empty(1, 3, 64, 64, device="meta")
    return [x.shape[1] for x in network.eval().features(images, network.places()[:-1]).values()]


def layers_of(network: Classifier) -> list[int]:
    return [len(list(stage.children())) for stage in network.stages]


@pytest.mark.parametrize(("name", "width", "depth"), [("b1", 1.0, 1.1), ("b2", 1.1, 1.2), ("b3", 1.2, 1.4)])
def test_b1_to_b3_are_b0_with_channels_to_the_nearest_eight_and_layers_up(
    name: str, width: float, depth: float
) -> None:
    base, scaled = on_meta("tf_efficientnetv2_b0"), on_meta(f"tf_efficientnetv2_{name}")
    assert channels_of(scaled) == [8 * math.floor(width * channels / 8 + 0.5) for channels in channels_of(base)]
    assert layers_of(scaled) == [math.ceil(depth * layers) for layers in layers_of(base)]
    head = scaled.get_submodule("head.conv")
    assert isinstance(head, nn.Conv2d) and head.out_channels == 8 * math.floor(width * 1280 / 8 + 0.5)


def test_fused_block_is_a_3x3_a_linear_1x1_and_the_input() -> None:
    block = FusedMBConv(6, 6, 4, 1, ConvStyle(activation="silu"), drop_path=0.0).double().eval()
    weights = dict(block.named_parameters())
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    scale = 1 / math.sqrt(1 + 1e-5)  # fresh statistics
    y = F.silu(F.conv2d(x, weights["layers.fused.conv.weight"], padding=1) * scale)
    y = F.conv2d(y, weights["layers.project.conv.weight"]) * scale
    torch.testing.assert_close(block(x), x + y, rtol=1e-12, atol=1e-12)


def test_fused_block_without_expansion_is_one_activated_convolution_and_the_input() -> None:
    block = FusedMBConv(6, 6, 1, 1, ConvStyle(activation="silu"), drop_path=0.0).double().eval()
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    weight = block.get_parameter("layers.fused.conv.weight")
    y = F.silu(F.conv2d(x, weight, padding=1) / math.sqrt(1 + 1e-5))
    torch.testing.assert_close(block(x), x + y, rtol=1e-12, atol=1e-12)


def test_shortcut_only_where_the_shape_stays() -> None:
    style = ConvStyle(activation="silu")
    residual = [FusedMBConv(6, *shape, style, drop_path=0.5).residual for shape in ((6, 4, 1), (8, 4, 1), (6, 4, 2))]
    assert residual == [True, False, False]


def test_paths_drop_more_often_with_depth_and_stay_below_the_rate() -> None:
    rates = [module.rate for module in on_meta("tf_efficientnetv2_s").modules() if isinstance(module, DropPath)]
    firsts = {2, 6, 10, 16, 25}  # of the stages 2 to 6, whose width changes
    assert rates == pytest.approx([0.2 * block / 40 for block in range(1, 40) if block not in firsts])


def test_only_the_release_pads_even_maps_right_and_bottom() -> None:
    x = torch.randn(1, 3, 64, 64)
    for name, first in (("tf_efficientnetv2_b0", x[:, :, 0, 0]), ("efficientnet_v2_s", torch.zeros(1, 3))):
        conv = build(name).get_submodule("stem.conv")
        weight = conv.get_parameter("weight").data
        weight.zero_()
        weight[[0, 1, 2], [0, 1, 2], 0, 0] = 1  # the tap before the centre on both axes
        assert torch.equal(conv(x)[:, :3, 0, 0], first)


def test_smallest_image_leaves_a_map_of_2x2() -> None:
    network = on_meta("efficientnet_v2_s").eval()
    assert next(iter(network.features(torch.empty(1, 3, 64, 64, device="meta")).values())).shape[2:] == (2, 2)
    with pytest.raises(UsageError, match="63"):
        network(torch.empty(1, 3, 63, 63, device="meta"))


def test_small_form_takes_28_pixels_to_4() -> None:
    network = on_meta("tf_efficientnetv2_b0_small").eval()
    found = network.features(torch.empty(1, 3, 28, 28, device="meta"), network.places()[:-1])
    assert [x.shape[-1] for x in found.values()] == [28, 28, 28, 14, 7, 7, 4]


@pytest.mark.parametrize("change", [{"layers": [2, 4, 4, 6, 9]}, {"channels": [24, 24]}])
def test_columns_of_different_length_are_refused(change: dict[str, list[int]]) -> None:
    with pytest.raises(UsageError, match="a stem that has channels as well"):
        build("tf_efficientnetv2_s", **change)
