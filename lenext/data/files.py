"""A data set of image files: decoded when they are read."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lenext.data.containers import Container, open_container, shown
from lenext.data.decode import Header, decode_bytes, decoded_size, read_header
from lenext.data.listing import Item, Listing, list_images
from lenext.data.task import Task
from lenext.errors import DataError, UsageError

_LOOKED_AT = 64  # headers, to tell the common size, whether there is colour, and how large all are when decoded
_THREADS = 8
_PIECE = 32  # files that one thread digests before it takes the next


class FileStore:
    """Images of a container. ids: name and start of the SHA-256 of the file's bytes, which are read once for it.

    headers: of some images of the set, by which the size of all is told.
    """

    def __init__(
        self,
        container: Container,
        items: Sequence[Item],
        task: Task,
        channels: int,
        min_side: int,
        headers: Sequence[Header],
    ) -> None:
        self.container = container
        self.headers = headers
        self.items = tuple(items)
        self.channels = channels
        self.min_side = min_side
        self.labels: npt.NDArray[Any] = _labels(self.items, task)
        self.ids: Sequence[str] = _ids(container, self.items)

    def __len__(self) -> int:
        return len(self.items)

    def read(self, indices: npt.NDArray[np.int64]) -> list[Tensor]:
        """Return the images at `indices`, in that order: uint8 (channels, H, W) each; a broken one is a DataError."""
        return [self._image(self.items[index].name) for index in indices.tolist()]

    def decoded_bytes(self) -> int:
        """About how many bytes all decoded images take."""
        sizes = [decoded_size(header.width, header.height, self.min_side) for header in self.headers]
        return sum(width * height for width, height in sizes) * self.channels * len(self) // len(sizes)

    def _image(self, name: str) -> Tensor:
        data = self.container.read(name)
        try:
            return decode_bytes(data, self.min_side, self.channels)
        except DataError as error:
            raise _broken(name, error) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class FileSource:
    """What `lenext.data.sources.Source` asks for, of image files."""

    name: str
    container: Container
    listing: Listing
    native_size: tuple[int, int] | None
    channels: int
    headers: Sequence[Header]
    mirror: bool = True

    @property
    def task(self) -> Task:
        """The classes."""
        return self.listing.task

    @property
    def counts(self) -> Mapping[str, int]:
        """Images by split, or "all"."""
        return self.listing.counts

    @property
    def found(self) -> str:
        """The whole path."""
        return shown(str(self.listing.path.absolute()))

    @property
    def description(self) -> str:
        """One line: files, classes, splits."""
        return self.listing.description

    @property
    def ignored(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        return self.listing.ignored

    def open(self, split: str, min_side: int = 0, channels: int = 0) -> FileStore:
        """Read and digest the files of one split; they are decoded to a shorter side of at least `min_side` pixels."""
        items, channels = self._items(split), channels or self.channels
        return FileStore(self.container, items, self.task, channels, min_side, self.headers)

    def groups(self, split: str) -> tuple[str, ...]:
        """The group of each image of the split, "" where it has none."""
        return tuple(item.group for item in self._items(split))

    def _items(self, split: str) -> list[Item]:
        if split not in self.counts:
            raise UsageError(
                f"cannot open the split {split!r} of {self.name}",
                why=f"it has {', '.join(self.counts)}",
                advice="use one of them",
            )
        return [item for item in self.listing.items if item.split == split]


def open_files(path: Path) -> FileSource:
    """Find the images of a folder, a .zip or a .tar, and look at the headers of some of them."""
    if shown(str(path.absolute())) != str(path.absolute()):
        why = "its path is no text in UTF-8, and a run must write it down"
        raise DataError(f"cannot use {shown(str(path))} as data", why=why, advice="rename the folder")
    container = open_container(path)
    listing = list_images(container, path)
    count = min(_LOOKED_AT, len(listing.items))
    chosen = np.linspace(0, len(listing.items) - 1, count).round().astype(int).tolist()
    headers = _headers(container, [listing.items[index].name for index in chosen])
    sizes = {_upright(header) for header in headers}
    grey = all(header.is_grey for header in headers)
    return FileSource(
        name=shown(str(path.absolute())),
        container=container,
        listing=listing,
        native_size=sizes.pop() if len(sizes) == 1 else None,
        channels=1 if grey else 3,
        headers=headers,
    )


def _headers(container: Container, names: Sequence[str]) -> list[Header]:
    """Return the headers that can be read: a broken file is the business of whoever decodes it, unless all are."""
    headers = []
    for name in names:
        try:
            headers.append(read_header(container.read(name)))
        except DataError as error:
            broken = _broken(name, error)
    if not headers:
        raise broken
    return headers


def _upright(header: Header) -> tuple[int, int]:
    """Return height and width as the image is seen: orientations 5 to 8 lie on their side (Exif 2.3, tag 274)."""
    return (header.width, header.height) if header.orientation >= 5 else (header.height, header.width)


def _labels(items: Sequence[Item], task: Task) -> npt.NDArray[Any]:
    if not task.multi_label:
        return np.array([item.labels[0] for item in items], dtype=np.int64)
    marks = np.zeros((len(items), task.num_classes), dtype=np.float32)
    for mark, item in zip(marks, items, strict=True):
        mark[list(item.labels)] = 1
    return marks


def _ids(container: Container, items: Sequence[Item]) -> tuple[str, ...]:
    def digest(start: int) -> list[str]:
        names = [item.name for item in items[start : start + _PIECE]]
        return [f"{shown(name)}:{hashlib.sha256(container.read(name)).hexdigest()[:12]}" for name in names]

    with ThreadPoolExecutor(_THREADS) as pool:
        return tuple(name for piece in pool.map(digest, range(0, len(items), _PIECE)) for name in piece)


def _broken(name: str, error: DataError) -> DataError:
    return DataError(f"cannot decode {shown(name)}", why=error.why, advice=error.advice)
