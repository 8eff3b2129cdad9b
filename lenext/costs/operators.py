"""Parameters and multiply-accumulates, counted operator by operator while the network runs on the meta device.

Nothing is guessed from the classes of modules: a convolution called as a function, a layer used twice or a matrix
product in `forward` counts as what it executes. Networks of any size take milliseconds to seconds and no memory.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lenext.errors import UsageError
from lenext.models.classifier import Classifier


@dataclass(frozen=True)
class Cost:
    """What one image of `input_size` (without batch) costs at inference.

    params: numbers in the parameters, a shared one counted once, frozen ones too; auxiliary_params: those of a
    Classifier's heads that only training uses, not among them. macs: multiply-accumulates of
    convolutions, linear layers and matrix products (1 MAC = 2 FLOPs), bias and padding not told apart.
    weight_bytes: all parameters and buffers in their own types. uncounted: the other operators that did arithmetic
    (normalisation, pooling, activations, additions), by torch's names, sorted.
    """

    params: int
    macs: int
    input_size: tuple[int, ...]
    weight_bytes: int
    uncounted: tuple[str, ...]
    auxiliary_params: int = 0


def count_cost(model: nn.Module, input_size: Sequence[int]) -> Cost:
    """Count one image in evaluation mode on a copy without data; `model` itself is never run or changed.

    Hooks stay behind: they belong to the user's model. An input that does not fit raises the network's own error.
    """
    size = tuple(input_size)
    if not size or min(size) < 1:
        raise UsageError(
            f"cannot count a network on an input of {size}",
            why="a size is positive whole numbers without the batch",
            advice="count_cost(model, (3, 224, 224))",
        )
    twin = _copy_to_meta(model).eval()
    dtype = next((t.dtype for t in twin.parameters() if t.is_floating_point()), torch.float32)
    seen = _Names()
    with torch.no_grad(), seen, FlopCounterMode(display=False, custom_mapping=_MORE_FORMULAS) as counter:
        twin(torch.empty(1, *size, dtype=dtype, device="meta"))
    counted = {_plain_name(operator) for operator in counter.flop_registry}
    heads = twin.auxiliary.parameters() if isinstance(twin, Classifier) else ()
    auxiliary_params = sum(tensor.numel() for tensor in heads)
    return Cost(
        params=sum(tensor.numel() for tensor in twin.parameters()) - auxiliary_params,
        macs=counter.get_total_flops() // 2,
        input_size=size,
        weight_bytes=sum(tensor.nbytes for tensor in (*twin.parameters(), *twin.buffers())),
        uncounted=tuple(sorted(seen.names - counted)),
        auxiliary_params=auxiliary_params,
    )


def _copy_to_meta(model: nn.Module) -> nn.Module:
    """Deep copy whose tensors have shape and type but no data, and which has no hooks."""
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        if is_lazy(tensor):
            raise UsageError(
                "cannot count a network with lazy layers",
                why="their sizes are unknown before the first batch",
                advice="run one batch through the network, then count",
            )
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):  # a plain attribute, which Module.to would leave behind
                memo[id(value)] = _shape_of(value)
            elif "_hooks" in name and isinstance(value, dict):
                memo[id(value)] = type(value)()
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(_shape_of(parameter), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = _shape_of(buffer)
    return copy.deepcopy(model, memo)


def _shape_of(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta", requires_grad=False)


class _Names(TorchDispatchMode):
    """Collect the operators that made new floating-point values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch ships it without types
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = _plain_name(func.overloadpacket)
        first = result[0] if isinstance(result, tuple | list) and result else result
        if not func.is_view and name not in _MOVES and isinstance(first, Tensor) and first.is_floating_point():
            self.names.add(name)
        return result


def _plain_name(operator: Any) -> str:
    return str(operator.__name__).strip("_")  # relu_ is relu in place, _adaptive_avg_pool2d is the public one


# Operators that create, copy or move values; every other one is taken to compute, so that a new one shows itself.
_MOVERS = """
to_copy unsafe_view cat channel_shuffle clone constant_pad_nd copy embedding empty empty_like empty_strided fill
flip full full_like gather im2col index index_put index_select lift_fresh masked_fill new_empty new_empty_strided
new_full new_ones new_zeros ones ones_like pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d
reflection_pad3d repeat replication_pad1d replication_pad2d replication_pad3d roll scalar_tensor scatter
select_scatter slice_scatter stack tril triu unsafe_chunk unsafe_split upsample_nearest1d upsample_nearest2d
upsample_nearest3d where zero zeros zeros_like
"""
_MOVES = frozenset(_MOVERS.split())


def _vector_flops(a: Sequence[int], b: Sequence[int], *_: Any, out_shape: Any = None) -> int:
    return 2 * prod(a)  # each number of the matrix, or of the first vector, meets one number of the other


def _add_vector_flops(_: Any, a: Sequence[int], b: Sequence[int], *__: Any, out_shape: Any = None, **___: Any) -> int:
    return 2 * prod(a)


def _add_batch_flops(_: Any, a: Sequence[int], b: Sequence[int], *__: Any, out_shape: Any = None, **___: Any) -> int:
    return 2 * prod(a) * b[-1]


# Matrix products for which torch 2.13 has no formula of its own.
_MORE_FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.dot: _vector_flops,
    torch.ops.aten.mv: _vector_flops,
    torch.ops.aten.addmv: _add_vector_flops,
    torch.ops.aten.addbmm: _add_batch_flops,
}
