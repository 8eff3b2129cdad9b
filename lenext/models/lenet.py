"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998, "Gradient-Based Learning Applied to Document Recognition").

`lenet5` is the network of section II.B: 60,000 trainable parameters. Popular code calls another network by its name.
In the published one
  S2 and S4 are trained: the sum of four pixels times one coefficient a map, plus one bias, then squashed;
  C3 is sparse: Table I gives each of its 16 maps three, four or six of the six maps below, 60 links of 96;
  every unit up to F6 is squashed by 1.7159 tanh(2x/3), which keeps the targets -1 and +1 (appendix A);
  the output is a radial basis function: the squared distance of F6 to a fixed 7x12 picture of each digit (Figure 3).
Scores here are minus that distance, so that the largest wins. The paper trains with its equation 9, which adds
log(exp(-j) + sum of exp(-distance)) to the right class's distance; the positive constant j keeps classes that are
already far from being pushed on, and the paper prints no value for it. Softmax cross-entropy of the scores is that
loss without j.

`lenet5_dense` is the textbook form (Dive into Deep Learning 1.0, section 7.6): 28x28 images padded by 2, average
pooling, all 96 links, sigmoids, a linear output. `lenet5_dense_bn` is its section 8.5: normalised hidden layers, no
padding. `lenet5_relu` is the form of most tutorials, in no paper: ReLU and max pooling. Layers have the paper's names.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import ACTIVATIONS, named_chain


@dataclass(frozen=True, kw_only=True)
class LeNet5Config(NetworkConfig):
    """The published network has nothing to choose."""

    num_classes: int = 10
    in_channels: int = 1
    input_size: int = 32
    min_size: int = 32
    max_size: int | None = 32


@dataclass(frozen=True, kw_only=True)
class LeNetConfig(NetworkConfig):
    """The textbook form: every choice that re-implementations make, or exercises ask for.

    window: side of both convolutions. channels: of c1 and c3. hidden: units of c5 and f6.
    """

    num_classes: int = 10
    in_channels: int = 1
    input_size: int = 28
    min_size: int = 28
    max_size: int | None = 28
    padding: int = 2
    window: Literal[1, 3, 5, 7, 9] = 5
    channels: tuple[int, int] = (6, 16)
    hidden: tuple[int, int] = (120, 84)
    pooling: Literal["average", "max"] = "average"
    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"
    batch_norm: bool = False


# fmt: off
VARIANTS: dict[str, NetworkConfig] = {
    "lenet5":          LeNet5Config(),
    "lenet5_dense":    LeNetConfig(padding=2, pooling="average", activation="sigmoid"),
    "lenet5_dense_bn": LeNetConfig(padding=0, pooling="average", activation="sigmoid", batch_norm=True),
    "lenet5_relu":     LeNetConfig(padding=2, pooling="max",     activation="relu"),
}

# Table I, by columns: the maps of S2 that each map of C3 reads.
C3_LINKS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

# Targets of F6 after Figure 3: 7x12 pictures, ink +1 and paper -1. Drawn for this file in the figure's manner.
DIGITS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...#... ..###.. .#####. .....#. ####### ..####. ####### .#####. .#####.
.#...#. ..##... .#...#. #.....# ....##. #...... .#..... ......# #.....# #.....#
#.....# .#.#... #.....# ......# ...#.#. #...... #...... .....#. #.....# #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. #.....# #.....#
#.....# ...#... .....#. ..####. .#...#. ######. #.####. ....#.. .#####. .######
#.....# ...#... ....#.. ......# #....#. ......# ##....# ....#.. #.....# ......#
#.....# ...#... ...#... ......# ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... ..#.... ......# .....#. ......# #.....# ...#... #.....# ......#
.#...#. ...#... .#..... #.....# .....#. #.....# #.....# ..#.... #.....# .....#.
..###.. .#####. ####### .#####. .....#. .#####. .#####. ..#.... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""
# fmt: on

ALIASES: dict[str, str] = {}


def scaled_tanh(x: Tensor) -> Tensor:
    """1.7159 tanh(2x/3): -1 and 1 stay where they are, and the curvature is greatest there (appendix A)."""
    return 1.7159 * torch.tanh(x * (2 / 3))


class ScaledTanh(nn.Module):
    """`scaled_tanh` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return scaled_tanh(x)


class Subsampling(nn.Module):
    """The sum of each 2x2 square, times a coefficient and plus a bias, both one a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((channels,), 0.25))  # the mean, until initialised
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H/2, W/2)."""
        total = 4 * F.avg_pool2d(x, 2)  # exact, and exporters know no divisor
        return total * self.coefficient[:, None, None] + self.bias[:, None, None]

    def fans(self) -> dict[str, tuple[int, int]]:
        """A unit sums four pixels; a pixel reaches one unit."""
        return {"coefficient": (4, 1)}


class SparseConv2d(nn.Module):
    """A convolution whose map i reads only the maps `links[i]` of its input, at the cost of those links.

    The links come sorted by their number; each number is one grouped convolution over gathered maps.
    """

    def __init__(self, links: Sequence[tuple[int, ...]], kernel: int) -> None:
        super().__init__()
        self.links = tuple(links)
        self.by_fan = nn.ModuleDict()
        for fan in sorted({len(link) for link in links}):
            maps = sum(len(link) == fan for link in links)
            self.by_fan[str(fan)] = nn.Conv2d(fan * maps, maps, kernel, groups=maps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, len(links), H - kernel + 1, W - kernel + 1)."""
        maps = x.unbind(1)
        parts = []
        for fan, conv in self.by_fan.items():
            gathered = [maps[i] for link in self.links if len(link) == int(fan) for i in link]
            # channels last in memory: three times as fast as channels first for grouped convolutions on a CPU
            parts.append(conv(torch.stack(gathered, dim=3).permute(0, 3, 1, 2)))
        return torch.cat(parts, dim=1)


class RadialBasis(nn.Module):
    """Minus the squared distance to each fixed codeword; nothing is trained."""

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, features) -> (N, classes), all of them zero or negative."""
        return -(x[:, None, :] - self.codes).square().sum(dim=2)


def codewords(num_classes: int) -> Tensor:
    """Codes of -1 and +1 (num_classes, 84): the ten digits' pictures, then words of a fixed random sequence.

    The paper has ten classes. A further class takes the next word that differs from all before it in 24 places of
    84 or more, so the first words do not depend on how many follow.
    """
    glyphs = zip(*(line.split() for line in DIGITS.split("\n")[1:-1]), strict=True)
    words = [sum(1 << i for i, ink in enumerate("".join(glyph)) if ink == "#") for glyph in glyphs]
    source = random.Random(1998)
    while len(words) < num_classes:
        word = source.getrandbits(84)
        if all((word ^ other).bit_count() >= 24 for other in words):
            words.append(word)
    return torch.tensor([[2.0 * (word >> i & 1) - 1.0 for i in range(84)] for word in words[:num_classes]])


class LeNet5(Classifier):
    """The network of Figure 2."""

    config: LeNet5Config

    def __init__(self, config: LeNet5Config) -> None:
        super().__init__(config)
        self.stem = nn.Identity()
        self.stages = named_chain(
            [
                ("c1", _squashed("conv", nn.Conv2d(config.in_channels, 6, 5))),  # (N, 6, 28, 28)
                ("s2", _squashed("sum", Subsampling(6))),  # (N, 6, 14, 14)
                ("c3", _squashed("conv", SparseConv2d(C3_LINKS, 5))),  # (N, 16, 10, 10)
                ("s4", _squashed("sum", Subsampling(16))),  # (N, 16, 5, 5)
                ("c5", _squashed("conv", nn.Conv2d(16, 120, 5))),  # (N, 120, 1, 1)
            ]
        )
        self.head = named_chain(
            [
                ("flatten", nn.Flatten()),
                ("f6", _squashed("fc", nn.Linear(120, 84))),  # (N, 84)
                ("output", RadialBasis(codewords(config.num_classes))),  # (N, num_classes)
            ]
        )


def _squashed(name: str, layer: nn.Module) -> nn.Sequential:
    return named_chain([(name, layer), ("activation", ScaledTanh())])


class LeNet(Classifier):
    """The textbook's network: dense C3, plain pooling, C5 as a linear layer, and a linear output."""

    config: LeNetConfig

    def __init__(self, config: LeNetConfig) -> None:
        super().__init__(config)
        pool = nn.AvgPool2d if config.pooling == "average" else nn.MaxPool2d
        (first, second), (wide, narrow), window = config.channels, config.hidden, config.window
        side = ((config.input_size + 2 * config.padding - window + 1) // 2 - window + 1) // 2
        self.stem = nn.Identity()
        self.stages = named_chain(  # shapes of lenet5_dense, without padding in brackets
            [
                ("c1", self._layer("conv", nn.Conv2d(config.in_channels, first, window, padding=config.padding))),
                ("s2", pool(2)),  # (N, 6, 14, 14)  [12]
                ("c3", self._layer("conv", nn.Conv2d(first, second, window))),  # (N, 16, 10, 10)  [8]
                ("s4", pool(2)),  # (N, 16, 5, 5)  [4]
            ]
        )
        self.head = named_chain(
            [
                ("flatten", nn.Flatten()),
                ("c5", self._layer("fc", nn.Linear(second * side * side, wide))),
                ("f6", self._layer("fc", nn.Linear(wide, narrow))),
                ("output", nn.Linear(narrow, config.num_classes)),
            ]
        )

    def _layer(self, name: str, layer: nn.Conv2d | nn.Linear) -> nn.Sequential:
        """The layer, its normalisation if there is one, and the activation."""
        layers: list[tuple[str, nn.Module]] = [(name, layer)]
        if self.config.batch_norm:
            norm = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d
            layers.append(("bn", norm(layer.weight.shape[0])))
        return named_chain([*layers, ("activation", ACTIVATIONS[self.config.activation]())])
