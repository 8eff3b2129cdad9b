"""A block of a network as a graph, read off while the network itself runs on the meta device.

Nothing is guessed from the code: what is drawn is what was executed, with the shapes that it had. A tracer that runs
the code on stand-ins (torch.fx) would stop where a layer pads by the size of its input.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lenext.config import nearest
from lenext.errors import UsageError
from lenext.explain.boxes import Box, Graph, drop_unread, fold_boxes
from lenext.explain.wording import Words, describe_function, describe_module, is_known
from lenext.models.classifier import Classifier
from lenext.models.parts import SqueezeExcite

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def trace_block(
    model: Classifier, place: str, input_size: Sequence[int], *, fold: bool = True, depth: int | None = None
) -> Graph:
    """The block at a dotted place ("stages.conv2_x.0") for one image of `input_size` (C, H, W), in evaluation mode.

    A module without modules of its own is one box, and so is a squeeze-and-excitation inside a block. `depth` closes
    the others too, that many levels below the place (containers not counted): 1 shows the place's own children. `fold`
    writes normalisation and activation into the box that they follow, and a closed sequence as one box. An auxiliary
    head is drawn on the stage that it reads. The model itself is not run: a copy without data and hooks is. A place
    that does not exist or does not run is a UsageError with the nearest one, a wrong image the network's own.
    """
    if place not in dict(model.named_modules()) or not place:
        known = [known for known, _ in drawable_places(model)]
        raise UsageError(
            f"cannot draw {place!r}", why="the network has no block of that name", advice=nearest(place, known)
        )
    twin = _copy_to_meta(model).eval()
    recorder = _Recorder(twin.get_submodule(place), place, depth)
    with torch.no_grad(), contextlib.suppress(_Reached):
        _run_to(twin, place, torch.empty(1, *input_size, device="meta"))
    if not recorder.boxes:
        raise UsageError(
            f"cannot draw {place!r}",
            why="an image does not pass through it",
            advice="a place of: lenext explain block MODEL",
        )
    graph = Graph(place, tuple(recorder.boxes), tuple(recorder.arrows))
    return drop_unread(fold_boxes(graph, recorder.chains) if fold else graph)


def drawable_places(model: Classifier) -> Iterator[tuple[str, str]]:
    """Dotted name and class of each place worth drawing: the chain's, auxiliary heads, and blocks inside these.

    Any other module that an image passes through can be drawn, too.
    """
    chain = {*model.places(), *(f"auxiliary.{name}" for name in model.auxiliary)}
    for place, module in model.named_modules():
        block = any(True for _ in module.children()) and not isinstance(module, CONTAINERS)
        if place and (place in chain or block):
            yield place, type(module).__name__


def _run_to(twin: Classifier, place: str, image: Tensor) -> None:
    if not place.startswith("auxiliary."):
        twin(image)
        return
    name = next(name for name in twin.auxiliary if f"{place}.".startswith(f"auxiliary.{name}."))
    stage = f"stages.{name}"
    twin.auxiliary[name](twin.features(image, [stage])[stage])


class _Reached(Exception):  # noqa: N818  # no error: what lies behind the block need not run
    pass


class _Recorder(TorchFunctionMode):
    """Put itself in the way of one module's `forward`, and note what runs inside while it runs."""

    def __init__(self, root: nn.Module, place: str, depth: int | None) -> None:
        super().__init__()
        self.boxes: list[Box] = []
        self.arrows: list[tuple[int, int]] = []
        self.chains: dict[int, str] = {}  # number of a box -> the closed sequence that it is of
        self._made: dict[int, int] = {}  # id of a tensor -> number of the box that made it
        self._read: set[int] = set()  # ids of what the box at work has read, of all that it was given
        self._alive: list[Tensor] = []  # so that no id is given twice
        self._inside = False  # one of its boxes is at work
        for name, module, chain in [("", root, "")] if _is_leaf(root) else _closed(root, depth):
            inner, around = (f"{place}.{one}" if one else "" for one in (name, chain))
            object.__setattr__(module, "forward", self._wrap(module, inner or place, around))
        self._inner = root.forward
        object.__setattr__(root, "forward", self._record)

    def _record(self, *given: Any, **named: Any) -> Any:
        """Stand in for the module's forward, and end the network's run when it is done."""
        tensors = list(_tensors((*given, *named.values())))
        words = [f"input {i + 1}" for i in range(len(tensors))] if len(tensors) > 1 else ["input"]
        if len(tensors) == 2 and isinstance(given[0], tuple):
            words = ["current input", "previous input"]  # what goes along a chain of cells
        for tensor, line in zip(tensors, words, strict=True):
            self._note(("input", line), [], [tensor], "")
        with self:
            out = self._inner(*given, **named)
        made = {id(end): end for end in _tensors((out,))}
        # a pair's other half, handed on as it came, is no output of this block
        for end in [end for end in made.values() if self._made[id(end)] >= len(tensors)] or list(made.values())[:1]:
            self._note(("output", "output"), [end], [end], "")
        raise _Reached

    def _wrap(self, module: nn.Module, place: str, chain: str) -> Callable[..., Any]:
        forward = module.forward

        def run(*given: Any, **named: Any) -> Any:
            if self._inside:
                return forward(*given, **named)
            self._inside, self._read = True, set()
            out = forward(*given, **named)
            self._inside = False
            tensors = [tensor for tensor in _tensors((*given, *named.values())) if id(tensor) in self._made]
            tensors = [tensor for tensor in tensors if id(tensor) in self._read] or tensors
            made, boxes = list(_tensors((out,))), len(self.boxes)
            self._note(describe_module(module, tensors, made[0]), tensors, made, place)
            if chain and len(self.boxes) > boxes:
                self.chains[boxes] = chain
            return out

        return run

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        arguments = [*_flat(args), *_flat((kwargs or {}).values())]
        if self._inside:
            self._read |= {id(one) for one in arguments}
            return out
        tensors = [one for one in arguments if isinstance(one, Tensor) and id(one) in self._made]
        made = list(_tensors((out,)))
        if tensors and made:
            others = [one for one in arguments if not (isinstance(one, Tensor) and id(one) in self._made)]
            name = func.__name__.strip("_")
            self._note(describe_function(name, tensors, others, made[0]), tensors, made, "")
        return out

    def _note(self, words: Words, given: Sequence[Tensor], made: Sequence[Tensor], place: str) -> None:
        """Add a box, or let the next one read what this one read where there is nothing to draw."""
        sources = [self._made[id(tensor)] for tensor in given]
        if words is None:
            number = sources[0]
        else:
            number = len(self.boxes)
            self.boxes.append(Box(words[0], (words[1],), tuple(made[0].shape[1:]), place))
            self.arrows += [(source, number) for source in sources]
        if words is None or words[0] != "output":
            self._made |= {id(tensor): number for tensor in made}
            self._alive += made


def _closed(
    root: nn.Module, depth: int | None, level: int = 1, prefix: str = "", chain: str = ""
) -> Iterator[tuple[str, nn.Module, str]]:
    """The modules that are one box each, by their names below the root, and the closed sequence that each is of."""
    for name, module in root.named_children():
        place, container = prefix + name, isinstance(module, CONTAINERS)
        parent = any(True for _ in module.children())
        close = parent and depth is not None and level >= depth
        if _is_leaf(module) or isinstance(module, SqueezeExcite) or (close and not container):
            yield place, module, chain
        elif parent:
            inner = place if close and isinstance(module, nn.Sequential) and not chain else chain
            yield from _closed(module, depth, level + (not container), f"{place}.", inner)


def _is_leaf(module: nn.Module) -> bool:
    """Whether it is one box: it has no modules of its own, and either weights or a word for what it does."""
    if any(True for _ in module.children()):
        return False
    return is_known(module) or any(True for _ in (*module.parameters(), *module.buffers()))


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in _flat(values) if isinstance(value, Tensor))


def _copy_to_meta(model: Classifier) -> Classifier:
    """Deep copy whose tensors have shape and type but no data, and which has no hooks."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, Tensor):
                memo[id(value)] = value.detach().to("meta")
            elif "_hooks" in name and isinstance(value, dict):
                memo[id(value)] = type(value)()
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("meta")
    return copy.deepcopy(model, memo)
