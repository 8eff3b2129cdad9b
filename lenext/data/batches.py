"""From a store to batches: read, fit, augment, normalise, for a whole batch at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lenext.data.augmentation import augment as vary
from lenext.data.augmentation import random_resized_crop
from lenext.data.colour import ColourBasis
from lenext.data.config import AugmentConfig
from lenext.data.mixing import mix
from lenext.data.preprocessing import Preprocessing, enframe, fit, normalise, preprocess
from lenext.data.store import Store

T = TypeVar("T")
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch of N images.

    images: float32 (N, C, H, W), of photographs in training with the values of a pixel side by side. targets: int64
    (N,) class numbers, or float32 (N, K) shares of the classes. samples: int64 (N,), indices into the store; of an
    image shown again in the epoch, its index plus multiples of the length.
    """

    images: Tensor
    targets: Tensor
    samples: Indices


@dataclass(frozen=True)
class Variation:
    """How training images are varied, and what that takes to know of the data. colours: for colour noise alone."""

    config: AugmentConfig
    num_classes: int
    colours: ColourBasis | None = None


def train_batches(
    store: Store,
    preprocessing: Preprocessing,
    variation: Variation,
    order: Indices,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    workers: int = 0,
) -> Iterator[Batch]:
    """Yield batches of `batch_size` samples in their order; those at the end that fill no batch sit out.

    order: what remains of the epoch, from `epoch_order`. A batch is the same whether threads (`workers` of them)
    prepare it ahead or nobody does. Images are varied at the training size, but for the random resized crop, which
    brings them there.
    """
    config = variation.config

    def make(start: int) -> Batch:
        samples = order[start : start + batch_size]
        stored = store.read(samples % len(store))
        if config.crop_area or config.short_side:
            cut = random_resized_crop(stored, preprocessing.inner, config, seed=seed, epoch=epoch, samples=samples)
            images = enframe(cut, preprocessing)
        else:
            images = fit(stored, preprocessing)
        images = vary(images, config, seed=seed, epoch=epoch, samples=samples, colours=variation.colours)
        batch = _batch(store, normalise(images, preprocessing), samples)
        return mix(batch, config, variation.num_classes, seed=seed, epoch=epoch, number=int(samples[0]))

    return prepared(make, range(0, len(order) - batch_size + 1, batch_size), workers)


def eval_batches(store: Store, preprocessing: Preprocessing, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """Yield every image once, in order; the last batch may be smaller."""

    def make(start: int) -> Batch:
        samples = np.arange(start, min(start + batch_size, len(store)), dtype=np.int64)
        return _batch(store, preprocess(store.read(samples), preprocessing), samples)

    return prepared(make, range(0, len(store), batch_size), workers)


def prepared(make: Callable[[int], T], numbers: Iterable[int], workers: int) -> Iterator[T]:
    """Yield make(number) in order; with workers, each in a thread of its own while earlier ones are used.

    Threads, not processes: decoding and torch's operators run outside the interpreter's lock, the images need no copy
    from process to process, and a cache serves all.
    """
    if workers == 0:
        yield from map(make, numbers)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        ahead: deque[Future[T]] = deque()
        for number in numbers:
            ahead.append(pool.submit(make, number))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batch(store: Store, images: Tensor, samples: Indices) -> Batch:
    return Batch(images, torch.from_numpy(store.labels[samples % len(store)]), samples)
