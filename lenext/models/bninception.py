"""BN-Inception (Ioffe & Szegedy 2015, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift", arXiv 1502.03167), also called Inception-v2.

GoogLeNet with batch normalisation in place of biases and of normalised responses, and two 3x3 convolutions in place of
each 5x5: Figure 5, whose rows are the stages. The largest map has three modules instead of two; most pooled branches
average; 3c and 4e halve the map by strides, and their pool hands on what it reads. The paper speaks of no
auxiliary heads.

The paper prints 13.6 million parameters, where the widths of Figure 5 give 11.3, and says that the first convolution
is separable (depth multiplier 8); here it is dense, 7x7. Not in print, and here as in the usual replication in Caffe:
symmetric padding, and averages that count its zeros. That one rounds strided pools up, so that branches join only where
the map is even; here pools are padded too. It also keeps biases, which the normalisation undoes. TF-Slim's inception_v2
has the separable convolution, SAME padding, and 96 channels behind the pools of 4c and 4d instead of 128.

bninception_small is a form for 28x28 and 32x32 images, not in the paper: of the stem's strides only the last is left
(16, 8 and 4 pixels at 32), and all widths are halved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from lenext.models.classifier import Classifier
from lenext.models.inception import AveragePool, Conv, Fork, InceptionConfig, MaxPool, Series, Step, chain, small
from lenext.models.parts import pooled_linear


@dataclass(frozen=True, kw_only=True)
class BNInceptionConfig(InceptionConfig):
    """Padded throughout."""

    input_size: int = 224
    min_size: int = 64  # the last map is then 2x2
    padding: Literal["valid", "symmetric"] = "symmetric"
    count_padding: bool = True
    dropout: float = 0.0


# fmt: off
VARIANTS = {
    "bninception_paper": BNInceptionConfig(),
    # Not in the paper
    "bninception_small": small(BNInceptionConfig()),
}
# fmt: on

ALIASES = {"bninception": "bninception_paper", "inception_v2": "bninception_paper"}


def module(one: int, three: tuple[int, int], double: tuple[int, int], pool: AveragePool | MaxPool, proj: int) -> Fork:
    """A line of Figure 5: #1x1, #3x3 behind its reduction, double #3x3 behind its own, the pool and its projection.

    Without #1x1 (0) the convolutions before the join stride, and so does the pool, which nothing projects then.
    """
    stride = 1 if one else 2
    branches: dict[str, list[Step]] = {
        "1x1": [Conv(one, 1)],
        "3x3": [Conv(three[0], 1), Conv(three[1], 3, stride)],
        "double3x3": [Conv(double[0], 1), Conv(double[1], 3), Conv(double[1], 3, stride)],
        "pool": [pool, Conv(proj, 1)],
    }
    if stride == 2:
        branches = {"3x3": branches["3x3"], "double3x3": branches["double3x3"], "pool": [pool]}
    return Fork(branches)


# fmt: off
FIGURE_5: Mapping[str, Step] = {
    #            #1x1     #3x3      double #3x3  pool           proj
    "3a": module( 64, ( 64,  64), ( 64,  96), AveragePool(),  32),  # (N, 256, 28, 28)
    "3b": module( 64, ( 64,  96), ( 64,  96), AveragePool(),  64),  # (N, 320, 28, 28)
    "3c": module(  0, (128, 160), ( 64,  96), MaxPool(2),      0),  # (N, 576, 14, 14)
    "4a": module(224, ( 64,  96), ( 96, 128), AveragePool(), 128),  # (N, 576, 14, 14)
    "4b": module(192, ( 96, 128), ( 96, 128), AveragePool(), 128),  # (N, 576, 14, 14)
    "4c": module(160, (128, 160), (128, 160), AveragePool(), 128),  # (N, 608, 14, 14)
    "4d": module( 96, (128, 192), (160, 192), AveragePool(), 128),  # (N, 608, 14, 14)
    "4e": module(  0, (128, 192), (192, 256), MaxPool(2),      0),  # (N, 1056, 7, 7)
    "5a": module(352, (192, 320), (160, 224), AveragePool(), 128),  # (N, 1024, 7, 7)
    "5b": module(352, (192, 320), (192, 224), MaxPool(1),    128),  # (N, 1024, 7, 7)
}
# fmt: on


def before_modules(strides: Sequence[int]) -> dict[str, Step]:
    """Figure 5's first rows: (N, in_channels, 224, 224) -> (N, 192, 28, 28)."""
    return {
        "conv1": Conv(64, 7, strides[0]),  # (N, 64, 112, 112)
        "pool1": MaxPool(strides[1]),  # (N, 64, 56, 56)
        "conv2": Series([Conv(64, 1), Conv(192, 3)]),  # (N, 192, 56, 56)
        "pool2": MaxPool(strides[2]),
    }


class BNInception(Classifier):
    """Figure 5: a stage for each of its rows; the head begins with the average pool."""

    config: BNInceptionConfig

    def __init__(self, config: BNInceptionConfig) -> None:
        super().__init__(config)
        self.stem = nn.Identity()
        steps = {**before_modules(config.stem_strides()), **FIGURE_5}
        self.stages, channels = chain(config.in_channels, steps, config)
        self.head = pooled_linear(channels, config.num_classes, config.dropout)  # (N, num_classes)
