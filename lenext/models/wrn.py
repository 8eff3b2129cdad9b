"""Wide residual networks (Zagoruyko & Komodakis 2016, "Wide Residual Networks", arXiv 1605.07146).

Table 1: WRN-d-k for 32x32 images, groups conv2, conv3 and conv4 of (d - 4) / 6 blocks B(3,3) each, k times as wide as
the ResNets for CIFAR. A block normalises and activates before each convolution; where the channels change, its
shortcut is a 1x1 convolution, without normalisation, of what the first convolution sees. The rows are those of Tables
4, 5 and 9. The depth counts three such shortcuts also where k = 1, whose conv2 needs none.

Table 8: WRN-50-2, a ResNet-50 for ImageNet whose bottlenecks are twice as wide inside; its blocks are resnet.py's.

What to know of the numbers and of popular code:
  dropout              between the two convolutions of a block (Figure 1d), 0.3 on CIFAR and 0.4 on SVHN, in Table 6, in
                       Table 9 and in few other rows; so it is 0 here unless set
  preprocessing        Table 4 whitens by ZCA, Table 5 subtracts the mean and divides by the deviation
  wide_resnet50_2      of torchvision and timm, with stride 2 in the 3x3 convolution ("v1.5")
  wide_resnet101_2     torchvision's, not in the paper
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import named_chain, pooled_linear
from lenext.models.resnet import ResNetConfig


@dataclass(frozen=True, kw_only=True)
class WRNConfig(NetworkConfig):
    """WRN-d-k of Table 1: `depth` d is 6n+4 for groups of n blocks, the first of `width` * `widen` channels."""

    num_classes: int = 10
    input_size: int = 32
    min_size: int = 8  # the last map is then 2x2
    depth: int = 28
    widen: int = 10  # k
    width: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth < 10 or self.depth % 6 != 4:
            raise UsageError(
                f"cannot build a wide residual network of {self.depth} layers",
                why="it has 6n + 4 of them, for three groups of n blocks",
                advice=f"depth={max(self.depth - 4, 6) // 6 * 6 + 4}",
            )


# fmt: off
VARIANTS: dict[str, NetworkConfig] = {
    # Tables 4, 5 and 9     d         k
    "wrn_40_1":  WRNConfig(depth=40, widen=1),
    "wrn_40_2":  WRNConfig(depth=40, widen=2),
    "wrn_40_4":  WRNConfig(depth=40, widen=4),
    "wrn_40_8":  WRNConfig(depth=40, widen=8),
    "wrn_40_10": WRNConfig(depth=40, widen=10),
    "wrn_28_10": WRNConfig(depth=28, widen=10),
    "wrn_28_12": WRNConfig(depth=28, widen=12),
    "wrn_22_8":  WRNConfig(depth=22, widen=8),
    "wrn_22_10": WRNConfig(depth=22, widen=10),
    "wrn_16_4":  WRNConfig(depth=16, widen=4),
    "wrn_16_8":  WRNConfig(depth=16, widen=8),
    "wrn_16_10": WRNConfig(depth=16, widen=10),
    # Table 8
    "wide_resnet50_2":  ResNetConfig(block="bottleneck", repeats=(3, 4, 6, 3),  group_width=128),
    # Not in the paper
    "wide_resnet101_2": ResNetConfig(block="bottleneck", repeats=(3, 4, 23, 3), group_width=128),
}
# fmt: on

ALIASES = {"wrn_50_2": "wide_resnet50_2", "wrn_101_2": "wide_resnet101_2"}


class WideBlock(nn.Module):
    """Two 3x3 convolutions behind their normalisations, dropout between them, and a shortcut (Figure 1d)."""

    def __init__(self, channels: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False) if channels != width else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width, H/stride, W/stride)."""
        active = torch.relu(self.bn1(x))
        y: Tensor = torch.relu(self.bn2(self.conv1(active)))
        y = self.conv2(self.dropout(y))
        return y + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(Classifier):
    """Table 1's network: `stem` is conv1, the stages are conv2 to conv4, the last with what follows the last block."""

    config: WRNConfig

    def __init__(self, config: WRNConfig) -> None:
        super().__init__(config)
        channels = config.width
        # comments: shapes of wrn_28_10 at 32
        self.stem = nn.Conv2d(config.in_channels, channels, 3, padding=1, bias=False)  # (N, 16, 32, 32)
        stages = []
        for i in range(3):
            width, stage = config.width * config.widen * 2**i, nn.Sequential()
            for j in range((config.depth - 4) // 6):
                stage.add_module(str(j), WideBlock(channels, width, 2 if i > 0 and j == 0 else 1, config.dropout))
                channels = width
            stages.append((f"conv{i + 2}", stage))
        stage.add_module("bn", nn.BatchNorm2d(channels))
        stage.add_module("relu", nn.ReLU())
        self.stages = named_chain(stages)  # (N, 160, 32, 32), (N, 320, 16, 16), (N, 640, 8, 8)
        self.head = pooled_linear(channels, config.num_classes)  # (N, num_classes)
