"""Image files as a source and as a store."""

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lenext.data.files import FileSource, open_files
from lenext.data.sources import Source, find_source
from lenext.data.store import Store
from lenext.errors import DataError, UsageError

from .image_folders import WRITERS, image_bytes, images, write_folder

NAMES = ("train/cat/1.png", "train/cat/2.png", "train/dog/3.png", "test/dog/4.png")


def pixels(data: bytes, mode: str = "RGB") -> torch.Tensor:
    """What Pillow sees: uint8 (C, H, W)."""
    array = np.array(Image.open(io.BytesIO(data)).convert(mode))
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)


def turned(orientation: int, size: tuple[int, int]) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def everything(store: Store) -> list[torch.Tensor]:
    return list(store.read(np.arange(len(store))))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_store_reads_what_pillow_reads_in_the_order_asked(tmp_path: Path, kind: str) -> None:
    files = images(*NAMES)
    store = open_files(WRITERS[kind](tmp_path / "set", files)).open("train")
    assert len(store) == 3
    found = store.read(np.array([2, 0, 2]))
    for image, name in zip(found, (NAMES[2], NAMES[0], NAMES[2]), strict=True):
        assert image.dtype == torch.uint8
        assert torch.equal(image, pixels(files[name]))


@pytest.mark.parametrize("kind", WRITERS)
def test_an_id_is_the_name_and_the_start_of_the_digest_of_the_file(tmp_path: Path, kind: str) -> None:
    files = images(*NAMES)
    store = open_files(WRITERS[kind](tmp_path / "set", files)).open("train")
    assert store.ids == tuple(f"{name}:{hashlib.sha256(files[name]).hexdigest()[:12]}" for name in NAMES[:3])
    assert store.labels.tolist() == [0, 0, 1]
    assert store.labels.dtype == np.int64


def test_ids_of_more_files_than_one_thread_digests_at_a_time_stay_in_order(tmp_path: Path) -> None:
    files = {f"{'ab'[i % 2]}/{i:03d}.png": image_bytes(i) for i in range(150)}
    store = open_files(write_folder(tmp_path, files)).open("all")
    assert list(store.ids) == [f"{name}:{hashlib.sha256(files[name]).hexdigest()[:12]}" for name in sorted(files)]


def test_an_id_of_a_name_that_is_no_utf_8_can_be_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"a/\xff.png")
    store = open_files(write_folder(tmp_path, images(name, "b/1.png"))).open("all")
    assert store.ids[0].startswith(r"a/\xff.png:")
    assert "\n".join(store.ids).encode()


def test_labels_of_a_multi_label_task_are_marks(tmp_path: Path) -> None:
    table = b"file_name,labels,group\n1.png,sea|dog,x\n2.png,,\n3.png,sea,x\n"
    source = open_files(write_folder(tmp_path, images("1.png", "2.png", "3.png") | {"metadata.csv": table}))
    assert source.task.multi_label
    assert source.task.classes == ("dog", "sea")
    store = source.open("all")
    assert store.labels.dtype == np.float32
    assert store.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert source.groups("all") == ("x", "", "x")


def test_a_source_tells_what_was_found(tmp_path: Path) -> None:
    source: Source = open_files(write_folder(tmp_path / "photos", images(*NAMES) | {"notes.txt": b""}))
    assert source.name == str(tmp_path / "photos")
    assert source.found == str(tmp_path / "photos")
    assert source.description == "4 files, 2 classes, 3 train, 1 test"
    assert source.counts == {"train": 3, "test": 1}
    assert source.task.classes == ("cat", "dog")
    assert (source.native_size, source.channels, source.mirror) == ((6, 8), 3, True)
    assert source.ignored == ("1 file of other kinds: notes.txt",)
    assert source.groups("train") == ("", "", "")


def test_found_is_a_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "photos", images(*NAMES))
    monkeypatch.chdir(tmp_path)
    source = open_files(Path("photos"))
    assert (source.name, source.found) == (str(tmp_path / "photos"), str(tmp_path / "photos"))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_is_a_source_by_its_path(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / f"photos.{kind}", images(*NAMES))
    source = find_source(str(path))
    assert isinstance(source, FileSource)
    assert len(source.open("test")) == 1


def test_images_of_different_sizes_have_no_common_one(tmp_path: Path) -> None:
    files = {"a/1.png": image_bytes(size=(8, 6)), "b/2.png": image_bytes(size=(6, 8))}
    source = open_files(write_folder(tmp_path, files))
    assert source.native_size is None
    assert [tuple(image.shape) for image in everything(source.open("all"))] == [(3, 6, 8), (3, 8, 6)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_common_size_is_that_of_the_image_upright(tmp_path: Path, orientation: int) -> None:
    source = open_files(write_folder(tmp_path, {f"{c}/1.jpg": turned(orientation, (16, 8)) for c in "ab"}))
    assert source.native_size == tuple(everything(source.open("all"))[0].shape[1:])
    assert source.native_size == ((8, 16) if orientation <= 4 else (16, 8))


@pytest.mark.parametrize(("second", "channels"), [("L", 1), ("RGB", 3)])
def test_one_channel_only_where_all_images_are_grey(tmp_path: Path, second: str, channels: int) -> None:
    files = {"a/1.png": image_bytes(1, mode="L"), "b/2.png": image_bytes(2, mode=second)}
    source = open_files(write_folder(tmp_path, files))
    assert source.channels == channels
    found = everything(source.open("all"))
    assert torch.equal(found[0], pixels(files["a/1.png"], "L" if channels == 1 else "RGB"))
    assert found[1].shape == (channels, 6, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
def test_every_grey_mode_is_one_channel(tmp_path: Path, mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (4, 4)).save(buffer, "PNG")
    assert open_files(write_folder(tmp_path, {f"{c}/1.png": buffer.getvalue() for c in "ab"})).channels == 1


def test_headers_are_looked_at_from_the_first_image_to_the_last(tmp_path: Path) -> None:
    files = {f"{'ab'[i // 100]}/{i:03d}.png": image_bytes(mode="L") for i in range(200)}
    for odd in ("a/000.png", "b/199.png"):
        folder = write_folder(tmp_path / odd, {**files, odd: image_bytes()})
        assert open_files(folder).channels == 3


def test_a_large_jpeg_is_decoded_no_larger_than_needed(tmp_path: Path) -> None:
    files = {f"{c}/1.jpg": image_bytes(size=(320, 160), kind="JPEG") for c in "ab"}
    source = open_files(write_folder(tmp_path, files))
    assert source.native_size == (160, 320)
    assert source.open("all", min_side=30).read(np.array([0]))[0].shape == (3, 40, 80)
    assert source.open("all").read(np.array([0]))[0].shape == (3, 160, 320)


@pytest.mark.parametrize("content", [b"", b"no image", image_bytes(size=(64, 64))[:3000]])
def test_a_broken_image_is_named_when_it_is_read_and_stops_nothing_before(tmp_path: Path, content: bytes) -> None:
    store = open_files(write_folder(tmp_path, {**images(*NAMES), "train/cat/2.png": content})).open("train")
    assert len(store.read(np.array([0, 2]))) == 2
    with pytest.raises(DataError) as caught:
        store.read(np.array([0, 1]))
    assert caught.value.what == "cannot decode train/cat/2.png"
    assert caught.value.why


def test_images_none_of_which_has_a_header_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot decode [ab]/1\.png"):
        open_files(write_folder(tmp_path, {"a/1.png": b"x", "b/1.png": b"y"}))


def test_a_file_that_cannot_be_digested_is_named(tmp_path: Path) -> None:
    source = open_files(write_folder(tmp_path, images(*NAMES)))
    (tmp_path / "train" / "dog" / "3.png").unlink()
    with pytest.raises(DataError, match=r"cannot read .*train/dog/3\.png"):
        source.open("train")


def test_a_split_that_is_not_there_is_refused(tmp_path: Path) -> None:
    source = open_files(write_folder(tmp_path, images(*NAMES)))
    for ask in (source.open, source.groups):
        with pytest.raises(UsageError, match="it has train, test"):
            ask("validation")


@pytest.mark.parametrize("kind", WRITERS)
def test_many_threads_read_at_once(tmp_path: Path, kind: str) -> None:
    files = {f"{'ab'[i % 2]}/{i:02d}.png": image_bytes(i) for i in range(40)}
    store = open_files(WRITERS[kind](tmp_path / "set", files)).open("all")
    order = np.random.default_rng(0).integers(0, 40, (50, 4))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(store.read, order))
    expected = [pixels(files[name]) for name in sorted(files)]
    assert all(
        torch.equal(image, expected[i])
        for row, read in zip(order, found, strict=True)
        for i, image in zip(row, read, strict=True)
    )


def test_nothing_is_written_beside_the_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", images(*NAMES))
    before = sorted(tmp_path.rglob("*"))
    everything(open_files(folder).open("train"))
    assert sorted(tmp_path.rglob("*")) == before
