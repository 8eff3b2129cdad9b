"""From a store to batches: read, fit, augment, normalise, for a whole batch at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lenext.data.augmentation import augment as vary
from lenext.data.config import AugmentConfig
from lenext.data.ordering import plan
from lenext.data.preprocessing import Preprocessing, fit, normalise
from lenext.data.store import Store
from lenext.errors import DataError


@dataclass(frozen=True, eq=False)
class Batch:
    """images: float32 (N, C, H, W); targets: int64 (N,) class numbers; samples: int64 (N,) indices into the store."""

    images: Tensor
    targets: Tensor
    samples: npt.NDArray[np.int64]


def train_batches(
    store: Store,
    preprocessing: Preprocessing,
    augment: AugmentConfig,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    start: int = 0,
) -> Iterator[Batch]:
    """Yield the epoch's batches from number `start` on, all of `batch_size`; the images that fill no batch sit out.

    Batch k is the same whether the epoch began at 0 or was resumed at k. Augmentation works at the training size.
    """
    count = len(store) // batch_size
    if count == 0:
        raise DataError(
            f"cannot make a batch of {batch_size}",
            why=f"there are {len(store)} training images",
            advice=f"use a batch size of at most {len(store)}",
        )
    order = plan(len(store), seed=seed, epoch=epoch)[0]

    def batches() -> Iterator[Batch]:
        for index in range(start, count):
            samples = order[index * batch_size : (index + 1) * batch_size]
            images = vary(fit(store.read(samples), preprocessing), augment, seed=seed, epoch=epoch, samples=samples)
            yield _batch(store, normalise(images, preprocessing), samples)

    return batches()


def eval_batches(store: Store, preprocessing: Preprocessing, batch_size: int) -> Iterator[Batch]:
    """Yield every image once, in order; the last batch may be smaller."""
    for start in range(0, len(store), batch_size):
        samples = np.arange(start, min(start + batch_size, len(store)), dtype=np.int64)
        yield _batch(store, normalise(fit(store.read(samples), preprocessing), preprocessing), samples)


def _batch(store: Store, images: Tensor, samples: npt.NDArray[np.int64]) -> Batch:
    return Batch(images, torch.from_numpy(store.labels[samples]), samples)
