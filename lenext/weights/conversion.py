"""From another library's state dict to ours, nothing left over on either side."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lenext.errors import UsageError, WeightsError
from lenext.models.catalog import build
from lenext.models.classifier import Classifier, output_layers
from lenext.weights.keymaps import SOURCES, key_map

COUNTER = "num_batches_tracked"  # of batch normalisation; files from before 2018 do not have it
AUXILIARY = "auxiliary."  # heads that only training uses; they may be missing there, or here


@dataclass(frozen=True)
class Conversion:
    """What came over.

    weights: every tensor of the network, in our names and shapes. taken, of: tensors from there, and all of ours.
    classes: (theirs, ours). fresh: our tensors that stayed as they were: those of heads whose classes differ, and of
    auxiliary heads that are not there. unused: their names that have no counterpart here, as those of auxiliary heads.
    """

    weights: Mapping[str, Tensor]
    taken: int
    of: int
    classes: tuple[int, int]
    fresh: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        theirs, ours = self.classes
        head = f"; head {theirs} -> {ours} made new" if theirs != ours else "; auxiliary heads made new"
        head = head if self.fresh else ""
        unused = f"; {len(self.unused)} of theirs not used" if self.unused else ""
        return f"{self.taken} of {self.of} tensors{head}{unused}"


def convert(state_dict: Mapping[str, Tensor], model: str | Classifier, source: str) -> dict[str, Tensor]:
    """Return the tensors under the names and in the shapes of `model`, ready for `load_state_dict`.

    model: a name of the catalog, whose head is made for as many classes as the weights have; or a network, which keeps
    its own head where that has another number of classes. source: "torchvision", "timm" or "original", the authors'
    release. Every tensor of the network must be there, and each of theirs must have its place, else a WeightsError
    names the first that do not.
    """
    return dict(convert_with_report(state_dict, model, source).weights)


def convert_with_report(state_dict: Mapping[str, Tensor], model: str | Classifier, source: str) -> Conversion:
    """`convert`, with the counts of what was taken over and what was not."""
    if source not in SOURCES:
        raise UsageError(f"unknown source {source!r}", why="no such library", advice=f"one of: {', '.join(SOURCES)}")
    network = _on_meta(model) if isinstance(model, str) else model
    own = network.state_dict()
    map_name = type(network).__module__.rpartition(".")[2]
    places = key_map(map_name, source).translate(state_dict, own)
    found = _found(state_dict, own, places, source)
    outputs = output_layers(own)
    classes = (found[f"{outputs[0]}.weight"].shape[:1].numel(), own[f"{outputs[0]}.weight"].shape[:1].numel())
    if isinstance(model, str) and classes[0] != classes[1]:
        own, classes = _on_meta(model, classes[0]).state_dict(), (classes[0], classes[0])
    weights, fresh, taken = {}, [], 0
    for key, here in own.items():
        there = found.get(key)
        if there is not None and (fitted := _fit(there, here)) is not None:
            weights[key] = fitted
            taken += 1
        elif there is None and key.endswith(COUNTER):
            weights[key] = torch.zeros((), dtype=here.dtype)
        elif not isinstance(model, str) and (key.rpartition(".")[0] in outputs or key.startswith(AUXILIARY)):
            weights[key] = here
            fresh.append(key)
        else:
            raise _unfit(source, f"{key} is {_describe(here)} here and {_describe(there)} there")
    unused = tuple(key for key in state_dict if places.get(key) not in own)
    return Conversion(weights, taken, len(own), classes, tuple(fresh), unused)


def _on_meta(name: str, classes: int | None = None) -> Classifier:
    with torch.device("meta"):
        return build(name, **({"num_classes": classes} if classes else {}))


def _found(
    theirs: Mapping[str, Tensor], own: Mapping[str, Tensor], places: Mapping[str, str], source: str
) -> dict[str, Tensor]:
    """Their tensors under our names: none missing, double or strange, but for auxiliary heads that are not here."""
    found: dict[str, Tensor] = {}
    for key, place in places.items():
        if place in found:
            raise _unfit(source, f"two of their tensors have the place {place}")
        found[place] = theirs[key]
    missing = [key for key in own if key not in found and not key.endswith(COUNTER) and not key.startswith(AUXILIARY)]
    strange = [key for key, place in places.items() if place not in own and not _is_auxiliary(place, own)]
    if missing or strange:
        what = f"{len(missing)} of our {len(own)} tensors are missing: {', '.join(missing[:3]) or 'none'}"
        raise _unfit(source, f"{what}; {len(strange)} of theirs have no place: {', '.join(strange[:3]) or 'none'}")
    return {key: value for key, value in found.items() if key in own}


def _is_auxiliary(place: str, own: Mapping[str, Tensor]) -> bool:
    """Whether it belongs to an auxiliary head, and the network here has none."""
    return place.startswith(AUXILIARY) and not any(key.startswith(AUXILIARY) for key in own)


def _fit(there: Tensor, here: Tensor) -> Tensor | None:
    """Their tensor in our shape, where the two are the same numbers in the same order and of one kind; else None.

    A fully connected layer is a convolution of the size of its map, and a scale of each channel may be (C, 1, 1).
    """
    if there.is_floating_point() != here.is_floating_point() or there.is_complex() or there.dtype == torch.bool:
        return None
    layers = {there.ndim, here.ndim} == {2, 4} and there.flatten(1).shape == here.flatten(1).shape
    vectors = there.numel() == here.numel() == max(there.shape, default=1) == max(here.shape, default=1)
    return there.reshape(here.shape) if there.shape == here.shape or layers or vectors else None


def _describe(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _unfit(source: str, why: str) -> WeightsError:
    return WeightsError(
        f"these weights of {source} do not fit the network", why=why, advice="the network they are of: lenext models"
    )
