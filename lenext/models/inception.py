"""What Inception-v3 and its successors share: figures written as data, from which the layers are made.

A figure is a `Fork` of named branches; a branch is a list of steps. No family of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

from torch import nn

from lenext.models.classifier import NetworkConfig
from lenext.models.convolutions import ConvStyle, conv_norm, skip_strides
from lenext.models.parts import Branches, named_chain


@dataclass(frozen=True, kw_only=True)
class InceptionConfig(NetworkConfig):
    """What the Inception networks leave to choose.

    padding: of strided layers and of those that a figure marks V; the others keep the size. skipped_strides: so many
    of the stem's three strides of 2, the first ones, are 1. width: factor of all channels. count_padding: whether an
    average counts the zeros around the map.
    """

    input_size: int = 299
    min_size: int = 75  # 37, 35, 17, 15, 7, 3 and 1 pixels
    padding: Literal["valid", "symmetric"] = "valid"
    skipped_strides: int = 0
    width: float = 1.0
    count_padding: bool = False
    dropout: float = 0.2

    def stem_strides(self) -> list[int]:
        """Of the three places where the stem halves the map."""
        return skip_strides((2, 2, 2), self.skipped_strides)

    def channels(self, width: int) -> int:
        """The channels of a layer that a figure gives `width`; 16 at least, as in the authors' release."""
        return max(int(width * self.width), 16)


C = TypeVar("C", bound=InceptionConfig)


def small(config: C) -> C:
    """The network for 28x28 and 32x32 images: all padded, the last of the stem's strides, half of the channels."""
    return replace(config, padding="symmetric", skipped_strides=2, width=0.5, num_classes=10, input_size=32, min_size=8)


class Step(Protocol):
    """A piece of a figure."""

    def make(self, channels: int, config: InceptionConfig) -> tuple[nn.Module, int]:
        """Its layers over `channels`, and their channels."""
        ...


@dataclass(frozen=True)
class Conv:
    """A convolution, normalised and activated; `valid` where a figure marks one of stride 1 with V."""

    width: int
    kernel: int | tuple[int, int]
    stride: int = 1
    valid: bool = False

    def make(self, channels: int, config: InceptionConfig) -> tuple[nn.Module, int]:
        """See `Step`."""
        width = config.channels(self.width)
        padding = config.padding if self.valid or self.stride > 1 else "symmetric"
        return conv_norm(channels, width, self.kernel, self.stride, style=ConvStyle(padding=padding, eps=1e-3)), width


@dataclass(frozen=True)
class AveragePool:
    """A 3x3 average that keeps the size."""

    def make(self, channels: int, config: InceptionConfig) -> tuple[nn.Module, int]:
        """See `Step`."""
        return nn.AvgPool2d(3, 1, padding=1, count_include_pad=config.count_padding), channels


@dataclass(frozen=True)
class MaxPool:
    """A 3x3 maximum."""

    stride: int = 2

    def make(self, channels: int, config: InceptionConfig) -> tuple[nn.Module, int]:
        """See `Step`."""
        return nn.MaxPool2d(3, self.stride, padding=0 if config.padding == "valid" else 1), channels


@dataclass(frozen=True)
class Series:
    """Steps behind each other under their numbers: a branch, or the modules of a stage."""

    steps: Sequence[Step]

    def make(self, channels: int, config: InceptionConfig) -> tuple[nn.Sequential, int]:
        """See `Step`."""
        return chain(channels, {str(i): step for i, step in enumerate(self.steps)}, config)


@dataclass(frozen=True)
class Fork:
    """Branches under their names: a module of a figure, or the end of a branch that forks again."""

    branches: Mapping[str, Sequence[Step]]

    def make(self, channels: int, config: InceptionConfig) -> tuple[Branches, int]:
        """See `Step`."""
        made = {name: Series(steps).make(channels, config) for name, steps in self.branches.items()}
        width = sum(width for _, width in made.values())
        return Branches((name, layers) for name, (layers, _) in made.items()), width


def chain(channels: int, steps: Mapping[str, Step], config: InceptionConfig) -> tuple[nn.Sequential, int]:
    """The steps behind each other under their names, and the channels of the last."""
    layers = []
    for name, step in steps.items():
        layer, channels = step.make(channels, config)
        layers.append((name, layer))
    return named_chain(layers), channels


def reduction_a(k: int, l: int, m: int, n: int) -> Fork:  # noqa: E741 - the letters of Szegedy et al. 2016, Table 1
    """Szegedy et al. 2015, figure 10; 2016, figure 7: halves the map and adds m + n channels."""
    return Fork({"3x3": [Conv(n, 3, 2)], "double3x3": [Conv(k, 1), Conv(l, 3), Conv(m, 3, 2)], "pool": [MaxPool()]})


def wide(width: int) -> Fork:
    """1x3 and 3x1 side by side, as branches on the 8x8 map end (2015, figure 7; 2016, figure 6)."""
    return Fork({"1x3": [Conv(width, (1, 3))], "3x1": [Conv(width, (3, 1))]})
