"""The cost of an ONNX file, node by node, from the shapes that ONNX infers; nothing is run and no weight is read."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lenext.costs.operators import Convolution, Cost, LayerCost
from lenext.errors import DataError, MachineError, UsageError

Shape = tuple[int, ...]

# Nodes that create, copy or move values, or compute shapes; every other one is taken to compute.
_MOVERS = """
Cast Concat Constant ConstantOfShape DepthToSpace Expand Flatten Gather GatherElements GatherND Identity Pad Range
Reshape Resize ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose Unsqueeze Where
"""
_MOVES = frozenset(_MOVERS.split())
_ON_SHAPES = """
Add Sub Mul Div Mod Neg Floor Ceil Equal Less Greater Not And Or Min Max ReduceProd
"""
_WORKED_OUT = _MOVES.union(_ON_SHAPES.split())  # where all that they read is constant and small
_SMALL = 1024  # numbers of a tensor that may be a shape, or part of how one is worked out
_VIEWS = frozenset(["Constant", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze"])  # write nothing


def count_onnx(path: Path, input_size: Sequence[int] = ()) -> Cost:
    """Count one image through the first input of an ONNX file.

    input_size: without the batch, for inputs whose sides the file leaves open; () where it names them all. Parameters
    are all numbers that the file stores, constants and folded statistics among them. A file that cannot be read is a
    DataError; a size that contradicts the file or a product whose shape cannot be inferred, a UsageError; without the
    package `onnx`, a MachineError.
    """
    try:
        import onnx
        from onnx import inliner, shape_inference
    except ImportError as error:
        raise MachineError(
            f"cannot count {path}", why="the package onnx cannot be imported", advice="pip install 'lenext[onnx]'"
        ) from error
    try:
        model = inliner.inline_local_functions(onnx.load(path, load_external_data=False))
    except Exception as error:  # protobuf's own
        raise DataError(f"cannot read {path}", why=str(error), advice="a file of ONNX") from error
    size = _fix_input(model.graph, tuple(input_size), path)
    while True:  # shapes of some tensors are worked out from those of others
        inferred = shape_inference.infer_shapes(model, data_prop=True)
        if not _work_out_constants(inferred, onnx):
            return _Graph(inferred.graph, onnx).cost(size)
        model = inferred


def _fix_input(graph: Any, size: Shape, path: Path) -> Shape:
    """Write one image and its sides into the graph's input, and forget shapes that were inferred for others."""
    stored = {one.name for one in graph.initializer}
    sides = next(one for one in graph.input if one.name not in stored).type.tensor_type.shape.dim
    named = tuple(side.dim_value if side.HasField("dim_value") else 0 for side in sides)
    wanted = (1, *(size or named[1:]))
    fits = len(wanted) == len(named) and all(own in (0, its) for own, its in zip(named[1:], wanted[1:], strict=False))
    if not fits or 0 in wanted:
        told = "x".join(str(side) if side else "any" for side in named[1:])
        raise UsageError(f"cannot count {path} on {size}", why=f"its image is {told}", advice="--size 3x224x224")
    for side, value in zip(sides, wanted, strict=True):
        side.dim_value = value
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    return wanted[1:]


def _work_out_constants(model: Any, onnx: Any) -> int:
    """Replace nodes that compute small constants, as shapes are, and return how many; ONNX infers through few."""
    from onnx.reference import ReferenceEvaluator

    graph, versions = model.graph, {one.domain: one.version for one in model.opset_import}
    shapes = _shapes(graph)
    known = {
        one.name: onnx.numpy_helper.to_array(one)
        for one in graph.initializer
        if prod(one.dims) <= _SMALL and not one.external_data
    }
    nodes, found = [], 0
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if node.op_type == "Shape" and node.input[0] in shapes and node.input[0] not in known:
            values = {node.input[0]: np.broadcast_to(np.float32(0), shapes[node.input[0]])}
        else:
            values = {name: known[name] for name in inputs if name in known}
        results: Sequence[Any] = ()
        if node.op_type in _WORKED_OUT and all(name in values for name in inputs):
            results = tuple(ReferenceEvaluator(node, opsets=versions).run(None, values))
        if not results or max(result.size for result in results) > _SMALL:
            nodes.append(node)
            continue
        found += node.op_type != "Constant"
        for name, result in zip(node.output, results, strict=True):
            known[name] = result
            nodes.append(onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(result)))
    del graph.node[:]
    graph.node.extend(nodes)
    return found


def _shapes(graph: Any) -> dict[str, Shape]:
    """Of every tensor whose sides are all known."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(side.HasField("dim_value") for side in kind.shape.dim):
            shapes.setdefault(value.name, tuple(side.dim_value for side in kind.shape.dim))
    return shapes


class _Graph:
    """Shapes and sizes of all that has a name, and the rows of the nodes."""

    def __init__(self, graph: Any, onnx: Any) -> None:
        self.graph = graph
        self.shapes = _shapes(graph)
        self.stored: dict[str, tuple[int, int]] = {}  # numbers and bytes of a tensor, given to the first that reads it
        self.bytes_each: dict[str, int] = {}
        kinds = [(one.name, one.type.tensor_type.elem_type) for one in (*graph.input, *graph.value_info, *graph.output)]
        for name, kind in [*((one.name, one.data_type) for one in graph.initializer), *kinds]:
            if kind:
                self.bytes_each.setdefault(name, onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
        for tensor in graph.initializer:
            self.stored[tensor.name] = prod(tensor.dims), self._bytes(tensor.name)
        self.attribute = onnx.helper.get_attribute_value

    def cost(self, input_size: Shape) -> Cost:
        """All rows and their totals."""
        rows = [self._row(node) for node in self.graph.node]
        kept = tuple(row for row in rows if row.params or row.macs or row.activations or row.uncounted)
        return Cost(
            params=sum(row.params for row in kept),
            macs=sum(row.macs for row in kept),
            input_size=input_size,
            weight_bytes=sum(row.weight_bytes for row in kept),
            uncounted=tuple(sorted({name for row in kept for name in row.uncounted})),
            activations=sum(row.activations for row in kept),
            activation_bytes=sum(row.activation_bytes for row in kept),
            traffic_bytes=sum(row.traffic_bytes for row in kept),
            layers=kept,
        )

    def _row(self, node: Any) -> LayerCost:
        attributes = {one.name: self.attribute(one) for one in node.attribute}
        macs, convolution = self._macs(node, attributes)
        written = [] if node.op_type in _VIEWS else [name for name in node.output if name in self.shapes]
        own = [self.stored.pop(name, (0, 0)) for name in node.input]
        computes = macs is None and node.op_type not in _MOVES
        moved = [*(name for name in node.input if name in self.shapes), *written] if written else []
        return LayerCost(
            name=(node.name or node.output[0]).strip("/").replace("/", "."),
            kind=node.op_type,
            calls=1,
            output=self.shapes.get(node.output[0], ())[1:],
            params=sum(count for count, _ in own),
            macs=macs or 0,
            activations=sum(prod(self.shapes[name]) for name in written),
            activation_bytes=sum(self._bytes(name) for name in written),
            weight_bytes=sum(size for _, size in own),
            traffic_bytes=sum(self._bytes(name) for name in moved),
            uncounted=(node.op_type,) if computes else (),
            convolutions=(convolution,) if convolution else (),
        )

    def _bytes(self, name: str) -> int:
        return prod(self.shapes[name]) * self.bytes_each.get(name, 4)

    def _macs(self, node: Any, attributes: Mapping[str, Any]) -> tuple[int | None, Convolution | None]:
        """As in operators.py: each number of a product sums over a filter, a row or a column."""
        kind = node.op_type.removesuffix("Integer").removeprefix("QLinear")
        if kind in ("Conv", "ConvTranspose"):
            transposed = kind == "ConvTranspose"
            data, filters = node.input[0], node.input[3 if node.op_type.startswith("QLinear") else 1]
            weight = self._shape(filters, node)
            places = self._shape(data if transposed else node.output[0], node)
            channels = self._shape(data, node)[1]
            return places[0] * prod(places[2:]) * prod(weight), _convolution(weight, channels, attributes, transposed)
        if kind == "Gemm":
            rows = self._shape(node.input[0], node)
            return prod(self._shape(node.output[0], node)) * rows[0 if attributes.get("transA") else 1], None
        if kind == "MatMul":
            return prod(self._shape(node.output[0], node)) * self._shape(node.input[0], node)[-1], None
        return None, None

    def _shape(self, name: str, node: Any) -> Shape:
        if name not in self.shapes:
            raise UsageError(
                f"cannot count {node.op_type} {node.name}",
                why=f"the shape of {name} cannot be inferred",
                advice="export the network with sides that are fixed",
            )
        return self.shapes[name]


def _convolution(weight: Shape, channels: int, attributes: Mapping[str, Any], transposed: bool) -> Convolution:
    kernel, groups = weight[2:], attributes.get("group", 1)
    ones = (1,) * len(kernel)
    return Convolution(
        in_channels=channels,
        out_channels=weight[1] * groups if transposed else weight[0],
        kernel=kernel,
        stride=tuple(attributes.get("strides", ones)),
        padding=tuple(attributes.get("pads", (0,) * 2 * len(kernel)))[: len(kernel)],
        dilation=tuple(attributes.get("dilations", ones)),
        groups=groups,
        transposed=transposed,
    )
