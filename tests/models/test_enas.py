"""ENAS. Oracles: the arcs and flags of the authors' script, and counts by hand."""

import pytest
import torch
from torch import nn

from lenext.errors import UsageError
from lenext.models.catalog import build, get_config
from lenext.models.cell_operations import FactorisedReduction
from lenext.models.cells import Cell, CellTable
from lenext.models.classifier import Classifier
from lenext.models.enas import NORMAL, REDUCTION
from lenext.models.parts import DropPath

# scripts/cifar10_micro_final.sh: for each step input, operation, input, operation; the previous input is its 0
ARCS = {
    "normal": "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1",
    "reduction": "1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1",
}
OPERATIONS = ["separable_3x3_2", "separable_5x5_2", "avg_pool_3x3", "max_pool_3x3", "identity"]  # its README


@pytest.mark.parametrize(("arc", "table"), [("normal", NORMAL), ("reduction", REDUCTION)])
def test_cells_are_the_arcs_of_the_script(arc: str, table: CellTable) -> None:
    numbers = [int(word) for word in ARCS[arc].split()]
    states = [{0: 1, 1: 0}.get(state, state) for state in numbers[::2]]
    names = [OPERATIONS[number] for number in numbers[1::2]]
    sides = list(zip(names, states, strict=True))
    assert table.steps == tuple((*left, *right) for left, right in zip(sides[::2], sides[1::2], strict=True))
    assert table.output == tuple(state for state in range(7) if state not in states)  # what no step reads


@pytest.fixture(scope="module")
def micro() -> Classifier:
    with torch.device("meta"):
        return build("enas_micro").eval()


def test_17_layers_have_the_convolutions_of_the_release(micro: Classifier) -> None:
    """A normal cell has six separable ones, a reduction cell six and a halved identity of two; a stem."""
    cells = [module for module in micro.modules() if isinstance(module, Cell)]
    counts = [sum(isinstance(m, nn.Conv2d) for step in cell.steps for m in step.modules()) for cell in cells]
    assert counts == [24] * 5 + [26] + [24] * 5 + [26] + [24] * 5
    inputs = 17 * 3 + 2  # one for the previous input, two where it is halved, and two for the current one
    found = sum(isinstance(m, nn.Conv2d) for m in [*micro.stem.modules(), *micro.stages.modules()])
    assert found == 1 + sum(counts) + inputs == 466


def test_the_first_cell_too_brings_both_inputs_to_its_width(micro: Classifier) -> None:
    cell = micro.get_submodule("stages.layer_0.cell")
    for path, layers in (("current", [(108, 36), (36, 36)]), ("previous", [(108, 36)])):
        convs = [m for m in cell.get_submodule(path).modules() if isinstance(m, nn.Conv2d)]
        assert [(conv.in_channels, conv.out_channels) for conv in convs] == layers


def test_an_identity_halves_without_a_relu_and_nothing_else_is_never_dropped(micro: Classifier) -> None:
    step = micro.get_submodule("stages.layer_5.cell.steps.3")
    assert isinstance(step.get_submodule("right"), FactorisedReduction)
    assert isinstance(step.get_submodule("right_drop"), nn.Identity)
    dropped = [m.rate for m in micro.get_submodule("stages.layer_5").modules() if isinstance(m, DropPath)]
    assert dropped == pytest.approx(9 * [0.4 * 6 / 17])  # ten operations, one of them an identity


def test_nothing_outside_of_normalisation_has_a_bias(micro: Classifier) -> None:
    layers = [m for m in micro.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert {type(m.bias) for m in layers} == {type(None)}
    assert {m.eps for m in micro.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-5}


def test_the_auxiliary_head_pads_its_2x2_map_behind_the_second_reduction(micro: Classifier) -> None:
    assert list(micro.auxiliary) == ["layer_12"]
    head = micro.auxiliary["layer_12"]
    last = micro.features(torch.empty(2, 3, 32, 32, device="meta"), ["stages.layer_12"])["stages.layer_12"]
    pooled = head.get_submodule("average")(last)
    assert pooled.shape == (2, 720, 2, 2)
    assert head.get_submodule("conv2")(head.get_submodule("conv1")(pooled)).shape == (2, 768, 2, 2)
    assert head(last).shape == (2, 10)


def test_below_17_pixels_the_auxiliary_head_has_nothing_to_average(micro: Classifier) -> None:
    def scores(model: Classifier, size: int) -> torch.Tensor:
        images = torch.empty(2, 3, size, size, device="meta")
        result: torch.Tensor = model.auxiliary["layer_12"](
            model.features(images, ["stages.layer_12"])["stages.layer_12"]
        )
        return result

    assert scores(micro, 17).shape == (2, 10)
    with pytest.raises(UsageError, match="17 x 17 pixels and larger"):
        scores(micro, 16)
    with torch.device("meta"):
        careless = build("enas_micro", min_size=16).eval()
    with pytest.raises(RuntimeError):
        scores(careless, 16)


@pytest.mark.parametrize("changes", [{"cells": 0}, {"width": 0}])
def test_a_network_of_nothing_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="cannot build ENAS"):
        get_config("enas_micro", **changes)
