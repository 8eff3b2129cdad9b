"""Advice by arithmetic of the papers, on hand-made values and on networks of which the papers say it."""

import torch
from torch import nn

from lenext.costs import count_cost
from lenext.costs.advice import (
    Advice,
    Bottleneck,
    LargeFilter,
    NarrowField,
    UnknownField,
    advise,
    find_bottlenecks,
    find_large_filters,
    find_narrow_field,
)
from lenext.costs.field import LayerField, receptive_fields
from lenext.models.catalog import build


def field(name: str, output: tuple[int, ...], size: int = 9, **others: tuple[str, ...]) -> LayerField:
    return LayerField(name, "Sequential", output, (size, size), (4, 4), (0, 0), **others)


def advice_on(name: str, side: int) -> list[Advice]:
    with torch.device("meta"):
        network = build(name)
    size = (network.config.in_channels, side, side)
    return advise(count_cost(network, size), receptive_fields(network, size), network.places())


def filters(*layers: nn.Module, size: tuple[int, ...]) -> list[Advice]:
    return find_large_filters(count_cost(nn.Sequential(*layers), size).layers)


def test_three_3x3_replace_7x7_at_27_weights_for_49() -> None:
    (advice,) = filters(nn.Conv2d(8, 8, 7, padding=3), size=(8, 10, 10))
    assert advice == LargeFilter("0", 7, 3, 49 * 64, 27 * 64, 49 * 64 * 100, 27 * 64 * 100)


def test_two_3x3_replace_5x5_at_18_weights_for_25() -> None:
    (advice,) = filters(nn.Conv2d(8, 8, 5), size=(8, 10, 10))
    assert isinstance(advice, LargeFilter)
    assert (advice.chain, advice.params, advice.chain_params) == (2, 25 * 64, 18 * 64)
    assert (advice.macs, advice.chain_macs) == (25 * 64 * 36, 18 * 64 * 36)


def test_a_chain_that_saves_nothing_is_no_advice() -> None:
    assert filters(nn.Conv2d(3, 64, 7, padding=3), size=(3, 10, 10)) == []  # 9 408 weights, and 3x3 would have 75 456
    assert filters(nn.Conv2d(6, 1, 5), size=(6, 10, 10)) == []  # 150 weights, and 3x3 through 6 channels would have 378


def test_strided_depthwise_dilated_oblong_and_small_filters_are_left_alone() -> None:
    layers = (
        *(nn.Conv2d(8, 8, 7, 2), nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.Conv2d(8, 8, 5, dilation=2, padding=4)),
        *(nn.Conv2d(8, 8, (1, 7)), nn.Conv2d(8, 8, 3), nn.ConvTranspose2d(8, 8, 5), nn.Conv2d(8, 8, 4)),
    )
    assert filters(*layers, size=(8, 40, 40)) == []


def test_less_than_a_quarter_of_the_numbers_is_a_bottleneck() -> None:
    chain = [field("a", (8, 8, 8)), field("b", (8, 4, 4)), field("c", (7, 2, 2)), field("d", (70, 2, 2))]
    assert find_bottlenecks(chain) == [Bottleneck("c", "b", 28, 128)]


def test_narrow_field_is_that_of_the_last_place_and_the_smaller_side() -> None:
    chain = [field("a", (8, 8, 8), 3), field("b", (8, 4, 4), 20, gates=("a.gate",))]
    assert find_narrow_field(chain, (3, 20, 32)) == [NarrowField("b", 20, 32, 1)]
    assert find_narrow_field(chain, (3, 20, 20)) == []
    assert find_narrow_field([], (3, 20, 20)) == []
    assert find_narrow_field([field("a", (8,), unknown=("flip",))], (3, 20, 20)) == [UnknownField("a", ("flip",))]


def test_vgg16_sees_212_pixels() -> None:
    assert advice_on("vgg16", 224) == [NarrowField("stages.conv5", 212, 224, 0)]
    assert advice_on("vgg16", 192) == []


def test_densenet_has_a_bottleneck_at_each_transition() -> None:
    places = [advice.place for advice in advice_on("densenet121", 224) if isinstance(advice, Bottleneck)]
    assert places == ["stages.transition1", "stages.transition2", "stages.transition3"]


def test_the_5x5_of_inception_v3_are_large_and_those_of_alexnet_widen_too_much() -> None:
    found = [advice for advice in advice_on("inception_v3", 299) if isinstance(advice, LargeFilter)]
    assert [advice.place.split(".")[1] for advice in found] == ["5b", "5c", "5d"]
    assert {(one.params, one.chain_params) for one in found} == {(25 * 48 * 64, 9 * 64 * (48 + 64))}
    assert [advice for advice in advice_on("alexnet", 224) if isinstance(advice, LargeFilter)] == []
