"""Every network is held to its paper: parameters, multiply-accumulates and stage shapes, on the meta device."""

import ast
import functools
import operator
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lenext.costs import Cost, count_cost
from lenext.costs.meta import MetaMode, uncollected, without_data
from lenext.models import catalog
from lenext.models.classifier import Classifier
from lenext.papers import FAMILIES, PaperRow, load_papers

ROWS = load_papers()
# scope: all tests of one row stand together, so that its network is built once and not once by every test and process
every_row = pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()], scope="module")


class Remembering(MetaMode):
    """Shapes of operators, each combination found once: the networks have most of them in common.

    Of torch, or by the rules of lenext.costs.foreseen, which tests/costs/test_foreseen.py holds against torch.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.perform(func, args, kwargs or {})[0]


SHAPES = Remembering()


@functools.lru_cache(2)  # all at once would be many objects for Python to look through for garbage
def built(name: str) -> Classifier:
    with without_data():
        return catalog.build(name).eval()


@functools.cache
def cost_of(name: str) -> Cost:
    return count_cost(built(name), ROWS[name].input_size)


@every_row
def test_network_has_the_published_parameters(row: PaperRow) -> None:
    network = built(row.name)
    auxiliary = sum(parameter.numel() for parameter in network.auxiliary.parameters())
    assert sum(parameter.numel() for parameter in network.parameters()) == row.params + row.auxiliary_params
    assert auxiliary == row.auxiliary_params
    assert (cost_of(row.name).params, cost_of(row.name).auxiliary_params) == (row.params, row.auxiliary_params)


@every_row
def test_network_costs_the_published_macs(row: PaperRow) -> None:
    assert cost_of(row.name).macs == row.macs


@every_row
def test_every_place_has_the_published_shape(row: PaperRow) -> None:
    network = built(row.name)
    with torch.no_grad(), uncollected(), SHAPES:
        found = network.features(torch.empty(2, *row.input_size, device="meta"), network.places())
    published = {**row.stage_shapes, "head": (row.num_classes,)}
    assert {place: tuple(tensor.shape[1:]) for place, tensor in found.items()} == published


@every_row
def test_network_expects_the_published_input(row: PaperRow) -> None:
    config = built(row.name).config
    assert (config.in_channels, config.input_size, config.input_size) == row.input_size
    assert config.num_classes == row.num_classes


def test_catalog_and_papers_name_the_same_networks() -> None:
    assert sorted(catalog.list_models()) == sorted(ROWS)
    assert {name: catalog.family_of(name) for name in ROWS} == {name: row.family for name, row in ROWS.items()}
    assert {row.family for row in ROWS.values()} == set(FAMILIES)


@every_row
def test_every_figure_has_a_source(row: PaperRow) -> None:
    assert row.title and row.authors and row.venue
    assert 1989 <= row.year <= 2026
    for source in (row.params_source, row.macs_source, row.shapes_source):
        assert source.startswith(("paper, ", "derived: ", "torchvision 0.28.0", "timm 1.0.31"))
    for result in row.results:
        assert result.dataset and result.protocol and result.source
        errors = [error for error in (result.top1_error, result.top5_error) if error is not None]
        assert errors and all(0 < error < 100 for error in errors)
        assert errors == sorted(errors, reverse=True)  # the right class is among five at least as often as first


@every_row
def test_derived_sums_come_to_their_figures(row: PaperRow) -> None:
    for figure, source in ((row.params, row.params_source), (row.macs, row.macs_source)):
        if source.startswith("derived: "):
            assert work_out(source.removeprefix("derived: ")) == figure


@every_row
def test_printed_figures_are_near_or_the_row_says_why_not(row: PaperRow) -> None:
    assert set(row.printed) <= {"params", "macs"}
    for figure, printed in row.printed.items():
        near = abs(getattr(row, figure) - printed) <= 0.06 * printed
        assert near or any("print" in difference for difference in row.differences), (figure, printed)


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_no_two_networks_are_the_same_peer(source: str) -> None:
    peers = [peer for row in ROWS.values() if (peer := getattr(row, source))]
    assert len(peers) == len(set(peers))


# torchvision 0.28.0, weights' meta "_ops", in billions, by its own names
TORCHVISION_GMACS = {
    "alexnet": 0.714,
    "vgg11": 7.609,
    "vgg11_bn": 7.609,
    "vgg13": 11.308,
    "vgg13_bn": 11.308,
    "vgg16": 15.47,
    "vgg16_bn": 15.47,
    "vgg19": 19.632,
    "vgg19_bn": 19.632,
    "googlenet": 1.498,
    "inception_v3": 5.713,
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "resnet101": 7.801,
    "resnet152": 11.514,
    "wide_resnet50_2": 11.398,
    "wide_resnet101_2": 22.753,
    "resnext50_32x4d": 4.23,
    "resnext101_64x4d": 15.46,
    "resnext101_32x8d": 16.414,
    "densenet121": 2.834,
    "densenet169": 3.36,
    "densenet201": 4.291,
    "densenet161": 7.728,
    "mobilenet_v2": 0.301,
    "mobilenet_v3_large": 0.217,
    "mobilenet_v3_small": 0.057,
    "efficientnet_b0": 0.386,
    "efficientnet_b1": 0.687,
    "efficientnet_b3": 1.827,
    "efficientnet_b4": 4.394,
    "efficientnet_b5": 10.266,
    "efficientnet_b6": 19.068,
    "efficientnet_b7": 37.746,
    "efficientnet_v2_s": 8.366,
    "efficientnet_v2_m": 24.582,
    "efficientnet_v2_l": 56.08,
    "convnext_tiny": 4.456,
    "convnext_small": 8.684,
    "convnext_base": 15.355,
    "convnext_large": 34.361,
}


@pytest.mark.parametrize("name", TORCHVISION_GMACS)
def test_macs_round_to_those_that_torchvision_prints(name: str) -> None:
    row = next(row for row in ROWS.values() if row.torchvision == name)
    assert round(cost_of(row.name).macs / 1e9, 3) == TORCHVISION_GMACS[name]


def test_lenet5_has_60000_trainable_parameters_and_340908_connections() -> None:
    """LeCun et al. 1998, section II.B, layer by layer: C1, S2, C3, S4, C5, F6, output."""
    parameters = [6 * 26, 6 * 2, 60 * 25 + 16, 16 * 2, 120 * (16 * 25 + 1), 84 * 121]
    assert parameters == [156, 12, 1516, 32, 48120, 10164]
    assert sum(parameters) == 60_000 == cost_of("lenet5").params
    connections = [156 * 28**2, 6 * 14**2 * 5, 1516 * 10**2, 16 * 5**2 * 5, 48120, 10164, 84 * 10]
    assert connections == [122_304, 5_880, 151_600, 2_000, 48_120, 10_164, 840]
    assert sum(connections) == 340_908
    biases = 6 * 28**2 + 16 * 10**2 + 120 + 84  # a connection, and no multiplication
    subsampling, output = 5_880 + 2_000, 840  # neither convolutions nor matrix products
    assert 340_908 - biases - subsampling - output == cost_of("lenet5").macs


@pytest.mark.parametrize(
    ("name", "billions"),
    [("resnet18", 1.8), ("resnet34", 3.6), ("resnet50_v1", 3.8), ("resnet101_v1", 7.6), ("resnet152_v1", 11.3)],
)
def test_resnet_costs_the_flops_of_table_1(name: str, billions: float) -> None:
    """He et al. 2015, Table 1, whose FLOPs are multiply-adds, some rounded down."""
    assert cost_of(name).macs / 1e9 == pytest.approx(billions, rel=0.02)


def test_stride_in_the_3x3_costs_231_million_macs_more_than_published() -> None:
    extra = 3 * (56**2 - 28**2) * 256 * 128  # first 1x1 of conv3_x; conv4_x and conv5_x cost the same again
    for depth in (50, 101, 152):
        assert cost_of(f"resnet{depth}").macs - cost_of(f"resnet{depth}_v1").macs == extra == 231_211_008
        assert cost_of(f"resnet{depth}").params == cost_of(f"resnet{depth}_v1").params


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet20", 0.27), ("resnet32", 0.46), ("resnet44", 0.66), ("resnet56", 0.85), ("resnet110", 1.7)],
)
def test_cifar_resnet_has_the_parameters_of_table_6(name: str, millions: float) -> None:
    assert round(cost_of(name).params / 1e6, 1 if name == "resnet110" else 2) == millions


def test_resnet1202_has_the_19_4_million_parameters_of_table_6() -> None:
    assert round(cost_of("resnet1202").params / 1e6, 1) == 19.4


@pytest.mark.parametrize(
    ("name", "millions"),
    [("vgg11", 133), ("vgg_a_lrn", 133), ("vgg13", 133), ("vgg_c", 134), ("vgg16", 138), ("vgg19", 144)],
)
def test_vgg_has_the_parameters_of_table_2(name: str, millions: int) -> None:
    assert round(cost_of(name).params / 1e6) == millions


def test_projection_shortcuts_add_2752_parameters_to_a_cifar_resnet() -> None:
    projections = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert projections == 2752
    for depth in (20, 32, 44, 56, 110):
        assert cost_of(f"resnet{depth}_b").params - cost_of(f"resnet{depth}").params == projections


def test_option_a_and_plain_networks_cost_the_same() -> None:
    pairs = [("plain18", "resnet18_a"), ("plain34", "resnet34_a"), ("plain20", "resnet20"), ("plain56", "resnet56")]
    for plain, residual in pairs:
        assert (cost_of(plain).params, cost_of(plain).macs) == (cost_of(residual).params, cost_of(residual).macs)


@every_row
def test_weights_take_four_bytes_a_number(row: PaperRow) -> None:
    buffers = sum(buffer.nbytes for buffer in built(row.name).buffers())
    assert cost_of(row.name).weight_bytes == 4 * (row.params + row.auxiliary_params) + buffers


def test_rows_are_read_only_and_read_once() -> None:
    assert load_papers() is ROWS
    with pytest.raises(TypeError):
        ROWS["lenet5"].stage_shapes["stem"] = (1, 1, 1)  # type: ignore[index]
    with pytest.raises(TypeError):
        ROWS["lenet6"] = ROWS["lenet5"]  # type: ignore[index]


def test_papers_are_read_without_torch() -> None:
    code = "import sys; from lenext.papers import load_papers; load_papers(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
}


def work_out(text: str) -> int:
    """The value of a sum of whole numbers with + - * ** and brackets."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant) and isinstance(node.value, int), f"not arithmetic: {text}"
        return node.value

    return value(ast.parse(text, mode="eval").body)


def test_sums_follow_the_rules_of_arithmetic() -> None:
    assert work_out("2 + 3*4**2 - (5-1)*2") == 2 + 48 - 8
