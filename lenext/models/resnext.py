"""ResNeXt (Xie et al. 2016, "Aggregated Residual Transformations for Deep Neural Networks", arXiv 1611.05431).

Table 1: a ResNet whose bottlenecks have C paths of d channels in conv2_x, "C x d", and of twice as many in each next
stage; the paths are built as one 3x3 convolution in C groups (Figure 3c). For CIFAR it has 29 layers, three stages of
three blocks (section 5.3). The network is resnet.py's; the paper already has its stride 2 in the 3x3 convolution, so
that torchvision and timm have its function.

Not in the paper:
  resnext101_32x8d        torchvision's and timm's, from later work on weak supervision
  resnext_29_8x4d         the fewest paths of Table 7, each of 4 channels: what two cores train in minutes
  resnext_29_32x4d        the usual light one for CIFAR, as in AugMix (Hendrycks et al. 2019, arXiv 1912.02781); the
                          paper's own cost seven times as much and more
  resnext50_32x4d_small   Table 1's with a 3x3 stem and no max pool for 32x32 images, as of other ResNets

d is the width of one group and not a number of groups: some teaching code takes the one for the other.
"""

from lenext.models.resnet import ResNetConfig


def _cifar(groups: int, group_width: int) -> ResNetConfig:
    """The 29 layers of section 5.3."""
    return ResNetConfig(
        block="bottleneck",
        repeats=(3, 3, 3),
        stem="3x3",
        groups=groups,
        group_width=group_width,
        num_classes=10,
        input_size=32,
        min_size=8,
    )


# fmt: off
VARIANTS = {
    # Tables 1 and 4                        blocks                               C          d
    "resnext50_32x4d":   ResNetConfig(block="bottleneck", repeats=(3, 4, 6, 3),  groups=32, group_width=4),
    "resnext101_32x4d":  ResNetConfig(block="bottleneck", repeats=(3, 4, 23, 3), groups=32, group_width=4),
    "resnext101_64x4d":  ResNetConfig(block="bottleneck", repeats=(3, 4, 23, 3), groups=64, group_width=4),
    # Table 7
    "resnext_29_8x64d":  _cifar(8, 64),
    "resnext_29_16x64d": _cifar(16, 64),
    # Not in the paper
    "resnext101_32x8d":  ResNetConfig(block="bottleneck", repeats=(3, 4, 23, 3), groups=32, group_width=8),
    "resnext_29_8x4d":   _cifar(8, 4),
    "resnext_29_32x4d":  _cifar(32, 4),
    "resnext50_32x4d_small": ResNetConfig(block="bottleneck", repeats=(3, 4, 6, 3), groups=32, group_width=4,
                                          stem="3x3", num_classes=10, input_size=32, min_size=8),
}
# fmt: on

ALIASES = {
    "resnext29_8x64d": "resnext_29_8x64d",
    "resnext29_16x64d": "resnext_29_16x64d",
    "resnext29_32x4d": "resnext_29_32x4d",
}
