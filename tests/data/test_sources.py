"""Finding and opening the named sets."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lenext.data import published
from lenext.data.cifar import CIFAR_SETS
from lenext.data.published import IDX_SETS, open_published
from lenext.data.sources import SOURCES, find_source
from lenext.data.split import split_digest
from lenext.errors import DataError, UsageError

from .idx_files import FILES, idx_bytes, small_set, write_set


def why(name: str, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        find_source(name, str(root)).open("train")
    return f"{caught.value.what}: {caught.value.why}"


def test_bundled_digits_are_scikit_learns() -> None:
    with np.load(Path(published.__file__).with_name("digits.npz"), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["images"], load_digits().images)
        assert np.array_equal(arrays["labels"], load_digits().target)


@pytest.mark.parametrize("split", ["train", "test"])
def test_digits_are_served_as_full_range_bytes_under_their_numbers(split: str) -> None:
    store = open_published("digits").open(split)
    numbers = [int(name.partition("/")[2].partition(":")[0]) for name in store.ids]
    expected = np.round(load_digits().images[numbers] * 255 / 16).astype(np.uint8)
    assert store.images.shape == (len(numbers), 1, 8, 8)
    assert np.array_equal(store.images[:, 0].numpy(), expected)
    assert np.array_equal(store.labels, load_digits().target[numbers])
    assert store.labels.dtype == np.int64
    assert store.ids[0].startswith(f"{split}/")
    assert store.ids[0].endswith(hashlib.sha256(expected[0].tobytes()).hexdigest()[:12])


def test_digits_split_never_changes() -> None:
    train, test = open_published("digits").open("train"), open_published("digits").open("test")
    assert (len(train), len(test)) == (1437, 360)
    assert {name[-18:] for name in train.ids}.isdisjoint(name[-18:] for name in test.ids)
    assert np.ptp(np.bincount(test.labels)) <= 2  # each class gives a fifth of its 174 to 183
    assert split_digest(test.ids) == "829f28ec5c1fb9c974ba6bec217fcb5d0deaa7e93198fe3fe03c129e4d6290b2"


def test_digits_describe_themselves() -> None:
    info = find_source("digits")
    assert (*info.counts.values(), info.native_size, info.channels) == (1437, 360, (8, 8), 1)
    assert info.task.classes == tuple("0123456789")
    assert info.found == "inside lenext"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", ["", "mnist"])
def test_set_is_found_in_the_root_or_in_a_folder_of_its_name(tmp_path: Path, zipped: bool, below: str) -> None:
    folder = write_set(tmp_path / below, zipped=zipped)
    info = find_source("mnist", str(tmp_path))
    assert (*info.counts.values(), info.native_size, info.channels) == (30, 20, (6, 5), 1)
    assert info.found == str(folder)
    store = open_published("mnist", str(tmp_path)).open("test")
    assert store.images.shape == (20, 1, 6, 5)
    assert store.images.dtype == torch.uint8
    assert store.images.numpy().tobytes() == small_set()["t10k-images-idx3-ubyte"][16:]
    assert store.labels.tolist() == [i % 10 for i in range(20)]
    assert store.ids[3] == "test/00003:" + hashlib.sha256(store.images[3].numpy().tobytes()).hexdigest()[:12]


def test_names_with_a_dot_are_found_too(tmp_path: Path) -> None:
    for path in list(write_set(tmp_path).iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(open_published("mnist", str(tmp_path)).open("train")) == 30


def test_folder_of_the_operating_system_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = write_set(tmp_path / "system", zipped=True)
    monkeypatch.setitem(IDX_SETS, "mnist", dataclasses.replace(IDX_SETS["mnist"], system=str(system)))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert find_source("mnist").found == str(system)
    assert find_source("mnist", str(tmp_path / "elsewhere")).found == str(system)
    own = write_set(tmp_path / "own")
    assert find_source("mnist", str(own)).found == str(own)


def test_describing_reads_only_headers(tmp_path: Path) -> None:
    for path in write_set(tmp_path).iterdir():
        path.write_bytes(path.read_bytes()[:16])
    assert find_source("mnist", str(tmp_path)).counts["train"] == 30
    assert "bytes are missing" in why("mnist", tmp_path)


def test_missing_set_tells_where_it_was_sought_and_how_to_get_it(tmp_path: Path) -> None:
    for opened in (
        lambda: find_source("mnist", str(tmp_path)),
        lambda: open_published("mnist", str(tmp_path)).open("test"),
    ):
        with pytest.raises(DataError) as caught:
            opened()
        assert caught.value.why == f"looked in: {tmp_path / 'mnist'}, {tmp_path}"
        assert "lenext data get mnist" in caught.value.advice


def test_without_a_folder_the_home_folder_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"\.cache/lenext/mnist"):
        find_source("mnist")


@pytest.mark.parametrize("missing", FILES)
def test_incomplete_set_names_the_missing_file(tmp_path: Path, missing: str) -> None:
    (write_set(tmp_path) / missing).unlink()
    assert why("mnist", tmp_path) == f"cannot use {tmp_path} as mnist: {missing} is missing"


def test_images_and_labels_of_different_length_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(29, np.uint8)))
    assert "30 images and 29 labels" in why("mnist", tmp_path)
    with pytest.raises(DataError, match="30 images and 29 labels"):
        find_source("mnist", str(tmp_path))


def test_set_of_no_images_is_refused(tmp_path: Path) -> None:
    assert "0 images and 0 labels" in why("mnist", write_set(tmp_path, train=0))


def test_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    labels = np.zeros(30, np.uint8)
    labels[17] = 10
    (write_set(tmp_path) / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    assert why("mnist", tmp_path).endswith("label 10 of image 17; there are 10 classes, from 0")


def test_labels_in_place_of_images_are_refused(tmp_path: Path) -> None:
    (write_set(tmp_path) / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros(30, np.uint8)))
    assert "magic number 00 00 08 01, expected 00 00 08 03" in why("mnist", tmp_path)
    with pytest.raises(DataError, match="expected 00 00 08 03"):
        find_source("mnist", str(tmp_path))


@pytest.mark.parametrize("zipped", [False, True])
def test_one_set_under_the_name_of_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    """MNIST and Fashion-MNIST have the same file names and shapes; only the pixels tell."""
    write_set(tmp_path, zipped=zipped)
    digest = hashlib.sha256(small_set()["train-images-idx3-ubyte"]).hexdigest()
    facts = dataclasses.replace(IDX_SETS["mnist"], sha256={("train", "images"): digest})
    monkeypatch.setitem(IDX_SETS, "mnist", facts)
    assert why("fashion_mnist", tmp_path).endswith("it holds mnist")
    assert len(open_published("mnist", str(tmp_path)).open("train")) == 30


def test_unknown_set_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'fashion_mnist'"):
        find_source("fashion-mnist")
    with pytest.raises(UsageError, match="did you mean 'mnist'"):
        find_source("mnst")


def test_every_source_has_its_facts() -> None:
    assert set(SOURCES) == {*IDX_SETS, *CIFAR_SETS, "digits"}
    for source in IDX_SETS.values():
        assert source.task.num_classes == 10
        assert len(set(source.sha256.values())) == 4


def test_cifar_is_found_in_the_publishers_format_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    record = bytes([7]) + bytes(3072)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(record * 2)
    source = find_source("cifar10", str(tmp_path))
    assert (source.native_size, source.channels, source.mirror) == ((32, 32), 3, True)
    assert source.task.classes[7] == "horse"
    with pytest.raises(DataError, match="its test part has 2 images, published are 10000"):
        source.open("test")
    with pytest.raises(DataError, match="lenext data get cifar100"):
        find_source("cifar100", str(tmp_path))
