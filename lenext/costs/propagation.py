"""What the results of each of torch's operators see, by what its arguments see: one short rule an operator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lenext.costs.meta import tensors_in
from lenext.costs.sight import Sight, Unknown, broadcast, join, mix, reduce, regroup, resize, see_whole, slide


class Call:
    """An operator that was performed, and what its tensors see."""

    def __init__(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], place: str, sights: Mapping[int, Sight],
        shapes: Mapping[int, tuple[int, ...]],
    ) -> None:  # fmt: skip
        self.func, self.args, self.kwargs, self.place, self.sights, self.shapes = (
            func,
            args,
            kwargs,
            place,
            sights,
            shapes,
        )
        self.name = str(func.overloadpacket.__name__).strip("_")
        self.given = [one for one in tensors_in((*args, *kwargs.values())) if id(one) in sights]

    def sight_of(self, result: Tensor) -> Sight:
        """What one of the results sees."""
        unknown = dict.fromkeys(name for one in self.given for name in self.sights[id(one)].unknown)
        pointwise = torch.Tag.pointwise in self.func.tags or self.name in _POINTWISE
        rule = _union if pointwise else _RULES.get(self.name)
        if rule is not None and not unknown:
            try:
                return resize(rule(self, result), result.shape)
            except Unknown:
                pass
        known = self.sights[id(self.given[0])]
        names = tuple(unknown) or (self.name,)
        return Sight(((),) * result.ndim, known.spans, known.gates, names)

    def argument(self, name: str, default: Any = None) -> Any:
        """An argument of the operator by its name in torch's schema."""
        for number, one in enumerate(self.func._schema.arguments):
            if one.name == name:
                return self.args[number] if number < len(self.args) else self.kwargs.get(name, default)
        return default

    @property
    def first(self) -> Sight:
        """What the first argument sees; where it is no part of the image, Unknown."""
        if not isinstance(self.args[0], Tensor) or id(self.args[0]) not in self.sights:
            raise Unknown
        return self.sights[id(self.args[0])]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first argument."""
        return self.shapes[id(self.args[0])]

    def dims(self, name: str = "dim") -> list[int]:
        """An argument that names dimensions; all of them if it is None or empty."""
        value = self.argument(name)
        numbers = [value] if isinstance(value, int) else list(value or range(len(self.shape)))
        return [number % len(self.shape) for number in numbers]


Rule = Callable[[Call, Tensor], Sight]


def _union(call: Call, result: Tensor) -> Sight:
    sights = [broadcast(call.sights[id(one)], call.shapes[id(one)], result.shape) for one in call.given]
    return join(sights, call.place)


def _same(call: Call, _: Tensor) -> Sight:
    return call.first


def _convolve(call: Call, _: Tensor) -> Sight:
    _, weight, _, stride, padding, dilation, transposed = call.args[:7]
    if transposed or len(call.given) > 1:  # filters that depend on the image
        raise Unknown
    kernel = tuple(weight.shape[2:])
    windows = list(zip(kernel, *(_per_side(one, len(kernel)) for one in (stride, padding, dilation)), strict=True))
    return slide(see_whole(call.first, [1]), windows)


def _pool(call: Call, _: Tensor) -> Sight:
    kernel = call.argument("kernel_size")
    sides = len(kernel)
    stride = call.argument("stride") or kernel
    settings = (stride, call.argument("padding", [0]), call.argument("dilation", [1]))
    return slide(call.first, list(zip(kernel, *(_per_side(one, sides) for one in settings), strict=True)))


def _pool_to_size(call: Call, result: Tensor) -> Sight:
    sides = len(call.argument("output_size"))
    sight = call.first
    for dim in range(result.ndim - sides, result.ndim):
        before, after = call.shape[dim], result.shape[dim]
        if before % after:  # windows of several sizes
            raise Unknown
        windows = [
            (before // after, before // after, 0, 1) if one == dim else (1, 1, 0, 1) for one in range(result.ndim)
        ]
        sight = see_whole(sight, [dim]) if after == 1 else slide(sight, windows)
    return sight


def _reduce(call: Call, result: Tensor) -> Sight:
    return reduce(call.first, call.dims(), keep=result.ndim == len(call.shape))


def _mix(call: Call, _: Tensor) -> Sight:
    return mix(call.first, call.dims(), call.place)


def _normalise_layer(call: Call, _: Tensor) -> Sight:
    sides = len(call.argument("normalized_shape"))
    return mix(call.first, range(-sides, 0), call.place)


def _normalise_group(call: Call, _: Tensor) -> Sight:
    return mix(call.first, range(1, len(call.shape)), call.place)


def _normalise_batch(call: Call, result: Tensor) -> Sight:
    if result.ndim != len(call.shape):
        raise Unknown  # statistics
    return mix(call.first, [0, *range(2, len(call.shape))], call.place) if call.argument("training") else call.first


def _permute(call: Call, _: Tensor) -> Sight:
    order = list(range(len(call.shape)))
    if call.name == "permute":
        order = call.dims("dims")
    elif call.name == "t":
        order.reverse()
    else:
        a, b = call.argument("dim0") % len(order), call.argument("dim1") % len(order)
        order[a], order[b] = order[b], order[a]
    return replace(call.first, dims=tuple(call.first.dims[number] for number in order))


def _reshape(call: Call, result: Tensor) -> Sight:
    return regroup(call.first, call.shape, result.shape)


def _unsqueeze(call: Call, result: Tensor) -> Sight:
    at = call.argument("dim") % result.ndim
    return replace(call.first, dims=(*call.first.dims[:at], (), *call.first.dims[at:]))


def _squeeze(call: Call, result: Tensor) -> Sight:
    dims = [number for number in call.dims() if call.shape[number] == 1]
    return reduce(call.first, dims, keep=False)


def _expand(call: Call, result: Tensor) -> Sight:
    return broadcast(call.first, call.shape, result.shape)


def _pad(call: Call, _: Tensor) -> Sight:
    pad = call.argument("pad") or call.argument("padding")
    return slide(call.first, [(1, 1, before, 1) for before in reversed(pad[::2])])


def _slice(call: Call, result: Tensor) -> Sight:
    dim = call.argument("dim", 0) % result.ndim
    start, step, length = call.argument("start") or 0, call.argument("step", 1), call.shape[dim]
    start = min(max(start + length * (start < 0), 0), length)
    windows = [(1, step, -start, 1) if number == dim else (1, 1, 0, 1) for number in range(result.ndim)]
    return call.first if length == result.shape[dim] else slide(call.first, windows)


def _select(call: Call, _: Tensor) -> Sight:
    dim, index = call.dims()[0], call.argument("index")
    spans = list(call.first.spans)
    if len(call.first.dims[dim]) > 1:
        raise Unknown
    for side, places in call.first.dims[dim]:
        spans[side] = spans[side].at(index % places)
    return reduce(replace(call.first, spans=tuple(spans), dims=_without(call.first.dims, dim)), [dim], keep=False)


def _along_other(call: Call, result: Tensor) -> Sight:
    """Rearrange along a dimension in which no side lies."""
    dims = call.dims("dims") if call.name in ("roll", "flip") else [call.argument("dim", 0) % len(call.shape)]
    if any(call.first.dims[dim] for dim in dims):
        raise Unknown
    return reduce(call.first, dims, keep=result.ndim == len(call.shape))


def _concatenate(call: Call, result: Tensor) -> Sight:
    dim = call.argument("dim", 0) % result.ndim
    sights = []
    for one in call.given:
        sight = call.sights[id(one)]
        if call.name == "stack":
            sight = replace(sight, dims=(*sight.dims[:dim], (), *sight.dims[dim:]))
        sights.append(sight)
    if any(sight.dims[dim] for sight in sights):
        raise Unknown
    return join(sights, call.place)


def _multiply(call: Call, result: Tensor) -> Sight:
    """Products of matrices (..., M, K) and (..., K, N): what is summed over is seen as a whole."""
    tensors = [one for one in call.args if isinstance(one, Tensor)]
    a, b = tensors[-2:]
    left, right = call.sights.get(id(a)), call.sights.get(id(b))
    sights = [
        broadcast(call.sights[id(one)], one.shape, result.shape) for one in tensors[:-2] if id(one) in call.sights
    ]
    columns = b.ndim > 1
    if left is not None:
        left = reduce(left, [-1], keep=columns)
        sights.append(left)
    if right is not None:
        right = see_whole(right, [-2 if columns else -1])
        if left is not None and set(left.moving()) & set(right.moving()) and right.dims[-1]:
            right = see_whole(right, [-1])  # attention: each place meets all others
        kept = (*right.dims[:-2], (), right.dims[-1]) if columns else ()
        sights.append(replace(right, dims=((),) * (result.ndim - len(kept)) + kept))
    return join(sights, call.place)


def _attend(call: Call, result: Tensor) -> Sight:
    """Scaled dot product attention of queries (..., L, E) to keys and values (..., S, E)."""
    query, key, value = (call.sights.get(id(one)) for one in call.args[:3])
    if query is None or result.ndim != len(call.shape):
        raise Unknown
    others = [see_whole(one, [-2]) for one in (key, value) if one is not None]
    return join([query, *others], call.place)


def _per_side(values: Sequence[int], sides: int) -> tuple[int, ...]:
    return tuple(values) * sides if len(values) == 1 else tuple(values)


def _without(dims: tuple[Any, ...], dim: int) -> tuple[Any, ...]:
    return tuple(() if number == dim else one for number, one in enumerate(dims))


def _rules(table: dict[Rule, str]) -> dict[str, Rule]:
    return {name: rule for rule, names in table.items() for name in names.split()}


# By torch's names of the operators, without the underscores.
_POINTWISE = frozenset(["hardswish", "hardsigmoid", "copy", "native_dropout", "masked_fill"])
_RULES: dict[str, Rule] = _rules(
    {
        _same: "clone to to_copy detach alias contiguous lift_fresh native_channel_shuffle channel_shuffle",
        _convolve: "convolution",
        _pool: "max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d",
        _pool_to_size: "adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d",
        _reduce: "mean sum amax amin max min argmax argmin var std var_mean prod logsumexp linalg_vector_norm norm",
        _mix: "softmax log_softmax safe_softmax",
        _normalise_layer: "native_layer_norm",
        _normalise_group: "native_group_norm",
        _normalise_batch: "native_batch_norm native_batch_norm_legit native_batch_norm_legit_no_training",
        _permute: "permute transpose t",
        _reshape: "view unsafe_view reshape flatten unflatten reshape_alias",
        _unsqueeze: "unsqueeze",
        _squeeze: "squeeze",
        _expand: "expand",
        _pad: "constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d",
        _slice: "slice",
        _select: "select",
        _along_other: "split split_with_sizes chunk unsafe_split unbind roll flip index_select",
        _concatenate: "cat stack",
        _attend: "scaled_dot_product_flash_attention_for_cpu scaled_dot_product_efficient_attention",
        _multiply: "mm addmm bmm baddbmm mv dot addmv",
    }
)
