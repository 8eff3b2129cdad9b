"""Training that begins from another network's weights: what is taken over, what is frozen."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from lenext.config import nearest
from lenext.errors import UsageError, WeightsError
from lenext.models.classifier import Classifier, output_layers


def adopt(classifier: Classifier, weights: Mapping[str, Tensor], *, keep_head: bool) -> list[str]:
    """Copy weights into a classifier of the same topology and return the names of those that stay as they were.

    With `keep_head` nothing stays; without it, the tensors of the layers whose outputs are the classes: the last one of
    the head, and of each auxiliary head. A name or a shape that differs elsewhere is a WeightsError.
    """
    own = classifier.state_dict()
    outputs = [] if keep_head else output_layers(own)
    fresh = {name for name in own if name.rpartition(".")[0] in outputs}
    for name in sorted({*own, *weights}):
        if name not in fresh and (name not in own or name not in weights or own[name].shape != weights[name].shape):
            raise WeightsError(
                "cannot take over these weights",
                why=f"{name} is {_shape(own.get(name))} here and {_shape(weights.get(name))} there",
                advice="use a checkpoint of the same network",
            )
    classifier.load_state_dict({**own, **{name: value for name, value in weights.items() if name not in fresh}})
    return sorted(fresh)


def freeze(classifier: Classifier, places: Sequence[str]) -> None:
    """Take the parameters of the places out of training; `set_training_mode` keeps their norms as they are.

    A network of which nothing is left to train is a UsageError.
    """
    for place in places:
        require_place(classifier, place)
        classifier.get_submodule(place).requires_grad_(False)
    if not any(parameter.requires_grad for parameter in classifier.parameters()):
        raise UsageError("cannot train", why="every parameter is frozen", advice="freeze fewer places")


def set_training_mode(module: nn.Module, classifier: Classifier, frozen: Sequence[str]) -> None:
    """Put `module` into training mode, and the classifier's frozen places back into evaluation mode."""
    module.train()
    for place in frozen:
        classifier.get_submodule(place).eval()


def require_place(model: nn.Module, place: str) -> None:
    """Refuse a name that is no module of the network, with the nearest one."""
    names = [name for name, _ in model.named_modules() if name]
    if place not in names:
        shallow = [name for name in names if name.count(".") <= 1]
        raise UsageError(
            f"unknown place {place!r}", why="the network has no such place", advice=nearest(place, shallow)
        )


def _shape(value: Tensor | None) -> str:
    return "missing" if value is None else "x".join(map(str, value.shape)) or "a number"
