"""How far a place of each layer sees in effect: the pixels that move it, by the gradient of its middle place.

The field of field.py is what could be seen; most of what is seen lies in its middle (Luo et al. 2016).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from lenext.costs.field import receptive_fields
from lenext.costs.meta import tensors_in
from lenext.errors import UsageError
from lenext.models.classifier import Classifier

# Of the strongest gradient, that which still counts: two deviations of a normal. Luo et al. 2016, section 3, take the
# centre's for the strongest, which it is over enough images.
LEAST = 1 - 0.9545


@dataclass(frozen=True)
class EffectiveField:
    """name: of the module. output: shape without the batch. size: what could be seen, pixels a side; () where unknown.

    effective: side of a square of as many pixels as move the middle place by at least LEAST of the strongest. gradient:
    float32 (height, width), the mean over images of the sum over channels of its absolute value.
    """

    name: str
    output: tuple[int, ...]
    size: tuple[int, ...]
    effective: float
    gradient: Tensor


def effective_fields(model: nn.Module, images: Tensor, names: Sequence[str] | None = None) -> list[EffectiveField]:
    """Of the modules `names`, for images (N, C, height, width): in evaluation mode, with the weights as they are.

    names: unless told, the places of a Classifier, or the outermost modules of another, that give a map. A module that
    did not run, or whose output is no map (N, C, height, width), is a UsageError.
    """
    twin, outputs = copy.deepcopy(model).eval(), dict[str, Tensor]()  # hooks and modes of `model` stay its own
    seen = {field.name: field for field in receptive_fields(model, images.shape[1:])}
    if names is None:
        places = (
            model.places() if isinstance(model, Classifier) else [name for name in seen if name and "." not in name]
        )
        names = [name for name in places if name in seen and len(seen[name].output) == 3]

    def keep(name: str) -> None:
        def hook(_: nn.Module, __: object, output: object) -> None:
            tensor = next(tensors_in((output,)), None)
            if tensor is not None:
                outputs[name] = tensor.clone()  # what follows may write into it

        twin.get_submodule(name).register_forward_hook(hook)

    for name in names:
        keep(name)
    pixels = images.clone().requires_grad_()
    with torch.enable_grad():
        twin(pixels)
        return [_field(name, outputs.get(name), pixels, seen[name].size if name in seen else ()) for name in names]


def _field(name: str, output: Tensor | None, pixels: Tensor, size: tuple[int, ...]) -> EffectiveField:
    if output is None or output.ndim != 4:
        why = "it did not run" if output is None else f"its output has {output.ndim - 1} sides"
        raise UsageError(f"cannot tell how far {name} sees", why=why, advice="a place whose output is a map")
    height, width = output.shape[2:]
    middle = output[:, :, height // 2, width // 2].sum()
    found = torch.autograd.grad(middle, pixels, retain_graph=True)[0]
    gradient = found.abs().sum(1).mean(0).float()
    count = int((gradient >= LEAST * gradient.max()).sum()) if gradient.any() else 0
    return EffectiveField(name, tuple(output.shape[1:]), size, sqrt(count), gradient)
