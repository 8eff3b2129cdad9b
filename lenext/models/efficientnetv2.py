"""EfficientNetV2 (Tan & Le 2021, "EfficientNetV2: Smaller Models and Faster Training", arXiv 2104.00298).

Table 4 is S: a 3x3 stem (stage 0), three groups of Fused-MBConv (one 3x3 convolution does the work of expansion and
depthwise filter), three or four of MBConv with squeeze and excitation, and a head of 1x1 convolution, average pool and
linear layer. The stages are named after the table, "1" to "6" or "7"; M, L and XL are in the authors' release only.
B0 to B3 are the release's networks of V1's scaling; their channels round to the nearest multiple of 8, without V1's
rule of a tenth (B3's first stage has 16 channels, not 24).

One network, two functions; their weights do not fit one another:
  efficientnet_v2_*    symmetric padding: torchvision's
  tf_efficientnetv2_*  TensorFlow's SAME padding: the authors' weights, timm's ports of them
  *_small              the form for 32x32 images, not in the paper: stem and stage 2 keep the size, as in the small
                       forms of the other families; the paper enlarges CIFAR images instead.

Where the paper and the release differ, this is the release: S ends in 256 and 1280 channels (272 and 1792 in arXiv v1),
batch normalisation keeps 0.9 of its statistics (0.99 in print), dropout is 0.2 to 0.4 (Table 6: 0.1 rising to 0.3, 0.4
or 0.5 over the training). Gates and path rates are V1's. input_size is that of evaluation; training images are smaller.
"""

from dataclasses import dataclass, replace

from torch import nn

from lenext.errors import UsageError
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.convolutions import ConvStyle, Residual, conv_norm, skip_strides
from lenext.models.efficientnet import mbconv, mobile_head, path_rates
from lenext.models.parts import named_chain

EXPANSION = (1, 4, 4, 4, 6, 6, 6)
STRIDES = (2, 1, 2, 2, 2, 1, 2, 1)  # of stages 0 to 7, the last of which S does not have
FUSED = 3  # the first stages, which have Fused-MBConv

TORCHVISION = ConvStyle(activation="silu", eps=1e-3)
RELEASE = ConvStyle(padding="same", activation="silu", eps=1e-3)


@dataclass(frozen=True, kw_only=True)
class EfficientNetV2Config(NetworkConfig):
    """Columns of Table 4: `channels` of the stem and of each stage, `layers` of each stage, `features` of the head.

    skipped_strides: so many of the first strides of 2 are 1.
    """

    min_size: int = 64  # the last map is then 2x2
    channels: tuple[int, ...] = (24, 24, 48, 64, 128, 160, 256)
    layers: tuple[int, ...] = (2, 4, 4, 6, 9, 15)
    features: int = 1280
    skipped_strides: int = 0
    style: ConvStyle = RELEASE
    dropout: float = 0.2
    drop_path: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        stages = len(self.layers)
        if not (FUSED <= stages <= len(EXPANSION) and len(self.channels) == stages + 1):
            raise UsageError(
                f"cannot build EfficientNetV2 with {stages} numbers of layers and {len(self.channels)} of channels",
                why=f"there are {FUSED} to {len(EXPANSION)} stages, and a stem that has channels as well",
                advice="layers=(2, 4, 4, 6, 9, 15), channels=(24, 24, 48, 64, 128, 160, 256)",
            )


# fmt: off
#                        stem  1   2   3   4    5    6    7             1  2  3  4   5   6   7
S = EfficientNetV2Config(
    channels=            (24,  24, 48, 64, 128, 160, 256),      layers=(2, 4, 4, 6,  9,  15),
    input_size=384, dropout=0.2,
)
M = EfficientNetV2Config(
    channels=            (24,  24, 48, 80, 160, 176, 304, 512), layers=(3, 5, 5, 7,  14, 18, 5),
    input_size=480, dropout=0.3,
)
L = EfficientNetV2Config(
    channels=            (32,  32, 64, 96, 192, 224, 384, 640), layers=(4, 7, 7, 10, 19, 25, 7),
    input_size=480, dropout=0.4,
)
XL = EfficientNetV2Config(
    channels=            (32,  32, 64, 96, 192, 256, 512, 640), layers=(4, 8, 8, 16, 24, 32, 8),
    input_size=512, dropout=0.4,
)
B0 = EfficientNetV2Config(
    channels=            (32,  16, 32, 48, 96,  112, 192),      layers=(1, 2, 2, 3,  5,  8),
    input_size=224, dropout=0.2, features=1280,
)
B1 = EfficientNetV2Config(
    channels=            (32,  16, 32, 48, 96,  112, 192),      layers=(2, 3, 3, 4,  6,  9),
    input_size=240, dropout=0.2, features=1280,
)
B2 = EfficientNetV2Config(
    channels=            (32,  16, 32, 56, 104, 120, 208),      layers=(2, 3, 3, 4,  6,  10),
    input_size=260, dropout=0.3, features=1408,
)
B3 = EfficientNetV2Config(
    channels=            (40,  16, 40, 56, 112, 136, 232),      layers=(2, 3, 3, 5,  7,  12),
    input_size=300, dropout=0.3, features=1536,
)

VARIANTS = {
    "tf_efficientnetv2_s":  S,
    "tf_efficientnetv2_m":  M,
    "tf_efficientnetv2_l":  L,
    "tf_efficientnetv2_xl": XL,
    "tf_efficientnetv2_b0": B0,
    "tf_efficientnetv2_b1": B1,
    "tf_efficientnetv2_b2": B2,
    "tf_efficientnetv2_b3": B3,
    "efficientnet_v2_s":    replace(S, style=TORCHVISION),
    "efficientnet_v2_m":    replace(M, style=TORCHVISION),
    "efficientnet_v2_l":    replace(L, style=TORCHVISION),
    # Not in the paper
    "tf_efficientnetv2_b0_small": replace(
        B0, skipped_strides=2, num_classes=10, input_size=32, min_size=8
    ),
}
# fmt: on

ALIASES = {f"efficientnetv2-{name}": f"tf_efficientnetv2_{name}" for name in ("s", "m", "l", "xl")} | {
    f"efficientnetv2-b{i}": f"tf_efficientnetv2_b{i}" for i in range(4)
}  # the authors' spelling


class FusedMBConv(Residual):
    """A 3x3 convolution to the expanded channels, a linear 1x1 projection, a shortcut where the shape stays (Figure 2).

    Without expansion the 3x3 convolution is alone, and activated.
    """

    def __init__(
        self, channels: int, width: int, expansion: int, stride: int, style: ConvStyle, drop_path: float
    ) -> None:
        expanded = expansion * channels if expansion > 1 else width
        layers: list[tuple[str, nn.Module]] = [("fused", conv_norm(channels, expanded, 3, stride, style=style))]
        if expansion > 1:
            layers.append(("project", conv_norm(expanded, width, 1, style=style, activation="none")))
        super().__init__(layers, residual=stride == 1 and channels == width, drop_path=drop_path)


class EfficientNetV2(Classifier):
    """Table 4's network: `stem` is stage 0, the stages are "1" to "6" or "7", the head is the last row."""

    config: EfficientNetV2Config

    def __init__(self, config: EfficientNetV2Config) -> None:
        super().__init__(config)
        # comments: shapes of tf_efficientnetv2_s at 384
        style, channels = config.style, config.channels[0]
        strides = skip_strides(STRIDES, config.skipped_strides)
        self.stem = conv_norm(config.in_channels, channels, 3, strides[0], style=style)  # (N, 24, 192, 192)
        rates = iter(path_rates(config.drop_path, sum(config.layers)))
        stages = []
        for number, (width, layers) in enumerate(zip(config.channels[1:], config.layers, strict=True), start=1):
            expansion, stage = EXPANSION[number - 1], nn.Sequential()
            for i in range(layers):
                stride = strides[number] if i == 0 else 1
                if number <= FUSED:
                    stage.append(FusedMBConv(channels, width, expansion, stride, style, next(rates)))
                else:
                    stage.append(mbconv(channels, width, expansion, 3, stride, True, style, next(rates)))
                channels = width
            stages.append((str(number), stage))
        # (N, 24, 192, 192), (N, 48, 96, 96), (N, 64, 48, 48), (N, 128, 24, 24), (N, 160, 24, 24)
        self.stages = named_chain(stages)  # (N, 256, 12, 12)
        self.head = mobile_head(channels, config.features, config.num_classes, config.dropout, style)
