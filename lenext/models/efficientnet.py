"""EfficientNet (Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 1905.11946).

Table 1 is B0: a 3x3 stem (stage 1), seven groups of inverted residuals with squeeze and excitation (stages 2 to 8), and
a head of 1x1 convolution, average pool and linear layer (stage 9). The stages here are named by these numbers. B1 to B7
multiply its channels and layers (section 3.3) and take larger images. The multipliers, and how they round, are in the
authors' release only: channels to multiples of 8, never more than a tenth down; layers up. Table 1 prints the size of
the map that enters a stage; the shapes here are those that leave it.

One network, three functions; their weights do not fit one another:
  efficientnet_*     symmetric padding, epsilon 1e-5: timm's, and torchvision's B0 to B4
  tv_efficientnet_*  symmetric padding, epsilon 1e-3: torchvision's B5 to B7
  tf_efficientnet_*  TensorFlow's SAME padding, epsilon 1e-3: the authors' weights, timm's ports of them
  *_lite*            the authors' later form for phones: no gates, ReLU6, stem, head and the layers of stages 2 and 8
                     not scaled. It has no paper.
  *_small            the form for 32x32 images, not in the paper: stem and stage 3 keep the size, as the small forms of
                     the other families do; the paper enlarges CIFAR images to the native size instead.

A gate squeezes to a quarter of its block's input, not of the expanded channels. Paths are dropped with probability
drop_path * i / blocks at block i = 0, 1, ..., in all three codes: the last block stays below drop_path.
"""

import math
from dataclasses import dataclass

from torch import nn

from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.convolutions import ConvStyle, InvertedResidual, conv_norm, make_divisible, skip_strides
from lenext.models.parts import SqueezeExcite, named_chain, pooled_linear

# fmt: off
TABLE_1 = (
    # stage  expansion  kernel  channels  layers
    ("2",    1,         3,      16,       1),
    ("3",    6,         3,      24,       2),
    ("4",    6,         5,      40,       2),
    ("5",    6,         3,      80,       3),
    ("6",    6,         5,      112,      3),
    ("7",    6,         5,      192,      4),
    ("8",    6,         3,      320,      1),
)
# fmt: on
STEM, HEAD = 32, 1280
STRIDES = (2, 1, 2, 2, 2, 1, 2, 1)  # of stages 1 to 8

TIMM = ConvStyle(activation="silu")
TORCHVISION = ConvStyle(activation="silu", eps=1e-3, momentum=0.01)
RELEASE = ConvStyle(padding="same", activation="silu", eps=1e-3, momentum=0.01)
LITE = ConvStyle(padding="same", activation="relu6", eps=1e-3, momentum=0.01)


@dataclass(frozen=True, kw_only=True)
class EfficientNetConfig(NetworkConfig):
    """Table 1 with `width` times its channels and `depth` times its layers.

    skipped_strides: so many of the first strides of 2 are 1.
    """

    min_size: int = 64  # the last map is then 2x2
    width: float = 1.0
    depth: float = 1.0
    fixed_ends: bool = False  # leaves stem, head and the layers of stages 2 and 8 as they are in Table 1
    gates: bool = True
    skipped_strides: int = 0
    style: ConvStyle = TIMM
    dropout: float = 0.2
    drop_path: float = 0.2


def _lite(width: float, depth: float, input_size: int, dropout: float) -> EfficientNetConfig:
    """A row of the release's table of Lite networks."""
    return EfficientNetConfig(
        width=width, depth=depth, input_size=input_size, dropout=dropout, style=LITE, gates=False, fixed_ends=True
    )


# fmt: off
VARIANTS = {
    "efficientnet_b0":    EfficientNetConfig(width=1.0, depth=1.0, input_size=224, dropout=0.2, style=TIMM),
    "efficientnet_b1":    EfficientNetConfig(width=1.0, depth=1.1, input_size=240, dropout=0.2, style=TIMM),
    "efficientnet_b2":    EfficientNetConfig(width=1.1, depth=1.2, input_size=260, dropout=0.3, style=TIMM),
    "efficientnet_b3":    EfficientNetConfig(width=1.2, depth=1.4, input_size=300, dropout=0.3, style=TIMM),
    "efficientnet_b4":    EfficientNetConfig(width=1.4, depth=1.8, input_size=380, dropout=0.4, style=TIMM),
    "efficientnet_b5":    EfficientNetConfig(width=1.6, depth=2.2, input_size=456, dropout=0.4, style=TIMM),
    "efficientnet_b6":    EfficientNetConfig(width=1.8, depth=2.6, input_size=528, dropout=0.5, style=TIMM),
    "efficientnet_b7":    EfficientNetConfig(width=2.0, depth=3.1, input_size=600, dropout=0.5, style=TIMM),
    "tv_efficientnet_b5": EfficientNetConfig(width=1.6, depth=2.2, input_size=456, dropout=0.4, style=TORCHVISION),
    "tv_efficientnet_b6": EfficientNetConfig(width=1.8, depth=2.6, input_size=528, dropout=0.5, style=TORCHVISION),
    "tv_efficientnet_b7": EfficientNetConfig(width=2.0, depth=3.1, input_size=600, dropout=0.5, style=TORCHVISION),
    "tf_efficientnet_b0": EfficientNetConfig(width=1.0, depth=1.0, input_size=224, dropout=0.2, style=RELEASE),
    "tf_efficientnet_b1": EfficientNetConfig(width=1.0, depth=1.1, input_size=240, dropout=0.2, style=RELEASE),
    "tf_efficientnet_b2": EfficientNetConfig(width=1.1, depth=1.2, input_size=260, dropout=0.3, style=RELEASE),
    "tf_efficientnet_b3": EfficientNetConfig(width=1.2, depth=1.4, input_size=300, dropout=0.3, style=RELEASE),
    "tf_efficientnet_b4": EfficientNetConfig(width=1.4, depth=1.8, input_size=380, dropout=0.4, style=RELEASE),
    "tf_efficientnet_b5": EfficientNetConfig(width=1.6, depth=2.2, input_size=456, dropout=0.4, style=RELEASE),
    "tf_efficientnet_b6": EfficientNetConfig(width=1.8, depth=2.6, input_size=528, dropout=0.5, style=RELEASE),
    "tf_efficientnet_b7": EfficientNetConfig(width=2.0, depth=3.1, input_size=600, dropout=0.5, style=RELEASE),
    #                              width depth size dropout
    "tf_efficientnet_lite0": _lite(1.0,  1.0,  224, 0.2),
    "tf_efficientnet_lite1": _lite(1.0,  1.1,  240, 0.2),
    "tf_efficientnet_lite2": _lite(1.1,  1.2,  260, 0.3),
    "tf_efficientnet_lite3": _lite(1.2,  1.4,  280, 0.3),
    "tf_efficientnet_lite4": _lite(1.4,  1.8,  300, 0.3),
    # Not in the paper
    "efficientnet_b0_small": EfficientNetConfig(skipped_strides=2, num_classes=10, input_size=32, min_size=8),
}
# fmt: on

# The authors' spelling, and their function.
ALIASES = {f"efficientnet-b{i}": f"tf_efficientnet_b{i}" for i in range(8)} | {
    f"efficientnet-lite{i}": f"tf_efficientnet_lite{i}" for i in range(5)
}


class EfficientNet(Classifier):
    """Table 1's network: `stem` is stage 1, the stages are "2" to "8", the head is stage 9."""

    config: EfficientNetConfig

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__(config)
        style, scale = config.style, 1.0 if config.fixed_ends else config.width
        # comments: shapes of efficientnet_b0 at 224
        channels = make_divisible(scale * STEM)
        strides = skip_strides(STRIDES, config.skipped_strides)
        self.stem = conv_norm(config.in_channels, channels, 3, strides[0], style=style)  # (N, 32, 112, 112)
        repeats = scaled_layers(config)
        rates = iter(path_rates(config.drop_path, sum(repeats)))
        stages = []
        for row, layers, first in zip(TABLE_1, repeats, strides[1:], strict=True):
            name, expansion, kernel, width, _ = row
            width, stage = make_divisible(config.width * width), nn.Sequential()
            for i in range(layers):
                stride = first if i == 0 else 1
                stage.append(mbconv(channels, width, expansion, kernel, stride, config.gates, style, next(rates)))
                channels = width
            stages.append((name, stage))
        # (N, 16, 112, 112), (N, 24, 56, 56), (N, 40, 28, 28), (N, 80, 14, 14), (N, 112, 14, 14), (N, 192, 7, 7)
        self.stages = named_chain(stages)  # (N, 320, 7, 7)
        features = make_divisible(scale * HEAD)
        self.head = mobile_head(channels, features, config.num_classes, config.dropout, style)  # (N, num_classes)


def scaled_layers(config: EfficientNetConfig) -> list[int]:
    """Blocks of each stage."""
    layers = [math.ceil(config.depth * row[-1]) for row in TABLE_1]
    return [TABLE_1[0][-1], *layers[1:-1], TABLE_1[-1][-1]] if config.fixed_ends else layers


def path_rates(rate: float, blocks: int) -> list[float]:
    """Drop rates that rise from 0 towards `rate`, which a block behind the last would have."""
    return [rate * i / blocks for i in range(blocks)]


def mbconv(  # the columns of Table 1, and what is the same in all blocks
    channels: int, width: int, expansion: int, kernel: int, stride: int, gate: bool, style: ConvStyle, drop_path: float
) -> InvertedResidual:
    """MBConv1 or MBConv6: (N, channels, H, W) -> (N, width, ceil(H/stride), ceil(W/stride))."""
    expanded = expansion * channels
    squeeze = SqueezeExcite(expanded, channels // 4, style.activation) if gate else None
    return InvertedResidual(
        channels, width, expanded, kernel, stride, style=style, squeeze=squeeze, drop_path=drop_path
    )


def mobile_head(channels: int, features: int, num_classes: int, dropout: float, style: ConvStyle) -> nn.Sequential:
    """1x1 convolution, average pool, dropout and linear layer: (N, channels, H, W) -> (N, num_classes)."""
    wide = conv_norm(channels, features, 1, style=style)
    return named_chain([*wide.named_children(), *pooled_linear(features, num_classes, dropout).named_children()])
