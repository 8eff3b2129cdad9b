"""NASNet-A. Oracles: Zoph et al. 2017, the authors' release, and counts by hand."""

import pytest
import torch
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.models.catalog import build, get_config
from lenext.models.cell_operations import FactorisedReduction, Pool
from lenext.models.cells import Cell
from lenext.models.classifier import Classifier
from lenext.models.parts import DropPath


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name).eval()


def cells(model: Classifier) -> dict[str, Cell]:
    return {path.removeprefix("stages."): m for path, m in model.named_modules() if isinstance(m, Cell)}


@pytest.mark.parametrize(
    ("name", "normal", "filters"),
    [("nasnet_a_large", 18, 4032), ("nasnet_a_mobile", 12, 1056), ("nasnet_a_cifar_7_2304", 21, 2304)],
)
def test_n_at_filters_is_three_times_n_normal_cells_and_the_last_channels(name: str, normal: int, filters: int) -> None:
    model = on_meta(name)
    names = [path for path in cells(model) if path.startswith("normal")]
    assert [path.rpartition("_")[2] for path in names] == [str(number) for number in range(normal)]
    last = model.get_submodule("head.fc")
    assert isinstance(last, nn.Linear) and last.in_features == filters


def test_figure_4_in_operations() -> None:
    """Separable convolutions, two depthwise ones each, by the side of their kernels."""
    model = on_meta("nasnet_a_mobile")
    kernels = {}
    for path in ("normal_1.cell_5", "reduction_0.cell"):
        convs = [module for module in cells(model)[path].modules() if isinstance(module, nn.Conv2d)]
        kernels[path] = [conv.kernel_size[0] for conv in convs if conv.groups > 1]
    assert kernels["normal_1.cell_5"] == [5, 5, 3, 3, 5, 5, 3, 3, 3, 3]
    assert kernels["reduction_0.cell"] == [5, 5, 7, 7, 7, 7, 5, 5, 3, 3]


def handed_on_by_reductions(name: str) -> dict[str, bool]:
    """Whether each reduction cell hands on its previous input, not its current one."""
    return {path: cell.skip for path, cell in cells(on_meta(name)).items() if not path.startswith("normal")}


def test_large_alone_skips_the_input_of_a_reduction_and_no_stem_does() -> None:
    stems = {"cell_stem_0.cell": False, "cell_stem_1.cell": False}
    assert handed_on_by_reductions("nasnetalarge") == stems | {"reduction_0.cell": True, "reduction_1.cell": True}
    assert handed_on_by_reductions("nasnet_a_mobile") == stems | {"reduction_0.cell": False, "reduction_1.cell": False}
    assert not any(handed_on_by_reductions("nasnet_a_cifar_6_768").values())


def test_a_cell_behind_a_reduction_halves_its_previous_input_by_two_paths() -> None:
    found = cells(on_meta("nasnet_a_mobile"))
    halving = [path for path, cell in found.items() if isinstance(cell.previous, FactorisedReduction)]
    assert halving == ["cell_stem_1.cell", "normal_0.cell_0", "normal_1.cell_4", "normal_2.cell_8"]


def test_a_cell_reads_the_two_before_it() -> None:
    model = build("nasnet_a_cifar_2_192").eval()
    pairs: list[tuple[Tensor, Tensor]] = []
    made: list[Tensor] = []

    def watch(cell: nn.Module, inputs: tuple[tuple[Tensor, Tensor]], outputs: tuple[Tensor, Tensor]) -> None:
        pairs.append(inputs[0])
        made.append(outputs[0])

    for module in model.modules():
        if isinstance(module, Cell):
            module.register_forward_hook(watch)
    model(torch.randn(1, 3, 8, 8))
    assert len(made) == 3 * 2 + 2
    assert pairs[0][0] is pairs[0][1]  # the stem's output, which stands for both
    assert all(pair[0] is one for pair, one in zip(pairs[1:], made, strict=False))
    assert all(pair[1] is one for pair, one in zip(pairs[2:], made, strict=False))


def test_drop_rates_rise_linearly_over_the_cells_to_the_last() -> None:
    model = on_meta("nasnet_a_cifar_6_768")
    rates = [{m.rate for m in cell.modules() if isinstance(m, DropPath)} for cell in cells(model).values()]
    assert [len(rate) for rate in rates] == [1] * 20
    assert [rate.pop() for rate in rates] == pytest.approx([0.4 * (k + 1) / 20 for k in range(20)])


@pytest.mark.parametrize(("name", "side"), [("nasnet_a_large", 6), ("nasnet_a_mobile", 4), ("nasnet_a_cifar_6_768", 4)])
def test_the_auxiliary_convolution_sees_all_of_the_published_map(name: str, side: int) -> None:
    model = on_meta(name)
    size = model.config.input_size
    head = model.auxiliary["normal_1"]
    middle = model.features(torch.empty(2, 3, size, size, device="meta"), ["stages.normal_1"])["stages.normal_1"]
    assert head.get_submodule("pool")(middle).shape[2:] == (side, side)
    assert head.get_submodule("conv2").kernel_size == (side, side)
    assert head(middle).shape == (2, model.config.num_classes)


@pytest.mark.parametrize(("name", "smallest"), [("nasnet_a_mobile", 67), ("nasnet_a_cifar_6_768", 9)])
def test_the_auxiliary_head_sets_the_smallest_size(name: str, smallest: int) -> None:
    def scores(model: Classifier, size: int) -> Tensor:
        images = torch.empty(2, 3, size, size, device="meta")
        result: Tensor = model.auxiliary["normal_1"](model.features(images, ["stages.normal_1"])["stages.normal_1"])
        return result

    assert scores(on_meta(name), smallest).shape[0] == 2
    with pytest.raises(UsageError, match=f"{smallest} x {smallest} pixels and larger"):
        scores(on_meta(name), smallest - 1)
    with torch.device("meta"):
        careless = build(name, min_size=smallest - 1).eval()
    with pytest.raises(RuntimeError):
        scores(careless, smallest - 1)


@pytest.mark.parametrize("changes", [{"filters": 1000}, {"cells": 0}, {"filters": 0}])
def test_channels_that_do_not_divide_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="cannot build NASNet"):
        get_config("nasnet_a_mobile", **changes)


def test_timms_reduction_cells_count_zeros_and_the_released_do_not() -> None:
    pools = {}
    for name in ("nasnetalarge", "nasnet_a_large", "nasnet_a_mobile"):
        pool = on_meta(name).get_submodule("stages.reduction_0.cell.steps.2.left")
        assert isinstance(pool, Pool)
        pools[name] = pool.kind
    assert pools == {"nasnetalarge": "avg_zeros", "nasnet_a_large": "avg", "nasnet_a_mobile": "avg"}
