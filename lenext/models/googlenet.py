"""GoogLeNet (Szegedy et al. 2014, "Going Deeper with Convolutions", arXiv 1409.4842), also called Inception v1.

Table 1, whose rows up to the average pool are the stages; Figure 3 adds the two normalisations of responses, on both
sides of conv2. An Inception module joins four branches: 1x1; 1x1 then 3x3; 1x1 then 5x5; 3x3 max pool then 1x1. Two
auxiliary heads read 4a and 4d while training (section 5).

Not in print, and here as in Caffe's replication: pools round up without padding, the first convolution is padded by 3,
and the responses are normalised with k = 1 and the mean of five squares.

Table 1 is not wholly consistent. Its parameters (in units of 1024 weights) do not follow from its widths from 3b on,
as in 4c (463K printed, 497.5K by the widths), 4d (580K, 590.5K), 5a (1072K, 1018K) and 5b (1388K, 1409K), nor its
operations in 5a (54M, 51M); the widths are right. The 2.7K parameters and 34M operations of the first row are not
those of a 7x7 convolution from 3 to 64 channels, which has 9.4K and 118M.

Differences of popular code from the paper:
  googlenet       torchvision's network, after TF-Slim's inception_v1: 3x3 in place of 5x5, batch normalisation (eps
                  1e-3) in place of biases and of the normalised responses, a 2x2 pool4, adaptive pools in the auxiliary
                  heads, dropout 0.2 instead of 0.4. torchvision's transform_input is preprocessing here.
  googlenet_d2l   Dive into Deep Learning 1.0, section 8.4: no auxiliary heads, no normalisation, no dropout, and pools
                  padded by one pixel
  googlenet_small for 32x32 images, not in the paper: googlenet with a 3x3 first convolution of stride 1 and no
                  auxiliary heads. Ports to CIFAR usually leave conv2 and two pools away too, at ten times the cost.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.convolutions import ConvStyle, conv_norm
from lenext.models.parts import Branches, LocalResponseNorm, named_chain, pooled_linear

# fmt: off
TABLE_1 = {
    #      1x1  3x3 reduce  3x3  5x5 reduce  5x5  pool proj
    "3a": ( 64,         96, 128,         16,  32,  32),
    "3b": (128,        128, 192,         32,  96,  64),
    "4a": (192,         96, 208,         16,  48,  64),
    "4b": (160,        112, 224,         24,  64,  64),
    "4c": (128,        128, 256,         24,  64,  64),
    "4d": (112,        144, 288,         32,  64,  64),
    "4e": (256,        160, 320,         32, 128, 128),
    "5a": (256,        160, 320,         32, 128, 128),
    "5b": (384,        192, 384,         48, 128, 128),
}
# fmt: on


@dataclass(frozen=True, kw_only=True)
class GoogLeNetConfig(NetworkConfig):
    """Table 1, and what other code does differently.

    stem: the first convolution, 7x7 with stride 2 or 3x3 with stride 1. branch: kernel of the third branch. pools:
    rounded up, or padded by one pixel. pool4: side of its window. auxiliary: how the auxiliary heads pool, 5x5 with
    stride 3 or whatever gives 4x4. auxiliary_dropout: their rate.
    """

    min_size: int = 64  # the last map is then 2x2
    norm: Literal["response", "batch", "none"]
    stem: Literal["7x7", "3x3"] = "7x7"
    branch: Literal[5, 3] = 5
    pools: Literal["rounded up", "padded"] = "rounded up"
    pool4: Literal[3, 2] = 3
    auxiliary: Literal["5x5", "adaptive", "none"] = "none"
    dropout: float = 0.4
    auxiliary_dropout: float = 0.7


# fmt: off
VARIANTS = {
    "googlenet_paper": GoogLeNetConfig(norm="response", branch=5, pool4=3, auxiliary="5x5",      dropout=0.4,
                                       min_size=79),  # the auxiliary heads pool 5x5 pixels, and 78 leave 4x4
    "googlenet":       GoogLeNetConfig(norm="batch",    branch=3, pool4=2, auxiliary="adaptive", dropout=0.2),
    "googlenet_d2l":   GoogLeNetConfig(norm="none",     branch=5, pool4=3, pools="padded",       dropout=0.0,
                                       in_channels=1, num_classes=10, input_size=96),
    "googlenet_small": GoogLeNetConfig(norm="batch",    branch=3, pool4=2, stem="3x3",           dropout=0.2,
                                       num_classes=10, input_size=32, min_size=8),
}
# fmt: on

ALIASES = {"inception_v1": "googlenet"}


class GoogLeNet(Classifier):
    """Table 1: a stage for each of its rows, under the row's name; the head begins with the average pool."""

    config: GoogLeNetConfig

    def __init__(self, config: GoogLeNetConfig) -> None:
        super().__init__(config)
        self.stem = nn.Identity()
        kernel, stride = (7, 2) if config.stem == "7x7" else (3, 1)
        # comments: shapes at 224
        stages = [
            ("conv1", conv(config.in_channels, 64, kernel, stride, config)),  # (N, 64, 112, 112)
            ("pool1", max_pool(3, config)),  # (N, 64, 56, 56)
            ("conv2", conv2(config)),  # (N, 192, 56, 56)
            ("pool2", max_pool(3, config)),  # (N, 192, 28, 28)
        ]
        channels = 192
        for name, widths in TABLE_1.items():
            if name == "4a":
                stages.append(("pool3", max_pool(3, config)))  # (N, 480, 14, 14)
            if name == "5a":
                stages.append(("pool4", max_pool(config.pool4, config)))  # (N, 832, 7, 7)
            stages.append((name, four_branches(channels, widths, config)))
            channels = widths[0] + widths[2] + widths[4] + widths[5]
            if name in ("4a", "4d") and config.auxiliary != "none":
                self.auxiliary[name] = auxiliary_head(channels, config)  # (N, num_classes)
        self.stages = named_chain(stages)  # (N, 1024, 7, 7)
        self.head = pooled_linear(channels, config.num_classes, config.dropout)


def four_branches(channels: int, widths: tuple[int, ...], config: GoogLeNetConfig) -> Branches:
    """Figure 2(b): four branches beside each other, their `widths` a row of Table 1; (N, channels, H, W) keeps H, W."""
    one, reduce3, three, reduce5, five, projection = widths
    wide3 = [("reduce", conv(channels, reduce3, 1, 1, config)), ("conv", conv(reduce3, three, 3, 1, config))]
    wide5 = [("reduce", conv(channels, reduce5, 1, 1, config)), ("conv", conv(reduce5, five, config.branch, 1, config))]
    pool = [("pool", nn.MaxPool2d(3, 1, padding=1)), ("proj", conv(channels, projection, 1, 1, config))]
    return Branches(
        [
            ("branch1x1", conv(channels, one, 1, 1, config)),
            ("branch3x3", named_chain(wide3)),
            ("branch5x5", named_chain(wide5)),
            ("branch_pool", named_chain(pool)),
        ]
    )


def conv(channels: int, width: int, kernel: int, stride: int, config: GoogLeNetConfig) -> nn.Sequential:
    """Convolution, batch normalisation if any, and ReLU: (N, channels, H, W) -> (N, width, H/stride, W/stride)."""
    if config.norm == "batch":
        return conv_norm(channels, width, kernel, stride, style=ConvStyle(eps=1e-3))
    return named_chain(
        [
            ("conv", nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2)),
            ("act", nn.ReLU()),
        ]
    )


def conv2(config: GoogLeNetConfig) -> nn.Sequential:
    """The second row of Table 1 with the normalisations of Figure 3: (N, 64, H, W) -> (N, 192, H, W)."""
    layers: list[tuple[str, nn.Module]] = [
        ("reduce", conv(64, 64, 1, 1, config)),
        ("conv", conv(64, 192, 3, 1, config)),
    ]
    if config.norm == "response":
        first, second = (LocalResponseNorm(alpha=1e-4 / 5, k=1.0) for _ in range(2))
        layers = [("norm1", first), *layers, ("norm2", second)]
    return named_chain(layers)


def max_pool(side: int, config: GoogLeNetConfig) -> nn.MaxPool2d:
    """A pool of stride 2: (N, C, H, W) -> (N, C, H/2, W/2)."""
    padded = config.pools == "padded"
    return nn.MaxPool2d(side, 2, padding=1 if padded else 0, ceil_mode=not padded)


def auxiliary_head(channels: int, config: GoogLeNetConfig) -> nn.Sequential:
    """The small network of section 5 on a 14x14 map: (N, channels, H, W) -> (N, num_classes)."""
    layers: list[tuple[str, nn.Module]] = [
        ("pool", nn.AdaptiveAvgPool2d(4)),  # nothing behind the paper's pool at 224, which leaves 4x4
        ("conv", conv(channels, 128, 1, 1, config)),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(128 * 4 * 4, 1024)),
        ("act", nn.ReLU()),
        ("drop", nn.Dropout(config.auxiliary_dropout)),
        ("fc2", nn.Linear(1024, config.num_classes)),
    ]
    if config.auxiliary == "5x5":
        layers.insert(0, ("average", nn.AvgPool2d(5, 3)))
    return named_chain(layers)
