"""Residual networks (He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv 1512.03385).

Table 1 gives the ImageNet networks, section 4.2 those for CIFAR-10 (6n+2 layers). The shortcut options of section
3.3: A pads with zero channels and has no parameters, B projects by a 1x1 convolution where the shape changes, C
projects everywhere; "none" is the paper's plain network. The paper prints Table 2 with A; the rows without a suffix
have B, as in Table 4 and in popular code.

Where popular code departs from the paper, both are rows:
  resnet50, 101, 152   stride 2 in the 3x3 convolution of a bottleneck ("v1.5", torchvision's and timm's function)
  resnet50_v1, ...     stride 2 in the first 1x1 convolution, as published
  resnet200            as published too, in Table 5 of He et al. 2016 (arXiv 1603.05027); resnet200_v1_5 is timm's
  resnet20, ...        option A, as published; resnet20_b has the projections of many ports
  resnet_18_d2l        Dive into Deep Learning 1.0, section 8.6: biases, and projections without normalisation
  resnet18_small, ...  in no paper: with a 3x3 stem and no max pool, as usual for 32x32; the paper's are resnet20, ...

The max pool belongs to conv2_x, as in Table 1. Sizes: any from min_size on, since the head averages what it finds. The
ImageNet rows start at 64, where the last map is 2x2; at 32 it is one pixel, and the small row is the better network.

The tables of wrn.py (on ImageNet), stochdepth.py, resnext.py and senet.py are rows of this network too: their papers
change how wide, grouped or gated a block is, or drop some while training, and leave the rest as it was.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.convolutions import ConvStyle, conv_norm
from lenext.models.parts import DropPath, PadShortcut, SqueezeExcite, linear_rates, named_chain, pooled_linear


@dataclass(frozen=True, kw_only=True)
class ResNetConfig(NetworkConfig):
    """One column of Table 1: stage i has `repeats[i]` blocks of `width * 2**i` channels (four times that outside)."""

    min_size: int = 64
    block: Literal["basic", "bottleneck"] = "basic"
    repeats: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    shortcut: Literal["A", "B", "C", "none"] = "B"
    stride_in: Literal["1x1", "3x3"] = "3x3"  # which convolution of a bottleneck takes the stride
    stem: Literal["7x7", "3x3", "deep"] = "7x7"  # with stride 2 and a max pool, with neither, or three 3x3 for the 7x7
    # what the networks after it change
    groups: int = 1  # of a bottleneck's 3x3 convolution
    group_width: int = 64  # channels of each of them in a stage of 64
    halve_first: bool = False  # a bottleneck's first 1x1 makes half as many channels as its 3x3
    squeeze: int = 0  # each block's branch is gated, with this many times fewer channels in between; 0: no gate
    projection: int = 1  # kernel of the projections that have a stride
    pool: Literal["padded", "ceil"] = "padded"  # by a pixel on each side, or rounding up, as Caffe does
    dropout: float = 0.0  # before the linear layer
    drop_path: float = 0.0  # of the last block
    drop_per: Literal["image", "batch"] = "image"
    bias: bool = False  # of the convolutions in the stem and in the blocks
    bare_projection: bool = False  # without batch normalisation

    def __post_init__(self) -> None:
        super().__post_init__()
        channels = self.width * self.group_width // 64
        grouped = (self.groups, self.group_width, self.halve_first) != (1, 64, False)
        if (self.block == "basic" and grouped) or channels < 1 or (self.halve_first and channels % 2):
            raise UsageError(
                f"cannot build {self.block} blocks of {self.groups} groups of {channels} channels",
                why="only bottlenecks have groups, of a channel at least, or of two to be halved",
                advice='block="bottleneck" and wider groups',
            )
        if self.drop_path and self.shortcut == "none":
            raise UsageError("cannot drop paths of a plain network", why="it has no others", advice='shortcut="A"')


def _small(block: Literal["basic", "bottleneck"], repeats: tuple[int, ...]) -> ResNetConfig:
    """A column of Table 1 for small images."""
    return ResNetConfig(block=block, repeats=repeats, stem="3x3", num_classes=10, input_size=32, min_size=8)


def _cifar(n: int, shortcut: Literal["A", "B", "none"]) -> ResNetConfig:
    """The network of 6n+2 layers of section 4.2."""
    return replace(_small("basic", (n, n, n)), width=16, shortcut=shortcut)


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
    # Table 5 of He et al. 2016
    "resnet200":      ResNetConfig(block="bottleneck", repeats=(3, 24, 36, 3), shortcut="B", stride_in="1x1"),
    "resnet200_v1_5": ResNetConfig(block="bottleneck", repeats=(3, 24, 36, 3), shortcut="B", stride_in="3x3"),
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
    "resnet_18_d2l":  ResNetConfig(bias=True, bare_projection=True, in_channels=1, num_classes=10, input_size=96),
    "resnet18_small":  _small("basic",      (2, 2, 2, 2)),
    "resnet34_small":  _small("basic",      (3, 4, 6, 3)),
    "resnet50_small":  _small("bottleneck", (3, 4, 6, 3)),
    "resnet101_small": _small("bottleneck", (3, 4, 23, 3)),
    "resnet152_small": _small("bottleneck", (3, 8, 36, 3)),
}
# fmt: on

ALIASES = {f"resnet{depth}_v1_5": f"resnet{depth}" for depth in (50, 101, 152)} | {"resnet200_v1": "resnet200"}


class ResidualBlock(nn.Module):
    """What both kinds of block have around a branch: a gate where the row squeezes, a shortcut unless plain, ReLU."""

    def surround(self, channels: int, width: int, stride: int, config: ResNetConfig, rate: float) -> None:
        """Make it for a branch from `channels` to `width` channels that is dropped at `rate`."""
        self.se = SqueezeExcite(width, max(width // config.squeeze, 1)) if config.squeeze else None
        self.drop_path = DropPath(rate, config.drop_per) if rate else None
        self.shortcut = make_shortcut(channels, width, stride, config)

    def branch(self, x: Tensor) -> Tensor:
        """What the convolutions make of the input."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, expansion * width, H/stride, W/stride)."""
        if self.drop_path is not None and self.shortcut is not None and self.drop_path.drops_batch():
            return torch.relu(self.shortcut(x))  # without computing the branch
        y = self.branch(x)
        y = y if self.se is None else self.se(y)
        y = y if self.drop_path is None else self.drop_path(y)
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions (Figure 5, left)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int, config: ResNetConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=config.bias)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=config.bias)
        self.bn2 = nn.BatchNorm2d(width)
        self.surround(channels, width, stride, config, drop_path)

    def branch(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width, H/stride, W/stride)."""
        y: Tensor = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return y


class Bottleneck(ResidualBlock):
    """1x1 down to the inner width, 3x3, 1x1 up to four times `width` (Figure 5, right)."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, config: ResNetConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        first, second = (stride, 1) if config.stride_in == "1x1" else (1, stride)
        inner, outer = width * config.group_width // 64 * config.groups, width * self.expansion
        reduced = inner // 2 if config.halve_first else inner
        self.conv1 = nn.Conv2d(channels, reduced, 1, first, bias=config.bias)
        self.bn1 = nn.BatchNorm2d(reduced)
        self.conv2 = nn.Conv2d(reduced, inner, 3, second, padding=1, groups=config.groups, bias=config.bias)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=config.bias)
        self.bn3 = nn.BatchNorm2d(outer)
        self.surround(channels, outer, stride, config, drop_path)

    def branch(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, 4 * width, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        out: Tensor = self.bn3(self.conv3(y))
        return out


def make_shortcut(channels: int, out_channels: int, stride: int, config: ResNetConfig) -> nn.Module | None:
    """The shortcut of one block by the options of section 3.3; None where there is none."""
    if config.shortcut == "none":
        return None
    if config.shortcut != "C" and stride == 1 and channels == out_channels:
        return nn.Identity()
    if config.shortcut == "A":
        return PadShortcut(out_channels, stride)
    kernel = config.projection if stride > 1 else 1
    if config.bare_projection:
        return nn.Conv2d(channels, out_channels, kernel, stride, padding=kernel // 2, bias=config.bias)
    return conv_norm(channels, out_channels, kernel, stride, style=ConvStyle(), activation="none")


def make_stem(config: ResNetConfig) -> nn.Sequential:
    """conv1 as convolution, batch normalisation and ReLU, or thrice these: (N, in_channels, H, W) to the pool."""
    width, channels = config.width, config.in_channels
    layers: list[tuple[str, nn.Module]] = []
    deep = [(3, 2, width), (3, 1, width), (3, 1, 2 * width)]
    convs = {"7x7": [(7, 2, width)], "3x3": [(3, 1, width)], "deep": deep}[config.stem]
    for i, (kernel, stride, width) in enumerate(convs, start=1):
        layers.append((f"conv{i}", nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=config.bias)))
        layers.append((f"bn{i}", nn.BatchNorm2d(width)))
        layers.append(("relu" if i == len(convs) else f"relu{i}", nn.ReLU()))
        channels = width
    return named_chain(layers)


class ResNet(Classifier):
    """Table 1's network: `stem` is conv1, the stages are conv2_x to conv5_x (conv4_x for CIFAR)."""

    config: ResNetConfig

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config)
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock if config.block == "basic" else Bottleneck
        # comments: shapes of resnet50 at 224
        self.stem = make_stem(config)  # (N, 64, 112, 112)
        channels = config.width * (2 if config.stem == "deep" else 1)
        rates = iter(linear_rates(config.drop_path, sum(config.repeats) + 1)[1:])  # from 0 at the input, not a block's
        stages = []
        for i, repeats in enumerate(config.repeats):
            width, stage = config.width * 2**i, nn.Sequential()
            if i == 0 and config.stem != "3x3":
                padded = config.pool == "padded"  # (N, 64, 56, 56) both ways
                stage.add_module("pool", nn.MaxPool2d(3, 2, padding=int(padded), ceil_mode=not padded))
            for j in range(repeats):
                stage.add_module(str(j), block(channels, width, 2 if i > 0 and j == 0 else 1, config, next(rates)))
                channels = width * block.expansion
            stages.append((f"conv{i + 2}_x", stage))
        self.stages = named_chain(stages)  # (N, 256, 56, 56), (N, 512, 28, 28), (N, 1024, 14, 14), (N, 2048, 7, 7)
        self.head = pooled_linear(channels, config.num_classes, config.dropout)  # (N, num_classes)
