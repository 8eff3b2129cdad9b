"""What follows a convolution or a linear layer in a network: not read off names or positions, but watched in a run."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
_CALLS = (torch.conv1d, torch.conv2d, torch.conv3d, F.linear)  # F.conv2d is torch.conv2d under another name


@dataclass(eq=False)
class Run:
    """One run of a layer.

    size: of its input. called: as a module, where it could also be a function that is given its weights. reads: how
    often its output was read. follower: the last that read it.
    """

    layer: Layer
    size: torch.Size
    called: bool
    reads: int = 0
    follower: nn.Module | None = None


def watch(model: nn.Module, input_size: Sequence[int], is_follower: Callable[[nn.Module], bool]) -> list[Run]:
    """Run a model once on an image (C, H, W) of `input_size` and return each run of a layer that ran once, in order.

    The model must be in evaluation mode, or its norms would learn from that image.
    A follower is one of the modules that `is_follower` names, where its input is a layer's output, nothing else reads
    that output, and it runs once: what a layer can take in and be the same function.
    """
    like = next(model.parameters(), torch.empty(0))
    watcher = _Watcher(model)
    hooks = [
        one.register_forward_pre_hook(watcher.enter, with_kwargs=True)
        for one in model.modules()
        if isinstance(one, Layer) or is_follower(one)
    ]
    try:
        with torch.no_grad(), watcher:
            scores = model(torch.zeros(1, *input_size, dtype=like.dtype, device=like.device))
    finally:
        for hook in hooks:
            hook.remove()
    watcher.count([scores])
    return watcher.once()


class _Watcher(TorchFunctionMode):
    """Note which layer's output each follower reads, and who else reads it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._layers = {id(one.weight): one for one in model.modules() if isinstance(one, Layer)}
        self._runs: list[Run] = []
        self._by_output = WeakTensorKeyDictionary()
        self._entered: Counter[nn.Module] = Counter()
        self._calling: nn.Module | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        arguments = [*args, *(kwargs or {}).values()]
        if out is not None and not isinstance(out, Tensor | list | tuple):
            return out  # a question about the tensor, as its number of dimensions
        self.count(arguments)
        if func in _CALLS:
            layer = self._layers.get(id(arguments[1]))
            bias = arguments[2] if len(arguments) > 2 else None
            if layer is not None and bias is layer.bias:
                run = Run(layer, arguments[0].shape, called=self._calling is layer)
                self._calling = None
                self._runs.append(run)
                self._by_output[out] = run
        return out

    def enter(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Note that a layer is about to run, or a follower to read what it is given."""
        if isinstance(module, Layer):
            self._calling = module
            return
        self._entered[module] += 1
        for value in (*given, *named.values()):
            if isinstance(value, Tensor) and (run := self._by_output.get(value)) is not None:
                run.follower = module

    def count(self, values: Iterable[Any]) -> None:
        """Count a reading of each tensor among the values, and inside lists."""
        for value in values:
            if isinstance(value, list | tuple):
                self.count(value)
            elif isinstance(value, Tensor) and (run := self._by_output.get(value)) is not None:
                run.reads += 1

    def once(self) -> list[Run]:
        """The runs of layers that ran once; a follower that does not stand for itself alone is none."""
        times = Counter(id(run.layer) for run in self._runs)
        for run in self._runs:
            if run.follower is not None and (run.reads != 1 or self._entered[run.follower] != 1):
                run.follower = None
        return [run for run in self._runs if times[id(run.layer)] == 1]
