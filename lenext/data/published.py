"""The sets that others publish: where they are looked for and how they are opened. Nothing here touches the network."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from lenext.data.cifar import CIFAR_SETS, find_cifar, read_cifar
from lenext.data.idx import read_idx, read_shape
from lenext.data.split import hold_out
from lenext.data.store import ArrayStore, pixel_ids
from lenext.data.task import Task
from lenext.errors import DataError

FileKey = tuple[str, Literal["images", "labels"]]

_NUMERALS = tuple("0123456789")
_FILES: dict[FileKey, str] = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
_DIGITS = Path(__file__).with_name("digits.npz")
_DIGITS_TEST = 360  # a fifth of the 1797, as in the usual examples on this set


@dataclass(frozen=True, kw_only=True)
class Published:
    """What every published set tells of itself, as `lenext.data.sources.Source` describes it."""

    name: str
    task: Task
    native_size: tuple[int, int]
    channels: int
    counts: Mapping[str, int]
    found: str
    description: str
    mirror: bool

    def groups(self, split: str) -> tuple[str, ...]:
        """No group for any image."""
        return ("",) * self.counts[split]

    @property
    def ignored(self) -> tuple[str, ...]:
        """Nothing is left out."""
        return ()


class Digits(Published):
    """The 8x8 digits that come with lenext."""

    def open(self, split: str, min_side: int = 0, channels: int = 0) -> ArrayStore:
        """Load one split into memory."""
        images, labels, numbers = _read_digits(split)
        names = pixel_ids("", images)
        ids = tuple(f"{split}/{n:05d}:{i.partition(':')[2]}" for n, i in zip(numbers, names, strict=True))
        return ArrayStore(torch.from_numpy(images), labels, ids)


@dataclass(frozen=True, kw_only=True)
class Idx(Published):
    """A set of four idx files, found and described by their headers alone."""

    files: Mapping[FileKey, Path]

    def open(self, split: str, min_side: int = 0, channels: int = 0) -> ArrayStore:
        """Load one split, checked: sizes that agree, labels within the classes, the set that its name says."""
        path, labels_path = self.files[split, "images"], self.files[split, "labels"]
        pixels = read_idx(path, 3)
        labels = read_idx(labels_path, 1).astype(np.int64)
        _check_pair(path, len(pixels), len(labels))
        _check_labels(labels_path, labels, self.task)
        _check_identity(self.name, path, pixels)
        images = pixels[:, None]  # (N, 1, H, W)
        return ArrayStore(torch.from_numpy(images), labels, pixel_ids(split, images))


@dataclass(frozen=True)
class IdxSet:
    """A set of four idx files that others publish.

    system: a folder where a package of the operating system puts it. sha256: of the files, uncompressed.
    """

    task: Task
    description: str
    mirror: bool
    system: str
    sha256: Mapping[FileKey, str]


IDX_SETS = {
    # sha256: of Debian's dataset-fashion-mnist
    "fashion_mnist": IdxSet(
        task=Task(
            ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
        ),
        description="Fashion-MNIST: grey articles of clothing (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747)",
        mirror=True,
        system="/usr/share/datasets/fashion-mnist",
        sha256={
            ("train", "images"): "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ("train", "labels"): "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ("test", "images"): "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ("test", "labels"): "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
    "mnist": IdxSet(
        task=Task(_NUMERALS),
        description="MNIST: grey handwritten digits (LeCun, Bottou, Bengio and Haffner 1998)",
        mirror=False,
        system="",
        sha256={
            ("train", "images"): "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            ("train", "labels"): "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ("test", "images"): "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            ("test", "labels"): "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
}


@dataclass(frozen=True, kw_only=True)
class Cifar(Published):
    """CIFAR-10 or CIFAR-100, in one of the publisher's forms."""

    place: Path

    def open(self, split: str, min_side: int = 0, channels: int = 0) -> ArrayStore:
        """Load one split into memory, checked for its number of images."""
        images, labels = read_cifar(self.place, self.name, split)
        if len(labels) != self.counts[split]:
            why = f"its {split} part has {len(labels)} images, published are {self.counts[split]}"
            raise DataError(f"cannot use {self.place}", why=why, advice="get it again")
        return ArrayStore(torch.from_numpy(images), labels, pixel_ids(split, images))


def open_published(name: str, root: str = "") -> Digits | Idx | Cifar:
    """Find the set and read only its headers. Missing is a DataError that tells how to get it."""
    if name == "digits":
        return Digits(
            name=name,
            task=Task(_NUMERALS),
            native_size=(8, 8),
            channels=1,
            counts={"train": 1797 - _DIGITS_TEST, "test": _DIGITS_TEST},
            found="inside lenext",
            description="Digits: grey 8x8 handwritten digits (Alpaydin and Kaynak 1998, UCI, the test part)",
            mirror=False,
        )
    if name in CIFAR_SETS:
        return _open_cifar(name, root)
    source, files = IDX_SETS[name], locate(name, root)
    shapes = {key: read_shape(path, 3 if key[1] == "images" else 1) for key, path in files.items()}
    for split in ("train", "test"):
        _check_pair(files[split, "images"], shapes[split, "images"][0], shapes[split, "labels"][0])
    _, height, width = shapes["train", "images"]
    return Idx(
        name=name,
        task=source.task,
        native_size=(height, width),
        channels=1,
        counts={split: shapes[split, "images"][0] for split in ("train", "test")},
        found=str(files["train", "images"].parent),
        description=source.description,
        mirror=source.mirror,
        files=files,
    )


def _open_cifar(name: str, root: str) -> Cifar:
    top = Path(root).expanduser() if root else default_root()
    places = [place for folder in (top / name, top) if (place := find_cifar(folder, name))]
    if not places:
        advice = f"lenext data get {name}, or use digits, which come with lenext"
        raise DataError(f"cannot find {name}", why=f"looked in: {top / name}, {top}", advice=advice)
    return Cifar(
        name=name,
        task=Task(CIFAR_SETS[name].classes),
        native_size=(32, 32),
        channels=3,
        counts={"train": 50_000, "test": 10_000},
        found=str(places[0]),
        description=f"CIFAR-{name[5:]}: colour photographs of 32x32 pixels (Krizhevsky 2009, technical report)",
        mirror=True,
        place=places[0],
    )


def default_root() -> Path:
    """Where data sets are put and looked for unless one says otherwise."""
    return Path.home() / ".cache" / "lenext"


def locate(name: str, root: str = "") -> dict[FileKey, Path]:
    """Return the four files by (split, "images" or "labels"), from the first folder that holds any of them.

    Looked at: root/NAME, root (`default_root()` where none is given), the operating system's folder. Each file may be
    gzipped, and may be spelt with a dot (`train-images.idx3-ubyte`), as some copies are.
    """
    source = IDX_SETS[name]
    advice = f"lenext data get {name}, or use digits, which come with lenext"
    top = Path(root).expanduser() if root else default_root()
    folders = [top / name, top]
    folders += [Path(source.system)] if source.system else []
    for folder in folders:
        files = {key: path for key, stem in _FILES.items() if (path := _find(folder, stem))}
        if len(files) == len(_FILES):
            return files
        if files:
            missing = ", ".join(stem for key, stem in _FILES.items() if key not in files)
            raise DataError(f"cannot use {folder} as {name}", why=f"{missing} is missing", advice=advice)
    where = ", ".join(map(str, folders))
    raise DataError(f"cannot find {name}", why=f"looked in: {where}", advice=advice)


def _find(folder: Path, stem: str) -> Path | None:
    spellings = (stem, stem.replace("-idx", ".idx"))
    paths = (folder / f"{spelling}{ending}" for spelling in spellings for ending in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def _check_pair(path: Path, images: int, labels: int) -> None:
    if images != labels or images == 0:
        raise DataError(
            f"cannot use {path}",
            why=f"{images} images and {labels} labels",
            advice="get both files again from the same place",
        )


def _check_labels(path: Path, labels: npt.NDArray[np.int64], task: Task) -> None:
    if labels.max() >= task.num_classes:
        first = int(np.argmax(labels >= task.num_classes))
        raise DataError(
            f"cannot use {path}",
            why=f"label {labels[first]} of image {first}; there are {task.num_classes} classes, from 0",
            advice="get the file again",
        )


def _check_identity(name: str, path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Refuse another known set under this name: the file names are the same, and so are the shapes."""
    header = bytes((0, 0, 8, 3)) + np.array(pixels.shape, dtype=">u4").tobytes()
    found = hashlib.sha256(header)
    found.update(pixels.data)
    for other, source in IDX_SETS.items():
        if other != name and found.hexdigest() in source.sha256.values():
            raise DataError(
                f"cannot use {path} as {name}", why=f"it holds {other}", advice=f"--data {other}, or another root"
            )


def _read_digits(split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], list[int]]:
    """Return images (n, 1, 8, 8) in 0 ... 255, labels, and the numbers of the images in the whole set."""
    with np.load(_DIGITS, allow_pickle=False) as arrays:
        raw, labels = arrays["images"], arrays["labels"].astype(np.int64)
    numbers = hold_out(labels, _DIGITS_TEST, seed=0)[split == "test"]
    images = np.round(raw[numbers, None] * (255 / 16)).astype(np.uint8)
    return images, labels[numbers], numbers.tolist()
