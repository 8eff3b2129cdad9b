"""Inception-ResNet (Szegedy, Ioffe, Vanhoucke & Alemi 2016, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", arXiv 1602.07261). The paper's other network is in inceptionv4.py.

Figure 15: modules A, B and C with reductions between them, as in Inception-v4; but the branches of a module end in one
1x1 convolution without activation, which is scaled down and added to the module's input (figures 10, 11, 13 of v1 and
16, 17, 19 of v2; figure 20 is the scaling). Table 1 has the four widths k, l, m, n of reduction A.

inception_resnet_v2 is the authors' release, of which timm has a port. It departs from the paper:
  stem      that of Inception-v3 and one more module, 5b; in the paper that of Inception-v4 (figure 3)
  widths    320, 1088 and 2080 channels in A, B and C; figures 16, 17 and 19 print 384, 1154 and 2048, of which the
            last two do not fit the reductions (384 + 384 + 384 and 1152 + 384 + 288 + 320)
  C         the last module is added whole, and nothing is behind the sum
  7b        one more 1x1 convolution, to 1536 channels, before the head
inception_resnet_v1 follows figures 10 to 14, for which there is no release; popular ports (facenet) have a sixth module
C and a head of 512 channels. Its scales are those of the release of v2, within the paper's 0.1 to 0.3.

The small rows are forms for 28x28 and 32x32 images, not in the paper: every layer is padded, of the stem's strides only
the last is left (16, 8 and 4 pixels at 32), and all widths are halved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lenext.models.classifier import Classifier
from lenext.models.inception import (
    AveragePool,
    Conv,
    Fork,
    InceptionConfig,
    MaxPool,
    Series,
    Step,
    chain,
    reduction_a,
    small,
)
from lenext.models.inceptionv3 import make_stem
from lenext.models.parts import pooled_linear


@dataclass(frozen=True, kw_only=True)
class InceptionResNetConfig(InceptionConfig):
    """Table 1 and the figures of one version; what is not a field is the same in both.

    a: the widths of the longest branch of figures 10 and 16. b, c: those of the 1x1 branch and of the other one in
    figures 11 and 17, 13 and 19. reduction_b: of the second branch's end, of the third's middle and of its end in
    figures 12 and 18. scales: of A, B and C. whole_end: whether the last C is neither scaled nor activated. top: the
    channels of 7b, or 0.
    """

    repeats: tuple[int, int, int] = (5, 10, 5)
    stem: Literal["v1", "v2"] = "v1"
    a: tuple[int, int, int] = (32, 32, 32)
    b: tuple[int, int, int, int] = (128, 128, 128, 128)
    c: tuple[int, int, int, int] = (192, 192, 192, 192)
    reduction_a: tuple[int, int, int, int] = (192, 192, 256, 384)
    reduction_b: tuple[int, int, int] = (256, 256, 256)
    scales: tuple[float, float, float] = (0.17, 0.1, 0.2)
    whole_end: bool = False
    top: int = 0


# fmt: off
V1 = InceptionResNetConfig(
    stem="v1", repeats=(5, 10, 5),   a=(32, 32, 32), b=(128, 128, 128, 128), c=(192, 192, 192, 192),
    reduction_a=(192, 192, 256, 384), reduction_b=(256, 256, 256),
)
V2 = InceptionResNetConfig(
    stem="v2", repeats=(10, 20, 10), a=(32, 48, 64), b=(192, 128, 160, 192), c=(192, 192, 224, 256),
    reduction_a=(256, 256, 384, 384), reduction_b=(288, 288, 320), whole_end=True, top=1536,
)

VARIANTS = {
    "inception_resnet_v1":       V1,
    "inception_resnet_v2":       V2,
    # Not in the paper
    "inception_resnet_v1_small": small(V1),
    "inception_resnet_v2_small": small(V2),
}
# fmt: on

ALIASES = {"inceptionresnetv2": "inception_resnet_v2"}


class ScaledSum(nn.Module):
    """Add the branches, joined by a 1x1 convolution and scaled, to their input (figure 20)."""

    def __init__(self, branches: nn.Module, width: int, channels: int, scale: float, activated: bool) -> None:
        super().__init__()
        self.branches = branches
        self.linear = nn.Conv2d(width, channels, 1)
        self.scale, self.activated = scale, activated

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, channels, H, W)."""
        y: Tensor = x + self.scale * self.linear(self.branches(x))
        return torch.relu(y) if self.activated else y

    def extra_repr(self) -> str:
        """The scale."""
        return f"scale={self.scale}, activated={self.activated}"


@dataclass(frozen=True)
class Residual:
    """A module of Inception-ResNet, which keeps its channels."""

    branches: Mapping[str, Sequence[Step]]
    scale: float
    activated: bool = True

    def make(self, channels: int, config: InceptionConfig) -> tuple[nn.Module, int]:
        """See `Step`."""
        branches, width = Fork(self.branches).make(channels, config)
        return ScaledSum(branches, width, channels, self.scale, self.activated), channels


def stem_steps(config: InceptionResNetConfig) -> dict[str, Step]:
    """v1: figure 14, (N, in_channels, 299, 299) -> (N, 256, 35, 35). v2: the release's, -> (N, 320, 35, 35)."""
    strides = config.stem_strides()
    steps = make_stem(strides)
    if config.stem == "v1":
        del steps["5a"]
        return {**steps, "4b": Conv(256, 3, strides[2])}
    last = Fork(
        {
            "1x1": [Conv(96, 1)],
            "5x5": [Conv(48, 1), Conv(64, 5)],
            "double3x3": [Conv(64, 1), Conv(96, 3), Conv(96, 3)],
            "pool": [AveragePool(), Conv(64, 1)],
        }
    )
    return {**steps, "5b": last}


def stage_steps(config: InceptionResNetConfig) -> dict[str, Step]:
    """The stages of figure 15; shapes of v1 at 299."""
    (a, b, c), (second, middle, third) = config.repeats, config.reduction_b
    module_a = Residual(
        {
            "1x1": [Conv(32, 1)],
            "3x3": [Conv(32, 1), Conv(32, 3)],
            "double3x3": [Conv(config.a[0], 1), Conv(config.a[1], 3), Conv(config.a[2], 3)],
        },
        config.scales[0],
    )
    module_b = Residual(
        {
            "1x1": [Conv(config.b[0], 1)],
            "7x7": [Conv(config.b[1], 1), Conv(config.b[2], (1, 7)), Conv(config.b[3], (7, 1))],
        },
        config.scales[1],
    )
    branches_c = {
        "1x1": [Conv(config.c[0], 1)],
        "3x3": [Conv(config.c[1], 1), Conv(config.c[2], (1, 3)), Conv(config.c[3], (3, 1))],
    }
    module_c = Residual(branches_c, config.scales[2])
    last = Residual(branches_c, 1.0, activated=False) if config.whole_end else module_c
    reduction_b = Fork(
        {
            "first3x3": [Conv(256, 1), Conv(384, 3, 2)],
            "second3x3": [Conv(256, 1), Conv(second, 3, 2)],
            "double3x3": [Conv(256, 1), Conv(middle, 3), Conv(third, 3, 2)],
            "pool": [MaxPool()],
        }
    )
    return {
        "inception_resnet_a": Series([module_a] * a),  # (N, 256, 35, 35)
        "reduction_a": reduction_a(*config.reduction_a),  # (N, 896, 17, 17)
        "inception_resnet_b": Series([module_b] * b),
        "reduction_b": reduction_b,  # (N, 1792, 8, 8)
        "inception_resnet_c": Series([*[module_c] * (c - 1), last]),
        **({"7b": Conv(config.top, 1)} if config.top else {}),
    }


class InceptionResNet(Classifier):
    """Figure 15: the stem, and the stages inception_resnet_a, reduction_a, inception_resnet_b, ... in v2 also 7b."""

    config: InceptionResNetConfig

    def __init__(self, config: InceptionResNetConfig) -> None:
        super().__init__(config)
        self.stem, channels = chain(config.in_channels, stem_steps(config), config)
        self.stages, channels = chain(channels, stage_steps(config), config)
        self.head = pooled_linear(channels, config.num_classes, config.dropout)  # (N, num_classes)
