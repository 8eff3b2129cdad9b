"""Stores: a length, labels, ids and random access to images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lenext.errors import DataError


class Store(Protocol):
    """Images with labels, all alike whether they lie in memory, in a cache or in files."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) class numbers."""

    @property
    def ids(self) -> Sequence[str]:
        """N names that stay with the images: place in the set and digest of the content."""

    def __len__(self) -> int: ...

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the images at `indices`, in that order: uint8 (n, C, H, W)."""


@dataclass(frozen=True, eq=False)
class ArrayStore:
    """All images in one tensor: uint8 (N, C, H, W)."""

    images: Tensor
    labels: npt.NDArray[np.int64]
    ids: Sequence[str]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(
                "cannot use these images",
                why=f"they are {self.images.dtype} of shape {tuple(self.images.shape)}, not uint8 (N, C, H, W)",
                advice="convert them first",
            )
        if not len(self.images) == len(self.labels) == len(self.ids):
            raise DataError(
                "cannot pair images with labels",
                why=f"{len(self.images)} images, {len(self.labels)} labels, {len(self.ids)} ids",
                advice="give one label and one id for each image",
            )

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the images at `indices`, in that order: uint8 (n, C, H, W)."""
        return self.images[torch.from_numpy(np.asarray(indices, dtype=np.int64)).to(self.images.device)]


class Subset:
    """Some images of another store, in the order of `indices`."""

    def __init__(self, store: Store, indices: npt.NDArray[np.int64]) -> None:
        self.store = store
        self.indices = np.asarray(indices, dtype=np.int64)
        self.labels: npt.NDArray[np.int64] = store.labels[self.indices]
        self.ids: Sequence[str] = tuple(store.ids[i] for i in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the images at `indices` of this subset, in that order: uint8 (n, C, H, W)."""
        return self.store.read(self.indices[indices])


def pixel_ids(split: str, images: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    """Return "test/00042:1f3a5c7e9b0d" for each image: place in the set, start of the SHA-256 of its raw pixels."""
    digits = max(5, len(str(len(images) - 1)))
    contiguous = np.ascontiguousarray(images)
    return tuple(
        f"{split}/{i:0{digits}d}:{hashlib.sha256(image.data).hexdigest()[:12]}" for i, image in enumerate(contiguous)
    )
