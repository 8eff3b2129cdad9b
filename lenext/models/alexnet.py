"""AlexNet (Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012).

Figure 2 and section 3: five convolutions, each with its ReLU, and fc6, fc7, fc8. Two GPUs hold half of the channels
each and see each other's only in conv3 and the linear layers, so conv2, conv4 and conv5 are convolutions of two groups.
Behind the ReLUs of conv1 and conv2 responses are normalised (section 3.3); conv1, conv2 and conv5 end in overlapping
max pools, 3x3 with stride 2 (section 3.4). The paper's 224 pixels give 55x55 only if 227 are meant.

One name, several networks:
  alexnet        as published: k = 2, and alpha = 1e-4 times the sum of the five squares
  bvlc_alexnet   Caffe's replication: k = 1, and alpha times their mean
  caffenet       Caffe's reference network: bvlc_alexnet with each pool in front of its normalisation
  alexnet_owt    torchvision's "alexnet", one column after Krizhevsky 2014 ("One weird trick for parallelizing
                 convolutional neural networks", 1404.5997): other widths, no groups, no normalisation, 224 pixels
                 padded by 2, dropout on what fc6 and fc7 read instead of on what they give. The widths are those of the
                 author's code, which normalises; the paper's footnote has 384 channels in conv4 instead of 256.
  alexnet_d2l    Dive into Deep Learning 1.0, section 8.1: one column of the published widths, no normalisation
  alexnet_small  the common form for 32x32 images, not in the papers (after bearpaw/pytorch-classification): the widths
                 of alexnet_owt, 2x2 pools, one linear layer. The pools round up, which is nothing at 32 and lets 28x28
                 images in (7, 4, 2, 1).

Other sizes: the last map is averaged to 6x6 for fc6, as in torchvision, which is the identity at the published size.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import LocalResponseNorm, named_chain, pooled_linear

KERNELS = (11, 5, 3, 3, 3)


@dataclass(frozen=True, kw_only=True)
class AlexNetConfig(NetworkConfig):
    """One network of five convolutions; `widths` are their channels.

    groups: of conv2, conv4 and conv5. padding: of conv1. norm: whose constants the normalisation of conv1 and conv2
    has, before or after the pool. pool: side of the pools' window. last_map: side of the map that fc6 reads.
    dropout_on: what fc6 and fc7 give, as in the paper, or what they read.
    """

    input_size: int = 227
    min_size: int = 67  # the last map is then 1x1
    widths: tuple[int, ...] = (96, 256, 384, 384, 256)
    groups: int = 1
    padding: int = 0
    norm: Literal["paper", "caffe", "none"] = "none"
    norm_place: Literal["before pool", "after pool"] = "before pool"
    pool: int = 3
    head: Literal["fc", "pooled"] = "fc"
    last_map: int = 6
    dropout: float = 0.5
    dropout_on: Literal["outputs", "inputs"] = "outputs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) != len(KERNELS):
            raise UsageError(
                f"cannot build AlexNet with widths = {self.widths}",
                why=f"it has {len(KERNELS)} convolutions",
                advice="one number for each, as in widths=(96, 256, 384, 384, 256)",
            )


OWT = (64, 192, 384, 256, 256)

# fmt: off
VARIANTS = {
    #                              groups    constants       order
    "alexnet":       AlexNetConfig(groups=2, norm="paper", norm_place="before pool"),
    "bvlc_alexnet":  AlexNetConfig(groups=2, norm="caffe", norm_place="before pool"),
    "caffenet":      AlexNetConfig(groups=2, norm="caffe", norm_place="after pool"),
    "alexnet_owt":   AlexNetConfig(widths=OWT, padding=2, input_size=224, min_size=63, dropout_on="inputs"),
    # Not in a paper
    "alexnet_d2l":   AlexNetConfig(padding=1, last_map=5, in_channels=1, num_classes=10, input_size=224, min_size=65),
    "alexnet_small": AlexNetConfig(widths=OWT, padding=5, pool=2, head="pooled", num_classes=10, input_size=32,
                                   min_size=8),
}
# fmt: on

ALIASES = {"bvlc_reference_caffenet": "caffenet"}

# k, and the factor of the sum of squares over five channels; Caffe's alpha is one of their mean
CONSTANTS = {"paper": (2.0, 1e-4), "caffe": (1.0, 1e-4 / 5)}


class AlexNet(Classifier):
    """Five convolutions as the stages conv1 to conv5, and three linear layers as the head; no stem."""

    config: AlexNetConfig

    def __init__(self, config: AlexNetConfig) -> None:
        super().__init__(config)
        self.stem = nn.Identity()
        channels = config.in_channels
        stages = []
        for number, width in enumerate(config.widths, start=1):
            stages.append((f"conv{number}", stage(number, channels, width, config)))
            channels = width
        # (N, 96, 27, 27), (N, 256, 13, 13), (N, 384, 13, 13), (N, 384, 13, 13), (N, 256, 6, 6)
        self.stages = named_chain(stages)
        if config.head == "fc":
            self.head = fc_head(channels, config)  # (N, num_classes)
        else:
            self.head = pooled_linear(channels, config.num_classes)


def stage(number: int, channels: int, width: int, config: AlexNetConfig) -> nn.Sequential:
    """One convolution with its ReLU, normalisation and pool, as far as the paper gives it those."""
    kernel = KERNELS[number - 1]
    stride, padding = (4, config.padding) if number == 1 else (1, kernel // 2)
    groups = config.groups if number in (2, 4, 5) else 1
    layers: list[tuple[str, nn.Module]] = [
        ("conv", nn.Conv2d(channels, width, kernel, stride, padding, groups=groups)),
        ("relu", nn.ReLU()),
    ]
    if number in (1, 2, 5):
        layers.append(("pool", nn.MaxPool2d(config.pool, 2, ceil_mode=config.head == "pooled")))
    if number in (1, 2) and config.norm != "none":
        k, alpha = CONSTANTS[config.norm]
        place = len(layers) - (config.norm_place == "before pool")
        layers.insert(place, ("norm", LocalResponseNorm(size=5, alpha=alpha, beta=0.75, k=k)))
    return named_chain(layers)


def fc_head(channels: int, config: AlexNetConfig) -> nn.Sequential:
    """fc6, fc7 and fc8 on a map of `last_map` pixels a side: (N, channels, H, W) -> (N, num_classes)."""
    side = config.last_map
    layers: list[tuple[str, nn.Module]] = [("pool", nn.AdaptiveAvgPool2d(side)), ("flatten", nn.Flatten())]
    if config.dropout_on == "inputs":
        layers.append(("drop5", nn.Dropout(config.dropout)))
    layers += [("fc6", nn.Linear(channels * side * side, 4096)), ("relu6", nn.ReLU())]
    layers.append(("drop6", nn.Dropout(config.dropout)))  # what fc6 gives is what fc7 reads
    layers += [("fc7", nn.Linear(4096, 4096)), ("relu7", nn.ReLU())]
    if config.dropout_on == "outputs":
        layers.append(("drop7", nn.Dropout(config.dropout)))
    return named_chain([*layers, ("fc8", nn.Linear(4096, config.num_classes))])
