"""Densely connected networks (Huang, Liu, van der Maaten & Weinberger 2016, arXiv 1608.06993).

A layer of a dense block reads all maps before it and adds k of its own, the growth rate (equation 2): normalisation,
ReLU, 3x3 convolution. DenseNet-B puts a 1x1 convolution to 4k channels before, -C keeps half of the channels in the
transitions between blocks. Table 1 gives the ImageNet networks, all of them -BC; Table 2 those for CIFAR, three blocks
of (L - 4) / 3 layers, or half as many with the 1x1 convolutions. No convolution has a bias.

What to know of the numbers and of popular code:
  stem                16 channels in the plain networks for CIFAR, 2k in all others; the authors' release has 2k always
  *_bc_*, others      the plain networks compress nothing; some ports halve their transitions too and so lose two fifths
                      of the parameters
  densenet161         k = 48, in the authors' release, not in the tables of the paper's last version
  densenet_264        Table 1's column of that name, whose layers are 265; k = 32. timm's densenet264d is another one,
                      k = 48 with a deep stem
  densenet_bc_cifar_L40_*
                      k = 48 is from the release's README ("wide"), not in the paper; k = 12 is the least that ports
                      have, and trains on a processor
  dropout             behind every convolution but the first, 0.2 where the paper trains without augmentation; so it is
                      0 here unless set. torchvision and timm leave it away behind the 1x1 convolutions
  densenet_d2l        Dive into Deep Learning 1.0, section 8.7: plain layers with biases, for one channel
  densenet121_small   a 3x3 stem and no max pool, the usual form for 32x32 images, not in the paper, whose own networks
                      for them are densenet_*cifar_*
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import named_chain, pooled_linear


@dataclass(frozen=True, kw_only=True)
class DenseNetConfig(NetworkConfig):
    """One column of Table 1: block i has `repeats[i]` layers that add `growth` channels each."""

    min_size: int = 64  # the last map is then 2x2
    repeats: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32  # k
    stem_width: int = 64
    bottleneck: bool = True  # a layer's 3x3 convolution reads 4k channels, made by a 1x1 convolution
    compression: float = 0.5  # of the channels in a transition: theta
    stem: Literal["7x7", "3x3"] = "7x7"  # with stride 2 and a max pool, or a bare convolution of stride 1
    bias: bool = False  # of the convolutions
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.compression <= 1:
            raise UsageError(
                f"cannot build a DenseNet with compression = {self.compression}",
                why="it is the part of its channels that a transition keeps",
                advice="compression=0.5, or 1 to keep all",
            )


def _cifar(depth: int, growth: int, *, bc: bool) -> DenseNetConfig:
    """A row of Table 2: L layers, of which four are the stem, two transitions and the linear layer."""
    return DenseNetConfig(
        repeats=((depth - 4) // (6 if bc else 3),) * 3,
        growth=growth,
        stem_width=2 * growth if bc else 16,
        bottleneck=bc,
        compression=0.5 if bc else 1.0,
        stem="3x3",
        num_classes=10,
        input_size=32,
        min_size=8,
    )


# fmt: off
VARIANTS = {
    # Table 1                     layers                    k          2k
    "densenet121":  DenseNetConfig(repeats=(6, 12, 24, 16), growth=32, stem_width=64),
    "densenet169":  DenseNetConfig(repeats=(6, 12, 32, 32), growth=32, stem_width=64),
    "densenet201":  DenseNetConfig(repeats=(6, 12, 48, 32), growth=32, stem_width=64),
    "densenet_264": DenseNetConfig(repeats=(6, 12, 64, 48), growth=32, stem_width=64),
    # Not in the last version of the paper
    "densenet161":  DenseNetConfig(repeats=(6, 12, 36, 24), growth=48, stem_width=96),
    # Table 2                       L    k
    "densenet_cifar_L40_k12":     _cifar(40,  12, bc=False),
    "densenet_cifar_L100_k12":    _cifar(100, 12, bc=False),
    "densenet_cifar_L100_k24":    _cifar(100, 24, bc=False),
    "densenet_bc_cifar_L100_k12": _cifar(100, 12, bc=True),
    "densenet_bc_cifar_L250_k24": _cifar(250, 24, bc=True),
    "densenet_bc_cifar_L190_k40": _cifar(190, 40, bc=True),
    # Not in the paper
    "densenet_bc_cifar_L40_k12":  _cifar(40,  12, bc=True),
    "densenet_bc_cifar_L40_k48":  _cifar(40,  48, bc=True),
    "densenet121_small": DenseNetConfig(repeats=(6, 12, 24, 16), growth=32, stem_width=64, stem="3x3",
                                        num_classes=10, input_size=32, min_size=16),
    "densenet_d2l": DenseNetConfig(repeats=(4, 4, 4, 4), growth=32, stem_width=64, bottleneck=False, bias=True,
                                   in_channels=1, num_classes=10, input_size=96),
}
# fmt: on

ALIASES = {
    "densenet264": "densenet_264",
    "densenet_40_12": "densenet_cifar_L40_k12", "densenet_100_12": "densenet_cifar_L100_k12",
    "densenet_100_24": "densenet_cifar_L100_k24", "densenet_bc_100_12": "densenet_bc_cifar_L100_k12",
    "densenet_bc_250_24": "densenet_bc_cifar_L250_k24", "densenet_bc_190_40": "densenet_bc_cifar_L190_k40",
    "densenet_bc_40_12": "densenet_bc_cifar_L40_k12", "densenet_bc_40_48": "densenet_bc_cifar_L40_k48",
}  # fmt: skip


def composite(channels: int, width: int, kernel: int, config: DenseNetConfig) -> nn.Sequential:
    """The paper's composite function: normalisation, ReLU, convolution; (N, channels, H, W) -> (N, width, H, W)."""
    layers: list[tuple[str, nn.Module]] = [
        ("bn", nn.BatchNorm2d(channels)),
        ("relu", nn.ReLU()),
        ("conv", nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=config.bias)),
    ]
    if config.dropout:
        layers.append(("dropout", nn.Dropout(config.dropout)))
    return named_chain(layers)


class DenseLayer(nn.Module):
    """Put `growth` channels of its own behind those that it reads."""

    def __init__(self, channels: int, config: DenseNetConfig) -> None:
        super().__init__()
        inner = 4 * config.growth if config.bottleneck else channels
        self.reduce = composite(channels, inner, 1, config) if config.bottleneck else nn.Identity()
        self.grow = composite(inner, config.growth, 3, config)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, channels + growth, H, W)."""
        return torch.cat([x, self.grow(self.reduce(x))], dim=1)


def make_stem(config: DenseNetConfig) -> nn.Sequential:
    """The first convolution, with what follows it on ImageNet: (N, in_channels, H, W) to the first block."""
    channels, width = config.in_channels, config.stem_width
    if config.stem == "3x3":
        return named_chain([("conv", nn.Conv2d(channels, width, 3, padding=1, bias=config.bias))])
    return named_chain(
        [
            ("conv", nn.Conv2d(channels, width, 7, 2, padding=3, bias=config.bias)),
            ("bn", nn.BatchNorm2d(width)),
            ("relu", nn.ReLU()),
            ("pool", nn.MaxPool2d(3, 2, padding=1)),
        ]
    )


class DenseNet(Classifier):
    """Table 1's network: the stages are dense blocks and transitions in turn, the last with the last activation."""

    config: DenseNetConfig

    def __init__(self, config: DenseNetConfig) -> None:
        super().__init__(config)
        # comments: shapes of densenet121 at 224
        self.stem = make_stem(config)  # (N, 64, 56, 56)
        channels = config.stem_width
        stages = []
        for i, repeats in enumerate(config.repeats, start=1):
            if i > 1:
                width = int(channels * config.compression)
                transition = composite(channels, width, 1, config)
                transition.add_module("pool", nn.AvgPool2d(2))
                stages.append((f"transition{i - 1}", transition))  # (N, 128, 28, 28), (N, 256, 14, 14), (N, 512, 7, 7)
                channels = width
            block = nn.Sequential()
            for j in range(1, repeats + 1):
                block.add_module(f"layer{j}", DenseLayer(channels, config))
                channels += config.growth
            stages.append((f"block{i}", block))  # (N, 256, 56, 56), (N, 512, 28, 28), (N, 1024, 14, 14), ...
        block.add_module("bn", nn.BatchNorm2d(channels))
        block.add_module("relu", nn.ReLU())
        self.stages = named_chain(stages)  # ... (N, 1024, 7, 7)
        self.head = pooled_linear(channels, config.num_classes)  # (N, num_classes)
