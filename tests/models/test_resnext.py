"""ResNeXt. Oracles: the tables of Xie et al. 2016, and their equation 3 written out as a sum over paths."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.errors import UsageError
from lenext.models.catalog import build, small_row
from lenext.models.resnet import Bottleneck, ResNetConfig


def block_of(name: str, place: str) -> Bottleneck:
    with torch.device("meta"):
        block = build(name).get_submodule(place)
    assert isinstance(block, Bottleneck)
    return block


@pytest.mark.parametrize(
    ("name", "place", "inner", "paths", "outer"),
    [
        # Table 1, right
        ("resnext50_32x4d", "stages.conv2_x.1", 128, 32, 256),
        ("resnext50_32x4d", "stages.conv3_x.1", 256, 32, 512),
        ("resnext50_32x4d", "stages.conv4_x.1", 512, 32, 1024),
        ("resnext50_32x4d", "stages.conv5_x.1", 1024, 32, 2048),
        # C * d at the first stage, as the names say
        ("resnext101_64x4d", "stages.conv2_x.1", 64 * 4, 64, 256),
        ("resnext101_32x8d", "stages.conv2_x.1", 32 * 8, 32, 256),
        ("resnext_29_8x64d", "stages.conv2_x.1", 8 * 64, 8, 256),
        ("resnext_29_16x64d", "stages.conv4_x.1", 16 * 64 * 4, 16, 1024),
        ("resnext_29_32x4d", "stages.conv4_x.1", 32 * 4 * 4, 32, 1024),
    ],
)
def test_bottlenecks_of_table_1(name: str, place: str, inner: int, paths: int, outer: int) -> None:
    block = block_of(name, place)
    assert block.conv1.weight.shape == (inner, outer, 1, 1)
    assert block.conv2.weight.shape == (inner, inner // paths, 3, 3)
    assert block.conv3.weight.shape == (outer, inner, 1, 1)


# Table 2: widths d at which C paths cost what a ResNet-50 does; Table 1 prints 25.5 million parameters for that
@pytest.mark.parametrize(("paths", "width"), [(1, 64), (2, 40), (4, 24), (8, 14), (32, 4)])
def test_cardinality_of_table_2_keeps_the_complexity(paths: int, width: int) -> None:
    block = Bottleneck(256, 64, 1, ResNetConfig(block="bottleneck", groups=paths, group_width=width))
    assert block.conv2.in_channels == paths * width
    weights = sum(conv.weight.numel() for conv in (block.conv1, block.conv2, block.conv3))
    assert weights == pytest.approx(70_000, rel=0.03)  # "about 70k" in section 3.3


def test_groups_are_the_sum_of_paths() -> None:
    """Equation 3 and Figure 3: the block is x plus, for each path, 1x1 down to d, 3x3, and 1x1 up again."""
    paths, width = 4, 2
    block = Bottleneck(16, 4, 1, ResNetConfig(block="bottleneck", width=4, groups=paths, group_width=32)).double()
    assert block.conv2.in_channels == paths * width
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias)
    x = torch.randn(2, 16, 5, 5, dtype=torch.float64)

    def norm(y: Tensor, bn: nn.BatchNorm2d, channels: slice) -> Tensor:
        return y / math.sqrt(1 + bn.eps) + bn.bias[channels, None, None]

    total = torch.zeros_like(x)
    for path in range(paths):
        own = slice(path * width, (path + 1) * width)
        y = norm(F.conv2d(x, block.conv1.weight[own]), block.bn1, own).clamp(min=0)
        y = norm(F.conv2d(y, block.conv2.weight[own], padding=1), block.bn2, own).clamp(min=0)
        total += F.conv2d(y, block.conv3.weight[:, own])
    expected = (x + norm(total, block.bn3, slice(None))).clamp(min=0)
    torch.testing.assert_close(block.eval()(x), expected)


@pytest.mark.parametrize("name", ["resnext50_32x4d", "resnext_29_8x64d"])
def test_stride_lies_in_the_3x3_as_published(name: str) -> None:
    block = block_of(name, "stages.conv3_x.0")
    assert [conv.stride[0] for conv in (block.conv1, block.conv2, block.conv3)] == [1, 2, 1]


def test_twenty_nine_layers() -> None:
    with torch.device("meta"):
        model = build("resnext_29_8x64d")
    layers = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in path
    ]
    assert len(layers) == 29


def test_small_images_have_their_own_form() -> None:
    assert small_row("resnext50_32x4d") == "resnext50_32x4d_small"
    with torch.device("meta"):
        model = build("resnext50_32x4d_small", in_channels=1).eval()
        found = model.features(torch.zeros(1, 1, 28, 28), model.places()[:-1])
    assert [x.shape[-1] for x in found.values()] == [28, 28, 14, 7, 4]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("resnet18", {"groups": 32}),  # no bottlenecks
        ("resnet18", {"group_width": 128}),
        ("resnext50_32x4d", {"group_width": 0}),
        ("resnext50_32x4d", {"width": 8}),  # half a channel in each group
        ("senet154", {"group_width": 3}),  # cannot be halved
    ],
)
def test_groups_that_cannot_be_made_are_refused(name: str, changes: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="only bottlenecks have groups"):
        build(name, **changes)
