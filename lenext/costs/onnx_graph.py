"""The cost of an ONNX file, node by node, from the shapes that ONNX infers; nothing is run and no weight is read."""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lenext.costs.operators import Convolution, Cost, LayerCost, sum_up
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
    """Count one image, or the batch that the file fixes, through the first input of an ONNX file.

    input_size: without the batch, for inputs whose sides the file leaves open; one number is height and width; () where
    it names them all. Parameters are all numbers in the file's initialisers, statistics of batch norms among them, and
    its constants of fractions. A file that cannot be read is a DataError; a size that contradicts the file or a product
    whose shape cannot be inferred, a UsageError; without the package `onnx`, a MachineError.
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
    batch, size = _fix_input(model.graph, tuple(input_size), path)
    while True:  # shapes of some tensors are worked out from those of others
        inferred = shape_inference.infer_shapes(model, data_prop=True)
        if not _work_out_shapes(inferred, onnx):
            return _Graph(inferred.graph, onnx).cost(batch, size)
        model = inferred


def _fix_input(graph: Any, size: Shape, path: Path) -> tuple[int, Shape]:
    """Write the sides of an image into the graph's input, and forget shapes that were inferred for others."""
    stored = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in stored]
    sides = inputs[0].type.tensor_type.shape.dim if inputs else ()
    if not sides:
        raise DataError(f"cannot count {path}", why="it has no input of known rank", advice="a file of a network")
    named = tuple(side.dim_value if side.HasField("dim_value") else 0 for side in sides)
    told = (named[1], *size * 2) if len(size) == 1 and len(named) == 4 else size
    wanted = (named[0] or 1, *(told or named[1:]))
    fits = len(wanted) == len(named) and all(own in (0, its) for own, its in zip(named[1:], wanted[1:], strict=False))
    if not fits or 0 in wanted:
        image = "x".join(str(side) if side else "any" for side in named[1:])
        raise UsageError(f"cannot count {path} on {size}", why=f"its image is {image}", advice="--size 3x224x224")
    for side, value in zip(sides, wanted, strict=True):
        side.dim_value = value
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    return wanted[0], wanted[1:]


def _work_out_shapes(model: Any, onnx: Any) -> int:
    """Replace nodes that compute small whole numbers, as shapes are, by these and return how many: ONNX follows few."""
    graph, shapes = model.graph, _shapes(model.graph)
    known = {
        one.name: onnx.numpy_helper.to_array(one)
        for one in graph.initializer
        if prod(one.dims) <= _SMALL and not one.external_data
    }
    nodes, found = [], 0
    for node in graph.node:
        inputs = [name for name in node.input if name]
        values = {name: known[name] for name in inputs if name in known}
        if node.op_type == "Shape" and inputs[0] in shapes:
            values = {inputs[0]: np.broadcast_to(np.float32(0), shapes[inputs[0]])}
        results: Sequence[Any] = ()
        if node.op_type in _WORKED_OUT and len(values) == len(set(inputs)):
            results = _evaluated(node, values, model, onnx)
        if (
            node.op_type == "Constant"
            or not results
            or any(one.size > _SMALL or one.dtype.kind not in "biu" for one in results)
        ):
            known |= dict(zip(node.output, results, strict=False))
            nodes.append(node)
            continue
        found += 1
        for name, result in zip(node.output, results, strict=True):
            known[name] = result
            nodes.append(onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(result)))
    del graph.node[:]
    graph.node.extend(nodes)
    return found


def _evaluated(node: Any, values: Mapping[str, Any], model: Any, onnx: Any) -> Sequence[Any]:
    """What a node computes by the rules of the file's own version of ONNX; () where that is not known."""
    from onnx.reference import ReferenceEvaluator

    helper = onnx.helper
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in values.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    graph = helper.make_graph([node], "one", inputs, outputs)
    try:
        alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        return tuple(np.asarray(one) for one in ReferenceEvaluator(alone).run(None, dict(values)))
    except Exception:  # an operator that the evaluator lacks: the shapes behind it stay unknown
        return ()


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
        self.names: dict[str, int] = {}
        self.shapes = _shapes(graph)
        self.stored: dict[str, tuple[int, int]] = {}  # numbers and bytes of a tensor, given to the first that reads it
        self.bytes_each: dict[str, int] = {}
        kinds = [(one.name, one.type.tensor_type.elem_type) for one in (*graph.input, *graph.value_info, *graph.output)]
        for name, kind in [*((one.name, one.data_type) for one in graph.initializer), *kinds]:
            if kind:
                self.bytes_each.setdefault(name, onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)
        for tensor in graph.initializer:
            self.stored[tensor.name] = prod(tensor.dims), self._bytes(tensor.name)
        for node in graph.node:
            value = next((one.t for one in node.attribute if node.op_type == "Constant" and one.name == "value"), None)
            if value is not None and onnx.helper.tensor_dtype_to_np_dtype(value.data_type).kind == "f":
                name = node.output[0]
                self.shapes[name] = tuple(value.dims)
                self.stored[name] = prod(value.dims), self._bytes(name)
        self.attribute = onnx.helper.get_attribute_value

    def cost(self, batch: int, input_size: Shape) -> Cost:
        """All rows and their totals."""
        rows = [self._row(node) for node in self.graph.node]
        if self.stored:  # read by no node here, but inside a branch or a loop, or by nobody
            rows.append(self._unread())
        kept = tuple(row for row in rows if row.params or row.macs or row.activations or row.uncounted)
        return sum_up(kept, input_size, batch)

    def _unread(self) -> LayerCost:
        counts, sizes = zip(*self.stored.values(), strict=True)
        return LayerCost(
            name="(stored)", kind="Initializer", calls=0, output=(), params=sum(counts), macs=0, activations=0,
            activation_bytes=0, weight_bytes=sum(sizes), traffic_bytes=0, uncounted=(),
        )  # fmt: skip

    def _row(self, node: Any) -> LayerCost:
        attributes = {one.name: self.attribute(one) for one in node.attribute}
        macs, convolution = self._macs(node, attributes)
        written = [] if node.op_type in _VIEWS else [name for name in node.output if name in self.shapes]
        own = [self.stored.pop(name, (0, 0)) for name in node.input]
        computes = macs is None and node.op_type not in _MOVES
        moved = [*(name for name in node.input if name in self.shapes), *written] if written else []
        return LayerCost(
            name=self._name(node),
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

    def _name(self, node: Any) -> str:
        """Dotted, as a module's, and each its own."""
        name = (node.name or node.output[0]).strip("/").replace("/", ".")
        self.names[name] = self.names.get(name, 0) + 1
        return name if self.names[name] == 1 else f"{name} ({self.names[name]})"

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
