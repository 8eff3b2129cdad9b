"""CIFAR in the formats of its publisher, written byte by byte; a pickle is read after its digest alone, and warily."""

import dataclasses
import hashlib
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lenext.data.cifar import CIFAR_SETS, find_cifar, read_cifar
from lenext.errors import DataError

from .image_folders import write_folder, write_tar

COUNTS = {"cifar10": {"train": 15, "test": 4}, "cifar100": {"train": 12, "test": 5}}
NAMES: tuple[str, ...] = ("cifar10", "cifar100")


def content(name: str, split: str) -> tuple[Any, Any]:
    """Pixels, uint8 (N, 3072), and labels."""
    generator = np.random.default_rng([len(name), len(split)])
    count = COUNTS[name][split]
    classes = len(CIFAR_SETS[name].classes)
    return generator.integers(0, 256, (count, 3072), dtype=np.uint8), np.arange(count) * 7 % classes


def parts(name: str, split: str) -> list[tuple[str, Any, Any]]:
    """The files of a split: five batches of CIFAR-10's training images, else one file."""
    pixels, labels = content(name, split)
    if name == "cifar10" and split == "train":
        return [(f"data_batch_{i + 1}", pixels[i * 3 : i * 3 + 3], labels[i * 3 : i * 3 + 3]) for i in range(5)]
    return [(f"{split}_batch" if name == "cifar10" else split, pixels, labels)]


def binary_files(name: str) -> dict[str, bytes]:
    folder = "cifar-10-batches-bin" if name == "cifar10" else "cifar-100-binary"
    coarse = b"" if name == "cifar10" else b"\x13"
    return {
        f"{folder}/{file}.bin": b"".join(
            coarse + bytes([label]) + row.tobytes() for row, label in zip(pixels, labels.tolist(), strict=True)
        )
        for split in ("train", "test")
        for file, pixels, labels in parts(name, split)
    }


def python_files(name: str) -> dict[str, bytes]:
    """As Python 2 wrote them: protocol 2, keys that are byte strings."""
    folder = "cifar-10-batches-py" if name == "cifar10" else "cifar-100-python"
    key = b"labels" if name == "cifar10" else b"fine_labels"
    return {
        f"{folder}/{file}": pickle.dumps({b"data": pixels, key: labels.tolist(), b"batch_label": b"x"}, protocol=2)
        for split in ("train", "test")
        for file, pixels, labels in parts(name, split)
    }


def vouch(monkeypatch: pytest.MonkeyPatch, name: str, path: Path) -> None:
    """Let the archive's digest be the published one."""
    facts = CIFAR_SETS[name]
    version = dataclasses.replace(facts.python, md5=hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(CIFAR_SETS, name, dataclasses.replace(facts, python=version))


def check(place: Path, name: str) -> None:
    for split in ("train", "test"):
        pixels, labels = content(name, split)
        images, numbers = read_cifar(place, name, split)
        assert images.dtype == np.uint8
        assert images.shape == (len(labels), 3, 32, 32)
        assert np.array_equal(images[:, 1, 2, 5], pixels[:, 1024 + 2 * 32 + 5])  # green, third row, sixth column
        assert np.array_equal(images.reshape(-1, 3072), pixels)
        assert numbers.dtype == np.int64
        assert np.array_equal(numbers, labels)


def why(place: Path, name: str = "cifar10") -> str:
    with pytest.raises(DataError) as caught:
        read_cifar(place, name, "train")
    assert name in caught.value.what
    assert "binary.tar.gz" in caught.value.advice
    return caught.value.why


@pytest.mark.parametrize("name", NAMES)
def test_binary_version_is_read_from_its_folder_from_the_folder_above_and_from_its_archive(
    tmp_path: Path, name: str
) -> None:
    files = binary_files(name)
    folder = write_folder(tmp_path / "unpacked", files)
    check(folder, name)
    check(folder / CIFAR_SETS[name].binary.folder, name)
    (tmp_path / "packed").mkdir()
    archive = write_tar(tmp_path / "packed" / f"cifar-{name[5:]}-binary.tar.gz", files, "w:gz")
    check(archive, name)
    check(archive.parent, name)


@pytest.mark.parametrize("name", NAMES)
def test_python_version_is_read_from_the_archive_that_has_the_published_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    archive = write_tar(tmp_path / f"cifar-{name[5:]}-python.tar.gz", python_files(name), "w:gz")
    vouch(monkeypatch, name, archive)
    check(archive, name)
    check(tmp_path, name)


def test_a_pickle_of_python_2_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opcodes as cPickle 2 writes them: byte strings, names of numpy 1."""
    pixels = bytes(range(256)) * 12
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR(I1\n(I1\nI3072\nt"
    array += b"cnumpy\ndtype\n(U\x02u1I0\nI1\ntR(I3\nU\x01|NNNI-1\nI-1\nI0\ntbI00\nT\x00\x0c\x00\x00" + pixels + b"tb"
    batch = b"\x80\x02}(U\x04data" + array + b"U\x06labels](K\x07eu."
    archive = write_tar(tmp_path / "cifar-10-python.tar.gz", {"cifar-10-batches-py/test_batch": batch}, "w:gz")
    vouch(monkeypatch, "cifar10", archive)
    images, labels = read_cifar(archive, "cifar10", "test")
    assert images.tobytes() == pixels
    assert labels.tolist() == [7]


class Attack:
    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def attacks(marker: Path) -> list[bytes]:
    """Pickles that would write `marker`, or reach for what could."""
    command = f"touch {marker}"
    payloads = [Attack(os.system, command), Attack(eval, f"open({str(marker)!r}, 'w')"), Attack(__import__, "os")]
    written = [pickle.dumps({b"data": payload}, protocol=2) for payload in payloads]
    written.append(b"cos\nsystem\n(S'" + command.encode() + b"'\ntR.")
    written.append(b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.")  # a name with a dot is looked up in steps
    return written


@pytest.mark.parametrize("index", range(5))
def test_a_pickle_that_asks_for_anything_else_is_refused_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    marker = tmp_path / "marker"
    files = {**python_files("cifar10"), "cifar-10-batches-py/data_batch_1": attacks(marker)[index]}
    archive = write_tar(tmp_path / "cifar-10-python.tar.gz", files, "w:gz")
    vouch(monkeypatch, "cifar10", archive)
    assert "it asks for " in why(archive)
    assert not marker.exists()


def test_the_attack_of_these_tests_would_work(tmp_path: Path) -> None:
    pickle.loads(attacks(tmp_path / "marker")[0])
    assert (tmp_path / "marker").exists()


def test_no_pickle_is_looked_at_before_the_digest_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    marker = tmp_path / "marker"
    files = {**python_files("cifar10"), "cifar-10-batches-py/data_batch_1": attacks(marker)[0]}
    archive = write_tar(tmp_path / "cifar-10-python.tar.gz", files, "w:gz")
    monkeypatch.setattr(tarfile, "open", forbidden)
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    assert why(archive) == f"its MD5 is {digest}, published is c58f30108f718f92721af3b95e74349a; it is not opened"
    assert not marker.exists()


def test_unpacked_pickles_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, python_files("cifar10"))
    assert "no digest that vouches for them" in why(folder)
    assert "no digest that vouches for them" in why(folder / "cifar-10-batches-py")


@pytest.mark.parametrize(
    "batch",
    [
        {b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 1]},
        {b"data": np.zeros((2, 3071), np.uint8), b"labels": [0, 1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]},
        {b"data": np.zeros((0, 3072), np.uint8), b"labels": []},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": [-1]},
        {b"data": np.zeros((1, 3072), np.uint8)},
        [],
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: object) -> None:
    files = {**python_files("cifar10"), "cifar-10-batches-py/data_batch_3": pickle.dumps(batch, protocol=2)}
    archive = write_tar(tmp_path / "cifar-10-python.tar.gz", files, "w:gz")
    vouch(monkeypatch, "cifar10", archive)
    assert why(archive)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_binary_file_of_a_wrong_size_is_refused(tmp_path: Path, name: str, change: int) -> None:
    folder = write_folder(tmp_path, binary_files(name)) / CIFAR_SETS[name].binary.folder
    path = folder / CIFAR_SETS[name].binary.files["train"][0]
    data = (path.read_bytes() + b"x")[: path.stat().st_size + change]
    path.write_bytes(data)
    size = 3073 if name == "cifar10" else 3074
    assert why(folder, name) == f"a file of {len(data):,} bytes is no row of records of {size:,}"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {**binary_files("cifar10"), "cifar-10-batches-bin/data_batch_4.bin": b""})
    assert why(folder).startswith("a file of 0 bytes")


def test_a_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    files = binary_files("cifar10")
    files["cifar-10-batches-bin/data_batch_2.bin"] = bytes(3073) + b"\x0a" + bytes(3072)
    assert why(write_folder(tmp_path, files)) == "label 10 of image 1 of a file; there are 10 classes, from 0"


def test_a_missing_batch_is_refused(tmp_path: Path) -> None:
    files = binary_files("cifar10")
    del files["cifar-10-batches-bin/data_batch_5.bin"]
    assert why(write_folder(tmp_path / "x", files)) == "No such file or directory"
    archive = write_tar(tmp_path / "cifar-10-binary.tar.gz", files, "w:gz")
    assert why(archive) == "it holds no cifar-10-batches-bin/data_batch_5.bin"


def test_an_archive_cut_off_is_refused(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "cifar-10-binary.tar.gz", binary_files("cifar10"), "w:gz")
    whole = archive.read_bytes()
    for length in (0, 5, 1000, len(whole) // 2):
        archive.write_bytes(whole[:length])
        assert "damaged or cut off" in why(archive), length


def test_where_nothing_is_nothing_is_found(tmp_path: Path) -> None:
    assert find_cifar(tmp_path, "cifar10") is None
    assert why(tmp_path) == "neither cifar-10-batches-bin nor cifar-10-binary.tar.gz is there"
    assert why(tmp_path / "nowhere.tar.gz") == "No such file or directory"


def test_the_binary_version_goes_before_the_python_version(tmp_path: Path) -> None:
    write_tar(tmp_path / "cifar-10-python.tar.gz", python_files("cifar10"), "w:gz")
    assert find_cifar(tmp_path, "cifar10") == tmp_path / "cifar-10-python.tar.gz"
    write_tar(tmp_path / "cifar-10-binary.tar.gz", binary_files("cifar10"), "w:gz")
    assert find_cifar(tmp_path, "cifar10") == tmp_path / "cifar-10-binary.tar.gz"
    write_folder(tmp_path, binary_files("cifar10"))
    assert find_cifar(tmp_path, "cifar10") == tmp_path / "cifar-10-batches-bin"
    assert find_cifar(tmp_path, "cifar100") is None


def test_classes_are_as_many_as_the_name_says_and_in_order() -> None:
    for name, count in (("cifar10", 10), ("cifar100", 100)):
        classes = CIFAR_SETS[name].classes
        assert len(set(classes)) == count
        assert list(classes) == sorted(classes)
