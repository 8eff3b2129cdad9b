"""Batch normalisation folded into the convolution or the linear layer before it, which is the same function."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lenext.exporting.watching import Layer, watch


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
    gone = set[nn.Module]()
    for run in watch(twin, input_size, _is_norm):
        if isinstance(run.follower, _BatchNorm):
            _fold(run.layer, run.follower)
            gone.add(run.follower)
    names = [(name, module) for name, module in twin.named_modules() if isinstance(module, _BatchNorm)]
    replace_modules(twin, dict.fromkeys(gone, nn.Identity()))
    return Folded(
        model=twin,
        folded=tuple(name for name, module in names if module in gone),
        remaining=tuple(name for name, module in names if module not in gone),
    )


def replace_modules(model: nn.Module, instead: dict[nn.Module, nn.Module]) -> None:
    """Put another module wherever one of these stands, under every name that it has."""
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):  # named_children() has each child once
            if child in instead:
                setattr(module, name, instead[child])


def _is_norm(module: nn.Module) -> bool:
    """A batch norm with statistics; a subclass that does more than normalise in its forward is not what is folded."""
    return (
        isinstance(module, _BatchNorm)
        and type(module).forward is _BatchNorm.forward
        and module.running_mean is not None
    )


def _fold(layer: Layer, norm: _BatchNorm) -> None:
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
