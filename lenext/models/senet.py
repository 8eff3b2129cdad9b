"""Squeeze and excitation (Hu et al. 2017, "Squeeze-and-Excitation Networks", arXiv 1709.01507).

Table 1: ResNets and ResNeXts each of whose blocks ends in a gate (Figure 3): the channels' means go through two linear
layers with biases, the one between them with a sixteenth of the channels, and a sigmoid scales the channels by the
result. SENet-154 (appendix): a SE-ResNeXt-152 of 64 groups with three 3x3 convolutions for a stem, a first 1x1 of half
the channels, 3x3 convolutions for projections with a stride, and dropout 0.2. The network is resnet.py's.

The names without a suffix are the authors' Caffe networks, timm's `legacy_*`: SE-ResNets have their stride 2 in the
first 1x1 convolution, and the max pool rounds up and is not padded. timm's newer functions of the same names differ
and are rows too:
  seresnet50_v1_5, ...                 timm's seresnet50: the stride in the 3x3 and a padded pool, as of resnet50
  seresnext50_32x4d_padded_pool, ...   timm's seresnext50_32x4d, seresnext101_32x4d and senet154: a padded pool only
legacy_* drops 0.2 before the linear layer in every network; here SENet-154 does alone.

Small images: Table 4 gates the pre-activation ResNets of 110 and 164 layers for CIFAR; not in the paper are
  seresnet20          resnet20 of He et al. 2015 with gates
  seresnet50_small    a 3x3 stem and no max pool, and the stride in the 3x3, as of resnet50_small
"""

from typing import Literal

from lenext.models.resnet import ResNetConfig

Kernel = Literal["1x1", "3x3"]
Pool = Literal["padded", "ceil"]


def _se(repeats: tuple[int, ...], stride_in: Kernel, pool: Pool, groups: int = 1, d: int = 64) -> ResNetConfig:
    """A column of Table 1."""
    return ResNetConfig(
        block="bottleneck", repeats=repeats, stride_in=stride_in, pool=pool, groups=groups, group_width=d, squeeze=16
    )


def _senet154(pool: Pool) -> ResNetConfig:
    """The network of the appendix."""
    return ResNetConfig(
        block="bottleneck",
        repeats=(3, 8, 36, 3),
        stem="deep",
        pool=pool,
        groups=64,
        group_width=4,
        halve_first=True,
        projection=3,
        squeeze=16,
        dropout=0.2,
    )


# fmt: off
VARIANTS = {
    # Table 1                   blocks       2 in   pool      C          d
    "seresnet50":         _se((3, 4, 6, 3),  "1x1", "ceil"),
    "seresnet101":        _se((3, 4, 23, 3), "1x1", "ceil"),
    "seresnet152":        _se((3, 8, 36, 3), "1x1", "ceil"),
    "seresnext50_32x4d":  _se((3, 4, 6, 3),  "3x3", "ceil",   groups=32, d=4),
    "seresnext101_32x4d": _se((3, 4, 23, 3), "3x3", "ceil",   groups=32, d=4),
    # Appendix
    "senet154":           _senet154("ceil"),
    # Not in the paper: timm's newer functions
    "seresnet50_v1_5":    _se((3, 4, 6, 3),  "3x3", "padded"),
    "seresnet101_v1_5":   _se((3, 4, 23, 3), "3x3", "padded"),
    "seresnet152_v1_5":   _se((3, 8, 36, 3), "3x3", "padded"),
    "seresnext50_32x4d_padded_pool":  _se((3, 4, 6, 3),  "3x3", "padded", groups=32, d=4),
    "seresnext101_32x4d_padded_pool": _se((3, 4, 23, 3), "3x3", "padded", groups=32, d=4),
    "senet154_padded_pool":           _senet154("padded"),
    # Not in the paper: small images
    "seresnet20":       ResNetConfig(block="basic", repeats=(3, 3, 3), width=16, shortcut="A", squeeze=16,
                                     stem="3x3", num_classes=10, input_size=32, min_size=8),
    "seresnet50_small": ResNetConfig(block="bottleneck", repeats=(3, 4, 6, 3), squeeze=16,
                                     stem="3x3", num_classes=10, input_size=32, min_size=8),
}
# fmt: on

ALIASES = {
    "legacy_seresnet50": "seresnet50",
    "legacy_seresnet101": "seresnet101",
    "legacy_seresnet152": "seresnet152",
    "legacy_seresnext50_32x4d": "seresnext50_32x4d",
    "legacy_seresnext101_32x4d": "seresnext101_32x4d",
    "legacy_senet154": "senet154",
}
