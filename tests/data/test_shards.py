"""Shards are the same data set as the folder that they were packed from, and one that is not whole is named."""

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lenext.data.checking import check_images
from lenext.data.containers import open_container
from lenext.data.files import open_files
from lenext.data.packing import pack_images
from lenext.data.shards import INDEX
from lenext.errors import DataError, MachineError

from .image_folders import images, listed, write_folder
from .test_packing import disk_of

NAMES = [f"{split}/{label}/{i:02}.png" for split in ("train", "test") for label in ("cat", "dog") for i in range(9)]
LONG = f"train/dog/{'long' * 50}/{'name' * 40}.png"
SIZE = 20_480


def origin(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "set", images(*NAMES, LONG, "train/cat/\udcff.png") | {"notes.txt": b"to do"})


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    pack_images(origin(tmp_path), tmp_path / "out", SIZE)
    return tmp_path / "out"


def test_shards_list_and_identify_the_same_images(tmp_path: Path, packed: Path) -> None:
    before, after = listed(tmp_path / "set"), listed(packed)
    assert (after.items, after.task) == (before.items, before.task)
    for split in ("train", "test"):
        one, other = (open_files(path).open(split) for path in (tmp_path / "set", packed))
        assert one.ids == other.ids
        rows = np.arange(len(one))
        assert all(map(torch.equal, one.read(rows), other.read(rows)))
    assert open_container(packed).folders() == open_container(tmp_path / "set").folders()


def test_shards_are_no_longer_than_told_and_the_index_counts_them(tmp_path: Path, packed: Path) -> None:
    shards = sorted(packed.glob("*.tar"))
    index = json.loads((packed / INDEX).read_text(encoding="utf-8"))
    assert [path.name for path in shards] == [f"{i:05}.tar" for i in range(len(shards))] != []
    assert max(path.stat().st_size for path in shards) <= SIZE
    assert (index["images"], index["files"]) == (38, 38)
    assert index["bytes"] == sum(path.stat().st_size for path in shards)
    assert sum(entry["files"] for entry in index["shards"]) == 38
    assert max(entry["files"] for entry in index["shards"]) > 5
    for path, other in itertools.pairwise(shards):
        assert open_container(path).names()[-1] < open_container(other).names()[0]
    again = pack_images(packed, tmp_path / "again", SIZE)
    assert again.shards == len(shards)
    assert again.size == index["bytes"]
    for path in [*shards, packed / INDEX]:
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_a_file_longer_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", images(*NAMES[:18]) | {"train/cat/05.png": bytes(50_000)})
    pack_images(folder, tmp_path / "out", SIZE)
    assert [len(open_container(path).names()) for path in sorted((tmp_path / "out").glob("*.tar"))] == [5, 1, 10, 2]


def cut_off(shards: Path) -> None:
    with (shards / "00001.tar").open("r+b") as file:
        file.truncate(5 * 512)


def missing(shards: Path) -> None:
    (shards / "00001.tar").unlink()


def swapped(shards: Path) -> None:
    """Both have the same length and ten files."""
    (shards / "00001.tar").rename(shards / "x")
    shutil.copy(shards / "00000.tar", shards / "00001.tar")
    (shards / "x").rename(shards / "00000.tar")


def too_many(shards: Path) -> None:
    shutil.copy(shards / "00000.tar", shards / "00001-copy.tar")


def index_edited(shards: Path) -> None:
    """As who removes a shard, and its entry too."""
    content = json.loads((shards / INDEX).read_text(encoding="utf-8"))
    content["shards"].pop()
    (shards / INDEX).write_text(json.dumps(content), encoding="utf-8")


def index_cut_off(shards: Path) -> None:
    content = (shards / INDEX).read_bytes()
    (shards / INDEX).write_bytes(content[:-10])


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (cut_off, "the shard 00001.tar has 2,560 bytes, and had 20,480: it is cut off"),
        (missing, "the shard 00001.tar with 10 files: No such file or directory"),
        (swapped, "the shard 00000.tar holds other files than shards.json tells"),
        (too_many, "the shard 00001-copy.tar is not in shards.json"),
        (index_edited, "shards.json does not have its own digest"),
        (index_cut_off, "it is damaged"),
    ],
)
def test_shards_that_are_not_whole_are_refused_at_once_and_named(
    packed: Path, harm: Callable[[Path], None], told: str
) -> None:
    harm(packed)
    with pytest.raises(DataError) as caught:
        open_files(packed)
    assert told in caught.value.why


def test_changed_bytes_are_found_when_the_shards_are_checked(packed: Path) -> None:
    assert not [finding for finding in check_images(packed).findings if finding.kind == "broken"]
    content = bytearray((packed / "00001.tar").read_bytes())
    content[-1] ^= 1  # behind the last file: no image would tell
    (packed / "00001.tar").write_bytes(content)
    open_files(packed)
    with pytest.raises(DataError, match=r"shard 00001\.tar has another SHA-256"):
        check_images(packed)


def test_a_full_disk_is_a_matter_of_the_machine_and_leaves_nothing(tmp_path: Path) -> None:
    folder = origin(tmp_path)
    with disk_of(15_000), pytest.raises(MachineError, match=r"cannot write .*out"):
        pack_images(folder, tmp_path / "out", SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
