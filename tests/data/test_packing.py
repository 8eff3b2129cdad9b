"""A pack is the same data set: the same names, bytes and ids, whatever it was packed from."""

import os
import random
import resource
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lenext.data.containers import open_container
from lenext.data.files import open_files
from lenext.data.packing import pack_images
from lenext.errors import DataError, MachineError

from .image_folders import WRITERS, images, listed, write_folder

NAMES = ("pets/train/cat/1.png", "pets/train/dog/2.png", "pets/test/cat/\udcff.png", "pets/test/dog/é ü.png")
LONG = f"pets/train/dog/{'long' * 50}/{'name' * 40}.png"


def files() -> dict[str, bytes]:
    noise = {"pets/notes.txt": b"to do", "pets/train/.cache": b"", "__MACOSX/pets/._1.png": b""}
    return images(*NAMES, LONG) | noise


@pytest.mark.parametrize("kind", WRITERS)
def test_a_pack_lists_and_identifies_the_same_images(tmp_path: Path, kind: str) -> None:
    names = files() if kind != "zip" else {name: data for name, data in files().items() if "\udcff" not in name}
    origin = WRITERS[kind](tmp_path / "set", names)
    packed = pack_images(origin, tmp_path / "out.tar")
    before, after = listed(origin), listed(tmp_path / "out.tar")
    assert (after.items, after.task) == (before.items, before.task)
    assert after.ignored == ()
    assert packed.ignored == before.ignored != ()
    assert packed.images == len(before.items)
    assert packed.size == (tmp_path / "out.tar").stat().st_size
    for split in ("train", "test"):
        assert open_files(tmp_path / "out.tar").open(split).ids == open_files(origin).open(split).ids


def test_bytes_are_unchanged_and_nothing_else_is_packed(tmp_path: Path) -> None:
    pack_images(write_folder(tmp_path / "set", files()), tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar", errors="surrogateescape") as archive:
        found = {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
        facts = {(info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) for info in archive}
    assert found == images(*NAMES, LONG)
    assert list(found) == sorted(found, key=os.fsencode)
    assert facts == {(0, 0, 0, "", "", 0o644)}


def test_the_same_images_give_the_same_pack_whatever_their_times_and_their_order(tmp_path: Path) -> None:
    shuffled = list(files().items())
    random.Random(1).shuffle(shuffled)
    one = write_folder(tmp_path / "one", files())
    two = write_folder(tmp_path / "two", dict(shuffled))
    for path in one.rglob("*.png"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    pack_images(one, tmp_path / "one.tar")
    pack_images(two, tmp_path / "two.tar")
    pack_images(tmp_path / "two.tar", tmp_path / "three.tar")
    packs = [(tmp_path / f"{name}.tar").read_bytes() for name in ("one", "two", "three")]
    assert packs[0] == packs[1] == packs[2]


@pytest.mark.parametrize("tables", [("metadata.csv",), ("test/metadata.csv", "train/metadata.csv")])
def test_each_metadata_file_goes_along(tmp_path: Path, tables: tuple[str, ...]) -> None:
    names = [f"{split}/{i}.png" for split in ("train", "test") for i in range(2)]
    content = images(*names)
    for table in tables:
        folder = table.rpartition("/")[0]
        rows = [name for name in names if name.startswith(folder)]
        lines = [f"{name.removeprefix(f'{folder}/')},{'ab'[i % 2]},{i}" for i, name in enumerate(rows)]
        content[table] = "\n".join(["file_name,label,group", *lines]).encode()
    origin = write_folder(tmp_path / "set", content)
    assert listed(origin).tables == tables
    pack_images(origin, tmp_path / "out.tar")
    assert listed(tmp_path / "out.tar").items == listed(origin).items
    assert sorted(open_container(tmp_path / "out.tar").names()) == sorted(content)


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    origin = write_folder(tmp_path / "set", files())
    (tmp_path / "out.tar").write_bytes(b"mine")
    with pytest.raises(DataError, match="it exists"):
        pack_images(origin, tmp_path / "out.tar")
    assert (tmp_path / "out.tar").read_bytes() == b"mine"


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_a_matter_of_the_machine_and_leaves_nothing(tmp_path: Path) -> None:
    origin = write_folder(tmp_path / "set", files())
    with disk_of(2000), pytest.raises(MachineError, match=r"out\.tar"):
        pack_images(origin, tmp_path / "out.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_disk_that_keeps_other_bytes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = write_folder(tmp_path / "set", files())
    monkeypatch.setattr(os, "fsync", lambda handle: os.pwrite(handle, b"?", 512 + 60))  # in the first file
    with pytest.raises(DataError, match="reads back otherwise"):
        pack_images(origin, tmp_path / "out.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_that_is_not_there_is_a_matter_of_the_machine(tmp_path: Path) -> None:
    origin = write_folder(tmp_path / "set", files())
    with pytest.raises(MachineError, match="No such file"):
        pack_images(origin, tmp_path / "nowhere/out.tar")


def test_a_file_that_cannot_be_read_stops_the_pack_and_leaves_nothing(tmp_path: Path) -> None:
    origin = write_folder(tmp_path / "set", files())
    (origin / "pets/train/dog/lost.png").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"lost\.png"):
        pack_images(origin, tmp_path / "out.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_what_training_would_refuse_is_not_packed(tmp_path: Path) -> None:
    origin = write_folder(tmp_path / "set", files() | {"pets/train/bird/": b""})
    with pytest.raises(DataError, match="bird"):
        pack_images(origin, tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()
