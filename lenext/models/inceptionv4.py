"""Inception-v4 (Szegedy, Ioffe, Vanhoucke & Alemi 2016, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", arXiv 1602.07261). The paper's other networks are in inception_resnet.py.

Figure 9: modules A, B and C (figures 4 to 6) with reductions between them (figures 7 and 8) behind a stem (figure 3).
Table 1 has the four widths k, l, m, n of reduction A. Popular code ports the authors' release, and so does the row:
  stride    the last convolution of figure 3 has the stride 2 of the pool beside it, which the figure does not print
  factors   the 7x1 comes after the 1x7 in figure 3 and before it in the longest branch of figure 5, and 3x1 before 1x3
            in that of figure 6, each the other way round in print; the middle branch of figure 5 prints 1x7 twice
  averages  divide by the pixels that are there (`count_padding`), unlike those of Inception-v3's ports
The places 1a to 5a of the stem are called as in that release.

inception_v4_small is a form for 28x28 and 32x32 images, not in the paper: every layer is padded, of the stem's strides
only the last is left (16, 8 and 4 pixels at 32), and all widths are halved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
    wide,
)
from lenext.models.parts import pooled_linear


@dataclass(frozen=True, kw_only=True)
class InceptionV4Config(InceptionConfig):
    """repeats: of the modules A, B and C. reduction_a: k, l, m and n of Table 1."""

    repeats: tuple[int, int, int] = (4, 7, 3)
    reduction_a: tuple[int, int, int, int] = (192, 224, 256, 384)


# fmt: off
V4 = InceptionV4Config(repeats=(4, 7, 3), reduction_a=(192, 224, 256, 384))

VARIANTS = {
    "inception_v4":       V4,
    # Not in the paper
    "inception_v4_small": small(V4),
}
# fmt: on

ALIASES = {"inceptionv4": "inception_v4"}


def stem_v4(strides: Sequence[int]) -> dict[str, Step]:
    """Figure 3: (N, in_channels, 299, 299) -> (N, 384, 35, 35)."""
    return {
        "1a": Conv(32, 3, strides[0]),  # (N, 32, 149, 149)
        "2a": Conv(32, 3, valid=True),  # (N, 32, 147, 147)
        "2b": Conv(64, 3),
        "3a": Fork({"pool": [MaxPool(strides[1])], "3x3": [Conv(96, 3, strides[1])]}),  # (N, 160, 73, 73)
        "4a": Fork(  # (N, 192, 71, 71)
            {
                "3x3": [Conv(64, 1), Conv(96, 3, valid=True)],
                "7x7": [Conv(64, 1), Conv(64, (1, 7)), Conv(64, (7, 1)), Conv(96, 3, valid=True)],
            }
        ),
        "5a": Fork({"3x3": [Conv(192, 3, strides[2])], "pool": [MaxPool(strides[2])]}),  # (N, 384, 35, 35)
    }


MODULE_A = Fork(  # figure 4: 384 channels
    {
        "1x1": [Conv(96, 1)],
        "3x3": [Conv(64, 1), Conv(96, 3)],
        "double3x3": [Conv(64, 1), Conv(96, 3), Conv(96, 3)],
        "pool": [AveragePool(), Conv(96, 1)],
    }
)

MODULE_B = Fork(  # figure 5: 1024 channels
    {
        "1x1": [Conv(384, 1)],
        "7x7": [Conv(192, 1), Conv(224, (1, 7)), Conv(256, (7, 1))],
        "double7x7": [Conv(192, 1), Conv(192, (7, 1)), Conv(224, (1, 7)), Conv(224, (7, 1)), Conv(256, (1, 7))],
        "pool": [AveragePool(), Conv(128, 1)],
    }
)

REDUCTION_B = Fork(  # figure 8: 512 channels more
    {
        "3x3": [Conv(192, 1), Conv(192, 3, 2)],
        "7x7_3x3": [Conv(256, 1), Conv(256, (1, 7)), Conv(320, (7, 1)), Conv(320, 3, 2)],
        "pool": [MaxPool()],
    }
)

MODULE_C = Fork(  # figure 6: 1536 channels
    {
        "1x1": [Conv(256, 1)],
        "3x3": [Conv(384, 1), wide(256)],
        "double3x3": [Conv(384, 1), Conv(448, (3, 1)), Conv(512, (1, 3)), wide(256)],
        "pool": [AveragePool(), Conv(256, 1)],
    }
)


class InceptionV4(Classifier):
    """Figure 9: the stem, and the stages inception_a, reduction_a, inception_b, reduction_b, inception_c."""

    config: InceptionV4Config

    def __init__(self, config: InceptionV4Config) -> None:
        super().__init__(config)
        a, b, c = config.repeats
        self.stem, channels = chain(config.in_channels, stem_v4(config.stem_strides()), config)
        stages: dict[str, Step] = {
            "inception_a": Series([MODULE_A] * a),  # (N, 384, 35, 35)
            "reduction_a": reduction_a(*config.reduction_a),  # (N, 1024, 17, 17)
            "inception_b": Series([MODULE_B] * b),
            "reduction_b": REDUCTION_B,  # (N, 1536, 8, 8)
            "inception_c": Series([MODULE_C] * c),
        }
        self.stages, channels = chain(channels, stages, config)
        self.head = pooled_linear(channels, config.num_classes, config.dropout)  # (N, num_classes)
