"""What inference and training hold in memory, to the byte that an operator allocates, from a step without data.

A copy on the meta device runs the same operators in the same order, and its tensors live as long as real ones: each
new storage is counted when it is made and when it is freed. What a kernel takes for itself while it works (a
convolution's workspace, at most some MiB on a CPU) is no tensor, and is not counted.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lenext.costs.operators import prepare_twin
from lenext.errors import UsageError
from lenext.models.classifier import Classifier

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes, for `batch` images at once.

    weights: parameters and buffers. gradients: of the parameters that are trained. optimizer: what it keeps between two
    steps. images: the batch. saved: what autograd keeps of a forward pass for the backward pass, beside weights and
    images (its own second copies of them among it). inference, training: the most that is held at one moment, of all
    this and of what operators make in between.
    """

    batch: int
    weights: int
    gradients: int
    optimizer: int
    images: int
    saved: int
    inference: int
    training: int


def measure_memory(
    model: nn.Module, input_size: Sequence[int], batch: int = 1, *, make_optimizer: MakeOptimizer | None = None
) -> Memory:
    """Run inference and two training steps on a copy without data; `model` itself is never run or changed.

    input_size: of one image, without the batch. make_optimizer: from the copy; plain descent without momentum unless
    told otherwise. Training minimises the cross-entropy of the scores, and of a Classifier's auxiliary heads.
    """
    if batch < 1:
        raise UsageError("cannot measure memory", why=f"a batch of {batch} has no images", advice="batch=32")
    inference = _Ledger(*_inference_twin(model, input_size, batch))
    with torch.no_grad(), inference:
        inference.model(inference.images)
    training = _Ledger(*_training_twin(model, input_size, batch))
    make = make_optimizer or (lambda twin: torch.optim.SGD(twin.parameters(), lr=0.1))
    saved, gradients, state = _train(training, make)
    return Memory(
        batch=batch,
        weights=training.weights,
        gradients=gradients,
        optimizer=state,
        images=_bytes(training.images),
        saved=saved,
        inference=inference.peak,
        training=training.peak,
    )


def largest_batch(
    model: nn.Module,
    input_size: Sequence[int],
    limit: int,
    *,
    make_optimizer: MakeOptimizer | None = None,
    train: bool = True,
) -> int:
    """The most images whose training (or inference) holds at most `limit` bytes; 0 where not even one does."""

    def held(batch: int) -> int:
        found = measure_memory(model, input_size, batch, make_optimizer=make_optimizer)
        return found.training if train else found.inference

    fits, too_many, under, over = 0, 1, 0, held(1)
    while over <= limit:
        fits, under, too_many = too_many, over, 2 * too_many
        over = held(too_many)
    while too_many - fits > 1:  # what is held is nearly a straight line of the batch
        guess = fits + (limit - under) * (too_many - fits) // (over - under)
        batch = min(max(guess, fits + 1), too_many - 1)
        if (found := held(batch)) <= limit:
            fits, under = batch, found
        else:
            too_many, over = batch, found
    return fits


class _Ledger(TorchDispatchMode):
    """Counts the bytes of every storage from the operator that makes it to the moment that nobody refers to it."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model, self.images = model, images
        self.sizes: dict[int, int] = {}
        self.held = self.peak = 0
        for tensor in (*model.parameters(), *model.buffers()):
            self._note(tensor)
        self.weights = self.held
        self._note(images)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, Tensor):
                self._note(value)
        return made

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.sizes:
            self.sizes[key] = storage.nbytes()
            self.held += self.sizes[key]
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.held -= self.sizes.pop(key)


def _train(ledger: _Ledger, make: MakeOptimizer) -> tuple[int, int, int]:
    """Take two steps, the second beside the optimiser's state; return the bytes saved, of gradients, of the state."""
    model, images, kept = ledger.model, ledger.images, {}
    own = {value.untyped_storage()._cdata for value in (*model.parameters(), *model.buffers(), images)}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with ledger:
        optimizer = make(model)
        for _ in range(2):
            kept.clear()
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                loss = _loss(model, images)
            loss.backward()
            del loss
            gradients = sum(_bytes(p.grad) for p in model.parameters() if p.grad is not None)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    state = sum(
        _bytes(value)
        for one in optimizer.state.values()
        for value in one.values()
        if isinstance(value, Tensor) and value.ndim
    )
    return sum(kept.values()), gradients, state


def _loss(model: nn.Module, images: Tensor) -> Tensor:
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    if not (isinstance(model, Classifier) and model.auxiliary):
        return F.cross_entropy(model(images).flatten(1), labels)
    found = model.features(images, [*(f"stages.{name}" for name in model.auxiliary), "head"])
    heads = [head(found[f"stages.{name}"]) for name, head in model.auxiliary.items()]
    losses = [F.cross_entropy(scores, labels) for scores in (found["head"], *heads)]
    return torch.stack(losses).sum()


def _inference_twin(model: nn.Module, input_size: Sequence[int], batch: int) -> tuple[nn.Module, Tensor]:
    twin, image = prepare_twin(model, input_size)
    return twin, image.new_empty(batch, *image.shape[1:])


def _training_twin(model: nn.Module, input_size: Sequence[int], batch: int) -> tuple[nn.Module, Tensor]:
    twin, images = _inference_twin(model, input_size, batch)
    for mine, its in zip(twin.parameters(), model.parameters(), strict=True):
        mine.requires_grad_(its.requires_grad)
    return twin.train(), images


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()
