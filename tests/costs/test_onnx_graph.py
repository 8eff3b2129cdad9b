"""The cost of an ONNX file. Oracle: the network it was exported from, and products by hand."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lenext.costs.onnx_graph import count_onnx
from lenext.costs.operators import Convolution, count_cost, reason_not_counted
from lenext.costs.subject import cost_of
from lenext.errors import DataError, MachineError, UsageError
from lenext.models.catalog import build

from ..conftest import Lenext


def export(name: str, folder: Path, **options: Any) -> tuple[Path, Any]:
    """The file, and the network itself."""
    model = build(name).eval()
    side = model.config.input_size if model.config.input_size <= 32 else 64
    images = torch.zeros(1, model.config.in_channels, side, side)
    path = folder / f"{name}.onnx"
    torch.onnx.export(model, (images,), path, dynamo=False, **options)
    return path, (model, tuple(images.shape[1:]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["lenet5", "resnet20", "densenet_bc_cifar_L40_k12", "mobilenetv2_100_small", "convnext_atto_small"]
)
def test_an_exported_network_multiplies_as_much_as_the_network(name: str, tmp_path: Path) -> None:
    """resnet20 pads its shortcuts by sides that the file works out while it runs."""
    path, (model, size) = export(name, tmp_path)
    found, network = count_onnx(path), cost_of(model, size)
    assert found.macs == network.macs
    assert found.input_size == size
    own = {row.macs for row in network.layers if row.macs}
    assert {row.macs for row in found.layers if row.macs} == own


@pytest.mark.filterwarnings("ignore")
def test_open_sides_are_told_by_the_size(tmp_path: Path) -> None:
    axes = {"images": {0: "n", 2: "h", 3: "w"}}
    path, (model, _) = export("mobilenetv2_100_small", tmp_path, input_names=["images"], dynamic_axes=axes)
    with pytest.raises(UsageError, match="its image is 3xanyxany"):
        count_onnx(path)
    with pytest.raises(UsageError, match="3xanyxany"):
        count_onnx(path, (1, 32, 32))
    for size in ((3, 32, 32), (3, 48, 64)):
        assert cost_of(path, size).macs == cost_of(model, size).macs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("opset", [11, 12, 17])
def test_shapes_are_worked_out_by_the_rules_of_the_files_version(opset: int, tmp_path: Path) -> None:
    """Up to 12 the sides that Unsqueeze adds are an attribute, not an input."""

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4 * 36, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            found: torch.Tensor = self.fc(y.view(y.size(0), -1))
            return found

    path = tmp_path / "flat.onnx"
    axes = {"x": {0: "n", 2: "h", 3: "w"}}
    torch.onnx.export(
        Flat(),
        (torch.zeros(1, 3, 8, 8),),
        path,
        dynamo=False,
        opset_version=opset,
        input_names=["x"],
        dynamic_axes=axes,
    )
    found, network = count_onnx(path, (8,)), cost_of(Flat(), (3, 8, 8))
    assert (found.macs, found.params) == (network.macs, network.params)
    assert found.traffic_bytes == network.traffic_bytes


@pytest.mark.filterwarnings("ignore")
def test_a_batch_that_the_file_fixes_is_counted_as_it_stands(tmp_path: Path) -> None:
    model, path = build("lenet5_relu").eval(), tmp_path / "eight.onnx"
    torch.onnx.export(model, (torch.zeros(8, 1, 28, 28),), path, dynamo=False)
    found, network = count_onnx(path), count_cost(model, (1, 28, 28), batch=8)
    assert (found.batch, found.macs, found.params) == (8, network.macs, network.params)
    assert found.activations == network.activations


def write(path: Path, nodes: list[Any], x: list[int], y: list[int], **weights: Any) -> Path:
    """A file of one input `x` and one output `y`."""
    stored = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", x), ("y", y))]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], stored))
    onnx.save(model, path)
    return path


def test_products_by_hand(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConvTranspose", ["x", "up"], ["a"], name="/up/Conv", strides=[2, 2], group=2),
        helper.make_node("Conv", ["a", "filters", "bias"], ["b"], name="/down/Conv", kernel_shape=[3, 3]),
        helper.make_node("Flatten", ["b"], ["c"], name="/flat"),
        helper.make_node("Gemm", ["c", "wide", "unit"], ["d"], name="/fc", transB=1),
        helper.make_node("MatMul", ["d", "narrow"], ["y"], name="/out"),
    ]
    weights = {
        "up": (4, 3, 2, 2),
        "filters": (5, 6, 3, 3),
        "bias": (5,),
        "wide": (7, 180),
        "unit": (7,),
        "narrow": (7, 2),
    }
    found = count_onnx(write(tmp_path / "net.onnx", nodes, [1, 4, 4, 4], [1, 2], **weights))
    rows = {row.name: row for row in found.layers}
    assert {name: row.macs for name, row in rows.items()} == {
        "up.Conv": 16 * 48, "down.Conv": 36 * 270, "fc": 7 * 180, "out": 14,
    }  # fmt: skip
    assert {name: row.params for name, row in rows.items()} == {"up.Conv": 48, "down.Conv": 275, "fc": 1267, "out": 14}
    assert rows["up.Conv"].convolutions == (Convolution(4, 6, (2, 2), (2, 2), (0, 0), (1, 1), 2, True),)
    assert rows["down.Conv"].output == (5, 6, 6)
    assert rows["fc"].traffic_bytes == 4 * (180 + 1267 + 7)
    assert found.weight_bytes == 4 * found.params


def test_products_of_turned_and_many_sided_factors(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="n"),
        helper.make_node("Reshape", ["a", "shape"], ["b"], name="r"),
        helper.make_node("Gemm", ["b", "v"], ["y"], name="t", transA=1),
    ]
    weights = {"w": (5, 6), "v": (12, 7)}
    shape = numpy_helper.from_array(np.array([12, 6]), "shape")
    path = write(tmp_path / "net.onnx", nodes, [1, 3, 4, 5], [6, 7], **weights)
    model = onnx.load(path)
    model.graph.initializer.append(shape)
    onnx.save(model, path)
    rows = {row.name: row.macs for row in count_onnx(path).layers}
    assert (rows["n"], rows["t"]) == (3 * 4 * 6 * 5, 6 * 7 * 12)


def test_what_is_stored_is_counted_wherever_it_is_read(tmp_path: Path) -> None:
    """A factor behind a node that only moves it, a constant, one that nothing reads, and two nodes of one name."""
    constant = numpy_helper.from_array(np.ones(4, np.float32))
    nodes = [
        helper.make_node("Identity", ["gamma"], ["g"], name="same"),
        helper.make_node("Constant", [], ["c"], value=constant, name="k"),
        helper.make_node("Mul", ["x", "g"], ["a"], name="same"),
        helper.make_node("Add", ["a", "c"], ["y"], name="add"),
    ]
    found = count_onnx(write(tmp_path / "net.onnx", nodes, [1, 4], [1, 4], gamma=(4,), unread=(3, 3)))
    assert found.params == 4 + 4 + 9
    assert [row.name for row in found.layers] == ["same", "same (2)", "add", "(stored)"]


def test_nodes_without_a_formula_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Softmax", ["a"], ["y"])]
    found = count_onnx(write(tmp_path / "net.onnx", nodes, [1, 4], [1, 4]))
    assert (found.macs, found.uncounted, found.activations) == (0, ("Relu", "Softmax"), 8)
    reasons = {name: reason_not_counted(name) for name in ("Relu", "Softmax", "MaxPool", "ReduceMean", "Einsum")}
    assert list(reasons.values()) == ["elementwise", "normalisation", "pooling", "reduction", "no formula"]


def test_a_product_of_unknown_shape_is_told(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["w", "b"], ["y"], name="product"),
    ]
    path = write(tmp_path / "net.onnx", nodes, [1, 4], [3, 2], w=(3, 2))
    with pytest.raises(UsageError, match="cannot count MatMul product"):
        count_onnx(path)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    for name in ("text.onnx", "absent.onnx"):
        with pytest.raises(DataError, match="cannot read"):
            count_onnx(tmp_path / name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MachineError, match="pip install"):
        count_onnx(tmp_path / "text.onnx")


@pytest.mark.filterwarnings("ignore")
def test_command_line(lenext: Lenext, tmp_path: Path) -> None:
    path, _ = export("lenet5_relu", tmp_path)
    answer = json.loads(lenext("cost", str(path), "--json").out)
    assert answer["totals"]["macs"] == 416_520
    assert "stages" in lenext("cost", str(path), "--depth", "1").out
    assert "is counted and not run" in lenext("cost", str(path), "--latency").err
