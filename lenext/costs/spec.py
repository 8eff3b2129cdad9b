"""Textbook questions: a chain of layers in one line, as exercises state it, becomes a network and its arithmetic.

    100x100x3: conv9x9-48 relu, conv9x9-96 pad4 relu, conv5x5-192 stride2 relu, maxpool2 stride2, conv1x1-256, fc100

First the image, height x width x channels. Then the layers: convK-F or convKxK-F (F filters), maxpoolK and avgpoolK,
globalpool, fcN, norm (of a batch), relu, sigmoid, tanh, dropout. Behind a layer, in any order, what differs from
stride 1 (of a pool its window), no padding (padP, or same: half of an odd window), groups 1 (groupsG), dilation 1
(dilationD) and a bias (nobias), and what follows it without a comma. The first fc flattens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from torch import nn

from lenext.config import nearest
from lenext.errors import UsageError

EXAMPLE = "32x32x3: conv3x3-16 pad1 relu, maxpool2, fc10"
PLAIN = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "dropout": nn.Dropout}
FOLLOWERS = (*PLAIN, "norm")  # stand behind a layer without a comma, too
OPTIONS = {  # of each kind of layer
    "conv": ("stride", "pad", "same", "groups", "dilation", "nobias"),
    "maxpool": ("stride", "pad", "same"),
    "avgpool": ("stride", "pad", "same"),
    "fc": ("nobias",),
}
WORDS = ("conv3x3-16", "maxpool2", "avgpool2", "globalpool", "fc10", *FOLLOWERS, *OPTIONS["conv"])
_IMAGE = re.compile(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)")
_LAYER = re.compile(r"(conv|maxpool|avgpool|fc)([1-9]\d*)(?:x([1-9]\d*))?(?:-([1-9]\d*))?")
_OPTION = re.compile(r"([a-z]+)(\d*)")


@dataclass(frozen=True)
class Row:
    """One layer. shape: (C, H, W), or (N,) once flat. how: the formulas of its output, parameters and MACs."""

    name: str
    text: str
    shape: tuple[int, ...]
    params: int
    macs: int
    how: tuple[str, ...]


@dataclass
class _Chain:
    """The network as it grows."""

    shape: tuple[int, ...]
    rows: list[Row] = field(default_factory=list)
    modules: list[tuple[str, nn.Module]] = field(default_factory=list)

    def add(self, text: str, module: nn.Module, shape: tuple[int, ...], how: Sequence[str] = (), macs: int = 0) -> None:
        """Append a layer that makes `shape`."""
        name = f"{len(self.modules)}_{re.split('[^a-z]', text)[0]}"
        params = sum(parameter.numel() for parameter in module.parameters())
        self.rows.append(Row(name, text, shape, params, macs, tuple(how)))
        self.modules.append((name, module))
        self.shape = shape


def read_spec(spec: str) -> tuple[tuple[int, int, int], nn.Sequential, list[Row]]:
    """Return the image's (C, H, W), the network on the device of the surrounding context, and its arithmetic.

    What cannot be read, and a window that does not fit what it reads, is a UsageError that names the layer.
    """
    image, _, layers = spec.partition(":")
    found = _IMAGE.fullmatch(image.strip())
    if not (found and layers.strip()):
        raise UsageError(
            f"cannot read {spec!r}", why="it is no image, HEIGHTxWIDTHxCHANNELS, and layers behind a colon",
            advice=f"--spec '{EXAMPLE}'",
        )  # fmt: skip
    height, width, channels = map(int, found.groups())
    chain = _Chain((channels, height, width))
    for text in layers.split(","):
        _add_layer(chain, text.split())
    network = nn.Sequential()
    for name, module in chain.modules:
        network.add_module(name, module)
    return (channels, height, width), network, chain.rows


def _add_layer(chain: _Chain, words: list[str]) -> None:
    """Add the layer of the first word, with its options, and the plain layers behind it."""
    first, *rest = words or [""]
    plain = [word for word in rest if word in FOLLOWERS]
    own = [word for word in rest if word not in FOLLOWERS]
    text = " ".join((first, *own))
    found = _LAYER.fullmatch(first)
    options = _read_options(own, text, OPTIONS[found[1]] if found else ())
    if not found:
        plain.insert(0, first)
    elif found[1] == "fc" and not (found[3] or found[4]):
        _add_linear(chain, text, int(found[2]), bias="nobias" not in options)
    elif found[1] == "fc":
        raise _unreadable(first, text)
    else:
        kernel = (int(found[2]), int(found[3] or found[2]))
        _add_window(chain, text, found[1], kernel, int(found[4] or 0), options)
    for word in plain:
        _add_plain(chain, word, text)


def _read_options(words: list[str], text: str, known: Sequence[str]) -> dict[str, int]:
    """Names and numbers; of "same" and "nobias" the number is 1."""
    options: dict[str, int] = {}
    for word in words:
        found = _OPTION.fullmatch(word)
        name, number = (found[1], found[2]) if found else (word, "")
        if name not in OPTIONS["conv"] or (number == "") != (name in ("same", "nobias")):
            raise _unreadable(word, text)
        if name not in known:
            raise UsageError(f"cannot build {text!r}", why=f"it takes no {name}", advice=f"without {name}")
        if name in options or {name, *options} >= {"same", "pad"}:
            raise UsageError(f"cannot build {text!r}", why=f"{word} is said beside another", advice="one of the two")
        options[name] = int(number or 1)
    return options


@dataclass(frozen=True)
class _Side:
    """How a window goes down a map, or across it. reach: of the window with its dilation."""

    length: int
    pad: int
    reach: int
    stride: int

    @property
    def made(self) -> int:
        return (self.length + 2 * self.pad - self.reach) // self.stride + 1

    def told(self, name: str) -> str:
        rest = (self.length + 2 * self.pad - self.reach) % self.stride
        formula = f"({self.length} + 2*{self.pad} - {self.reach}) / {self.stride} + 1 = {self.made}"
        return f"{name}: {formula}{', rounded down' if rest else ''}"


def _add_window(
    chain: _Chain, text: str, kind: str, kernel: tuple[int, int], filters: int, options: dict[str, int]
) -> None:
    """Add a convolution or a pool."""
    channels, *lengths = _map_of(chain, text)
    groups, dilation = options.get("groups", 1), options.get("dilation", 1)
    if (kind == "conv") != (filters > 0):
        raise UsageError(
            f"cannot read {text!r}", why="a convolution has filters, and a pool none", advice="conv3x3-16, maxpool2"
        )
    if 0 in (options.get("stride", 1), groups, dilation) or channels % groups or filters % groups:
        told = ", ".join(f"{name} {options[name]}" for name in ("stride", "dilation", "groups") if name in options)
        why = f"{told}, of {channels} channels and {filters} filters"
        raise UsageError(f"cannot build {text!r}", why=why, advice="numbers above 0, and groups that divide both")
    down, across = (
        _side(text, name, length, dilation * (side - 1) + 1, options, 1 if kind == "conv" else side)
        for name, length, side in zip(("height", "width"), lengths, kernel, strict=True)
    )
    for side, width in zip((down, across), kernel, strict=True):
        if kind != "conv" and side.pad > width // 2:
            why = f"padding by {side.pad} is more than half of a window of {width}"
            raise UsageError(f"cannot build {text!r}", why=why, advice="less padding")
    how = [down.told("side")] if down == across else [down.told("height"), across.told("width")]
    strides, pads, made = (down.stride, across.stride), (down.pad, across.pad), (down.made, across.made)
    if kind == "conv":
        bias, weights = "nobias" not in options, prod(kernel) * (channels // groups)  # of a filter
        params, macs = (weights + bias) * filters, prod(made) * filters * weights
        product = f"{kernel[0]}*{kernel[1]}*{channels // groups}"
        how += [
            f"parameters: {f'({product} + 1)' if bias else product}*{filters} = {params:,}",
            f"MACs: {made[0]}*{made[1]}*{filters} * {product} = {macs:,}",
        ]
        conv = nn.Conv2d(channels, filters, kernel, strides, pads, dilation, groups, bias)
        chain.add(text, conv, (filters, *made), how, macs)
    else:
        pool = nn.MaxPool2d if kind == "maxpool" else nn.AvgPool2d
        chain.add(text, pool(kernel, strides, pads), (channels, *made), how)


def _side(text: str, name: str, length: int, reach: int, options: dict[str, int], stride: int) -> _Side:
    """One side of a window's way; stride: unless the options tell another."""
    if "same" in options and reach % 2 == 0:
        why = f"a window that reaches over {reach} would be padded unevenly"
        raise UsageError(f"cannot build {text!r}", why=why, advice="an odd window, or padP")
    pad = reach // 2 if "same" in options else options.get("pad", 0)
    side = _Side(length, pad, reach, options.get("stride", stride))
    if side.made < 1:
        why = f"a window of {name} {reach} does not go over {length} padded by {pad}"
        raise UsageError(f"cannot build {text!r}", why=why, advice="a smaller window, or more padding")
    return side


def _add_linear(chain: _Chain, text: str, units: int, *, bias: bool) -> None:
    numbers, told = prod(chain.shape), "*".join(map(str, chain.shape))
    if len(chain.shape) > 1:
        chain.add("flatten", nn.Flatten(), (numbers,), [f"numbers: {told} = {numbers:,}"])
    how = [
        f"parameters: {f'({numbers} + 1)' if bias else numbers}*{units} = {(numbers + bias) * units:,}",
        f"MACs: {numbers}*{units} = {numbers * units:,}",
    ]
    chain.add(text, nn.Linear(numbers, units, bias), (units,), how, numbers * units)


def _add_plain(chain: _Chain, word: str, text: str) -> None:
    if word == "globalpool":
        channels, height, width = _map_of(chain, text)
        chain.add(
            word, nn.AdaptiveAvgPool2d(1), (channels, 1, 1), [f"each of {channels}: the mean of {height}*{width}"]
        )
    elif word == "norm":
        features = chain.shape[0]
        norm = nn.BatchNorm2d(features) if len(chain.shape) == 3 else nn.BatchNorm1d(features)
        chain.add(word, norm, chain.shape, [f"parameters: 2*{features} = {2 * features:,}"])
    elif word in PLAIN:
        chain.add(word, PLAIN[word](), chain.shape)
    else:
        raise _unreadable(word, text)


def _map_of(chain: _Chain, text: str) -> tuple[int, int, int]:
    if len(chain.shape) != 3:
        raise UsageError(f"cannot build {text!r}", why="behind fc there is no map any more", advice="put it before fc")
    channels, height, width = chain.shape
    return channels, height, width


def _unreadable(word: str, text: str) -> UsageError:
    """Tell the slip that was most likely made."""
    if not text:
        return UsageError("cannot read the layers", why="one of them is empty", advice="a layer between two commas")
    why, advice = "it is no layer and no option", nearest(word, WORDS)
    if word in OPTIONS["conv"]:
        why, advice = "it takes a number", f"{word}2"
    elif text.split()[0] != word and (_LAYER.fullmatch(word) or word == "globalpool"):
        why, advice = "it is a layer, and no option of another", f"a comma before {word}"
    return UsageError(f"cannot read {word!r} in {text!r}", why=why, advice=advice)
