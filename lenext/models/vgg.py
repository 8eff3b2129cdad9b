"""VGG (Simonyan & Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 1409.1556).

Table 1: five groups of 3x3 convolutions (conv1 to conv5), each ending in a 2x2 max pool, then fc6, fc7 and fc8.
A-LRN normalises once, behind conv1_1, with AlexNet's constants; C ends its last three groups with a 1x1 convolution.
The paper's letters are aliases: vgg_a is vgg11, vgg_b vgg13, vgg_d vgg16, vgg_e vgg19.

Differences of popular code from the paper:
  *_bn          batch normalisation came a year later; the convolutions keep their biases, as in torchvision
  other sizes   the paper slides fc6 to fc8 over larger images (dense evaluation) and averages; here, as in torchvision,
                the last map is averaged to 7x7, which is the identity at 224. Its errors are those of dense
                evaluation, below what one 224 crop gives.
  vgg11_d2l     Dive into Deep Learning 1.0, section 8.2: a quarter of the widths, for grey images
  *_small       the common form for 32x32 images, not in the paper: batch normalisation, the average of the last map,
                one linear layer. The pools round up, which is nothing at 32 and lets 28x28 images in (28, 14, 7, 4,
                2, 1). Parameters by hand: vgg11_small 9,217,728 + 2,752 convolution weights and biases, 5,504 of
                normalisation and 5,130 of the head are 9,231,114 for 10 classes; vgg16_small 14,710,464 + 4,224 +
                8,448 + 5,130 = 14,728,266. MACs at 32: 152,764,416 + 5,120 and 313,196,544 + 5,120 (a 49th of those
                of the convolutions at 224).
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import LocalResponseNorm, fc_head, named_chain, pooled_linear

WIDTHS = (64, 128, 256, 512, 512)


@dataclass(frozen=True, kw_only=True)
class VGGConfig(NetworkConfig):
    """One column of Table 1; group i has `repeats[i]` convolutions of `widths[i]` channels."""

    min_size: int = 64  # the last map is then 2x2 at least
    repeats: tuple[int, ...] = (1, 1, 2, 2, 2)
    widths: tuple[int, ...] = WIDTHS
    pointwise: bool = False  # the last convolution of groups 3, 4 and 5 is 1x1
    response_norm: bool = False
    batch_norm: bool = False
    head: Literal["fc", "pooled"] = "fc"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, value in (("repeats", self.repeats), ("widths", self.widths)):
            if len(value) != len(WIDTHS):
                raise UsageError(
                    f"cannot build VGG with {field} = {value}",
                    why=f"it has {len(WIDTHS)} groups of convolutions",
                    advice=f"one number for each group, as in {field}={getattr(VGGConfig, field)}",
                )


def _small(repeats: tuple[int, ...]) -> VGGConfig:
    """A column of Table 1 for 32x32 images."""
    return VGGConfig(repeats=repeats, batch_norm=True, head="pooled", num_classes=10, input_size=32, min_size=8)


# fmt: off
VARIANTS = {
    #                      repeats                  as Table 1 calls it
    "vgg11":     VGGConfig(repeats=(1, 1, 2, 2, 2)),                         # A
    "vgg_a_lrn": VGGConfig(repeats=(1, 1, 2, 2, 2), response_norm=True),     # A-LRN
    "vgg13":     VGGConfig(repeats=(2, 2, 2, 2, 2)),                         # B
    "vgg_c":     VGGConfig(repeats=(2, 2, 3, 3, 3), pointwise=True),         # C
    "vgg16":     VGGConfig(repeats=(2, 2, 3, 3, 3)),                         # D
    "vgg19":     VGGConfig(repeats=(2, 2, 4, 4, 4)),                         # E
    # Not in the paper
    "vgg11_bn":  VGGConfig(repeats=(1, 1, 2, 2, 2), batch_norm=True),
    "vgg13_bn":  VGGConfig(repeats=(2, 2, 2, 2, 2), batch_norm=True),
    "vgg16_bn":  VGGConfig(repeats=(2, 2, 3, 3, 3), batch_norm=True),
    "vgg19_bn":  VGGConfig(repeats=(2, 2, 4, 4, 4), batch_norm=True),
    "vgg11_d2l": VGGConfig(repeats=(1, 1, 2, 2, 2), widths=(16, 32, 64, 128, 128), in_channels=1, num_classes=10),
    "vgg11_small": _small((1, 1, 2, 2, 2)),
    "vgg16_small": _small((2, 2, 3, 3, 3)),
}
# fmt: on

ALIASES = {"vgg_a": "vgg11", "vgg_b": "vgg13", "vgg_d": "vgg16", "vgg_e": "vgg19"}


class VGG(Classifier):
    """Table 1's network: no stem, the stages are conv1 to conv5, each with its max pool."""

    config: VGGConfig

    def __init__(self, config: VGGConfig) -> None:
        super().__init__(config)
        self.stem = nn.Identity()
        channels = config.in_channels
        stages = []
        for number, (repeats, width) in enumerate(zip(config.repeats, config.widths, strict=True), start=1):
            stages.append((f"conv{number}", group(number, channels, width, repeats, config)))
            channels = width
        self.stages = named_chain(stages)  # (N, 64, 112, 112), (N, 128, 56, 56), (N, 256, 28, 28), ... (N, 512, 7, 7)
        if config.head == "fc":
            self.head = fc_head(channels, 7, config.num_classes, config.dropout)  # (N, num_classes)
        else:
            self.head = pooled_linear(channels, config.num_classes)


def group(number: int, channels: int, width: int, repeats: int, config: VGGConfig) -> nn.Sequential:
    """One group of Table 1: convN_1, convN_2, ... and poolN; (N, channels, H, W) -> (N, width, H/2, W/2)."""
    layers: list[tuple[str, nn.Module]] = []
    for i in range(1, repeats + 1):
        kernel = 1 if config.pointwise and number >= 3 and i == repeats else 3
        layers.append((f"conv{number}_{i}", nn.Conv2d(channels, width, kernel, padding=kernel // 2)))
        if config.batch_norm:
            layers.append((f"bn{number}_{i}", nn.BatchNorm2d(width)))
        layers.append((f"relu{number}_{i}", nn.ReLU()))
        if config.response_norm and number == 1:
            layers.append(("lrn1", LocalResponseNorm()))
        channels = width
    return named_chain([*layers, (f"pool{number}", nn.MaxPool2d(2, ceil_mode=config.head == "pooled"))])
