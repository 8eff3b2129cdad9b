"""The operations of searched cells, under the names that NASNet's release and its successors give them.

Each takes the channels that it reads, those that it gives, the stride, and the epsilon of its batch normalisation.
Sizes follow TensorFlow's SAME rule throughout.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.models.convolutions import ConvStyle, conv_norm, make_conv, pad_same, same_padding
from lenext.models.parts import named_chain

PoolKind = Literal["avg", "avg_zeros", "max"]


class Pool(nn.Module):
    """Maximum or average under TensorFlow's SAME padding, whose pixels do not count; in "avg_zeros" they are zeros."""

    def __init__(self, kind: PoolKind, kernel: int, stride: int) -> None:
        super().__init__()
        self.kind, self.kernel, self.stride = kind, kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H/stride), ceil(W/stride))."""
        if self.kind == "avg_zeros":
            return F.avg_pool2d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)
        before = [same_padding(size, self.kernel, self.stride)[0] for size in x.shape[2:]]
        if self.kind == "max":  # rounding up adds the padding behind
            return F.max_pool2d(x, self.kernel, self.stride, before, ceil_mode=True)
        return F.avg_pool2d(x, self.kernel, self.stride, before, ceil_mode=True, count_include_pad=False)

    def extra_repr(self) -> str:
        """Kind, kernel and stride."""
        return f"{self.kind}, kernel={self.kernel}, stride={self.stride}"


class FactorisedReduction(nn.Module):
    """Halve the size by two 1x1 convolutions of stride 2, the second on the map shifted by one pixel.

    Each gives half of the channels. The releases refuse an odd width, which AmoebaNet's published ones have in places;
    there both halves are rounded down.
    """

    def __init__(self, channels: int, width: int, eps: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width // 2, 1, 2, bias=False)
        self.conv2 = nn.Conv2d(channels, width // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(projected_width(width, 2), eps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width, ceil(H/2), ceil(W/2)), of an odd width one channel less."""
        shifted = F.pad(x, (-1, 1, -1, 1))  # up and left; zeros come in at the right and at the bottom
        y: Tensor = self.bn(torch.cat([self.conv1(x), self.conv2(shifted)], 1))
        return y


def project(channels: int, width: int, eps: float, stride: int = 1) -> nn.Module:
    """1x1 convolution and batch normalisation, or where it strides a factorised reduction."""
    if stride == 2:
        return FactorisedReduction(channels, width, eps)
    return conv_norm(channels, width, 1, style=ConvStyle(eps=eps), activation="none")


def projected_width(width: int, stride: int) -> int:
    """The channels behind `project`: of an odd width one less where it strides."""
    return width - width % stride


def pointwise(channels: int, width: int, stride: int, eps: float) -> nn.Sequential:
    """ReLU, 1x1 convolution with the stride, batch normalisation."""
    return named_chain(
        [
            ("relu", nn.ReLU()),
            ("conv", nn.Conv2d(channels, width, 1, stride, bias=False)),
            ("bn", nn.BatchNorm2d(width, eps)),
        ]
    )


def identity(channels: int, width: int, stride: int, eps: float) -> nn.Module:
    """Nothing, or a pointwise convolution where the shape changes."""
    return nn.Identity() if stride == 1 and channels == width else pointwise(channels, width, stride, eps)


def identity_or_reduction(channels: int, width: int, stride: int, eps: float) -> nn.Module:
    """Nothing, or where it strides a factorised reduction."""
    return FactorisedReduction(channels, width, eps) if stride == 2 else identity(channels, width, stride, eps)


def pooling(kind: PoolKind, kernel: int, channels: int, width: int, stride: int, eps: float) -> nn.Module:
    """A pool, and where the channels differ a projection behind it."""
    pool = Pool(kind, kernel, stride)
    return pool if channels == width else named_chain([("pool", pool), ("project", project(channels, width, eps))])


def separable(kernel: int, dilation: int, channels: int, width: int, stride: int, eps: float) -> nn.Sequential:
    """Twice ReLU, depthwise and 1x1 convolution, and batch normalisation; the first time with the stride."""
    layers: list[tuple[str, nn.Module]] = []
    for i, (inside, step) in enumerate([(channels, stride), (width, 1)], start=1):
        depthwise = make_conv(inside, inside, kernel, step, groups=inside, dilation=dilation, padding="same")
        layers += [
            (f"relu{i}", nn.ReLU()),
            (f"depthwise{i}", depthwise),
            (f"pointwise{i}", nn.Conv2d(inside, width, 1, bias=False)),
            (f"bn{i}", nn.BatchNorm2d(width, eps)),
        ]
    return named_chain(layers)


def bottleneck(kernels: Sequence[tuple[int, int]], channels: int, width: int, stride: int, eps: float) -> nn.Sequential:
    """1x1 to a quarter of the channels, the kernels, 1x1 to all of them, each behind a ReLU and normalised.

    A kernel takes the stride along those of its sides that are longer than one pixel.
    """
    layers: list[tuple[str, nn.Module]] = []
    last = len(kernels) + 1
    for i, kernel in enumerate([(1, 1), *kernels, (1, 1)]):
        height, breadth = (stride if side > 1 else 1 for side in kernel)
        before, behind = channels if i == 0 else width // 4, width if i == last else width // 4
        layers += [
            (f"relu{i}", nn.ReLU()),
            (f"conv{i}", make_conv(before, behind, kernel, (height, breadth), padding="same")),
            (f"bn{i}", nn.BatchNorm2d(behind, eps)),
        ]
    return named_chain(layers)


OPERATIONS: Mapping[str, Callable[[int, int, int, float], nn.Module]] = {
    "none": identity,
    "identity": identity_or_reduction,  # ENAS's, which its release has as a number
    "1x1": pointwise,
    "3x3": partial(bottleneck, [(3, 3)]),
    "1x7_7x1": partial(bottleneck, [(1, 7), (7, 1)]),
    "avg_pool_3x3": partial(pooling, "avg", 3),
    "avg_pool_3x3_zeros": partial(pooling, "avg_zeros", 3),  # in no release
    "max_pool_2x2": partial(pooling, "max", 2),
    "max_pool_3x3": partial(pooling, "max", 3),
    "separable_3x3_2": partial(separable, 3, 1),
    "separable_5x5_2": partial(separable, 5, 1),
    "separable_7x7_2": partial(separable, 7, 1),
    "dil_2_separable_5x5_2": partial(separable, 5, 2),
}
NEVER_DROPPED = ("none", "identity")
