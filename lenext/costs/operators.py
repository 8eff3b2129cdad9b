"""Parameters and multiply-accumulates, counted operator by operator while the network runs on the meta device.

Nothing is guessed from the classes of modules: a convolution called as a function, a layer used twice or a matrix
product in `forward` counts as what it executes, in the module that executes it. Networks of any size take milliseconds
and no memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from lenext.costs.meta import Known, MetaMode, copy_to_meta, follow, tensors_in, uncollected
from lenext.errors import UsageError
from lenext.models.classifier import Classifier


@dataclass(frozen=True)
class Convolution:
    """How a convolution goes over its input: one number a side from `kernel` to `dilation`."""

    in_channels: int
    out_channels: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool


@dataclass(frozen=True)
class LayerCost:
    """What one module itself costs, without the modules inside it.

    name: dotted, "" for the network itself; a module under two names goes by the first. kind: its class. calls: how
    often it ran; 0 for a head that only training uses. output: shape of what it last returned, without the batch.
    params: numbers in its own parameters; one that an earlier layer has, too, counts there. activations: numbers that
    its operators wrote into new tensors (views and operators in place make none), activation_bytes: their bytes.
    weight_bytes: parameters and buffers. traffic_bytes: all that its operators read and wrote, each operator on its
    own. uncounted: as in Cost. convolutions: the different ones that it ran. auxiliary: of a Classifier's heads for
    training.
    """

    name: str
    kind: str
    calls: int
    output: tuple[int, ...]
    params: int
    macs: int
    activations: int
    activation_bytes: int
    weight_bytes: int
    traffic_bytes: int
    uncounted: tuple[str, ...]
    convolutions: tuple[Convolution, ...] = ()
    auxiliary: bool = False
    training_macs: int | None = None

    @property
    def flops(self) -> int:
        """Floating-point operations: two a multiply-accumulate."""
        return 2 * self.macs

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: counted FLOPs a byte read or written (Williams et al. 2009, section 3)."""
        return self.flops / self.traffic_bytes if self.traffic_bytes else 0.0


@dataclass(frozen=True)
class Cost:
    """What `batch` images of `input_size` (without the batch) cost at inference.

    params: numbers in the parameters, a shared one counted once, frozen ones too; auxiliary_params: those of a
    Classifier's heads that only training uses, not among them. macs: multiply-accumulates of
    convolutions, linear layers and matrix products (1 MAC = 2 FLOPs), bias and padding not told apart.
    weight_bytes: all parameters and buffers in their own types. uncounted: the other operators that did arithmetic
    (normalisation, pooling, activations, additions), by torch's names, sorted. layers: the modules that have parameters
    or ran operators, in the order in which they ran, then those that did not; they sum to the totals. training_macs:
    forward and backward, where it was asked for: a product again for the gradient of each of its two factors.
    """

    params: int
    macs: int
    input_size: tuple[int, ...]
    weight_bytes: int
    uncounted: tuple[str, ...]
    auxiliary_params: int = 0
    activations: int = 0
    activation_bytes: int = 0
    traffic_bytes: int = 0
    layers: tuple[LayerCost, ...] = ()
    batch: int = 1
    training_macs: int | None = None


@uncollected()
def count_cost(model: nn.Module, input_size: Sequence[int], *, batch: int = 1, train: bool = False) -> Cost:
    """Count a batch in evaluation mode on a copy without data; `model` itself is never run or changed.

    Hooks stay behind: they belong to the user's model. An input that does not fit raises the network's own error.
    train: what a training step would multiply, too; heads that only training uses are not run, and not in it.
    """
    if batch < 1:
        raise UsageError("cannot count a batch", why=f"a batch of {batch} has no images", advice="batch=32")
    twin, image = prepare_twin(model, input_size)
    if train:
        require_gradients(twin, model)
    images, counter = image.new_empty(batch, *image.shape[1:]), _Counter(twin, train=train)
    with torch.set_grad_enabled(train), counter:
        twin(images)
    return sum_up(counter.layers(), input_size, batch, train=train)


def sum_up(layers: tuple[LayerCost, ...], input_size: Sequence[int], batch: int, *, train: bool = False) -> Cost:
    """The totals of rows; train: of what a step multiplies, too."""
    return Cost(
        params=sum(layer.params for layer in layers if not layer.auxiliary),
        macs=sum(layer.macs for layer in layers),
        input_size=tuple(input_size),
        weight_bytes=sum(layer.weight_bytes for layer in layers),
        uncounted=tuple(sorted({name for layer in layers for name in layer.uncounted})),
        auxiliary_params=sum(layer.params for layer in layers if layer.auxiliary),
        activations=sum(layer.activations for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        traffic_bytes=sum(layer.traffic_bytes for layer in layers),
        layers=layers,
        batch=batch,
        training_macs=sum(layer.training_macs or 0 for layer in layers) if train else None,
    )


def require_gradients(twin: nn.Module, model: nn.Module) -> None:
    """Have the copy's parameters trained that the model's own are."""
    for mine, its in zip(twin.parameters(), model.parameters(), strict=True):
        mine.requires_grad_(its.requires_grad)


def prepare_twin(model: nn.Module, input_size: Sequence[int], device: str = "meta") -> tuple[nn.Module, Tensor]:
    """A copy of the model without data, in evaluation mode, and an image for it; an impossible size is a UsageError.

    device: another is for torch's fake tensors, under their mode.
    """
    size = tuple(input_size)
    if not size or min(size) < 1:
        raise UsageError(
            f"cannot count a network on an input of {size}",
            why="a size is positive whole numbers without the batch",
            advice="count_cost(model, (3, 224, 224))",
        )
    twin = copy_to_meta(model, device).eval()
    dtype = next((t.dtype for t in twin.parameters() if t.is_floating_point()), torch.float32)
    return twin, torch.empty(1, *size, dtype=dtype, device=device)


def reason_not_counted(name: str) -> str:
    """Why an operator of `Cost.uncounted` has no multiply-accumulates, in two or three words."""
    name = name.lower()  # ONNX writes Relu and MaxPool
    overloads = getattr(torch.ops.aten, name, None)
    if overloads and any(torch.Tag.pointwise in getattr(overloads, one).tags for one in overloads.overloads()):
        return "elementwise"
    for part, reason in _REASONS.items():
        if part in name:
            return reason
    return "no formula"


_REASONS = {
    "einsum": "no formula",
    "norm": "normalisation",
    "pool": "pooling",
    "softmax": "normalisation",
    "hardswish": "elementwise",
} | (dict.fromkeys(("mean", "sum", "max", "min", "var", "std"), "reduction"))


@dataclass(frozen=True, slots=True)
class _Work:
    """What one operator did, all of which follows from the shapes of its arguments."""

    macs: int
    elements: int
    written_bytes: int
    traffic_bytes: int
    uncounted: str  # its name, if it did arithmetic for which there is no formula
    convolution: Convolution | None


class _Row:
    """A module while the network runs."""

    __slots__ = ("calls", "kind", "name", "output", "trained", "works")

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self.works: list[_Work] = []
        self.calls = 0
        self.trained = 0  # multiply-accumulates of the backward pass
        self.output: Any = None


class _Counter(MetaMode):
    """Write every operator to the row of the module that is at work."""

    def __init__(self, twin: nn.Module, *, train: bool) -> None:
        super().__init__()
        self._train = train
        self._modules = dict(twin.named_modules())
        self._rows = {name: _Row(name, type(module).__name__) for name, module in self._modules.items()}
        self._order: dict[str, _Row] = {}  # rows with work, the first to work first
        self._row = self._rows[""]
        follow(self._modules, self._enter, self._leave)

    def _enter(self, name: str) -> _Row:
        outer, self._row = self._row, self._rows[name]
        self._row.calls += 1
        return outer

    def _leave(self, outer: _Row, output: Any) -> None:
        self._row.output = output
        self._row = outer

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result, known = self.perform(func, args, kwargs)
        if known is not None:
            if known.note is None:
                known.note = _work_of(func, args, kwargs, result, known)
            row = self._row
            if not row.works:
                self._order[row.name] = row
            row.works.append(known.note)
            if self._train and known.note.macs:
                row.trained += known.note.macs * _gradients(func, args)
        return result

    def layers(self) -> tuple[LayerCost, ...]:
        """The rows with work or tensors of their own, a tensor being the first module's that has it."""
        seen: set[int] = set()
        own: dict[str, tuple[int, int]] = {}  # parameters, bytes of parameters and buffers
        for name, module in self._modules.items():
            params = [one for one in module._parameters.values() if one is not None and id(one) not in seen]
            buffers = [one for one in module._buffers.values() if one is not None and id(one) not in seen]
            seen |= {id(one) for one in (*params, *buffers)}
            if params or buffers:
                own[name] = sum(one.numel() for one in params), sum(one.nbytes for one in (*params, *buffers))
        names = [*self._order, *(name for name in own if name not in self._order)]
        heads = "auxiliary." if isinstance(self._modules[""], Classifier) else "\n"
        layers = [_layer(self._rows[name], *own.get(name, (0, 0)), name.startswith(heads)) for name in names]
        if self._train:
            layers = [replace(one, training_macs=one.macs + self._rows[one.name].trained) for one in layers]
        return tuple(layers)


def _gradients(func: Any, args: tuple[Any, ...]) -> int:
    """How many of an operator's factors get a gradient: none for an image, nor for weights that are not trained."""
    if not torch.is_grad_enabled():  # the network itself has said so; what it computes again is not counted
        return 0
    skipped = func.overloadpacket in _ADDS
    factors = [one for one in args[skipped : skipped + 2] if isinstance(one, Tensor)]
    return sum(one.requires_grad for one in factors)


def _layer(row: _Row, params: int, weight_bytes: int, auxiliary: bool) -> LayerCost:
    works = row.works
    output = next((one for one in tensors_in((row.output,))), None)
    return LayerCost(
        name=row.name,
        kind=row.kind,
        calls=row.calls,
        output=() if output is None else tuple(output.shape[1:]),
        params=params,
        macs=sum(work.macs for work in works),
        activations=sum(work.elements for work in works),
        activation_bytes=sum(work.written_bytes for work in works),
        weight_bytes=weight_bytes,
        traffic_bytes=sum(work.traffic_bytes for work in works),
        uncounted=tuple(sorted({work.uncounted for work in works if work.uncounted})),
        convolutions=tuple(dict.fromkeys(work.convolution for work in works if work.convolution)),
        auxiliary=auxiliary,
    )


def _work_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, known: Known) -> _Work:
    operator = func.overloadpacket
    if operator is torch.ops.aten._unsafe_view:  # a view, whatever its schema says
        return _Work(0, 0, 0, 0, "", None)
    name = _plain_name(operator)
    macs = _macs(func, args, kwargs, result)
    results = list(tensors_in((result,)))
    floats = [one for one in results if one.is_floating_point()]
    made = [] if type(known.returns) is int else floats  # else it wrote into its argument
    computes = macs is None and name not in _MOVES and bool(results) and results[0].is_floating_point()
    return _Work(
        macs=macs or 0,
        elements=sum(one.numel() for one in made),
        written_bytes=sum(one.nbytes for one in made),
        traffic_bytes=sum(one.nbytes for one in (*tensors_in((*args, *kwargs.values())), *results)),
        uncounted=name if computes else "",
        convolution=_convolution(*args[:9]) if operator is torch.ops.aten.convolution else None,
    )


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    _: Any,
    groups: int,
) -> Convolution:
    kernel = tuple(weight.shape[2:])
    stride, padding, dilation = (
        tuple(one) * len(kernel) if len(one) == 1 else tuple(one) for one in (stride, padding, dilation)
    )
    out_channels = weight.shape[1] * groups if transposed else weight.shape[0]
    return Convolution(x.shape[1], out_channels, kernel, stride, padding, dilation, groups, transposed)


def _plain_name(operator: Any) -> str:
    return str(operator.__name__).strip("_")  # relu_ is relu in place, _adaptive_avg_pool2d is the public one


# Operators that create, copy or move values; every other one is taken to compute, so that a new one shows itself.
_MOVERS = """
to_copy cat channel_shuffle clone constant_pad_nd copy embedding empty empty_like empty_strided fill
flip full full_like gather im2col index index_put index_select lift_fresh masked_fill new_empty new_empty_strided
new_full new_ones new_zeros ones ones_like pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d
reflection_pad3d repeat replication_pad1d replication_pad2d replication_pad3d roll scalar_tensor scatter
select_scatter slice_scatter stack tril triu unsafe_chunk unsafe_split upsample_nearest1d upsample_nearest2d
upsample_nearest3d where zero zeros zeros_like
"""
_MOVES = frozenset(_MOVERS.split())


def _convolution_macs(x: Tensor, weight: Tensor, *rest: Any, out: Tensor) -> int:
    """Each number of the result sums over a filter; of a transposed one, each number of the input goes to one."""
    places = x if rest[4] else out
    return places.shape[0] * prod(places.shape[2:]) * weight.numel()


def _product_macs(a: Tensor, b: Tensor, *_: Any, out: Tensor) -> int:
    return a.numel() * (b.shape[-1] if b.ndim > 1 else 1)  # each number of `a` meets one number of each column of `b`


def _added_product_macs(_: Tensor, a: Tensor, b: Tensor, *__: Any, out: Tensor) -> int:
    return _product_macs(a, b, out=out)


_ADDS = frozenset(
    [torch.ops.aten.addmm, torch.ops.aten.baddbmm, torch.ops.aten.addmv, torch.ops.aten.addbmm,
     torch.ops.aten.addmm_, torch.ops.aten.baddbmm_, torch.ops.aten.addmv_, torch.ops.aten.addbmm_]
)  # fmt: skip  # whose first argument is no factor

# torch's own formulas cover what is not here (attention, scaled products), but take a tenth of a millisecond a call.
_FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten.convolution: _convolution_macs,
    **dict.fromkeys((torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.mv, torch.ops.aten.dot), _product_macs),
    **dict.fromkeys(_ADDS, _added_product_macs),
}


def _macs(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int | None:
    """Multiply-accumulates of an operator, None where there is no formula."""
    operator = func.overloadpacket
    if operator in _FORMULAS:
        return _FORMULAS[operator](*args, out=result)
    if operator in flop_registry:
        return int(flop_registry[operator](*args, **kwargs, out_val=result)) // 2
    return None
