"""Random networks against hand formulas: every kind of convolution in one to three dimensions, and what follows it."""

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lenext.costs.operators import count_cost

CONVOLUTIONS = {
    (1, False): nn.Conv1d, (2, False): nn.Conv2d, (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d, (2, True): nn.ConvTranspose2d, (3, True): nn.ConvTranspose3d,
}  # fmt: skip
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
Formulas = tuple[int, int, tuple[int, ...]]  # parameters, MACs and output of a layer


@st.composite
def convolutions(draw: st.DrawFn, channels: int, sides: tuple[int, ...]) -> tuple[nn.Module, Formulas] | None:
    """A convolution of `channels` maps of `sides`, and its formulas; None where nothing or too much would be left."""
    transposed, bias = draw(st.booleans()), draw(st.booleans())
    kernel, stride, dilation, padding = (
        tuple(draw(st.integers(low, high)) for _ in sides) for low, high in ((1, 3), (1, 2), (1, 2), (0, 1))
    )
    padding = tuple(min(p, k - 1) for p, k in zip(padding, kernel, strict=True))
    groups = draw(st.sampled_from([count for count in range(1, channels + 1) if channels % count == 0]))
    wide = groups * draw(st.integers(1, 4))
    pairs = list(zip(sides, kernel, stride, padding, dilation, strict=True))
    if transposed:
        after = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in pairs)
    else:
        after = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in pairs)
    if min(after) < 1 or prod(after) > 20_000:
        return None
    conv = CONVOLUTIONS[len(sides), transposed](
        channels, wide, kernel, stride, padding, dilation=dilation, groups=groups, bias=bias
    )
    weights = prod(kernel) * channels * wide // groups
    places = prod(sides if transposed else after)  # each number of the input, or of the output, meets a filter
    return conv, (weights + wide * bias, places * weights, (wide, *after))


@st.composite
def networks(draw: st.DrawFn, dimensions: int) -> tuple[nn.Sequential, tuple[int, ...], list[Formulas]]:
    """A chain, the size of its image, and the formulas of each of its layers."""
    channels, sides = draw(st.sampled_from([1, 2, 4, 6])), tuple(draw(st.integers(1, 12)) for _ in range(dimensions))
    image, layers, expected = (channels, *sides), list[nn.Module](), list[Formulas]()
    for _ in range(draw(st.integers(1, 5))):
        drawn = draw(convolutions(channels, sides))
        if drawn is not None:
            conv, formulas = drawn
            channels, *rest = formulas[2]
            sides = tuple(rest)
            layers += [conv, NORMS[dimensions](channels), nn.ReLU(inplace=draw(st.booleans()))]
            expected += [formulas, (2 * channels, 0, formulas[2]), (0, 0, formulas[2])]
    numbers, classes = channels * prod(sides), draw(st.integers(1, 9))
    layers += [nn.Flatten(), nn.Linear(numbers, classes)]
    expected += [(0, 0, (numbers,)), (numbers * classes + classes, numbers * classes, (classes,))]
    return nn.Sequential(*layers), image, expected


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@settings(max_examples=20, derandomize=True, database=None, deadline=None)
@given(data=st.data())
def test_every_layer_is_what_the_formulas_say(dimensions: int, data: st.DataObject) -> None:
    network, image, expected = data.draw(networks(dimensions))
    found = {layer.name: layer for layer in count_cost(network, image).layers}
    for number, (params, macs, output) in enumerate(expected):
        layer = found.get(str(number))
        if layer is None:  # Flatten does no work and holds nothing
            assert (params, macs) == (0, 0)
        else:
            assert (layer.params, layer.macs, layer.output) == (params, macs, output)
    whole, batch = count_cost(network, image, train=True), count_cost(network, image, batch=3)
    assert whole.params == sum(params for params, _, _ in expected)
    assert whole.macs == sum(macs for _, macs, _ in expected)
    products = [macs for _, macs, _ in expected if macs]
    assert whole.training_macs == 3 * sum(products) - products[0]  # the image has no gradient
    assert batch.macs == 3 * whole.macs
