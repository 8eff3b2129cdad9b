"""What the literature would change about a network, from what its layers cost and see; rules with numbers, no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from lenext.costs.field import LayerField
from lenext.costs.operators import Convolution, Cost, LayerCost

STRONG_DROP = 0.25  # a 2x2 pooling without more channels leaves a quarter; fewer numbers than that are a bottleneck


@dataclass(frozen=True)
class Bottleneck:
    """A stage hands on less than a quarter of the numbers (C x H x W) that the one before it handed on.

    Szegedy et al. 2015 (Rethinking the Inception Architecture), section 2, principle 1, which gives no bound; a
    quarter is ours.
    """

    place: str
    before: str
    numbers: int
    numbers_before: int


@dataclass(frozen=True)
class NarrowField:
    """The last place before the head sees less of the image than its side: Araujo et al. 2019.

    gates: how many modules let it learn of the whole image in another way.
    """

    place: str
    field: int
    side: int
    gates: int


@dataclass(frozen=True)
class UnknownField:
    """What the last place before the head sees is not known, because of some operators."""

    place: str
    operators: tuple[str, ...]


@dataclass(frozen=True)
class LargeFilter:
    """A filter of 5x5 or more that a chain of 3x3 would replace: Simonyan and Zisserman 2014, section 2.3.

    params, macs: of the filter's weights; chain_params, chain_macs: of `chain` layers of 3x3 with the same field and
    the larger of its numbers of channels between them.
    """

    place: str
    kernel: int
    chain: int
    params: int
    chain_params: int
    macs: int
    chain_macs: int


Advice = Bottleneck | NarrowField | UnknownField | LargeFilter


def advise(cost: Cost, fields: Sequence[LayerField], places: Sequence[str]) -> list[Advice]:
    """All that the rules say of a network; `places` are its chain, the head being the last."""
    chain = [field for place in places[:-1] for field in fields if field.name == place]
    return [*find_bottlenecks(chain), *find_narrow_field(chain, cost.input_size), *find_large_filters(cost.layers)]


def find_bottlenecks(chain: Sequence[LayerField]) -> list[Advice]:
    """Strong drops between consecutive places of the chain."""
    sizes = [(field.name, prod(field.output)) for field in chain]
    return [
        Bottleneck(after, before, left, had)
        for (before, had), (after, left) in pairwise(sizes)
        if left < STRONG_DROP * had
    ]


def find_narrow_field(chain: Sequence[LayerField], input_size: Sequence[int]) -> list[Advice]:
    """Whether the end of the chain sees less than the image, along the side on which it sees least of it."""
    if not chain:
        return []
    last = chain[-1]
    if last.unknown:
        return [UnknownField(last.name, last.unknown)]
    sides = zip(last.size, input_size[1:], strict=True)
    field, side = min(sides, key=lambda pair: pair[0] / pair[1], default=(1, 1))
    return [NarrowField(last.name, field, side, len(last.gates))] if field < side else []


def find_large_filters(layers: Sequence[LayerCost]) -> list[Advice]:
    """Square filters over all channels at stride 1 for which a chain of 3x3 has fewer weights.

    Left out: strided ones, whose chain would see more or run at the larger size, and depthwise ones, which are large
    because they cost little (Liu et al. 2022, section 2.5).
    """
    return [
        advice
        for layer in layers
        if layer.calls and len(layer.convolutions) == 1 and (advice := _chain_for(layer, layer.convolutions[0]))
    ]


def _chain_for(layer: LayerCost, conv: Convolution) -> LargeFilter | None:
    side = conv.kernel[0]
    plain = conv.groups == 1 and not conv.transposed and {*conv.stride, *conv.dilation} == {1}
    if not plain or conv.kernel != (side, side) or side < 5 or side % 2 == 0:
        return None
    chain = (side - 1) // 2
    params = side * side * conv.in_channels * conv.out_channels
    wide = max(conv.in_channels, conv.out_channels)  # between the layers, so that nothing is lost there
    chain_params = 9 * wide * (conv.in_channels + conv.out_channels + (chain - 2) * wide)
    if chain_params >= params:
        return None
    return LargeFilter(layer.name, side, chain, params, chain_params, layer.macs, layer.macs // params * chain_params)
