"""CIFAR-10 and CIFAR-100 as their publisher packs them (Krizhevsky 2009, www.cs.toronto.edu/~kriz/cifar.html).

The binary version is records of one label byte (CIFAR-100: a coarse one, then the fine one) and 3072 bytes of pixels,
red, green, blue, row by row. The Python version is pickles, and a pickle can run any program: it is opened only as the
archive whose digest the publisher tells, and even then by a reader that knows arrays and nothing else.
"""

import _codecs
import hashlib
import io
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lenext.errors import DataError

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]

_PIXELS = 3 * 32 * 32
_FINE_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""


@dataclass(frozen=True, kw_only=True)
class Version:
    """One packing of a set. folder: in the archive, and once it is unpacked. files: the names of each split's files."""

    archive: str
    md5: str
    folder: str
    files: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class CifarSet:
    """What is published. label_bytes: in front of each binary image, the last one counts. labels: the pickles' key."""

    classes: tuple[str, ...]
    binary: Version
    python: Version
    label_bytes: int
    labels: bytes


# Digests: the publisher's page, tables "Version / Size / md5sum". Class names: batches.meta.txt, fine_label_names.txt.
CIFAR_SETS: dict[str, CifarSet] = {
    "cifar10": CifarSet(
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        binary=Version(
            archive="cifar-10-binary.tar.gz",
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            folder="cifar-10-batches-bin",
            files={"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
        ),
        python=Version(
            archive="cifar-10-python.tar.gz",
            md5="c58f30108f718f92721af3b95e74349a",
            folder="cifar-10-batches-py",
            files={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
        ),
        label_bytes=1,
        labels=b"labels",
    ),
    "cifar100": CifarSet(
        classes=tuple(_FINE_NAMES.split()),
        binary=Version(
            archive="cifar-100-binary.tar.gz",
            md5="03b5dce01913d631647c71ecec9e9cb8",
            folder="cifar-100-binary",
            files={"train": ("train.bin",), "test": ("test.bin",)},
        ),
        python=Version(
            archive="cifar-100-python.tar.gz",
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            folder="cifar-100-python",
            files={"train": ("train",), "test": ("test",)},
        ),
        label_bytes=2,
        labels=b"fine_labels",
    ),
}


def find_cifar(folder: Path, name: str) -> Path | None:
    """Return the folder of the binary version, else an archive, that `folder` is or holds; None where it does not."""
    binary, python = CIFAR_SETS[name].binary, CIFAR_SETS[name].python
    for place in (folder, folder / binary.folder):
        if any((place / file).is_file() for files in binary.files.values() for file in files):
            return place
    archives = (folder / version.archive for version in (binary, python))
    return next((archive for archive in archives if archive.is_file()), None)


def read_cifar(place: Path, name: str, split: str) -> Arrays:
    """Return images, uint8 (N, 3, 32, 32), and class numbers, int64 (N,); of CIFAR-100 the fine ones.

    place: what `find_cifar` returns, or a folder to look in. How many images there are follows from the size of the
    files. Files that are missing, cut off or not what their name says are a DataError.
    """
    source = CIFAR_SETS[name]
    if place.is_dir():
        found = find_cifar(place, name)
        if found is None:
            why = f"neither {source.binary.folder} nor {source.binary.archive} is there"
            if (place / source.python.folder).is_dir() or place.name == source.python.folder:
                why = f"pickles can run any program, and unpacked there is no digest that vouches for them; {why}"
            raise _unusable(place, name, why)
        place = found
    if place.is_dir():
        contents = [_file(place / file, name) for file in source.binary.files[split]]
    elif place.name == source.python.archive:
        files = _members(place, name, source.python, split, _vouched(place, name))
        return _joined([_unpickled(place, name, file) for file in files])
    else:
        contents = _members(place, name, source.binary, split, _file(place, name))
    return _joined([_records(place, name, content) for content in contents])


def _records(place: Path, name: str, content: bytes) -> Arrays:
    """Cut a binary file into its records."""
    source = CIFAR_SETS[name]
    size = source.label_bytes + _PIXELS
    if len(content) % size or not content:
        raise _unusable(place, name, f"a file of {len(content):,} bytes is no row of records of {size:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    labels = records[:, source.label_bytes - 1].astype(np.int64)
    return _checked(place, name, records[:, source.label_bytes :], labels)


def _checked(place: Path, name: str, pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Arrays:
    classes = len(CIFAR_SETS[name].classes)
    if labels.min() < 0 or labels.max() >= classes:
        first = int(np.argmax((labels < 0) | (labels >= classes)))
        why = f"label {labels[first]} of image {first} of a file; there are {classes} classes, from 0"
        raise _unusable(place, name, why)
    return pixels.reshape(-1, 3, 32, 32), labels


def _joined(parts: list[Arrays]) -> Arrays:
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _file(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(path, name, error.strerror or str(error)) from error


def _vouched(path: Path, name: str) -> bytes:
    """Return the archive's bytes once they are the published ones: what was digested is what is unpickled."""
    data = _file(path, name)
    found, published = hashlib.md5(data, usedforsecurity=False).hexdigest(), CIFAR_SETS[name].python.md5
    if found != published:
        raise _unusable(path, name, f"its MD5 is {found}, published is {published}; it is not opened")
    return data


def _members(path: Path, name: str, version: Version, split: str, data: bytes) -> list[bytes]:
    """Return the split's files out of the bytes of an archive."""
    wanted = [f"{version.folder}/{file}" for file in version.files[split]]
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
            for info in archive:
                if info.name in wanted and (file := archive.extractfile(info)):
                    found[info.name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise _unusable(path, name, f"the archive is damaged or cut off: {error}") from error
    missing = [file for file in wanted if file not in found]
    if missing:
        raise _unusable(path, name, f"it holds no {missing[0]}")
    return [found[file] for file in wanted]


def _unpickled(path: Path, name: str, content: bytes) -> Arrays:
    """Read one file of the Python version: a dictionary with data, uint8 (N, 3072), and a list of labels."""
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[CIFAR_SETS[name].labels])
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to ask for
        raise _unusable(path, name, f"a pickle in it is not what was published: {error}") from error
    if (
        pixels.dtype != np.uint8
        or pixels.shape != (len(labels), _PIXELS)
        or labels.dtype.kind != "i"
        or not len(labels)
    ):
        raise _unusable(
            path, name, f"{pixels.dtype} {pixels.shape} with {labels.dtype} {labels.shape} is no set of images"
        )
    return _checked(path, name, pixels, labels.astype(np.int64))


class _ArraysOnly(pickle.Unpickler):
    """Knows what an array of bytes is pickled as, under the names of numpy 1 and 2; any other name is refused."""

    _KNOWN: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _codecs.encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few, or refuse."""
        if (module, name) not in self._KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self._KNOWN[module, name]


def _unusable(path: Path, name: str, why: str) -> DataError:
    archive = CIFAR_SETS[name].binary.archive
    return DataError(f"cannot use {path} as {name}", why=why, advice=f"get the publisher's {archive} (again)")
