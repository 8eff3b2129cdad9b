"""The named data sets: where they are looked for and how they are opened. Nothing here touches the network."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from lenext.config import nearest
from lenext.data.idx import read_idx, read_shape
from lenext.data.split import hold_out
from lenext.data.store import ArrayStore, pixel_ids
from lenext.data.task import Task
from lenext.errors import DataError, UsageError

Split = Literal["train", "test"]
FileKey = tuple[Split, Literal["images", "labels"]]

SOURCES = ("fashion_mnist", "mnist", "digits")

_NUMERALS = tuple("0123456789")
_FILES: dict[FileKey, str] = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}
_DIGITS = Path(__file__).with_name("digits.npz")
_DIGITS_TEST = 360  # a fifth of the 1797, as in the usual examples on this set


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set is and where it was found; train and test count images.

    mirror: whether an image seen in a mirror is still one of its class, as a numeral is not.
    """

    name: str
    task: Task
    native_size: tuple[int, int]
    channels: int
    train: int
    test: int
    found: str
    description: str
    mirror: bool


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


def describe(name: str, root: str = "") -> DatasetInfo:
    """Find the set and read only its headers. Missing is a DataError that tells how to get it."""
    if name == "digits":
        return DatasetInfo(
            name,
            Task(_NUMERALS),
            native_size=(8, 8),
            channels=1,
            train=1797 - _DIGITS_TEST,
            test=_DIGITS_TEST,
            found="inside lenext",
            description="Digits: grey 8x8 handwritten digits (Alpaydin and Kaynak 1998, UCI, the test part)",
            mirror=False,
        )
    source = _idx_set(name)
    files = locate(name, root)
    shapes = {key: read_shape(path, 3 if key[1] == "images" else 1) for key, path in files.items()}
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        _check_pair(files[split, "images"], shapes[split, "images"][0], shapes[split, "labels"][0])
    _, height, width = shapes["train", "images"]
    return DatasetInfo(
        name,
        source.task,
        native_size=(height, width),
        channels=1,
        train=shapes["train", "images"][0],
        test=shapes["test", "images"][0],
        found=str(files["train", "images"].parent),
        description=source.description,
        mirror=source.mirror,
    )


def open_split(name: str, split: Split, root: str = "") -> ArrayStore:
    """Load one split into memory, checked: sizes that agree, labels within the classes, the set that its name says."""
    if name == "digits":
        images, labels, numbers = _read_digits(split)
        ids = tuple(
            f"{split}/{n:05d}:{i.partition(':')[2]}" for n, i in zip(numbers, pixel_ids("", images), strict=True)
        )
        return ArrayStore(torch.from_numpy(images), labels, ids)
    source = _idx_set(name)
    files = locate(name, root)
    path = files[split, "images"]
    pixels = read_idx(path, 3)
    labels = read_idx(files[split, "labels"], 1).astype(np.int64)
    _check_pair(path, len(pixels), len(labels))
    _check_labels(files[split, "labels"], labels, source.task)
    _check_identity(name, path, pixels)
    images = pixels[:, None]  # (N, 1, H, W)
    return ArrayStore(torch.from_numpy(images), labels, pixel_ids(split, images))


def default_root() -> Path:
    """Where data sets are put and looked for unless one says otherwise."""
    return Path.home() / ".cache" / "lenext"


def locate(name: str, root: str = "") -> dict[FileKey, Path]:
    """Return the four files by (split, "images" or "labels"), from the first folder that holds any of them.

    Looked at: root/NAME, root (`default_root()` where none is given), the operating system's folder. Each file may be
    gzipped, and may be spelt with a dot (`train-images.idx3-ubyte`), as some copies are.
    """
    source = _idx_set(name)
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


def _idx_set(name: str) -> IdxSet:
    if name not in IDX_SETS:
        raise UsageError(f"unknown data set {name!r}", why="it is not in the list", advice=nearest(name, SOURCES))
    return IDX_SETS[name]


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


def _read_digits(split: Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], list[int]]:
    """Return images (n, 1, 8, 8) in 0 ... 255, labels, and the numbers of the images in the whole set."""
    with np.load(_DIGITS, allow_pickle=False) as arrays:
        raw, labels = arrays["images"], arrays["labels"].astype(np.int64)
    numbers = hold_out(labels, _DIGITS_TEST, seed=0)[split == "test"]
    images = np.round(raw[numbers, None] * (255 / 16)).astype(np.uint8)
    return images, labels[numbers], numbers.tolist()
