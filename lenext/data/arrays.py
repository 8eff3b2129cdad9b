"""Data that a program has in memory already: numpy arrays as a source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lenext.data.sources import SOURCES
from lenext.data.store import ArrayStore, pixel_ids
from lenext.data.task import Task
from lenext.errors import DataError, UsageError

Pair = tuple[npt.NDArray[Any], npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrays:
    """What `lenext.data.sources.Source` asks for, of images in memory, (N, C, H, W), and their labels by split."""

    name: str
    task: Task
    splits: Mapping[str, Pair]
    mirror: bool

    @property
    def native_size(self) -> tuple[int, int]:
        """Height and width, which all images have."""
        height, width = next(iter(self.splits.values()))[0].shape[-2:]
        return int(height), int(width)

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(next(iter(self.splits.values()))[0].shape[1])

    @property
    def counts(self) -> Mapping[str, int]:
        """Images by split, or "all"."""
        return {split: len(labels) for split, (_, labels) in self.splits.items()}

    @property
    def found(self) -> str:
        """Where it lies."""
        return "in memory"

    @property
    def description(self) -> str:
        """One line: images, classes, splits."""
        splits = ["no splits"] if "all" in self.counts else [f"{n:,} {split}" for split, n in self.counts.items()]
        return ", ".join([f"{sum(self.counts.values()):,} images", f"{self.task.num_classes} classes", *splits])

    @property
    def ignored(self) -> tuple[str, ...]:
        """Nothing is left out."""
        return ()

    def open(self, split: str, min_side: int = 0, channels: int = 0) -> ArrayStore:
        """Return the images of one split."""
        images, labels = self.splits[split]
        return ArrayStore(torch.from_numpy(images), labels, pixel_ids(split, images))

    def groups(self, split: str) -> tuple[str, ...]:
        """No group for any image."""
        return ("",) * self.counts[split]


def from_arrays(
    images: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    classes: Sequence[str],
    *,
    validation: Pair | None = None,
    test: Pair | None = None,
    mirror: bool = True,
    name: str = "arrays",
) -> Arrays:
    """Make a source of numpy arrays, for `train`, `resume` and `evaluate`; a run cannot find it again by itself.

    images: uint8 (N, H, W) or (N, H, W, 1 or 3). labels: whole numbers (N,) below the number of classes, or 0 and 1
    (N, K) where an image may have several. validation, test: pairs of the same kinds; without either, the data is split
    70/15/15. mirror: whether an image seen in a mirror is still one of its class. What does not fit is a DataError.
    """
    multi_label = np.asarray(labels).ndim == 2
    task = Task(tuple(classes), multi_label)
    given = {"train": (images, labels), "validation": validation, "test": test}
    splits = {split: _checked(split, *pair, task) for split, pair in given.items() if pair is not None}
    if len({pair[0].shape[1:] for pair in splits.values()}) > 1:
        why = "; ".join(f"{split} is {pair[0].shape}" for split, pair in splits.items())
        raise DataError("cannot use these arrays together", why=why, advice="give all images one size")
    if list(splits) == ["train"]:
        splits = {"all": splits["train"]}
    if "/" in name or not name or name in SOURCES:
        why = "a set of that name is known" if name in SOURCES else "a path would be looked for"
        raise UsageError(f"cannot call data {name!r}", why=why, advice="name='arrays'")
    return Arrays(name=name, task=task, splits=splits, mirror=mirror)


def _checked(split: str, images: npt.NDArray[Any], labels: npt.NDArray[Any], task: Task) -> Pair:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        why = f"{images.dtype} of shape {images.shape}, not uint8 (N, H, W) or (N, H, W, 1 or 3)"
        advice = "convert them first: (x * 255).astype('uint8')"
        raise DataError(f"cannot use the {split} images", why=why, advice=advice)
    expected = (len(images), task.num_classes) if task.multi_label else (len(images),)
    if labels.shape != expected or labels.dtype.kind not in "iubf" or not len(images):
        why = f"labels are {labels.dtype} of shape {labels.shape}"
        why += f" for {len(images)} images and {task.num_classes} classes"
        raise DataError(f"cannot use the {split} labels", why=why, advice="give one label for each image")
    highest = 1 if task.multi_label else task.num_classes - 1
    wrong = ~np.isin(labels, np.arange(highest + 1))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        why = f"label {labels[place]} of image {place[0]}; labels are whole numbers from 0 to {highest}"
        raise DataError(f"cannot use the {split} labels", why=why, advice="number the classes from 0")
    images = images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return images, labels.astype(np.float32 if task.multi_label else np.int64)
