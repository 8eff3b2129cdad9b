"""Running a copy of a network on the meta device: without data, quickly, and knowing which module is at work."""

import contextlib
import copy
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lenext.costs.foreseen import Shape, foresee
from lenext.errors import UsageError

_ATOMS = frozenset([type(None), bool, int, float, str])
_DRAWS = frozenset(
    [nn.init.kaiming_uniform_, nn.init.kaiming_normal_, nn.init.uniform_, nn.init.normal_, Tensor.uniform_,
     Tensor.normal_, Tensor.fill_, Tensor.zero_]
)  # fmt: skip


class _Undrawn(TorchFunctionMode):
    """Leave tensors without data as they are where they would be filled."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _DRAWS:
            tensor = args[0] if args else (kwargs or {})["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def without_data() -> Iterator[None]:
    """Networks built inside lie on the meta device: in no time, as no weights are drawn either."""
    with uncollected(), torch.device("meta"), _Undrawn():
        yield


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Python looks for no garbage inside: the many objects of a network would have it look in vain, again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def copy_to_meta(model: nn.Module, device: str = "meta") -> nn.Module:
    """Deep copy whose tensors have shape and type but no data, and which has no hooks.

    device: where they are said to be; another than meta is for torch's fake tensors, under their mode. Lazy layers are
    a UsageError: they have no shapes yet.
    """
    memo: dict[int, Any] = {}
    modules = list(model.modules())
    plain = {kind for kind in {type(module) for module in modules} if _is_plain(kind)}
    for module in modules:
        if type(module) in plain:
            memo[id(module)] = object.__new__(type(module))
        for tensor in (*vars(module).values(), *module._parameters.values(), *module._buffers.values()):
            if isinstance(tensor, Tensor) and id(tensor) not in memo:  # or a plain attribute, which .to would leave
                shape = _shape_of(tensor, device)
                memo[id(tensor)] = nn.Parameter(shape, False) if isinstance(tensor, nn.Parameter) else shape
    for module in modules:
        if id(module) in memo:
            vars(memo[id(module)]).update(
                {name: type(value)() if _is_of_hooks(name, value) else _copied(value, memo)
                 for name, value in vars(module).items() if name != "_compiled_call_impl"}
            )  # fmt: skip
        else:
            memo |= {id(value): type(value)() for name, value in vars(module).items() if _is_of_hooks(name, value)}
    twin: nn.Module = copy.deepcopy(model, memo)
    return twin


def _is_of_hooks(name: str, value: Any) -> bool:
    return "_hooks" in name and isinstance(value, dict)


def _is_plain(kind: type[nn.Module]) -> bool:
    """Whether copying its attributes copies a module: nothing but torch's own layers has a say in how that is done."""
    own = [getattr(kind, name, None) for name in ("__deepcopy__", "__getstate__", "__setstate__")]
    return (
        kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and all(method is None or method.__module__.startswith("torch.nn.modules.") for method in own)
        and not any("__slots__" in vars(base) for base in kind.__mro__)
    )


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """Do what deepcopy does, sooner: most attributes of most layers are numbers, known tensors, or empty."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind is tuple and all(type(one) in _ATOMS for one in value):
        return value
    if kind is dict and all(one is None or id(one) in memo for one in value.values()):
        return {key: None if one is None else memo[id(one)] for key, one in value.items()}
    return kind() if kind in (set, list) and not value else copy.deepcopy(value, memo)


def _shape_of(tensor: Tensor, device: str) -> Tensor:
    if is_lazy(tensor):
        raise UsageError(
            "cannot count a network with lazy layers",
            why="their sizes are unknown before the first batch",
            advice="run one batch through the network, then count",
        )
    if type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
    return torch.empty_like(tensor, device=device, requires_grad=False)


def follow(modules: Mapping[str, nn.Module], enter: Callable[[str], Any], leave: Callable[[Any, Any], None]) -> None:
    """Have `enter(name)` called before each module's forward, and `leave(what enter gave, output)` after it.

    It stands in the way of `forward` itself, so that modules run without __call__ are seen, too; after an exception the
    output is None. Only for a copy: nothing takes it out again.
    """
    for name, module in modules.items():
        if not isinstance(module, torch.jit.ScriptModule):
            vars(module)["forward"] = _followed(name, module.forward, enter, leave)


def _followed(
    name: str, forward: Callable[..., Any], enter: Callable[[str], Any], leave: Callable[[Any, Any], None]
) -> Callable[..., Any]:
    def run(*given: Any, **named: Any) -> Any:
        outer, output = enter(name), None
        try:
            output = forward(*given, **named)
        finally:
            leave(outer, output)
        return output

    return run


class Known:
    """What is known of an operator on arguments of some shapes: what it returns, and what the caller notes on it.

    returns: a Shape, a list or a tuple of them, or the number of the argument that it has written into.
    """

    __slots__ = ("note", "returns")

    def __init__(self, returns: Any) -> None:
        self.returns = returns
        self.note: Any = None

    def result(self, args: tuple[Any, ...]) -> Any:
        """Make what the operator returns."""
        returns = self.returns
        if type(returns) is Shape:
            return torch.empty_strided(returns[0], returns[1], dtype=returns[2], device="meta")
        if type(returns) is int:
            return args[returns]
        return type(returns)([torch.empty_strided(one[0], one[1], dtype=one[2], device="meta") for one in returns])


class MetaMode(TorchDispatchMode):
    """Perform operators on tensors without data, each combination of shapes once: a repeated block costs little.

    torch's own shape functions decide, but for what lenext.costs.foreseen is certain of.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nobody compiles what runs here, and torch's guard against it takes a second to import."""
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch ships it without types
        self._known: dict[Any, Known] = {}

    def perform(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Known | None]:
        """Return the operator's result, and what is known of it; None where there is nothing to know.

        That is a view, or what torch composes of other operators (met in inference mode only), which come one by one.
        """
        if func.is_view:
            return func(*args, **kwargs), None
        try:
            key = (func, _signature(args), _signature(kwargs.items())) if kwargs else (func, _signature(args))
            known = self._known.get(key)
        except TypeError:  # an argument with data, or one that cannot be hashed
            key, known = None, None
        if known is None and key and (foreseen := None if kwargs else foresee(func, args)) is not None:
            known = self._known[key] = Known(foreseen)
        if known is not None:
            return known.result(args), known
        if torch.is_inference_mode_enabled():
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result, None
        result = func(*args, **kwargs)
        known = Known(_shapes_of(result, args))
        if key and known.returns is not None and _signature(args) == key[1]:  # else it has reshaped its argument
            self._known[key] = known
        return result, known


def tensors_in(values: Any) -> Iterator[Tensor]:
    """All tensors among values, lists and dictionaries of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)
        elif isinstance(value, dict):
            yield from tensors_in(value.values())


def _signature(values: Iterable[Any]) -> tuple[Any, ...]:
    """All that decides the shape of a result; a TypeError where an argument has data or is no plain tensor."""
    signs: list[Any] = []
    for value in values:
        kind = type(value)
        if kind is Tensor or kind is nn.Parameter:
            if not value.is_meta or value.layout is not torch.strided:
                raise TypeError
            signs.append((value.shape, value.stride(), value.dtype))
        elif kind is list or kind is tuple:
            signs.append(_signature(value))
        elif isinstance(value, Tensor):
            raise TypeError
        else:
            signs.append((kind, value))  # with its type, as 1 == 1.0 == True
    return tuple(signs)


def _shapes_of(result: Any, args: tuple[Any, ...]) -> Any:
    """What the result can be made from again, or None."""
    if type(result) in (list, tuple):
        shapes = [_shapes_of(one, args) for one in result]
        return type(result)(shapes) if all(type(shape) is Shape for shape in shapes) else None
    written = [number for number, value in enumerate(args) if value is result]
    if written:
        return written[0]
    if type(result) is not Tensor or not result.is_meta or result.layout is not torch.strided:
        return None
    return Shape(tuple(result.shape), result.stride(), result.dtype)
