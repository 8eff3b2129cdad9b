"""Residual networks (He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv 1512.03385).

Table 1 gives the ImageNet networks, section 4.2 those for CIFAR-10 (6n+2 layers). The shortcut options of section
3.3: A pads with zero channels and has no parameters, B projects by a 1x1 convolution where the shape changes, C
projects everywhere; "none" is the paper's plain network. The paper prints Table 2 with A; the rows without a suffix
have B, as in Table 4 and in popular code.

Where popular code departs from the paper, both are rows:
  resnet50, 101, 152   stride 2 in the 3x3 convolution of a bottleneck ("v1.5", torchvision's and timm's function)
  resnet50_v1, ...     stride 2 in the first 1x1 convolution, as published
  resnet20, ...        option A, as published; resnet20_b has the projections of many ports
  resnet18_small, ...  Table 1's widths with a 3x3 stem and without the max pool, the usual form for 32x32 images; it is
                       not in the paper, and not the paper's network for CIFAR, which is resnet20 and its kin

The max pool belongs to conv2_x, as in Table 1. Sizes: any from min_size on, since the head averages what it finds. The
ImageNet rows start at 64, below which the last map is one pixel or little more and the small row is the better network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import PadShortcut, named_chain, pooled_linear


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(NetworkConfig):
    """One column of Table 1: stage i has `repeats[i]` blocks of `width * 2**i` channels (four times that outside)."""

    min_size: int = 64
    block: Literal["basic", "bottleneck"] = "basic"
    repeats: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    shortcut: Literal["A", "B", "C", "none"] = "B"
    stride_in: Literal["1x1", "3x3"] = "3x3"  # which convolution of a bottleneck takes the stride
    stem: Literal["7x7", "3x3"] = "7x7"  # 7x7 with stride 2 and a max pool behind it, or 3x3 with neither


def _cifar(n: int, shortcut: Literal["A", "B", "none"]) -> ResNetConfig:
    """The network of 6n+2 layers of section 4.2."""
    return ResNetConfig(
        repeats=(n, n, n), width=16, shortcut=shortcut, stem="3x3", num_classes=10, input_size=32, min_size=8
    )


def _small(block: Literal["basic", "bottleneck"], repeats: tuple[int, ...]) -> ResNetConfig:
    """A column of Table 1 for small images."""
    return ResNetConfig(block=block, repeats=repeats, stem="3x3", num_classes=10, input_size=32, min_size=8)


# fmt: off
VARIANTS = {
    # Table 1                            block               repeats                 shortcut        stride 2 in
    "resnet18":       ResNetConfig(block="basic",      repeats=(2, 2, 2, 2),  shortcut="B"),
    "resnet34":       ResNetConfig(block="basic",      repeats=(3, 4, 6, 3),  shortcut="B"),
    "resnet50":       ResNetConfig(block="bottleneck", repeats=(3, 4, 6, 3),  shortcut="B", stride_in="3x3"),
    "resnet101":      ResNetConfig(block="bottleneck", repeats=(3, 4, 23, 3), shortcut="B", stride_in="3x3"),
    "resnet152":      ResNetConfig(block="bottleneck", repeats=(3, 8, 36, 3), shortcut="B", stride_in="3x3"),
    "resnet50_v1":    ResNetConfig(block="bottleneck", repeats=(3, 4, 6, 3),  shortcut="B", stride_in="1x1"),
    "resnet101_v1":   ResNetConfig(block="bottleneck", repeats=(3, 4, 23, 3), shortcut="B", stride_in="1x1"),
    "resnet152_v1":   ResNetConfig(block="bottleneck", repeats=(3, 8, 36, 3), shortcut="B", stride_in="1x1"),
    # Table 2
    "resnet18_a":     ResNetConfig(block="basic",      repeats=(2, 2, 2, 2),  shortcut="A"),
    "resnet34_a":     ResNetConfig(block="basic",      repeats=(3, 4, 6, 3),  shortcut="A"),
    "plain18":        ResNetConfig(block="basic",      repeats=(2, 2, 2, 2),  shortcut="none"),
    "plain34":        ResNetConfig(block="basic",      repeats=(3, 4, 6, 3),  shortcut="none"),
    # Table 6: 6n + 2 layers of 16, 32 and 64 channels
    "resnet20":       _cifar(3, "A"),
    "resnet32":       _cifar(5, "A"),
    "resnet44":       _cifar(7, "A"),
    "resnet56":       _cifar(9, "A"),
    "resnet110":      _cifar(18, "A"),
    "resnet1202":     _cifar(200, "A"),
    "resnet20_b":     _cifar(3, "B"),
    "resnet32_b":     _cifar(5, "B"),
    "resnet44_b":     _cifar(7, "B"),
    "resnet56_b":     _cifar(9, "B"),
    "resnet110_b":    _cifar(18, "B"),
    "plain20":        _cifar(3, "none"),
    "plain32":        _cifar(5, "none"),
    "plain44":        _cifar(7, "none"),
    "plain56":        _cifar(9, "none"),
    # Not in the paper
    "resnet18_small":  _small("basic",      (2, 2, 2, 2)),
    "resnet34_small":  _small("basic",      (3, 4, 6, 3)),
    "resnet50_small":  _small("bottleneck", (3, 4, 6, 3)),
    "resnet101_small": _small("bottleneck", (3, 4, 23, 3)),
    "resnet152_small": _small("bottleneck", (3, 8, 36, 3)),
}
# fmt: on

ALIASES = {"resnet50_v1_5": "resnet50", "resnet101_v1_5": "resnet101", "resnet152_v1_5": "resnet152"}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (Figure 5, left); a plain network has the convolutions alone."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int, config: ResNetConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = make_shortcut(channels, width, stride, config.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1 down to `width`, 3x3, 1x1 up to four times `width`, and a shortcut (Figure 5, right)."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, config: ResNetConfig) -> None:
        super().__init__()
        first, second = (stride, 1) if config.stride_in == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(channels, width, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.shortcut = make_shortcut(channels, width * self.expansion, stride, config.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 4 * width, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))


def make_shortcut(channels: int, out_channels: int, stride: int, option: str) -> nn.Module | None:
    """The shortcut of one block by the options of section 3.3; None where there is none."""
    if option == "none":
        return None
    if option != "C" and stride == 1 and channels == out_channels:
        return nn.Identity()
    if option == "A":
        return PadShortcut(out_channels, stride)
    return named_chain(
        [
            ("conv", nn.Conv2d(channels, out_channels, 1, stride, bias=False)),
            ("bn", nn.BatchNorm2d(out_channels)),
        ]
    )


BLOCKS: Mapping[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(Classifier):
    """Table 1's network: `stem` is conv1, the stages are conv2_x to conv5_x (conv4_x for CIFAR)."""

    config: ResNetConfig

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        block, channels = BLOCKS[config.block], config.width
        kernel, stride = (7, 2) if config.stem == "7x7" else (3, 1)
        # comments: shapes of resnet50 at 224
        self.stem = named_chain(
            [
                ("conv1", nn.Conv2d(config.in_channels, channels, kernel, stride, padding=kernel // 2, bias=False)),
                ("bn1", nn.BatchNorm2d(channels)),
                ("relu", nn.ReLU()),
            ]
        )  # (N, 64, 112, 112)
        stages = []
        for i, repeats in enumerate(config.repeats):
            width, stage = config.width * 2**i, nn.Sequential()
            if i == 0 and config.stem == "7x7":
                stage.add_module("pool", nn.MaxPool2d(3, 2, padding=1))  # (N, 64, 56, 56)
            for j in range(repeats):
                stage.add_module(str(j), block(channels, width, 2 if i > 0 and j == 0 else 1, config))
                channels = width * block.expansion
            stages.append((f"conv{i + 2}_x", stage))
        self.stages = named_chain(stages)  # (N, 256, 56, 56), (N, 512, 28, 28), (N, 1024, 14, 14), (N, 2048, 7, 7)
        self.head = pooled_linear(channels, config.num_classes)  # (N, num_classes)
