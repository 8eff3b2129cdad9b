"""Receptive field of every layer, worked out forwards operator by operator while the network runs on the meta device.

Every tensor carries what its places see (sight.py), so that shortcuts, dense connections and branches are
unions, and functions count as layers do. What an operator without a rule makes is reported as unknown, not guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lenext.costs.meta import MetaMode, follow, tensors_in, uncollected
from lenext.costs.operators import prepare_twin
from lenext.costs.propagation import Call
from lenext.costs.sight import Sight, see_image


@dataclass(frozen=True)
class LayerField:
    """What one place of a module's output sees of the image, along each side of it.

    name, kind: of the module; one that runs several times is told of its last time. output: shape without the batch, of
    a pair that of the first. size: pixels, padding among them;
    the hull where dilation leaves holes. jump: pixels between neighbouring places (the product of strides); 0 where all
    places were joined, and size is then what they saw together. start: first pixel that the first place sees, negative
    in the padding. gates: modules up to here by which every place learns of the whole image, too (squeeze-and-
    excitation, attention, normalisation over places); size leaves that out. unknown: operators up to here without a
    rule; size, jump and start are () then.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    size: tuple[int, ...]
    jump: tuple[int, ...]
    start: tuple[int, ...]
    gates: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@uncollected()
def receptive_fields(model: nn.Module, input_size: Sequence[int]) -> tuple[LayerField, ...]:
    """The field of every module that the image (C, *sides) passes, in the order in which they end; the network is last.

    In evaluation mode, on a copy without data. A wrong input raises the network's own error.
    """
    twin, image = prepare_twin(model, input_size)
    tracer = _Tracer(twin, image)
    with torch.no_grad(), tracer:
        twin(image)
    return tuple(tracer.fields.values())


class _Tracer(MetaMode):
    """Let each operator make what its results see of what its arguments see."""

    def __init__(self, twin: nn.Module, image: Tensor) -> None:
        super().__init__()
        modules = dict(twin.named_modules())
        self._kinds = {name: type(module).__name__ for name, module in modules.items()}
        self._names = [""]  # of the modules at work, the innermost last
        self._sights: dict[int, Sight] = {}
        self._alive: list[Tensor] = []  # so that no id is given twice
        self._written: dict[int, Sight] = {}  # memory of a tensor -> what was last written there
        self.fields: dict[str, LayerField] = {}
        self._see(image, see_image(image.shape))
        follow(modules, self._enter, self._leave)

    def _enter(self, name: str) -> str:
        self._names.append(name)
        return name

    def _leave(self, name: str, output: Any) -> None:
        self._names.pop()
        tensor = next(tensors_in((output,)), None)
        if tensor is None or id(tensor) not in self._sights:
            return
        sight = self._sights[id(tensor)]
        spans = () if sight.unknown else sight.spans
        self.fields.pop(name, None)  # told of the last time
        self.fields[name] = LayerField(
            name=name,
            kind=self._kinds[name],
            output=tuple(tensor.shape[1:]),
            size=tuple(span.high - span.low + 1 for span in spans),
            jump=tuple(span.jump for span in spans),
            start=tuple(span.low for span in spans),
            gates=sight.gates,
            unknown=sight.unknown,
        )

    def _see(self, tensor: Tensor, sight: Sight) -> None:
        self._sights[id(tensor)] = sight
        self._alive.append(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        arguments = list(tensors_in((*args, *kwargs.values())))
        for one in arguments if self._written else ():
            if id(one) not in self._sights and one.untyped_storage()._cdata in self._written:
                self._see(one, _not_followed(one, self._written[one.untyped_storage()._cdata]))
        shapes = {id(one): tuple(one.shape) for one in arguments if id(one) in self._sights}
        result, known = self.perform(func, args, kwargs)
        name = func.overloadpacket.__name__
        made_of_others = known is None and not func.is_view  # which came one by one
        if not shapes or made_of_others or name.startswith("new_") or name.endswith("_like"):
            return result
        call = Call(func, args, kwargs, self._names[-1], self._sights, shapes)
        for one in tensors_in((result,)):
            sight = call.sight_of(one)
            if any(one is argument for argument in args) and sight != self._sights.get(id(one)):
                self._note_write(one, sight)
            self._see(one, sight)
        return result

    def _note_write(self, written: Tensor, sight: Sight) -> None:
        """What shares memory with a tensor that was written into has learnt what we do not follow."""
        storage = written.untyped_storage()._cdata
        self._written[storage] = sight
        for tensor in self._alive:
            if tensor is not written and tensor.untyped_storage()._cdata == storage:
                self._sights[id(tensor)] = _not_followed(tensor, sight)


def _not_followed(tensor: Tensor, sight: Sight) -> Sight:
    return Sight(((),) * tensor.ndim, sight.spans, sight.gates, ("writing into a view",))
