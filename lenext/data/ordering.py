"""The order of an epoch is an array; shuffling, sharding and resuming are that array."""

import numpy as np
import numpy.typing as npt

from lenext import rng
from lenext.data.store import Store
from lenext.errors import DataError, UsageError


def plan(n: int, *, seed: int, epoch: int, shuffle: bool = True, ranks: int = 1) -> npt.NDArray[np.int64]:
    """Return (ranks, n // ranks) int64: row r is what rank r reads, in order.

    The ranks take turns through one order of the whole set, so step by step together they read what one rank alone
    would; the n % ranks images at the end of the order sit this epoch out.
    """
    if not 1 <= ranks <= n:
        raise DataError(
            f"cannot share {n} images among {ranks} ranks",
            why="every rank needs at least one image",
            advice="use fewer processes or more images",
        )
    order = rng.permutation(seed, epoch, n, "plan") if shuffle else np.arange(n, dtype=np.int64)
    each = n // ranks
    return np.ascontiguousarray(order[: each * ranks].reshape(each, ranks).T)


def epoch_order(store: Store, *, seed: int, epoch: int, balanced: bool = False) -> npt.NDArray[np.int64]:
    """Return the samples of an epoch in their order, (N,): each once, or with `balanced` each class equally often.

    An epoch is taken up at batch k by `epoch_order(...)[k * batch_size:]`.
    """
    if not balanced:
        return np.asarray(plan(len(store), seed=seed, epoch=epoch)[0])
    if store.labels.ndim != 1:
        raise UsageError(
            "cannot balance the classes",
            why="an image may have several of them",
            advice="--set training.loss.class_weights=balanced",
        )
    return balanced_plan(store.labels, seed=seed, epoch=epoch)


def balanced_plan(labels: npt.NDArray[np.int64], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return (n,) int64, an order of n samples in which every class comes equally often, to within one.

    Sample i + n r is image i shown for the r-th time, r from 0: `sample % n` is the image, and each showing has random
    numbers of its own. A class with more images than its share shows a part of them, another one in each epoch.
    labels: class numbers, (n,).
    """
    n = len(labels)
    classes, sizes = np.unique(labels, return_counts=True)
    shares = np.full(len(classes), n // len(classes))
    shares[: n % len(classes)] += 1
    order = rng.permutation(seed, epoch, n, "plan")
    by_class = np.split(order[np.argsort(labels[order], kind="stable")], np.cumsum(sizes)[:-1])
    samples = []
    for images, share in zip(by_class, shares.tolist(), strict=True):
        times = np.arange(share, dtype=np.int64)
        samples.append(images[times % len(images)] + n * (times // len(images)))
    order = rng.permutation(seed, epoch, n, "balance")
    return np.asarray(np.concatenate(samples)[order])
