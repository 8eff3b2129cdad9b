"""Random networks against hand formulas: every kind of convolution in one to three dimensions, and what follows it."""

import random
from math import prod

import pytest
from torch import nn

from lenext.costs.operators import count_cost

CONVOLUTIONS = {
    (1, False): nn.Conv1d, (2, False): nn.Conv2d, (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d, (2, True): nn.ConvTranspose2d, (3, True): nn.ConvTranspose3d,
}  # fmt: skip
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def random_network(seed: int) -> tuple[nn.Sequential, tuple[int, ...], list[tuple[int, int, tuple[int, ...]]]]:
    """A chain, the size of its image, and parameters, MACs and output of each of its layers by the formulas."""
    draw = random.Random(seed)
    dimensions = draw.choice([1, 2, 2, 3])
    channels, sides = draw.choice([2, 4, 6]), tuple(draw.randint(7, 12) for _ in range(dimensions))
    image, layers, expected = (channels, *sides), list[nn.Module](), list[tuple[int, int, tuple[int, ...]]]()
    for _ in range(draw.randint(2, 5)):
        transposed = draw.random() < 0.3
        kernel = tuple(draw.randint(1, 3) for _ in sides)
        stride, dilation = tuple(draw.randint(1, 2) for _ in sides), tuple(draw.randint(1, 2) for _ in sides)
        padding = tuple(draw.randint(0, 1) if size > 1 else 0 for size in kernel)
        groups = draw.choice([count for count in (1, 2, channels) if channels % count == 0])
        bias = draw.random() < 0.5
        wide = groups * draw.randint(1, 4)
        pairs = list(zip(sides, kernel, stride, padding, dilation, strict=True))
        if transposed:
            after = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in pairs)
        else:
            after = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in pairs)
        if min(after) < 1 or prod(after) > 20_000:
            continue
        conv = CONVOLUTIONS[dimensions, transposed](
            channels, wide, kernel, stride, padding, dilation=dilation, groups=groups, bias=bias
        )
        weights = prod(kernel) * channels * wide // groups
        places = prod(sides if transposed else after)  # each number of the input, or of the output, meets a filter
        layers += [conv, NORMS[dimensions](wide), nn.ReLU(inplace=draw.random() < 0.5)]
        expected += [(weights + wide * bias, places * weights, (wide, *after)), (2 * wide, 0, (wide, *after))]
        expected.append((0, 0, (wide, *after)))
        channels, sides = wide, after
    numbers, classes = channels * prod(sides), draw.randint(1, 9)
    layers += [nn.Flatten(), nn.Linear(numbers, classes)]
    expected += [(0, 0, (numbers,)), (numbers * classes + classes, numbers * classes, (classes,))]
    return nn.Sequential(*layers), image, expected


@pytest.mark.parametrize("seed", range(60))
def test_every_layer_is_what_the_formulas_say(seed: int) -> None:
    network, image, expected = random_network(seed)
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
