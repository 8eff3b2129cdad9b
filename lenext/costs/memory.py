"""What inference and training hold in memory, to the byte that an operator allocates, from a step without data.

A copy on the meta device runs the operators that a CPU would, in the same order, and its tensors live as long as real
ones: each new storage is counted when it is made and when it is freed. What a kernel takes for itself while it works (a
convolution's workspace, at most some MiB on a CPU) is no tensor, and is not counted. Attention is followed by its
products one by one, which a CPU may fuse and then keeps less.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lenext.costs.meta import tensors_in
from lenext.costs.operators import prepare_twin, require_gradients
from lenext.errors import UsageError
from lenext.models.classifier import Classifier
from lenext.models.parts import DropPath

aten = torch.ops.aten
Precision = Literal["float32", "bf16"]
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes, for `batch` images at once.

    weights: parameters and buffers. gradients: of the parameters that are trained. optimizer: what it keeps between two
    steps. images: the batch. activations: all that a forward pass in evaluation writes, whether it is kept or not.
    saved: what autograd keeps of a forward pass for the backward pass, beside weights and images. inference, training:
    the most that is held at one moment, of all this and of what operators make in between.
    """

    batch: int
    weights: int
    gradients: int
    optimizer: int
    images: int
    activations: int
    saved: int
    inference: int
    training: int


def measure_memory(
    model: nn.Module,
    input_size: Sequence[int],
    batch: int = 2,
    *,
    make_optimizer: MakeOptimizer | None = None,
    precision: Precision = "float32",
) -> Memory:
    """Run inference and two training steps on a copy without data; `model` itself is never run or changed.

    input_size: of one image, without the batch. make_optimizer: from the copy; plain descent without momentum unless
    told otherwise. Training minimises the cross-entropy of the scores, and of a Classifier's auxiliary heads; no path
    is dropped for a whole batch. precision: "bf16" is autocast, as training does it: weights, gradients and statistics
    stay float32. A batch that a network cannot be trained on is a UsageError.
    """
    if batch < 1:
        raise UsageError("cannot measure memory", why=f"a batch of {batch} has no images", advice="batch=32")
    step = _train(model, input_size, batch, make_optimizer, precision)
    inference, written = _infer(model, input_size, batch, precision)
    return Memory(batch=batch, **step, activations=written, inference=inference)


def largest_batch(
    model: nn.Module,
    input_size: Sequence[int],
    limit: int,
    *,
    make_optimizer: MakeOptimizer | None = None,
    train: bool = True,
    precision: Precision = "float32",
) -> int:
    """The most images whose training (or inference) holds at most `limit` bytes; 0 where not even one does."""

    def held(batch: int) -> int:
        if train:
            return _train(model, input_size, batch, make_optimizer, precision)["training"]
        return _infer(model, input_size, batch, precision)[0]

    fits, too_many = 1, 2  # a batch norm may not train on one
    under, over = 0, held(2)
    while over <= limit:
        fits, under, too_many = too_many, over, 2 * too_many
        over = held(too_many)
    halve = False
    while too_many - fits > 1:  # what is held is nearly a straight line of the batch, but for kinks
        gap = too_many - fits
        guess = fits + (gap // 2 if halve else (limit - under) * gap // (over - under))
        batch = min(max(guess, fits + 1), too_many - 1)
        if (found := held(batch)) <= limit:
            fits, under = batch, found
        else:
            too_many, over = batch, found
        halve = too_many - fits > gap // 2
    if fits > 1:
        return fits
    try:
        return int(held(1) <= limit)
    except UsageError:
        return 0


class _Ledger(TorchDispatchMode):
    """Counts the bytes of every storage from the operator that makes it to the moment that nobody refers to it.

    It refers to no tensor: finalizers refer to it as long as the storages live.
    """

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: dict[int, int] = {}
        self.held = self.peak = self.made = 0
        for tensor in held:
            self._note(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in (aten.native_batch_norm.default, aten.native_layer_norm.default):
            made = (made[0], *(_statistics(func, args, one) for one in made[1:]))
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
            self.made += self.sizes[key] if tensor.is_floating_point() else 0
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.held -= self.sizes.pop(key)


def _statistics(func: Any, args: Any, found: Tensor) -> Tensor:
    """As a CPU keeps them, of the weights' type and none in evaluation, which torch's rules without data leave out."""
    weight = args[1] if func is aten.native_batch_norm.default else args[2]
    if func is aten.native_batch_norm.default and not args[5]:
        return found.new_empty(0)
    return found if weight is None else found.to(weight.dtype)


@contextlib.contextmanager
def _twin(
    model: nn.Module, input_size: Sequence[int], batch: int, precision: Precision
) -> Iterator[tuple[nn.Module, Tensor]]:
    """A copy without data and its batch; in half precision of a device that knows autocast, to be used within."""
    half = precision == "bf16"
    with FakeTensorMode() if half else contextlib.nullcontext():
        twin, image = prepare_twin(model, input_size, "cpu" if half else "meta")
        require_gradients(twin, model)
        yield twin, image.new_empty(batch, *image.shape[1:])


def _autocast(precision: Precision) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def _infer(model: nn.Module, input_size: Sequence[int], batch: int, precision: Precision) -> tuple[int, int]:
    """The most that is held, and all that is written."""
    with _twin(model, input_size, batch, precision) as (twin, images):
        ledger = _Ledger([*twin.parameters(), *twin.buffers(), images])
        before = ledger.made
        with torch.no_grad(), ledger, _autocast(precision):
            twin(images)
    return ledger.peak, ledger.made - before


def _train(
    model: nn.Module, input_size: Sequence[int], batch: int, make: MakeOptimizer | None, precision: Precision
) -> dict[str, int]:
    """Take two steps, the second beside the optimiser's state, and return what `Memory` says of training."""
    with _twin(model, input_size, batch, precision) as (twin, images):
        for module in twin.train().modules():
            if isinstance(module, DropPath):
                vars(module)["drops_batch"] = lambda: False  # a batch that drops no branch needs most
        return _steps(twin, images, make, precision)


def _steps(twin: nn.Module, images: Tensor, make: MakeOptimizer | None, precision: Precision) -> dict[str, int]:
    own = [*twin.parameters(), *twin.buffers(), images]
    known = {value.untyped_storage()._cdata for value in own}
    ledger, kept = _Ledger(own), set[int]()

    def note(tensor: Tensor) -> Tensor:
        kept.add(tensor.untyped_storage()._cdata)
        return tensor.detach()  # the tensor itself would be part of a cycle, and live on

    with torch.random.fork_rng(devices=[]), ledger:
        optimizer = make(twin) if make else torch.optim.SGD(twin.parameters(), lr=0.1)
        for _ in range(2):
            kept.clear()
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), _autocast(precision):
                loss = _loss(twin, images)
            saved = sum(ledger.sizes.get(key, 0) for key in kept - known)
            loss.backward()
            del loss
            gradients = sum(_bytes(p.grad) for p in twin.parameters() if p.grad is not None)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    states = [value for one in optimizer.state.values() for value in one.values() if isinstance(value, Tensor)]
    return {
        "weights": sum(_bytes(value) for value in {id(one): one for one in own[:-1]}.values()),
        "gradients": gradients,
        "optimizer": sum(_bytes(value) for value in states if value.ndim),  # the counts of steps lie on the CPU
        "images": _bytes(images),
        "saved": saved,
        "training": ledger.peak,
    }


def _loss(model: nn.Module, images: Tensor) -> Tensor:
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    try:
        if not (isinstance(model, Classifier) and model.auxiliary):
            return F.cross_entropy(_scores(model(images)).flatten(1).float(), labels)
        found = model.features(images, [*(f"stages.{name}" for name in model.auxiliary), "head"])
        loss = F.cross_entropy(found["head"].float(), labels)
        for name, head in model.auxiliary.items():
            loss = loss + F.cross_entropy(head(found[f"stages.{name}"]).float(), labels)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            f"cannot train on {len(images)} image at once",
            why="a batch norm sees one number a channel",
            advice="batch=2",
        ) from error
    return loss


def _scores(output: Any) -> Tensor:
    """The first tensor of what a network returns: some return their auxiliary scores, too."""
    return next(tensors_in((output,)))


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()
