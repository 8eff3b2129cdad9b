"""First weights by the rules of the papers, a function of method, seed and dotted module name only.

Every weight is drawn on the CPU in float32 by a generator of its own, seeded from (seed, module name): a wider head
or another stage leaves the other layers' first weights alone, and torch's global generator is neither read nor moved.

A module with parameters that torch's layers do not have says how many inputs each of its weights sums, and how many
units each input reaches, by a method `fans()`; its other parameters are biases. One whose parameters all begin at a
constant (the scale of a layer) says so by a method `first_values()`.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lenext.config import nearest
from lenext.errors import UsageError


@runtime_checkable
class HasFans(Protocol):
    """A module that tells the fans of its own weights."""

    def fans(self) -> dict[str, tuple[int, int]]:
        """Parameter name -> (fan in, fan out)."""
        ...


@runtime_checkable
class HasFirstValues(Protocol):
    """A module whose parameters begin at constants, whatever the method."""

    def first_values(self) -> dict[str, float]:
        """Parameter name -> the value of all its elements."""
        ...


@dataclass(frozen=True)
class Method:
    """A symmetric distribution and its scale (half width or standard deviation) from a weight's two fans."""

    shape: Literal["uniform", "normal"]
    scale: Callable[[int, int], float]
    random_bias: bool = False


# he_normal counts the inputs (He et al. 2015, arXiv 1502.01852, eq. 10); torchvision's ResNets count the outputs,
#   of a grouped convolution all of them; here each group's own.
# vgg_normal is the paper's "variance 10^-2", so a deviation of 0.1; popular code reads it as a deviation of 0.01, and
#   the authors started the deeper networks from the trained A. Glorot's rule also works, they found afterwards.
# alexnet: Krizhevsky et al. 2012, section 5; its biases of 1 are 0 here.
# lecun_uniform: LeCun et al. 1998, appendix A. xavier_uniform: Glorot & Bengio 2010, eq. 16.
# convnext: Liu et al. 2022, Table 5: 0.2 in print, 0.02 in their release and here. "Truncated" there means cut at 2, a
#   hundred deviations, which is nothing.
# torch: what nn.Conv2d and nn.Linear do by themselves, biases included.
# fmt: off
METHODS: Mapping[str, Method] = {
    "lecun_uniform":     Method("uniform", lambda fan_in, fan_out: 2.4 / fan_in),
    "xavier_uniform":    Method("uniform", lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out))),
    "he_normal":         Method("normal",  lambda fan_in, fan_out: math.sqrt(2 / fan_in)),
    "he_normal_fan_out": Method("normal",  lambda fan_in, fan_out: math.sqrt(2 / fan_out)),
    "alexnet":           Method("normal",  lambda fan_in, fan_out: 0.01),
    "vgg_normal":        Method("normal",  lambda fan_in, fan_out: 0.1),
    "convnext":          Method("normal",  lambda fan_in, fan_out: 0.02),
    "torch":             Method("uniform", lambda fan_in, fan_out: 1 / math.sqrt(fan_in), random_bias=True),
}
# fmt: on

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


@torch.no_grad()
def initialise(model: nn.Module, method: str, seed: int) -> None:
    """Set every parameter of `model` in place: weights by `method`, biases 0, normalisation to scale 1 and shift 0."""
    if method not in METHODS:
        raise UsageError(f"unknown initialisation {method!r}", why="no such method", advice=nearest(method, METHODS))
    for name, module in model.named_modules():
        if isinstance(module, _NORMS):
            module.reset_parameters()
        elif isinstance(module, HasFirstValues):
            for parameter, value in module.first_values().items():
                getattr(module, parameter).fill_(value)
        elif any(True for _ in module.parameters(recurse=False)):
            generator = torch.Generator().manual_seed(_module_seed(seed, name))
            _set_weights(module, METHODS[method], generator)


def _set_weights(module: nn.Module, method: Method, generator: torch.Generator) -> None:
    fans = _fans(module)
    for name, parameter in module.named_parameters(recurse=False):
        if name in fans:
            parameter.copy_(_draw(parameter, method, fans[name], generator))
        elif method.random_bias:
            parameter.copy_(_draw(parameter, method, next(iter(fans.values())), generator))
        else:
            parameter.zero_()


def _fans(module: nn.Module) -> dict[str, tuple[int, int]]:
    if isinstance(module, HasFans):
        return module.fans()
    if isinstance(module, nn.Conv2d):
        taps = math.prod(module.kernel_size)
        return {"weight": (module.in_channels // module.groups * taps, module.out_channels // module.groups * taps)}
    if isinstance(module, nn.Linear):
        return {"weight": (module.in_features, module.out_features)}
    raise TypeError(f"{type(module).__name__} has parameters and no fans(): add the method")


def _draw(parameter: Tensor, method: Method, fans: tuple[int, int], generator: torch.Generator) -> Tensor:
    scale = method.scale(*fans)
    values = torch.empty(parameter.shape, device="cpu", dtype=torch.float32)
    if method.shape == "uniform":
        return values.uniform_(-scale, scale, generator=generator)
    return values.normal_(0.0, scale, generator=generator)


def _module_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1
