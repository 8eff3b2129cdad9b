"""MobileNet (Howard et al. 2017, "MobileNets: Efficient CNNs for Mobile Vision Applications", arXiv 1704.04861).

Table 1: a 3x3 stem and 13 pairs of a depthwise 3x3 and a pointwise 1x1 convolution, each normalised and activated. The
paper names no stages; here "1" to "5" are the pairs that write maps of one size (112, 56, 28, 14 and 7 at 224). Table 1
prints stride 2 for the last depthwise convolution, whose input and output it gives as 7x7: it has stride 1.

`width` is the paper's alpha (Table 6), `input_size` its resolution multiplier (Table 7), and one row stands for each of
the 16 networks of the authors' release. Where the codes depart from each other:
  mobilenet_v1_*    ReLU as published; padding and epsilon, which the paper leaves out, as in the release: TensorFlow's
                    SAME and 1e-3. The release itself has ReLU6. It averages statistics over some 3000 steps (decay
                    0.9997), too long for short training: 0.01 here.
  mobilenetv1_100   timm's function: ReLU6, symmetric padding, epsilon 1e-5
  *_small           the usual form for 32x32 images, as in kuangliu/pytorch-cifar, not in the paper: a stem of stride 1,
                    maps of 32, 16, 8, 4 and 2
"""

from dataclasses import dataclass

from torch import nn

from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.convolutions import ConvStyle, conv_norm, make_divisible, skip_strides
from lenext.models.parts import named_chain, pooled_linear

# fmt: off
STEM = (32, 2)
TABLE_1 = (
    # stage  channels  pairs  stride of the first
    ("1",    64,       1,     1),
    ("2",    128,      2,     2),
    ("3",    256,      2,     2),
    ("4",    512,      6,     2),
    ("5",    1024,     2,     2),
)
# fmt: on

PAPER = ConvStyle(padding="same", activation="relu", eps=1e-3, momentum=0.01)
TIMM = ConvStyle(activation="relu6")


@dataclass(frozen=True, kw_only=True)
class MobileNetV1Config(NetworkConfig):
    """Table 1 with `width` times its channels. skipped_strides: so many of the first strides of 2 are 1."""

    min_size: int = 64  # the last map is then 2x2
    width: float = 1.0
    skipped_strides: int = 0
    style: ConvStyle = PAPER
    dropout: float = 0.001  # of the release; the paper names none


# fmt: off
VARIANTS = {
    "mobilenet_v1_1_224":   MobileNetV1Config(width=1.0,  input_size=224),
    "mobilenet_v1_1_192":   MobileNetV1Config(width=1.0,  input_size=192),
    "mobilenet_v1_1_160":   MobileNetV1Config(width=1.0,  input_size=160),
    "mobilenet_v1_1_128":   MobileNetV1Config(width=1.0,  input_size=128),
    "mobilenet_v1_075_224": MobileNetV1Config(width=0.75, input_size=224),
    "mobilenet_v1_075_192": MobileNetV1Config(width=0.75, input_size=192),
    "mobilenet_v1_075_160": MobileNetV1Config(width=0.75, input_size=160),
    "mobilenet_v1_075_128": MobileNetV1Config(width=0.75, input_size=128),
    "mobilenet_v1_05_224":  MobileNetV1Config(width=0.5,  input_size=224),
    "mobilenet_v1_05_192":  MobileNetV1Config(width=0.5,  input_size=192),
    "mobilenet_v1_05_160":  MobileNetV1Config(width=0.5,  input_size=160),
    "mobilenet_v1_05_128":  MobileNetV1Config(width=0.5,  input_size=128),
    "mobilenet_v1_025_224": MobileNetV1Config(width=0.25, input_size=224),
    "mobilenet_v1_025_192": MobileNetV1Config(width=0.25, input_size=192),
    "mobilenet_v1_025_160": MobileNetV1Config(width=0.25, input_size=160),
    "mobilenet_v1_025_128": MobileNetV1Config(width=0.25, input_size=128),
    # Not in the paper
    "mobilenetv1_100":      MobileNetV1Config(style=TIMM),
    "mobilenetv1_100_small": MobileNetV1Config(
        skipped_strides=1, style=TIMM, num_classes=10, input_size=32, min_size=16
    ),
}
# fmt: on

ALIASES = {"mobilenet_v1": "mobilenet_v1_1_224"}


class MobileNetV1(Classifier):
    """Table 1's network: the stem, the pairs by the size of their maps, average pool and linear layer."""

    config: MobileNetV1Config

    def __init__(self, config: MobileNetV1Config) -> None:
        super().__init__(config)
        style = config.style
        strides = skip_strides((STEM[1], *(row[-1] for row in TABLE_1)), config.skipped_strides)
        channels = make_divisible(config.width * STEM[0])
        self.stem = conv_norm(config.in_channels, channels, 3, strides[0], style=style)  # (N, 32, 112, 112)
        stages = []
        for (name, table_width, pairs, _), first in zip(TABLE_1, strides[1:], strict=True):
            width, stage = make_divisible(config.width * table_width), nn.Sequential()
            for i in range(pairs):
                stage.append(separable(channels, width, first if i == 0 else 1, style))
                channels = width
            stages.append((name, stage))
        # (N, 64, 112, 112), (N, 128, 56, 56), (N, 256, 28, 28), (N, 512, 14, 14), (N, 1024, 7, 7)
        self.stages = named_chain(stages)
        self.head = pooled_linear(channels, config.num_classes, config.dropout)  # (N, num_classes)


def separable(channels: int, width: int, stride: int, style: ConvStyle) -> nn.Sequential:
    """Figure 3, right: (N, channels, H, W) -> (N, width, H/stride, W/stride)."""
    return named_chain(
        [
            ("depthwise", conv_norm(channels, channels, 3, stride, groups=channels, style=style)),
            ("pointwise", conv_norm(channels, width, 1, style=style)),
        ]
    )
