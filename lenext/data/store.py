"""Stores: a length, labels, ids and random access to images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lenext.errors import DataError

# N images, uint8 (C, H, W) each, of one size or of many; as one tensor (N, C, H, W) where they lie in one.
Images = Sequence[Tensor] | Tensor


class Store(Protocol):
    """Images with labels, all alike whether they lie in memory, in a cache or in files."""

    @property
    def labels(self) -> npt.NDArray[Any]:
        """int64 (N,) class numbers; of a multi-label task float32 (N, K), 1 where the image has the class."""

    @property
    def ids(self) -> Sequence[str]:
        """N names that stay with the images: place in the set and digest of the content."""

    def __len__(self) -> int: ...

    def read(self, indices: npt.NDArray[np.int64]) -> Images:
        """Return the images at `indices`, in that order: uint8 (C, H, W) each, of one size or of many."""


@dataclass(frozen=True, eq=False)
class ArrayStore:
    """All images in one tensor: uint8 (N, C, H, W)."""

    images: Tensor
    labels: npt.NDArray[Any]
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
        """Return the images at `indices`, in that order: uint8 (N, C, H, W)."""
        return self.images[torch.from_numpy(np.asarray(indices, dtype=np.int64)).to(self.images.device)]


class Subset:
    """Some images of another store, in the order of `indices`."""

    def __init__(self, store: Store, indices: npt.NDArray[np.int64]) -> None:
        self.store = store
        self.indices = np.asarray(indices, dtype=np.int64)
        self.labels: npt.NDArray[Any] = store.labels[self.indices]
        self.ids: Sequence[str] = tuple(store.ids[i] for i in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: npt.NDArray[np.int64]) -> Images:
        """Return the images at `indices` of this subset, in that order: uint8 (C, H, W) each."""
        return self.store.read(self.indices[indices])


class CachedStore:
    """Another store whose images stay in memory once they were read, up to `limit` bytes of them."""

    def __init__(self, store: Store, limit: int) -> None:
        self.store = store
        self.limit = limit
        self.labels: npt.NDArray[Any] = store.labels
        self.ids: Sequence[str] = store.ids
        self._kept: dict[int, Tensor] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.store)

    def read(self, indices: npt.NDArray[np.int64]) -> list[Tensor]:
        """Return the images at `indices`, in that order: uint8 (C, H, W) each, to be read and not written."""
        missing = [index for index in dict.fromkeys(indices.tolist()) if index not in self._kept]
        fresh = dict(zip(missing, self.store.read(np.array(missing, np.int64)), strict=True)) if missing else {}
        for index, image in fresh.items():
            if self._bytes + image.numel() <= self.limit:  # two threads may add one image twice: no harm is done
                self._kept[index] = image
                self._bytes += image.numel()
        return [fresh[index] if index in fresh else self._kept[index] for index in indices.tolist()]


def pixel_ids(split: str, images: npt.NDArray[np.uint8]) -> tuple[str, ...]:
    """Return "test/00042:1f3a5c7e9b0d" for each image: place in the set, start of the SHA-256 of its raw pixels."""
    digits = max(5, len(str(len(images) - 1)))
    contiguous = np.ascontiguousarray(images)
    return tuple(
        f"{split}/{i:0{digits}d}:{hashlib.sha256(image.data).hexdigest()[:12]}" for i, image in enumerate(contiguous)
    )
