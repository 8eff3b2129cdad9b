"""Inception-v3 (Szegedy, Vanhoucke, Ioffe, Shlens & Wojna 2015, "Rethinking the Inception Architecture for Computer
Vision", arXiv 1512.00567).

Modules of parallel branches whose large filters are factorised: a 5x5 into two 3x3 (figure 5), a 7x7 into 1x7 and 7x1
(figure 6), a 3x3 into 1x3 and 3x1 side by side on the coarsest map (figure 7); strided branches beside a pool halve the
map (figure 10). Places are numbered as in the authors' release: the stem is 1a to 5a, the stages are 5b to 7c. Popular
code follows the release, and so do the rows here. Where it departs from the paper:
  stem      Table 1 prints six 3x3 convolutions and one pool; released are four with a 1x1, and two pools
  5b to 5d  one of the branches keeps its 5x5, which figure 5 has as two 3x3
  cost      5.7 billion multiply-adds; the abstract says 5

The auxiliary head reads 6e, and its 5x5 filter sees all of the map of a 299 image. torchvision cannot train on smaller
images; here a smaller map is stretched to 17x17 first, which is nothing at 299. torchvision and timm are one function,
with the head and without: average pools divide by nine at the border too, where the release divides by the pixels that
are there (`count_padding`). Dropout is the release's 0.2; torchvision has 0.5, and the paper prints none.

inception_v3_small is a form for 28x28 and 32x32 images, not in the paper: every layer is padded, of the stem's strides
only the last is left (16, 8 and 4 pixels at 32), and all widths are halved, as by the release's depth_multiplier.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from lenext.models.classifier import Classifier
from lenext.models.inception import (
    AveragePool,
    Conv,
    Fork,
    InceptionConfig,
    MaxPool,
    Step,
    chain,
    reduction_a,
    small,
    wide,
)
from lenext.models.parts import pooled_linear


@dataclass(frozen=True, kw_only=True)
class InceptionV3Config(InceptionConfig):
    """auxiliary: whether a head behind 6e helps to train."""

    count_padding: bool = True
    auxiliary: bool = False


# fmt: off
VARIANTS = {
    "inception_v3":       InceptionV3Config(auxiliary=True),
    "inception_v3_noaux": InceptionV3Config(auxiliary=False),
    # Not in the paper
    "inception_v3_small": small(InceptionV3Config(auxiliary=False)),
}
# fmt: on

ALIASES = {"inceptionv3": "inception_v3"}


def make_stem(strides: Sequence[int]) -> dict[str, Step]:
    """1a to 5a: (N, in_channels, 299, 299) -> (N, 192, 35, 35)."""
    return {
        "1a": Conv(32, 3, strides[0]),  # (N, 32, 149, 149)
        "2a": Conv(32, 3, valid=True),  # (N, 32, 147, 147)
        "2b": Conv(64, 3),
        "3a": MaxPool(strides[1]),  # (N, 64, 73, 73)
        "3b": Conv(80, 1),
        "4a": Conv(192, 3, valid=True),  # (N, 192, 71, 71)
        "5a": MaxPool(strides[2]),  # (N, 192, 35, 35)
    }


def module_5(pool: int) -> Fork:
    """Figure 5 with the release's 5x5: 224 channels and those behind the pool."""
    return Fork(
        {
            "1x1": [Conv(64, 1)],
            "5x5": [Conv(48, 1), Conv(64, 5)],
            "double3x3": [Conv(64, 1), Conv(96, 3), Conv(96, 3)],
            "pool": [AveragePool(), Conv(pool, 1)],
        }
    )


def module_6(inner: int) -> Fork:
    """Figure 6 with n = 7: 768 channels."""
    return Fork(
        {
            "1x1": [Conv(192, 1)],
            "7x7": [Conv(inner, 1), Conv(inner, (1, 7)), Conv(192, (7, 1))],
            "double7x7": [
                Conv(inner, 1),
                *(Conv(inner, (7, 1)), Conv(inner, (1, 7))),
                *(Conv(inner, (7, 1)), Conv(192, (1, 7))),
            ],
            "pool": [AveragePool(), Conv(192, 1)],
        }
    )


REDUCTION_7 = Fork(
    {
        "3x3": [Conv(192, 1), Conv(320, 3, 2)],
        "7x7_3x3": [Conv(192, 1), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2)],
        "pool": [MaxPool()],
    }
)


MODULE_7 = Fork(  # figure 7: 2048 channels
    {
        "1x1": [Conv(320, 1)],
        "3x3": [Conv(384, 1), wide(384)],
        "double3x3": [Conv(448, 1), Conv(384, 3), wide(384)],
        "pool": [AveragePool(), Conv(192, 1)],
    }
)

STAGES: Mapping[str, Step] = {
    "5b": module_5(32),  # (N, 256, 35, 35)
    "5c": module_5(64),  # (N, 288, 35, 35)
    "5d": module_5(64),
    "6a": reduction_a(64, 96, 96, 384),  # (N, 768, 17, 17)
    "6b": module_6(128),
    "6c": module_6(160),
    "6d": module_6(160),
    "6e": module_6(192),
    "7a": REDUCTION_7,  # (N, 1280, 8, 8)
    "7b": MODULE_7,  # (N, 2048, 8, 8)
    "7c": MODULE_7,
}


class InceptionV3(Classifier):
    """The released network: `stem` is 1a to 5a, the stages are 5b to 7c, an auxiliary head may read 6e."""

    config: InceptionV3Config

    def __init__(self, config: InceptionV3Config) -> None:
        super().__init__(config)
        self.stem, channels = chain(config.in_channels, make_stem(config.stem_strides()), config)
        self.stages, channels = chain(channels, STAGES, config)
        self.head = pooled_linear(channels, config.num_classes, config.dropout)  # (N, num_classes)
        if config.auxiliary:
            self.auxiliary["6e"] = AuxiliaryHead(4 * config.channels(192), config)


class AuxiliaryHead(nn.Module):
    """A 5x5 average of stride 3, a 1x1 and a 5x5 convolution, and a linear layer (figure 8)."""

    def __init__(self, channels: int, config: InceptionConfig) -> None:
        super().__init__()
        self.conv0, width = Conv(128, 1).make(channels, config)
        self.conv1, width = Conv(768, 5, valid=True).make(width, config)
        self.fc = nn.Linear(width, config.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, 17, 17) -> (N, num_classes)."""
        x = F.adaptive_avg_pool2d(x, (max(x.shape[2], 17), max(x.shape[3], 17)))  # stretches a smaller map
        x = F.avg_pool2d(x, 5, 3)  # (N, channels, 5, 5)
        x = self.conv1(self.conv0(x))  # (N, 768, 1, 1)
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores
