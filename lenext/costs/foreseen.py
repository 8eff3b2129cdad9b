"""What some operators are certain to return, known without asking torch.

torch decomposes these in Python to find a shape, at 0.2 to 0.8 ms each, and imports its compiler, or sympy, for the
first, which takes a second. Arguments in another order than the usual two, or of several types, are left to torch. The
stride of a side of one place means nothing, and may be another than torch's.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Shape(NamedTuple):
    """What there is to a tensor without data."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


aten = torch.ops.aten
_ELEMENTWISE = frozenset(
    [aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.pow.Tensor_Scalar, aten.relu.default,
     aten.sigmoid.default, aten.silu.default, aten.gelu.default, aten.tanh.default, aten.hardtanh.default,
     aten.hardswish.default, aten.hardsigmoid.default]
)  # fmt: skip
_WRITTEN = frozenset(
    [aten.add_.Tensor, aten.mul_.Tensor, aten.relu_.default, aten.silu_.default, aten.hardtanh_.default,
     aten.hardswish_.default, aten.hardsigmoid_.default]
)  # fmt: skip


def foresee(func: Any, args: tuple[Any, ...]) -> Any:
    """What the operator is certain to return, where torch would think long about it; None for all others."""
    find = aten.add.Tensor if func in _ELEMENTWISE else aten.add_.Tensor if func in _WRITTEN else func
    return _FORESEEN[find](func, *args) if find in _FORESEEN else None


def _elementwise(func: Any, *args: Any) -> Any:
    """In the order of the first argument of full size; smaller ones are numbers, or vary along one side at most."""
    tensors = [one for one in args if isinstance(one, Tensor)]
    if not tensors or not all(isinstance(one, Tensor | int | float) for one in args):
        return None
    first = max(tensors, key=lambda one: (one.numel(), one.ndim))  # the first of the largest
    if not first.is_floating_point() or not _in_order(first):
        return None
    if not all(_is_like(one, first) or _spreads(one, first) for one in tensors):
        return None
    return _shape_like(first) if func not in _WRITTEN else 0 if args[0] is first else None


def _is_like(one: Tensor, other: Tensor) -> bool:
    """Of the same shape and type; in another order only where it is beyond doubt which is which."""
    same = one.shape == other.shape and one.dtype == other.dtype and _in_order(one) and _in_order(other)
    return same and (one.stride() == other.stride() or min(one.shape[1:], default=1) > 1)


def _spreads(small: Tensor, large: Tensor) -> bool:
    """Whether the small tensor has one number for each place along one side of the large one."""
    sides = zip(reversed(small.shape), reversed(large.shape), strict=False)
    fits = small.ndim <= large.ndim and all(mine in (1, its) for mine, its in sides)
    return fits and small.dtype == large.dtype and sum(size > 1 for size in small.shape) <= 1 < large.ndim


def _convolution(func: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Any:
    """In order, whatever order the images are in; transposed ones, and images without a batch, are left to torch."""
    stride, padding, dilation, transposed, _, groups = geometry
    sides = x.ndim - 2
    if transposed or sides < 1 or weight.ndim != x.ndim or x.dtype != weight.dtype:
        return None
    out = weight.shape[0]
    fits = weight.shape[1] * groups == x.shape[1] > 0 and out % groups == 0
    if not fits or (bias is not None and (bias.shape != (out,) or bias.dtype != x.dtype)):
        return None
    strides, paddings, dilations = ([*one] * sides if len(one) == 1 else one for one in (stride, padding, dilation))
    room = [
        x.shape[side + 2] + 2 * paddings[side] - dilations[side] * (weight.shape[side + 2] - 1) for side in range(sides)
    ]
    if min(room) < 1:
        return None
    places = [(length - 1) // step + 1 for length, step in zip(room, strides, strict=True)]
    return _contiguous((x.shape[0], out, *places), x.dtype)


def _max_pool(
    func: Any,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    up: bool = False,
) -> Any:
    """The highest numbers, and the places where they were."""
    shape = _pooled(x, kernel, stride, padding, dilation, up)
    return shape and (shape, shape._replace(dtype=torch.int64))


def _average_pool(
    func: Any,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    up: bool = False,
    *_: Any,
) -> Any:
    return _pooled(x, kernel, stride, padding, (1,), up)


def _pooled(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    up: bool,
) -> Shape | None:
    """In order, where the images are in that order alone; up: rounded up, but no window begins beyond the padding."""
    if x.ndim != 4 or not x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return None
    if not (x.is_floating_point() and x.numel()):
        return None
    places = []
    for side, length in enumerate(x.shape[2:]):
        window, pad, hole = (one[side % len(one)] for one in (kernel, padding, dilation))
        step = stride[side % len(stride)] if stride else window
        room = length + 2 * pad - hole * (window - 1) - 1
        if room < 0 or 2 * pad > window:
            return None
        count = (room + (step - 1 if up else 0)) // step + 1
        places.append(count - (up and (count - 1) * step >= length + pad))
    return _contiguous((*x.shape[:2], *places), x.dtype)


def _batch_norm(func: Any, x: Tensor, _: Any, __: Any, mean: Any, ___: Any, training: bool, *____: Any) -> Any:
    """In evaluation: of the input's shape, and two empty places for statistics of the batch, which it does not take."""
    if training or not isinstance(mean, Tensor) or mean.shape != x.shape[1:2] or not _in_order(x):
        return None
    return _shape_like(x), *[Shape((0,), (1,), x.dtype)] * 2


def _layer_norm(func: Any, x: Tensor, normalized: Sequence[int], *_: Any) -> Any:
    """In order, with mean and deviation of each place."""
    known = x.dtype in (torch.float32, torch.float64)  # others keep mean and deviation in a type of their own
    if not known or tuple(x.shape[-len(normalized) :]) != tuple(normalized):
        return None
    places = (*x.shape[: -len(normalized)], *[1] * len(normalized))
    return _contiguous(x.shape, x.dtype), *[_contiguous(places, x.dtype)] * 2


def _added_product(func: Any, bias: Tensor, a: Tensor, b: Tensor) -> Any:
    fits = a.shape[1:] == b.shape[:1] and bias.shape == b.shape[1:]
    return _contiguous((*a.shape[:1], *b.shape[1:]), a.dtype) if fits and a.dtype == b.dtype == bias.dtype else None


def _product(func: Any, a: Tensor, b: Tensor) -> Any:
    fits = a.shape[1:] == b.shape[:1] and a.dtype == b.dtype
    return _contiguous((*a.shape[:1], *b.shape[1:]), a.dtype) if fits else None


def _mean(func: Any, x: Tensor, sides: Sequence[int] | None, keep: bool = False) -> Any:
    if not sides or not x.is_floating_point() or not all(-x.ndim <= side < x.ndim for side in sides):
        return None
    gone = {side % x.ndim for side in sides}
    if len(gone) < len(sides):
        return None
    shape = [1 if side in gone else size for side, size in enumerate(x.shape) if keep or side not in gone]
    return _contiguous(shape, x.dtype)


def _norm(func: Any, x: Tensor, order: float = 2, sides: Sequence[int] | None = None, keep: bool = False) -> Any:
    return _mean(func, x, sides, keep)


def _joined(func: Any, parts: Sequence[Tensor], side: int = 0) -> Any:
    """In order, where all parts are, and not all of them in the other order, too."""
    shape = _shape_of_all(parts, side)
    if not shape or not -len(shape) <= side < len(shape):
        return None
    shape[side] = sum(part.shape[side] for part in parts)
    both_orders = all(part.ndim == 4 and part.is_contiguous(memory_format=torch.channels_last) for part in parts)
    return None if both_orders and prod(shape[2:]) > 1 else _contiguous(shape, parts[0].dtype)


def _stacked(func: Any, parts: Sequence[Tensor], side: int = 0) -> Any:
    shape = _shape_of_all(parts)
    if not shape or len(shape) > 3 or not -len(shape) - 1 <= side <= len(shape):
        return None
    shape.insert(side % (len(shape) + 1), len(parts))
    return _contiguous(shape, parts[0].dtype)


def _shape_of_all(parts: Sequence[Tensor], but: int | None = None) -> list[int] | None:
    """The shape of each of the parts, which may differ along one side; None where there is none, or not in order."""
    first = parts[0]
    shape = list(first.shape)
    for part in parts:
        own = list(part.shape)
        if but is not None and len(own) == len(shape) and -len(own) <= but < len(own):
            own[but] = shape[but]
        if own != shape or part.dtype != first.dtype or not part.is_contiguous():
            return None
    return shape


def _contiguous(shape: Sequence[int], dtype: torch.dtype) -> Shape:
    stride, step = [], 1
    for size in reversed(shape):
        stride.append(step)
        step *= max(size, 1)
    return Shape(tuple(shape), tuple(reversed(stride)), dtype)


def _shape_like(x: Tensor) -> Shape:
    return Shape(tuple(x.shape), x.stride(), x.dtype)


def _in_order(x: Tensor) -> bool:
    return x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))


_FORESEEN: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: _elementwise,
    aten.add_.Tensor: _elementwise,
    aten.convolution.default: _convolution,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.avg_pool2d.default: _average_pool,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.addmm.default: _added_product,
    aten.mm.default: _product,
    aten.mean.dim: _mean,
    aten.linalg_vector_norm.default: _norm,
    aten.cat.default: _joined,
    aten.stack.default: _stacked,
}
