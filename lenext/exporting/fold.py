"""Batch normalisation folded into the convolution or the linear layer before it, which is the same function.

What stands before a norm is not read off names or positions: the network runs once, and what it does is watched.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

_Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)  # F.conv2d is torch.conv2d under another name


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A network for prediction alone. folded, remaining: dotted names of the norms that are gone, and of those left."""

    model: nn.Module
    folded: tuple[str, ...]
    remaining: tuple[str, ...]


def fold_norms(model: nn.Module, input_size: Sequence[int]) -> Folded:
    """Return a copy in evaluation mode whose norms are part of the layers before them; `model` stays as it is.

    input_size: (C, H, W) of the image that is run through the copy once. A norm goes where its input is the output of
    one convolution or linear layer, nothing else reads that output, and either layer runs once: a norm behind a sum, a
    concatenation or an activation stays. The copy learns nothing more: no tensor asks for a gradient, and heads that
    only training uses are gone. Folding is done in float64 and rounded once.
    """
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    if isinstance(getattr(twin, "auxiliary", None), nn.ModuleDict):
        twin.auxiliary = nn.ModuleDict()
    like = next(twin.parameters(), torch.empty(0))
    watcher = _Watcher(twin)
    with torch.no_grad(), watcher:
        scores = twin(torch.zeros(1, *input_size, dtype=like.dtype, device=like.device))
    watcher.count([scores])
    pairs = watcher.pairs()
    for norm, layer in pairs:
        _fold(layer, norm)
    gone = {id(norm) for norm, _ in pairs}
    names = [(name, module) for name, module in twin.named_modules() if isinstance(module, _BatchNorm)]
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if id(child) in gone:
                setattr(module, name, nn.Identity())
    return Folded(
        model=twin,
        folded=tuple(name for name, module in names if id(module) in gone),
        remaining=tuple(name for name, module in names if id(module) not in gone),
    )


def _fold(layer: _Layer, norm: _BatchNorm) -> None:
    """Scale and shift each output: norm(Wx + b) = gWx + g(b - mean) + beta, where g = gamma / sqrt(variance + eps)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, mean, variance = layer.weight.double(), norm.running_mean.double(), norm.running_var.double()
    gain = torch.rsqrt(variance + norm.eps)
    if norm.affine:
        gain = gain * norm.weight.double()
    bias = gain * (layer.bias.double() - mean if layer.bias is not None else -mean)
    if norm.affine:
        bias = bias + norm.bias.double()
    kind = layer.weight.dtype
    layer.weight = nn.Parameter((weight * gain.view(-1, *(1,) * (weight.ndim - 1))).to(kind), requires_grad=False)
    layer.bias = nn.Parameter(bias.to(kind), requires_grad=False)


@dataclass(eq=False)
class _Made:
    """An output of a layer: by whom it was made, how often it was read, and by which norm last."""

    layer: _Layer
    reads: int = 0
    norm: _BatchNorm | None = None


class _Watcher(TorchFunctionMode):
    """Note which layer's output each norm reads, and who else reads it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        modules = list(model.modules())
        self._layers = {id(one.weight): one for one in modules if isinstance(one, _Layer)}
        self._norms = {
            id(one.running_mean): one
            for one in modules
            # a subclass that does more than normalise in its forward is not the function that is folded
            if isinstance(one, _BatchNorm) and type(one).forward is _BatchNorm.forward and one.running_mean is not None
        }
        self._made: list[_Made] = []
        self._by_output = WeakTensorKeyDictionary()
        self._norm_runs: list[_BatchNorm] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        arguments = [*args, *(kwargs or {}).values()]
        if out is not None and not isinstance(out, Tensor | list | tuple):
            return out  # a question about the tensor, as its number of dimensions
        self.count(arguments)
        norm = self._norms.get(id(arguments[1])) if func is F.batch_norm else None
        if norm is not None:
            self._norm_runs.append(norm)
            if (made := self._by_output.get(arguments[0])) is not None:
                made.norm = norm
        if func in _CONVOLUTIONS or func is F.linear:
            layer = self._layers.get(id(arguments[1]))
            bias = arguments[2] if len(arguments) > 2 else None
            if layer is not None and bias is layer.bias:
                made = _Made(layer)
                self._made.append(made)
                self._by_output[out] = made
        return out

    def count(self, values: Iterable[Any]) -> None:
        """Count a reading of each tensor among the values, and inside lists."""
        for value in values:
            if isinstance(value, list | tuple):
                self.count(value)
            elif isinstance(value, Tensor) and (made := self._by_output.get(value)) is not None:
                made.reads += 1

    def pairs(self) -> list[tuple[_BatchNorm, _Layer]]:
        """Each norm that goes, with the layer that takes it in."""
        runs = [id(made.layer) for made in self._made]
        norms = [id(norm) for norm in self._norm_runs]
        return [
            (made.norm, made.layer)
            for made in self._made
            if made.norm is not None and made.reads == 1
            if runs.count(id(made.layer)) == 1 and norms.count(id(made.norm)) == 1
        ]
