"""AmoebaNet. Oracles: Real et al. 2018, the authors' release of the cells, and counts by hand."""

import pytest
import torch
from torch import nn

from lenext.errors import UsageError
from lenext.models.catalog import build, get_config
from lenext.models.cells import Cell
from lenext.models.classifier import Classifier
from lenext.models.parts import DropPath


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name).eval()


def cells(model: Classifier) -> dict[str, Cell]:
    return {path.removeprefix("stages."): m for path, m in model.named_modules() if isinstance(m, Cell)}


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


@pytest.mark.parametrize(
    ("name", "normal", "reduction"),
    [
        ("amoebanet_a_mobile", [3, 3, 3, 3, 5, 5, 3, 3], [3, 3, 7, 7, 3, 3, 7, 7]),
        ("amoebanet_b_mobile", [3, 3, 3, 3], [5, 5, 3, 3]),
        ("amoebanet_c_mobile", 5 * [3, 3], [7, 7, 3, 3, 7, 7, 5, 5, 5, 5, 3, 3]),
        ("amoebanet_d_f256", [], []),
    ],
)
def test_cells_have_the_separable_convolutions_of_the_release(
    name: str, normal: list[int], reduction: list[int]
) -> None:
    """Two depthwise ones each, by the side of their kernels, step by step."""
    found = cells(on_meta(name))
    first = next(cell for path, cell in found.items() if path.startswith("normal_1"))
    for cell, sides in ((first, normal), (found["reduction_0.cell"], reduction)):
        assert [conv.kernel_size[0] for conv in convolutions(cell) if conv.groups > 1] == sides


def test_n_and_f_are_the_cells_of_a_group_and_the_channels_of_a_state() -> None:
    found = cells(on_meta("amoebanet_c_mobile"))
    assert sum(path.startswith("normal") for path in found) == 3 * 4
    assert found["normal_0.cell_3"].channels == 5 * 50  # five states of F = 50 make the output
    assert found["normal_2.cell_11"].channels == 5 * 4 * 50


def test_a_quarter_of_the_channels_passes_a_bottleneck_one_side_at_a_time() -> None:
    step = on_meta("amoebanet_a_mobile").get_submodule("stages.reduction_0.cell.steps.3.right")
    kinds = [type(layer).__name__.removeprefix("Same") for layer in step.children()]
    assert kinds == 4 * ["ReLU", "Conv2d", "BatchNorm2d"]
    found = [(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride) for conv in convolutions(step)]
    assert found == [
        (100, 25, (1, 1), (1, 1)),
        (25, 25, (1, 7), (1, 2)),
        (25, 25, (7, 1), (2, 1)),
        (25, 100, (1, 1), (1, 1)),
    ]


def test_an_odd_width_loses_a_channel_where_two_halves_make_it() -> None:
    """F = 50: the second reduction cell has 25 channels a state, and C hands on its current input."""
    cell = cells(on_meta("amoebanet_c_mobile"))["cell_stem_1.cell"]
    assert cell.channels == 24 + 5 * 25
    assert sum(conv.out_channels for conv in convolutions(cell.get_submodule("fit.0"))) == 24


def test_b_dilates_the_convolution_that_its_name_calls_dilated() -> None:
    separable = on_meta("amoebanet_b_mobile").get_submodule("stages.reduction_0.cell.steps.2.left")
    depthwise = [conv for conv in convolutions(separable) if conv.groups > 1]
    assert [(conv.kernel_size, conv.dilation) for conv in depthwise] == 2 * [((5, 5), (2, 2))]
    assert separable(torch.empty(1, 124, 7, 6, device="meta")).shape == (1, 124, 7, 6)


def test_an_input_that_has_the_channels_of_a_state_is_taken_as_it_comes() -> None:
    """B's reduction cells hand on two states, so that behind the stem the second cell's previous input has F."""
    found = cells(on_meta("amoebanet_b_mobile"))
    as_they_come = [path for path, cell in found.items() if cell.previous is None]
    assert as_they_come == ["cell_stem_0.cell", "normal_0.cell_1"]


@pytest.mark.parametrize(
    ("name", "side"),
    [("amoebanet_a_n6_f190", 6), ("amoebanet_a_n6_f448", 5), ("amoebanet_b_mobile", 4), ("amoebanet_a_cifar_f32", 4)],
)
def test_the_auxiliary_convolution_sees_all_of_the_map_before_the_second_reduction(name: str, side: int) -> None:
    model = on_meta(name)
    size = model.config.input_size
    head = model.auxiliary["normal_1"]
    middle = model.features(torch.empty(2, 3, size, size, device="meta"), ["stages.normal_1"])["stages.normal_1"]
    assert head.get_submodule("pool")(middle).shape[2:] == (side, side)
    conv = head.get_submodule("conv2")
    assert isinstance(conv, nn.Conv2d) and conv.kernel_size == (side, side)


def test_drop_rates_rise_linearly_over_the_cells_to_three_tenths() -> None:
    rates = [
        {m.rate for m in cell.modules() if isinstance(m, DropPath)}
        for cell in cells(on_meta("amoebanet_a_n6_f190")).values()
    ]
    assert [rate.pop() for rate in rates] == pytest.approx([0.3 * (k + 1) / 22 for k in range(22)])


@pytest.mark.parametrize(("name", "least"), [("amoebanet_a_mobile", 16), ("amoebanet_a_cifar_f32", 4)])
def test_a_bottleneck_without_channels_is_refused(name: str, least: int) -> None:
    assert get_config(name, width=least)
    with pytest.raises(UsageError, match=f"width={least}"):
        get_config(name, width=least - 1)
    with pytest.raises(UsageError, match="cells=1"):
        get_config(name, cells=0)
