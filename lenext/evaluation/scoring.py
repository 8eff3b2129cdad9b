"""Scores of a trained network, the same for an image whatever batch it comes in: float32, evaluation mode, no gradient.

Images go to the device where the network lies. The network comes back in the mode it was in, also after an exception
and while whoever iterates `score_batches` does something else.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lenext.data.batches import Batch, eval_batches
from lenext.data.preprocessing import Preprocessing
from lenext.data.store import Store
from lenext.device import keep_memory
from lenext.errors import DataError, UsageError
from lenext.predictions import sigmoid, softmax

BATCH_SIZE = 256

# Matrix kernels sum in another order for the odd rows of a batch, which moves probabilities by some 1e-6; of a batch
# that is a multiple of four they treat all rows alike (oneDNN and MKL, measured for batches of 1 to 80).
_MULTIPLE = 4

# Where torch may compute float32 products in fewer bits: TF32 in cuDNN's convolutions is on from the start. (torch puts
# an object in the place of these modules when it is imported, so their stubs know no such attributes.)
_PRODUCTS: tuple[Any, ...] = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
)


def score_store(
    model: nn.Module, store: Store, preprocessing: Preprocessing, *, batch_size: int = BATCH_SIZE, workers: int = 0
) -> NDArray[np.float32]:
    """Scores (N, K) of every image of the store, in its order; `score_batches` gives them as they are computed."""
    _check_counts(len(store), batch_size)
    return np.concatenate(list(score_batches(model, eval_batches(store, preprocessing, batch_size, workers))))


def score_batches(model: nn.Module, batches: Iterable[Batch]) -> Iterator[NDArray[np.float32]]:
    """Yield the scores (n, K) of each batch."""
    for batch in batches:
        yield score_images(model, batch.images)


def score_images(model: nn.Module, images: Tensor) -> NDArray[np.float32]:
    """Scores (N, K) of one batch of preprocessed images, float32 (N, C, H, W)."""
    keep_memory()
    device = next((parameter.device for parameter in model.parameters()), images.device)
    n, missing = len(images), -len(images) % _MULTIPLE
    padded = torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing else images
    with _evaluating(model), full_precision(), torch.inference_mode(), torch.autocast(device.type, enabled=False):
        scores: Tensor = model(padded.to(device))
        return scores[:n].float().cpu().numpy()


def describe_prediction(
    scores: NDArray[np.float32], classes: Sequence[str], k: int = 5, *, multi_label: bool = False
) -> dict[str, Any]:
    """Turn one row of scores (K,) into {"class", "index", "probability", "top5"}, JSON-ready.

    "top5" lists the `k` likeliest classes (all, where there are fewer), each as {"class", "index", "probability"}, the
    likeliest first; of equal ones the lower index comes first. With `multi_label` each class has a probability of its
    own, and "classes" lists those above one half.
    """
    if scores.shape != (len(classes),) or not len(classes) or not np.isfinite(scores).all():
        raise DataError(
            "cannot read this prediction",
            why=f"scores of shape {scores.shape}, {int(np.isfinite(scores).sum())} of them finite, "
            f"for {len(classes)} classes",
            advice="check that the class names belong to the network, and that its weights are finite",
        )
    probabilities = sigmoid(scores) if multi_label else softmax(scores)
    ranking = [
        {"class": classes[index], "index": int(index), "probability": float(probabilities[index])}
        for index in np.argsort(-scores, kind="stable")[: max(k, 1)]
    ]
    if multi_label:
        present = [classes[index] for index in np.flatnonzero(probabilities > 0.5).tolist()]
        return {**ranking[0], "top5": ranking, "classes": present}
    return {**ranking[0], "top5": ranking}


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards each submodule's own mode again, frozen ones included."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Whole float32 products inside the block, whatever the process has allowed for its training."""
    allowed = [place.fp32_precision for place in _PRODUCTS]
    try:
        for place in _PRODUCTS:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, precision in zip(_PRODUCTS, allowed, strict=True):
            place.fp32_precision = precision


def _check_counts(images: int, batch_size: int) -> None:
    if images == 0:
        raise DataError("cannot score images", why="there are none", advice="check the data set and its split")
    if batch_size < 1:
        raise UsageError(
            f"cannot score in batches of {batch_size}", why="a batch holds images", advice="batch_size=256"
        )
