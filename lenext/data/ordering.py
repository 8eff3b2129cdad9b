"""The order of an epoch is an array; shuffling, sharding and resuming are that array."""

import numpy as np
import numpy.typing as npt

from lenext import rng
from lenext.errors import DataError


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
