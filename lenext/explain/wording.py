"""What a box of a drawing says: modules and functions in the field's words."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lenext.explain.boxes import Kind
from lenext.models.parts import DropPath, LocalResponseNorm, PadShortcut, SqueezeExcite

Words = tuple[Kind, str] | None  # None: nothing happens here that a reader would draw

ACTIVATIONS: Mapping[type[nn.Module], str] = {
    nn.ReLU: "ReLU",
    nn.ReLU6: "ReLU6",
    nn.SiLU: "SiLU",
    nn.GELU: "GELU",
    nn.Hardswish: "hard swish",
    nn.Hardsigmoid: "hard sigmoid",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
}
NORMS: Mapping[type[nn.Module], str] = {
    nn.BatchNorm2d: "batch norm",
    nn.LayerNorm: "layer norm",  # LayerNorm2d is one
    nn.GroupNorm: "group norm",
    LocalResponseNorm: "local response norm",
}
FUNCTIONS: Mapping[str, tuple[Kind, str]] = {
    "relu": ("activation", "ReLU"),
    "relu6": ("activation", "ReLU6"),
    "silu": ("activation", "SiLU"),
    "gelu": ("activation", "GELU"),
    "hardswish": ("activation", "hard swish"),
    "hardsigmoid": ("activation", "hard sigmoid"),
    "sigmoid": ("activation", "sigmoid"),
    "tanh": ("activation", "tanh"),
    "softmax": ("activation", "softmax"),
    "layer_norm": ("norm", "layer norm"),
    "batch_norm": ("norm", "batch norm"),
    "local_response_norm": ("norm", "local response norm"),
    "pad": ("other", "pad"),
    "cat": ("join", "concatenate"),
}
SIGNS = {"add": "+", "iadd": "+", "radd": "+", "mul": "x", "imul": "x", "rmul": "x", "sub": "-", "div": "/"}
SILENT = {"contiguous", "clone", "detach", "to", "type", "float", "dropout"}


def is_known(module: nn.Module) -> bool:
    """Whether there are words for the module as it is; without parameters it is else told by the functions it calls."""
    return isinstance(module, (nn.Identity, *ACTIVATIONS, *NORMS, *_MODULES))


def describe_module(module: nn.Module, given: Sequence[Tensor], out: Tensor) -> Words:
    """Kind and line of a module's box from the tensors that it took and gave; None where it changes nothing."""
    if isinstance(module, nn.Identity) or getattr(module, "p", 1) == 0 or getattr(module, "rate", 1) == 0:
        return None
    for kind, table in (("activation", ACTIVATIONS), ("norm", NORMS)):
        for known, words in table.items():
            if isinstance(module, known):
                return ("activation" if kind == "activation" else "norm"), words
    for known, describe in _MODULES.items():
        if isinstance(module, known):
            return describe(module, given[0], out)
    return _composite(module, given[0], out)


def describe_function(name: str, given: Sequence[Tensor], others: Sequence[Any], out: Tensor) -> Words:
    """Kind and line of a function's box; `others` are its arguments that are not tensors of the block."""
    if name in SILENT:
        return None
    if name in SIGNS:
        if len(given) > 1:
            return "join", SIGNS[name]
        return "other", _by_constant(SIGNS[name], others)
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if name.endswith(("max_pool2d", "avg_pool2d")) and not name.startswith("adaptive"):
        what = "max" if "max" in name else "average"
        stride = -(-given[0].shape[-1] // out.shape[-1])
        return "pool", ", ".join(filter(None, [f"{_sides(others[0])} {what} pool", _stride(stride)]))
    if name == "adaptive_avg_pool2d":
        return _adaptive(None, given[0], out)
    if name == "mean" and out.shape[2:].numel() == 1:
        return "pool", "global average pool"
    if name in ("flatten", "reshape", "view", "squeeze", "unsqueeze") and out.ndim != given[0].ndim:
        return _flatten(None, given[0], out)
    return "other", name.replace("_", " ")


def _by_constant(sign: str, others: Sequence[Any]) -> str:
    """A product or a sum with something that is not of the block: a number, or a parameter of one value a channel."""
    constant = next((value for value in others if isinstance(value, Tensor | int | float)), None)
    if isinstance(constant, Tensor):
        return "scale each channel" if sign == "x" else f"{sign} a parameter"
    return f"{sign} {constant:.4g}" if constant is not None else sign


def _conv(module: Any, _: Tensor, out: Tensor) -> Words:
    depthwise = "depthwise " if 1 < module.groups == module.in_channels else ""
    parts = [f"{_sides(module.kernel_size)} {depthwise}conv", str(module.out_channels)]
    if 1 < module.groups < module.in_channels:
        parts.append(f"{module.groups} groups")
    if module.dilation[0] > 1:
        parts.append(f"dilation {module.dilation[0]}")
    return "conv", ", ".join(filter(None, [*parts, _stride(module.stride)]))


def _pool(what: str) -> Callable[[Any, Tensor, Tensor], Words]:
    def describe(module: Any, given: Tensor, out: Tensor) -> Words:
        if _pair(module.kernel_size) == tuple(given.shape[2:]) and what == "average":
            return "pool", "global average pool"
        return "pool", ", ".join(filter(None, [f"{_sides(module.kernel_size)} {what} pool", _stride(module.stride)]))

    return describe


def _adaptive(_: Any, given: Tensor, out: Tensor) -> Words:
    if given.shape == out.shape and out.shape[2:].numel() > 1:
        return None
    sides = tuple(out.shape[2:])
    return "pool", "global average pool" if sides == (1, 1) else f"average pool to {_sides(sides)}"


def _linear(module: Any, _: Tensor, out: Tensor) -> Words:
    return "linear", f"linear, {module.out_features}"


def _flatten(_: Any, given: Tensor, out: Tensor) -> Words:
    return None if given.shape[2:].numel() == 1 else ("other", "flatten")  # of a 1x1 map it is only a spelling


def _dropout(module: Any, _: Tensor, out: Tensor) -> Words:
    return "other", f"dropout {module.p:g}"


def _drop_path(module: Any, _: Tensor, out: Tensor) -> Words:
    return "other", f"drop path {module.rate:.2g}"


def _pad_shortcut(module: Any, _: Tensor, out: Tensor) -> Words:
    return "other", ", ".join(filter(None, [f"zero channels to {module.channels}", _stride(module.stride)]))


def _squeeze_excite(module: nn.Module, _: Tensor, out: Tensor) -> Words:
    squeezed = next(iter(module.parameters())).shape[0]
    return "gate", f"squeeze and excite, {squeezed}"


def _composite(module: nn.Module, given: Tensor, out: Tensor) -> Words:
    """Any other module by the words of its class, with the convolutions' largest kernel, channels and stride."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(module).__name__).lower()
    words = re.sub(r" ?2d$", "", words)
    convs = [one for one in module.modules() if isinstance(one, nn.Conv2d)]
    if not convs and "conv" not in words:
        return "other", words
    kernel = max((_pair(one.kernel_size) for one in convs), default=(1, 1))
    kernel = _pair(getattr(module, "kernel_size", kernel))
    stride = given.shape[-1] // max(out.shape[-1], 1) if given.ndim == out.ndim == 4 else 1
    front = f"{_sides(kernel)} " if "conv" in words else ""
    return "conv", ", ".join(filter(None, [f"{front}{words}", str(out.shape[1]), _stride(stride)]))


def _pair(value: Any) -> tuple[int, int]:
    rows, columns = value if isinstance(value, tuple | list) else (value, value)
    return int(rows), int(columns)


def _sides(value: Any) -> str:
    return "x".join(str(side) for side in _pair(value))


def _stride(value: Any) -> str:
    rows, columns = _pair(value)
    if rows == columns:
        return f"/{rows}" if rows > 1 else ""
    return f"/{rows}x{columns}"


_MODULES: Mapping[type[nn.Module], Callable[[Any, Tensor, Tensor], Words]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.MaxPool2d: _pool("max"),
    nn.AvgPool2d: _pool("average"),
    nn.AdaptiveAvgPool2d: _adaptive,
    nn.Flatten: _flatten,
    nn.Dropout: _dropout,
    nn.Dropout2d: _dropout,
    DropPath: _drop_path,
    PadShortcut: _pad_shortcut,
    SqueezeExcite: _squeeze_excite,
}
