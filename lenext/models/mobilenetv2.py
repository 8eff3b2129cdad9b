"""MobileNetV2 (Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", arXiv 1801.04381).

Table 2: a 3x3 stem, seven sequences of inverted residuals and a 1x1 convolution. The paper names no stages; here they
are the table's lines below the first: "1" to "7" the sequences, "8" the 1x1 convolution. Everything has ReLU6 but the
projections, which are linear. A width below 1 leaves the last convolution at 1280 channels (section 4), one above 1
widens it as well.

Where popular code departs from the paper:
  rounding          channels to multiples of 8, never more than a tenth down, as in the authors' release
  padding, epsilon  the release has TensorFlow's SAME and 1e-3; torchvision, timm and all rows here pad symmetrically
                    and take torch's 1e-5
  width 1.4         Table 4 prints 6.9 million parameters; Table 2's network has 6.1 (the release's README says 6.06)
  *_small           the usual form for 32x32 images, as in kuangliu/pytorch-cifar, not in the paper: stem and stage 2
                    keep the size, the maps are 32, 16, 8 and 4
"""

from dataclasses import dataclass

from torch import nn

from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.convolutions import ConvStyle, InvertedResidual, conv_norm, make_divisible, skip_strides
from lenext.models.parts import named_chain, pooled_linear

# fmt: off
STEM, LAST = 32, 1280
TABLE_2 = (
    # stage  t  c    n  s
    ("1",    1, 16,  1, 1),
    ("2",    6, 24,  2, 2),
    ("3",    6, 32,  3, 2),
    ("4",    6, 64,  4, 2),
    ("5",    6, 96,  3, 1),
    ("6",    6, 160, 3, 2),
    ("7",    6, 320, 1, 1),
)
# fmt: on

PEERS = ConvStyle(activation="relu6")


@dataclass(frozen=True, kw_only=True)
class MobileNetV2Config(NetworkConfig):
    """Table 2 with `width` times its channels. skipped_strides: so many of the first strides of 2 are 1."""

    min_size: int = 64  # the last map is then 2x2
    width: float = 1.0
    skipped_strides: int = 0
    style: ConvStyle = PEERS
    dropout: float = 0.2  # of the release; the paper names none


# fmt: off
VARIANTS = {
    "mobilenetv2_100": MobileNetV2Config(width=1.0),
    "mobilenetv2_140": MobileNetV2Config(width=1.4),
    "mobilenetv2_075": MobileNetV2Config(width=0.75),
    "mobilenetv2_050": MobileNetV2Config(width=0.5),
    "mobilenetv2_035": MobileNetV2Config(width=0.35),
    # Not in the paper
    "mobilenetv2_100_small": MobileNetV2Config(
        width=1.0, skipped_strides=2, num_classes=10, input_size=32, min_size=8
    ),
}
# fmt: on

ALIASES = {"mobilenet_v2": "mobilenetv2_100"}


class MobileNetV2(Classifier):
    """Table 2's network."""

    config: MobileNetV2Config

    def __init__(self, config: MobileNetV2Config) -> None:
        super().__init__(config)
        style = config.style
        strides = skip_strides((2, *(row[-1] for row in TABLE_2)), config.skipped_strides)
        channels = make_divisible(config.width * STEM)
        self.stem = conv_norm(config.in_channels, channels, 3, strides[0], style=style)  # (N, 32, 112, 112)
        stages = []
        for (name, expansion, table_width, blocks, _), first in zip(TABLE_2, strides[1:], strict=True):
            width, stage = make_divisible(config.width * table_width), nn.Sequential()
            for i in range(blocks):
                stride = first if i == 0 else 1
                stage.append(InvertedResidual(channels, width, expansion * channels, 3, stride, style=style))
                channels = width
            stages.append((name, stage))
        last = make_divisible(max(1.0, config.width) * LAST)
        stages.append(("8", conv_norm(channels, last, 1, style=style)))
        # (N, 16, 112, 112), (N, 24, 56, 56), (N, 32, 28, 28), (N, 64, 14, 14), (N, 96, 14, 14), (N, 160, 7, 7)
        self.stages = named_chain(stages)  # (N, 320, 7, 7), (N, 1280, 7, 7)
        self.head = pooled_linear(last, config.num_classes, config.dropout)  # (N, num_classes)
