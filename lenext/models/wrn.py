"""Wide residual networks (Zagoruyko & Komodakis 2016, "Wide Residual Networks", arXiv 1605.07146).

Table 1: WRN-d-k for 32x32 images, three groups of (d - 4) / 6 blocks B(3,3) each, k times as wide as the ResNets for
CIFAR. The network is preact.py's, under whose names its groups conv2, conv3 and conv4 are conv2_x and so on: a block
normalises and activates before each convolution; where the channels change, its shortcut is a 1x1 convolution, without
normalisation, of what the first convolution sees. The rows are those of Tables 4, 5 and 9. The depth counts three such
shortcuts also where k = 1, whose conv2 needs none.

Table 8: WRN-50-2, a ResNet-50 for ImageNet whose bottlenecks are twice as wide inside; its blocks are resnet.py's.

What to know of the numbers and of popular code:
  dropout              between the two convolutions of a block (Figure 1d), 0.3 on CIFAR and 0.4 on SVHN, in Table 6, in
                       Table 9 and in few other rows; so it is 0 here unless set
  preprocessing        Table 4 whitens by ZCA, Table 5 subtracts the mean and divides by the deviation
  wide_resnet50_2      of torchvision and timm, with stride 2 in the 3x3 convolution ("v1.5")
  wide_resnet101_2     torchvision's, not in the paper
"""

from lenext.models.classifier import NetworkConfig
from lenext.models.preact import PreActConfig
from lenext.models.resnet import ResNetConfig


def _wide(depth: int, widen: int) -> PreActConfig:
    """WRN-d-k of Table 1: `depth` is 6n+4 for groups of n blocks."""
    return PreActConfig(
        repeats=((depth - 4) // 6,) * 3,
        width=16,
        widen=widen,
        stem="3x3",
        activate_stem=False,
        num_classes=10,
        input_size=32,
        min_size=8,
    )


# fmt: off
VARIANTS: dict[str, NetworkConfig] = {
    # Tables 4, 5 and 9   d   k
    "wrn_40_1":  _wide(40, 1),
    "wrn_40_2":  _wide(40, 2),
    "wrn_40_4":  _wide(40, 4),
    "wrn_40_8":  _wide(40, 8),
    "wrn_40_10": _wide(40, 10),
    "wrn_28_10": _wide(28, 10),
    "wrn_28_12": _wide(28, 12),
    "wrn_22_8":  _wide(22, 8),
    "wrn_22_10": _wide(22, 10),
    "wrn_16_4":  _wide(16, 4),
    "wrn_16_8":  _wide(16, 8),
    "wrn_16_10": _wide(16, 10),
    # Table 8
    "wide_resnet50_2":  ResNetConfig(block="bottleneck", repeats=(3, 4, 6, 3),  group_width=128),
    # Not in the paper
    "wide_resnet101_2": ResNetConfig(block="bottleneck", repeats=(3, 4, 23, 3), group_width=128),
}
# fmt: on

ALIASES = {"wrn_50_2": "wide_resnet50_2", "wrn_101_2": "wide_resnet101_2"}
