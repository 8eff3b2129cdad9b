"""MobileNetV3 (Howard et al. 2019, "Searching for MobileNetV3", arXiv 1905.02244).

Tables 1 and 2 list the blocks of Large and Small: inverted residuals, some gated by squeeze and excitation (SE), with
ReLU (RE) or hard swish (HS). The paper names no stages; here the lines with one number of output channels are a stage,
"1" to "6" ("1" to "5" in Small), and the 1x1 convolution behind them is the next. The head is what follows the pool: a
layer of 1280 channels (1024 in Small) without normalisation (NBN), hard swish, and the scores.

A gate squeezes to a quarter of the expanded channels and opens by a hard sigmoid. A width multiplies the input and
output channels, and the expanded ones follow the input's by the table's ratio, as in the authors' release and in timm.
Table 2 ticks a gate for Small's last 1x1 convolution as well, which the release, timm and torchvision do not have, nor
is it here. The head keeps its 1280. The text's dropout of 0.8 is the share that is kept.

One network, three functions; their weights do not fit one another:
  mobilenetv3_*     symmetric padding, epsilon 1e-5: timm's. Its stem keeps 16 channels at width 0.5.
  mobilenet_v3_*    symmetric padding, epsilon 1e-3: torchvision's
  tf_mobilenetv3_*  TensorFlow's SAME padding, epsilon 1e-3: the authors' weights, timm's ports of them
  tf_*_minimal_*    the release's form for simple hardware, not in the paper: no gates, ReLU, 3x3 instead of 5x5
  *_100_small       for 32x32 images, not in the paper: the first two strides of 2 are 1, as in the usual small form of
                    MobileNetV2; the maps are 32, 16, 8 and 4
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.convolutions import ConvStyle, InvertedResidual, conv_norm, make_divisible, skip_strides
from lenext.models.parts import ACTIVATIONS, SqueezeExcite, named_chain

STEM = 16

# fmt: off
Line = tuple[str, int, int, int, bool, str, int]
TABLE_1: tuple[Line, ...] = (
    # stage kernel exp  out  SE     NL    s
    ("1",   3,     16,  16,  False, "RE", 1),
    ("2",   3,     64,  24,  False, "RE", 2),
    ("2",   3,     72,  24,  False, "RE", 1),
    ("3",   5,     72,  40,  True,  "RE", 2),
    ("3",   5,     120, 40,  True,  "RE", 1),
    ("3",   5,     120, 40,  True,  "RE", 1),
    ("4",   3,     240, 80,  False, "HS", 2),
    ("4",   3,     200, 80,  False, "HS", 1),
    ("4",   3,     184, 80,  False, "HS", 1),
    ("4",   3,     184, 80,  False, "HS", 1),
    ("5",   3,     480, 112, True,  "HS", 1),
    ("5",   3,     672, 112, True,  "HS", 1),
    ("6",   5,     672, 160, True,  "HS", 2),
    ("6",   5,     960, 160, True,  "HS", 1),
    ("6",   5,     960, 160, True,  "HS", 1),
)
TABLE_2: tuple[Line, ...] = (
    ("1",   3,     16,  16,  True,  "RE", 2),
    ("2",   3,     72,  24,  False, "RE", 2),
    ("2",   3,     88,  24,  False, "RE", 1),
    ("3",   5,     96,  40,  True,  "HS", 2),
    ("3",   5,     240, 40,  True,  "HS", 1),
    ("3",   5,     240, 40,  True,  "HS", 1),
    ("4",   5,     120, 48,  True,  "HS", 1),
    ("4",   5,     144, 48,  True,  "HS", 1),
    ("5",   5,     288, 96,  True,  "HS", 2),
    ("5",   5,     576, 96,  True,  "HS", 1),
    ("5",   5,     576, 96,  True,  "HS", 1),
)
TABLES: Mapping[str, tuple[tuple[Line, ...], str, int, int]] = {
    #         blocks   1x1 convolution, of the head
    "large": (TABLE_1, "7", 960, 1280),
    "small": (TABLE_2, "6", 576, 1024),
}
# fmt: on

TIMM = ConvStyle(activation="hard_swish")
TORCHVISION = ConvStyle(activation="hard_swish", eps=1e-3, momentum=0.01)
RELEASE = ConvStyle(padding="same", activation="hard_swish", eps=1e-3, momentum=0.01)


@dataclass(frozen=True, kw_only=True)
class MobileNetV3Config(NetworkConfig):
    """Table 1 (large) or 2 (small) with `width` times its channels; the style's activation is that of its HS lines.

    minimal: no gates, ReLU, and no kernel above 3x3. skipped_strides: so many of the first strides of 2 are 1.
    """

    min_size: int = 64  # the last map is then 2x2
    table: Literal["large", "small"] = "large"
    width: float = 1.0
    fixed_stem: bool = False  # leaves the stem as it is in the table
    minimal: bool = False
    skipped_strides: int = 0
    style: ConvStyle = TIMM
    dropout: float = 0.2


def _small(table: Literal["large", "small"]) -> MobileNetV3Config:
    """A table for 32x32 images."""
    return MobileNetV3Config(table=table, skipped_strides=2, num_classes=10, input_size=32, min_size=8)


# fmt: off
VARIANTS = {
    "mobilenetv3_large_100":    MobileNetV3Config(table="large", width=1.0,  style=TIMM),
    "mobilenetv3_large_075":    MobileNetV3Config(table="large", width=0.75, style=TIMM),
    "mobilenetv3_small_100":    MobileNetV3Config(table="small", width=1.0,  style=TIMM),
    "mobilenetv3_small_075":    MobileNetV3Config(table="small", width=0.75, style=TIMM),
    "mobilenetv3_small_050":    MobileNetV3Config(table="small", width=0.5,  style=TIMM, fixed_stem=True),
    "mobilenet_v3_large":       MobileNetV3Config(table="large", width=1.0,  style=TORCHVISION),
    "mobilenet_v3_small":       MobileNetV3Config(table="small", width=1.0,  style=TORCHVISION),
    "tf_mobilenetv3_large_100": MobileNetV3Config(table="large", width=1.0,  style=RELEASE),
    "tf_mobilenetv3_large_075": MobileNetV3Config(table="large", width=0.75, style=RELEASE),
    "tf_mobilenetv3_small_100": MobileNetV3Config(table="small", width=1.0,  style=RELEASE),
    "tf_mobilenetv3_small_075": MobileNetV3Config(table="small", width=0.75, style=RELEASE),
    # Not in the paper
    "tf_mobilenetv3_large_minimal_100": MobileNetV3Config(table="large", minimal=True, style=RELEASE),
    "tf_mobilenetv3_small_minimal_100": MobileNetV3Config(table="small", minimal=True, style=RELEASE),
    "mobilenetv3_large_100_small": _small("large"),
    "mobilenetv3_small_100_small": _small("small"),
}
# fmt: on

ALIASES: dict[str, str] = {}


class MobileNetV3(Classifier):
    """The network of Table 1 or Table 2."""

    config: MobileNetV3Config

    def __init__(self, config: MobileNetV3Config) -> None:
        super().__init__(config)
        lines, last_stage, last, features = TABLES[config.table]
        style = replace(config.style, activation="relu") if config.minimal else config.style
        strides = skip_strides((2, *(line[-1] for line in lines)), config.skipped_strides)
        channels = STEM if config.fixed_stem else make_divisible(config.width * STEM)
        # comments: shapes of Large at 224
        self.stem = conv_norm(config.in_channels, channels, 3, strides[0], style=style)  # (N, 16, 112, 112)
        stages: dict[str, nn.Sequential] = {}
        table_channels = STEM
        for line, stride in zip(lines, strides[1:], strict=True):
            stage = stages.setdefault(line[0], nn.Sequential())
            stage.append(bneck(channels, line[2] / table_channels, line, stride, config))
            table_channels = line[3]
            channels = make_divisible(config.width * table_channels)
        width = make_divisible(config.width * last)
        stages[last_stage] = conv_norm(channels, width, 1, style=style)
        # (N, 16, 112, 112), (N, 24, 56, 56), (N, 40, 28, 28), (N, 80, 14, 14), (N, 112, 14, 14), (N, 160, 7, 7)
        self.stages = named_chain(stages.items())  # (N, 960, 7, 7)
        self.head = efficient_head(width, features, config.num_classes, config.dropout, style)  # (N, num_classes)


def bneck(channels: int, expansion: float, line: Line, stride: int, config: MobileNetV3Config) -> InvertedResidual:
    """One line of the table: (N, channels, H, W) -> (N, width * out, ceil(H/stride), ceil(W/stride))."""
    _, kernel, _, out, gated, nonlinearity, _ = line
    style, expanded = config.style, make_divisible(expansion * channels)
    if config.minimal or nonlinearity == "RE":
        style = replace(style, activation="relu")
    squeeze = SqueezeExcite(expanded, make_divisible(expanded / 4), "relu", "hard_sigmoid") if gated else None
    return InvertedResidual(
        channels,
        make_divisible(config.width * out),
        expanded,
        3 if config.minimal else kernel,
        stride,
        style=style,
        squeeze=None if config.minimal else squeeze,
    )


def efficient_head(channels: int, features: int, num_classes: int, dropout: float, style: ConvStyle) -> nn.Sequential:
    """Figure 5, bottom: the last wide layer works on the pooled map; (N, channels, H, W) -> (N, num_classes)."""
    return named_chain(
        [
            ("pool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("fc1", nn.Linear(channels, features)),
            ("act", ACTIVATIONS[style.activation]()),
            ("dropout", nn.Dropout(dropout)),
            ("fc2", nn.Linear(features, num_classes)),
        ]
    )
