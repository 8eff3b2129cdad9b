"""Cells. Oracles: TensorFlow's rule of padding written out pixel by pixel, and hand arithmetic."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lenext.models.cell_operations import OPERATIONS, FactorisedReduction, Pool, PoolKind
from lenext.models.cells import Cell, CellShape, CellTable
from lenext.models.parts import DropPath

# the reduction cell of AmoebaNet-C (Real et al. 2018), whose output has the current input among it
AMOEBANET_C = CellTable(
    steps=(
        ("max_pool_3x3", 0, "max_pool_3x3", 0),
        ("separable_7x7_2", 2, "separable_3x3_2", 0),
        ("separable_7x7_2", 0, "max_pool_3x3", 1),
        ("separable_5x5_2", 4, "separable_5x5_2", 4),
        ("max_pool_3x3", 1, "separable_3x3_2", 1),
    ),
    output=(0, 2, 3, 4, 5, 6),
)


def pooled(x: npt.NDArray[np.float64], kind: str, kernel: int, stride: int) -> npt.NDArray[np.float64]:
    """SAME pooling of one square map, window by window."""
    size = len(x)
    out = -(-size // stride)
    before = max((out - 1) * stride + kernel - size, 0) // 2
    y = np.empty((out, out))
    for i in range(out):
        for j in range(out):
            top, left = i * stride - before, j * stride - before
            window = x[max(top, 0) : top + kernel, max(left, 0) : left + kernel]
            y[i, j] = {"max": window.max(), "avg": window.mean(), "avg_zeros": window.sum() / kernel**2}[kind]
    return y


@pytest.mark.parametrize("kind", ["max", "avg", "avg_zeros"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 2)])
def test_pools_follow_tensorflow_for_even_and_odd_sizes(kind: PoolKind, kernel: int, stride: int) -> None:
    generator = np.random.default_rng(0)
    for size in range(1, 9):
        x = generator.normal(size=(size, size)) - 1
        found = Pool(kind, kernel, stride)(torch.from_numpy(x)[None, None])[0, 0]
        np.testing.assert_allclose(found.numpy(), pooled(x, kind, kernel, stride), rtol=1e-12)


def test_a_factorised_reduction_reads_every_pixel_of_the_diagonals() -> None:
    layer = FactorisedReduction(1, 2, eps=0.0).eval()
    for conv in (layer.conv1, layer.conv2):
        nn.init.ones_(conv.weight)
    even, shifted = layer(torch.arange(16.0).view(1, 1, 4, 4))[0]
    assert even.tolist() == [[0, 2], [8, 10]] and shifted.tolist() == [[5, 7], [13, 15]]
    even, shifted = layer(torch.arange(9.0).view(1, 1, 3, 3))[0]
    assert even.tolist() == [[0, 2], [6, 8]] and shifted.tolist() == [[4, 0], [0, 0]]


def test_a_factorised_reduction_to_an_odd_width_rounds_both_halves_down() -> None:
    layer = FactorisedReduction(3, 5, eps=1e-3)
    assert layer(torch.randn(2, 3, 4, 4)).shape == (2, 4, 2, 2)


def test_any_table_of_two_inputs_makes_a_cell() -> None:
    cell = Cell(AMOEBANET_C, CellShape(width=6, channels=(10, 8), stride=2, previous_stride=2))
    current, previous = torch.randn(2, 10, 7, 7), torch.randn(2, 8, 14, 14)
    found, handed_on = cell((current, previous))
    assert found.shape == (2, 6 * 6, 4, 4) and handed_on is current


def test_none_on_an_input_of_a_reduction_cell_projects_with_the_stride() -> None:
    table = CellTable((("none", 0, "none", 1), ("none", 2, "none", 2)), output=(3,))
    cell = Cell(table, CellShape(width=4, channels=(3, 3), stride=2))
    strides = [module.stride for module in cell.steps.modules() if isinstance(module, nn.Conv2d)]
    assert strides == [(2, 2), (2, 2)]
    assert cell((torch.randn(2, 3, 5, 5),) * 2)[0].shape == (2, 4, 3, 3)


def test_a_separable_convolution_strides_in_the_first_of_two() -> None:
    cell = Cell(AMOEBANET_C, CellShape(width=6, channels=(10, 8), stride=2))
    left = cell.get_submodule("steps.2.left")
    kinds = [type(layer).__name__.removeprefix("Same") for layer in left.children()]
    assert kinds == 2 * ["ReLU", "Conv2d", "Conv2d", "BatchNorm2d"]
    strides = [layer.stride[0] for layer in left.children() if isinstance(layer, nn.Conv2d)]
    assert strides == [2, 1, 1, 1]


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_gives_its_width_and_half_of_the_size_rounded_up(name: str) -> None:
    for size in (6, 7):
        operation = OPERATIONS[name](6, 8, 2, 1e-3)
        assert operation(torch.randn(2, 6, size, size)).shape == (2, 8, (size + 1) // 2, (size + 1) // 2)


def test_a_bottleneck_strides_along_each_kernel_under_tensorflows_padding() -> None:
    """Of 8 pixels, 7 wide and every other one: (8 - 2) / 2 * 2 + 7 - 8 = 5 around them, two before and three behind."""
    layers = OPERATIONS["1x7_7x1"](4, 4, 2, 0.0)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    across, down = layers.get_submodule("conv1").double(), layers.get_submodule("conv2").double()
    assert isinstance(across, nn.Conv2d) and isinstance(down, nn.Conv2d)
    torch.testing.assert_close(across(x), F.conv2d(F.pad(x, (2, 3)), across.weight, stride=(1, 2)))
    torch.testing.assert_close(down(x), F.conv2d(F.pad(x, (0, 0, 2, 3)), down.weight, stride=(2, 1)))


def test_a_dilated_separable_convolution_reads_every_other_pixel() -> None:
    depthwise = OPERATIONS["dil_2_separable_5x5_2"](1, 1, 1, 0.0).get_submodule("depthwise1")
    assert isinstance(depthwise, nn.Conv2d)
    nn.init.ones_(depthwise.weight)
    points = torch.zeros(1, 1, 9, 9)
    points[0, 0, 4, 4] = 1
    expected = torch.tensor([1.0, 0, 1, 0, 1, 0, 1, 0, 1])
    assert torch.equal(depthwise(points)[0, 0], torch.outer(expected, expected))


def test_every_operation_but_none_is_dropped() -> None:
    table = CellTable((("none", 0, "avg_pool_3x3", 1), ("separable_3x3_2", 2, "none", 2)), output=(2, 3))
    cell = Cell(table, CellShape(width=4, channels=(4, 4), drop_path=0.25))
    dropped = {path: module.rate for path, module in cell.named_modules() if isinstance(module, DropPath)}
    assert dropped == {"steps.0.right_drop": 0.25, "steps.1.left_drop": 0.25}
