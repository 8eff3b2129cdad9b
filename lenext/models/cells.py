"""Cells found by search, built from tables: what NASNet and its successors have in common.

A cell has two inputs, the outputs of the two cells before it, and begins with two states made of them: 0 of the current
one and 1 of the previous one, both brought to the cell's width. Each step adds a state, the sum of two operations on
earlier states, and some of the states side by side are the cell's output. Along a chain of cells goes the pair
(current, previous).

A reduction cell strides the operations that read states 0 or 1. Sizes follow TensorFlow's SAME rule throughout.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.models.convolutions import ConvStyle, conv_norm, make_conv, pad_same, same_padding
from lenext.models.parts import DropPath, named_chain

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class CellTable:
    """The steps of a cell as (operation, state, operation, state), and the states of its output.

    The states 0 and 1 are the inputs, step i makes state i + 2.
    """

    steps: tuple[tuple[str, int, str, int], ...]
    output: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CellShape:
    """What differs from cell to cell of one table.

    width: channels of each state. channels: of the two inputs. stride: 2 in a reduction cell. previous_stride: 2 where
    the previous input is twice as large as the current one, behind a reduction, else 1; None in the first cell, which
    takes it as it comes. skip: hand on the previous input in place of the current one. eps: of batch normalisation.
    drop_path: rate at which an operation is dropped for whole images.
    """

    width: int
    channels: tuple[int, int]
    stride: int = 1
    previous_stride: int | None = 1
    skip: bool = False
    eps: float = 1e-3
    drop_path: float = 0.0


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
    """Halve the size by two 1x1 convolutions of stride 2, the second on the map shifted by one pixel."""

    def __init__(self, channels: int, width: int, eps: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width // 2, 1, 2, bias=False)
        self.conv2 = nn.Conv2d(channels, width - width // 2, 1, 2, bias=False)
        self.bn = nn.BatchNorm2d(width, eps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width, ceil(H/2), ceil(W/2))."""
        shifted = F.pad(x, (-1, 1, -1, 1))  # up and left; zeros come in at the right and at the bottom
        y: Tensor = self.bn(torch.cat([self.conv1(x), self.conv2(shifted)], 1))
        return y


def project(channels: int, width: int, eps: float, stride: int = 1) -> nn.Module:
    """1x1 convolution and batch normalisation, or where it strides a factorised reduction."""
    if stride == 2:
        return FactorisedReduction(channels, width, eps)
    return conv_norm(channels, width, 1, style=ConvStyle(eps=eps), activation="none")


def separable(kernel: int, channels: int, width: int, stride: int, eps: float) -> nn.Module:
    """Twice ReLU, depthwise and 1x1 convolution, and batch normalisation; the first time with the stride."""
    layers: list[tuple[str, nn.Module]] = []
    for i, (inside, step) in enumerate([(channels, stride), (width, 1)], start=1):
        layers += [
            (f"relu{i}", nn.ReLU()),
            (f"depthwise{i}", make_conv(inside, inside, kernel, step, groups=inside, padding="same")),
            (f"pointwise{i}", nn.Conv2d(inside, width, 1, bias=False)),
            (f"bn{i}", nn.BatchNorm2d(width, eps)),
        ]
    return named_chain(layers)


def pooling(kind: PoolKind, kernel: int, channels: int, width: int, stride: int, eps: float) -> nn.Module:
    """A pool, and where the channels differ a projection behind it."""
    pool = Pool(kind, kernel, stride)
    return pool if channels == width else named_chain([("pool", pool), ("project", project(channels, width, eps))])


def identity(channels: int, width: int, stride: int, eps: float) -> nn.Module:
    """Nothing, or where the shape changes ReLU, 1x1 convolution with the stride and batch normalisation."""
    if stride == 1 and channels == width:
        return nn.Identity()
    return named_chain(
        [
            ("relu", nn.ReLU()),
            ("conv", nn.Conv2d(channels, width, 1, stride, bias=False)),
            ("bn", nn.BatchNorm2d(width, eps)),
        ]
    )


# each takes (channels, width, stride, eps); names as in the authors' release
OPERATIONS: Mapping[str, Callable[[int, int, int, float], nn.Module]] = {
    "none": identity,
    "avg_pool_3x3": partial(pooling, "avg", 3),
    "avg_pool_3x3_zeros": partial(pooling, "avg_zeros", 3),  # not in the release
    "max_pool_3x3": partial(pooling, "max", 3),
    "separable_3x3_2": partial(separable, 3),
    "separable_5x5_2": partial(separable, 5),
    "separable_7x7_2": partial(separable, 7),
}


class Step(nn.Module):
    """The sum of two operations, each on one of the states so far; only an operation on an input takes the stride."""

    def __init__(self, row: tuple[str, int, str, int], channels: list[int], shape: CellShape) -> None:
        super().__init__()
        left, self.left_state, right, self.right_state = row
        self.left, self.left_drop = make_operation(left, self.left_state, channels, shape)
        self.right, self.right_drop = make_operation(right, self.right_state, channels, shape)

    def forward(self, states: list[Tensor]) -> Tensor:
        """The next state, (N, width, H, W)."""
        left: Tensor = self.left_drop(self.left(states[self.left_state]))
        right: Tensor = self.right_drop(self.right(states[self.right_state]))
        return left + right


def make_operation(name: str, state: int, channels: list[int], shape: CellShape) -> tuple[nn.Module, nn.Module]:
    """An operation on a state, and what drops it; "none" is never dropped."""
    operation = OPERATIONS[name](channels[state], shape.width, shape.stride if state < 2 else 1, shape.eps)
    return operation, nn.Identity() if name == "none" else DropPath(shape.drop_path)


class Cell(nn.Module):
    """One cell of a table: the pair (current, previous) -> (output, current), or (output, previous) where it skips."""

    def __init__(self, table: CellTable, shape: CellShape) -> None:
        super().__init__()
        self.output, self.skip = table.output, shape.skip
        self.relu = nn.ReLU()
        self.current = project(shape.channels[0], shape.width, shape.eps)
        if shape.previous_stride is None:
            self.previous, channels = None, [shape.width, shape.channels[1]]
        else:
            self.previous = project(shape.channels[1], shape.width, shape.eps, shape.previous_stride)
            channels = [shape.width, shape.width]
        steps = []
        for row in table.steps:
            steps.append(Step(row, channels, shape))
            channels.append(shape.width)
        self.steps = nn.ModuleList(steps)
        # an input among the output takes the shape of the steps
        self.fit = nn.ModuleDict(
            {
                str(state): project(channels[state], shape.width, shape.eps, shape.stride)
                for state in table.output
                if state < 2 and (shape.stride == 2 or channels[state] != shape.width)
            }
        )

    def forward(self, pair: Pair) -> Pair:
        """(N, channels, H, W) each -> (N, width * states of the output, H/stride, W/stride) and the input handed on."""
        current, previous = pair
        states = [
            self.current(self.relu(current)),
            previous if self.previous is None else self.previous(self.relu(previous)),
        ]
        for step in self.steps:
            states.append(step(states))
        kept = [self.fit[str(i)](states[i]) if str(i) in self.fit else states[i] for i in self.output]
        return torch.cat(kept, 1), previous if self.skip else current


class Twice(nn.Module):
    """What comes before the first cell stands for both of its inputs."""

    def forward(self, x: Tensor) -> Pair:
        """x -> (x, x)."""
        return x, x


class Current(nn.Module):
    """What comes behind the last cell reads its output alone."""

    def forward(self, pair: Pair) -> Tensor:
        """(current, previous) -> current."""
        return pair[0]
