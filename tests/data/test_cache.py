"""Decoded images on the disk: the pixels of the files whatever happened to the cache, and no more than they may take.

Oracle: the same files, decoded at once. Processes are real ones, and die of SIGKILL.
"""

import logging
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lenext.data.batches import prepared
from lenext.data.cache import DiskStore, keep_decoded
from lenext.data.files import FileStore, open_files
from lenext.data.pixels import PixelFile, checksum_of
from lenext.data.store import CachedStore, Store

from ..dying import die, pipe, run_child, start_child
from .image_folders import image_bytes, write_folder
from .test_packing import disk_of

COUNT = 24
SIDE = 20  # decoded at least
NO_LIMIT = 1 << 40


def photos(folder: Path, count: int = COUNT, seed: int = 0) -> FileStore:
    """Write files of many sizes and two formats, and open them."""
    sizes = np.random.default_rng(seed).integers(18, 95, (count, 2)).tolist()
    files = {
        f"{'ab'[i % 2]}/{i:02}.{('png', 'jpg')[i % 3 == 0]}": image_bytes(
            i + 100 * seed, size=(w, h), kind=("PNG", "JPEG")[i % 3 == 0]
        )
        for i, (w, h) in enumerate(sizes)
    }
    return open_files(write_folder(folder, files)).open("all", SIDE)


def read_all(store: Store) -> list[Tensor]:
    return list(store.read(np.arange(len(store))))


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def disk_store(store: FileStore, folder: Path, limit: int = NO_LIMIT, memory: int = 0) -> DiskStore:
    return DiskStore(store, folder, limit=limit, memory=memory)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_decoded_once_needs_its_file_no_more(tmp_path: Path, channels: int) -> None:
    photos(tmp_path / "photos")
    store = open_files(tmp_path / "photos").open("all", SIDE, channels)
    expected = read_all(store)
    assert same(read_all(disk_store(store, tmp_path / "cache")), expected)
    shutil.rmtree(tmp_path / "photos")
    kept = disk_store(store, tmp_path / "cache")
    assert same(read_all(kept), expected)
    assert same(kept.read(np.array([5, 0, 5])), [expected[5], expected[0], expected[5]])
    assert (len(kept), list(kept.ids)) == (len(store), list(store.ids))
    assert np.array_equal(kept.labels, store.labels)


def test_threads_fill_a_cache_together(tmp_path: Path) -> None:
    store = photos(tmp_path / "photos")
    kept, expected = disk_store(store, tmp_path / "cache"), read_all(store)
    found = list(prepared(lambda i: kept.read(np.array([i, (i + 7) % COUNT])), range(COUNT), 8))
    assert all(same(two, [expected[i], expected[(i + 7) % COUNT]]) for i, two in enumerate(found))
    shutil.rmtree(tmp_path / "photos")
    assert same(read_all(disk_store(store, tmp_path / "cache")), expected)


@pytest.mark.parametrize("damage", range(40))
def test_nothing_is_believed_that_is_not_whole(tmp_path: Path, damage: int) -> None:
    """Both files are cut off, zeroed or changed at drawn places, as power cuts and failing disks leave them."""
    store = photos(tmp_path / "photos", 8)
    expected = read_all(store)
    read_all(disk_store(store, tmp_path / "cache"))
    draw = random.Random(damage)
    path = tmp_path / "cache" / ("pixels", "table")[damage % 2]
    content = bytearray(path.read_bytes())
    at = draw.randrange(len(content))
    length = draw.choice([1, 4, 24, 4096])
    if damage % 4 < 2:
        content[at : at + length] = bytes(len(content[at : at + length]))
    elif damage % 3:
        del content[at:]
    else:
        content[at] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    kept = disk_store(store, tmp_path / "cache")
    for _ in range(2):
        assert same(read_all(kept), expected)
    shutil.rmtree(tmp_path / "photos")
    assert same(read_all(disk_store(store, tmp_path / "cache")), expected)


def test_a_checksum_tells_lost_swapped_and_changed_pages() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, 5 * 4096 + 100, dtype=np.uint8)
    lost, swapped, turned, tail = (pixels.copy() for _ in range(4))
    lost[4096:8192] = 0
    swapped[:8192] = np.roll(pixels[:8192], 4096)
    turned[9000] ^= 64
    tail[-1] ^= 1
    assert len({checksum_of(found) for found in (pixels, lost, swapped, turned, tail)}) == 5


def _fill_and_die(store: FileStore, folder: Path, number: int) -> None:
    """Read every image, four threads at once, and die when the `number`-th file is opened."""
    opened = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal opened
        if event == "open" and str(arguments[0]).endswith((".jpg", ".png")):
            opened += 1
            if opened == number:
                die()

    sys.addaudithook(hook)
    kept = disk_store(store, folder)
    list(prepared(lambda i: kept.read(np.array([i])), range(COUNT), 4))


@pytest.mark.parametrize("number", sorted({1, 2, COUNT, *np.random.default_rng(0).integers(3, COUNT, 3).tolist()}))
def test_a_cache_whose_builder_was_killed_is_gone_on_with(tmp_path: Path, number: int) -> None:
    store = photos(tmp_path / "photos")
    expected = read_all(store)
    assert run_child(_fill_and_die, store, tmp_path / "cache", number) == -9
    kept = PixelFile(tmp_path / "cache", COUNT, 3)
    found = {row: image for row in range(COUNT) if (image := kept.get(row)) is not None}
    assert all(torch.equal(image, expected[row]) for row, image in found.items())
    assert number - 8 <= len(found) < number  # five are prepared at a time, and the last of them is not written
    assert same(read_all(disk_store(store, tmp_path / "cache")), expected)
    shutil.rmtree(tmp_path / "photos")
    assert same(read_all(disk_store(store, tmp_path / "cache")), expected)


def _fill(store: FileStore, folder: Path, end: Any, order: list[int]) -> None:
    """Wait until the other is there, then read every image."""
    kept = disk_store(store, folder)
    end.send("ready")
    end.recv()
    for index in order:
        kept.read(np.array([index]))


@pytest.mark.parametrize("step", [-1, 1], ids=["from both ends", "image for image the same"])
def test_two_processes_fill_one_cache(tmp_path: Path, step: int) -> None:
    """Each image is there once, whoever was first: as large as one process makes it."""
    store = photos(tmp_path / "photos")
    expected = read_all(store)
    pairs = [pipe() for _ in range(2)]
    orders = [list(range(COUNT)), list(range(COUNT))[::step]]
    children = [
        start_child(_fill, store, tmp_path / "cache", end, order) for (_, end), order in zip(pairs, orders, strict=True)
    ]
    assert [ours.recv() for ours, _ in pairs] == ["ready"] * 2
    for ours, _ in pairs:
        ours.send("go")
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert same(read_all(disk_store(store, tmp_path / "alone")), expected)
    sizes = [sum(file.stat().st_size for file in (tmp_path / name).rglob("*")) for name in ("cache", "alone")]
    shutil.rmtree(tmp_path / "photos")
    assert same(read_all(disk_store(store, tmp_path / "cache")), expected)
    assert abs(sizes[0] - sizes[1]) < 256  # where images begin depends on their order


def test_no_two_writers_are_given_the_same_place(tmp_path: Path) -> None:
    """Two openings of the files, as of two processes, and four threads of each."""
    files = [PixelFile(tmp_path, 2000, 1) for _ in range(2)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in prepared(
            lambda i: files[i % 2].put(i, torch.full((1, 8, 8), i % 251).byte(), NO_LIMIT), range(2000), 8
        ):
            pass
    finally:
        sys.setswitchinterval(before)
    found = [PixelFile(tmp_path, 2000, 1).get(row) for row in range(2000)]
    assert all(image is not None and (image == row % 251).all() for row, image in enumerate(found))
    assert files[0].size == 2000 * 64


def test_images_that_changed_have_another_cache(tmp_path: Path) -> None:
    store = photos(tmp_path / "photos")
    read_all(keep_decoded(store, memory=0, disk=NO_LIMIT, home=tmp_path))
    (tmp_path / "photos" / "a" / "02.png").write_bytes(image_bytes(999, size=(30, 30)))
    changed = open_files(tmp_path / "photos").open("all", SIDE)
    assert same(read_all(keep_decoded(changed, memory=0, disk=NO_LIMIT, home=tmp_path)), read_all(changed))
    for other in ((SIDE + 1, 3), (SIDE, 1)):
        store = open_files(tmp_path / "photos").open("all", *other)
        assert same(read_all(keep_decoded(store, memory=0, disk=NO_LIMIT, home=tmp_path)), read_all(store))
    assert len(list((tmp_path / "decoded").iterdir())) == 4


def test_what_fits_into_memory_is_kept_there(tmp_path: Path) -> None:
    store = photos(tmp_path / "photos")
    whole = sum(image.numel() for image in read_all(store))
    assert store.decoded_bytes() == whole  # all the headers are looked at
    assert isinstance(keep_decoded(store, memory=whole, disk=NO_LIMIT, home=tmp_path), CachedStore)
    assert isinstance(keep_decoded(store, memory=0, disk=0, home=tmp_path), CachedStore)
    assert not (tmp_path / "decoded").exists()
    assert isinstance(keep_decoded(store, memory=whole - 1, disk=NO_LIMIT, home=tmp_path), DiskStore)


def test_the_cache_unused_for_longest_makes_room_but_none_in_use(tmp_path: Path) -> None:
    stores = [photos(tmp_path / f"photos{seed}", seed=seed) for seed in range(4)]
    budget = sum(store.decoded_bytes() for store in stores[:3]) + 3 * COUNT * 64
    open_ones: list[Store] = []
    names: list[Path] = []
    for age, store in enumerate(stores[:3]):
        open_ones.append(keep_decoded(store, memory=0, disk=budget, home=tmp_path))
        read_all(open_ones[-1])
        (folder,) = set((tmp_path / "decoded").iterdir()) - set(names)
        os.utime(folder / "lock", (1000 + age, 1000 + age))
        names.append(folder)
    open_ones[1:] = []  # the oldest stays in use; the second is then the one to go
    kept = keep_decoded(stores[3], memory=0, disk=budget, home=tmp_path)
    assert same(read_all(kept), read_all(stores[3]))
    assert [path.is_dir() for path in names] == [True, False, True]
    total = sum(path.stat().st_size for path in (tmp_path / "decoded").glob("*/pixels"))
    assert total <= budget
    assert same(read_all(open_ones[0]), read_all(stores[0]))


def test_two_caches_that_grow_at_once_keep_to_the_budget_together(tmp_path: Path) -> None:
    stores = [photos(tmp_path / f"photos{seed}", seed=seed) for seed in range(2)]
    budget = stores[0].decoded_bytes() + COUNT * 64 + stores[1].decoded_bytes() // 2
    kept = [keep_decoded(store, memory=0, disk=budget, home=tmp_path) for store in stores]  # both are empty yet
    for mine, store in reversed(list(zip(kept, stores, strict=True))):
        assert same(read_all(mine), read_all(store))
    sizes = sorted(path.stat().st_size for path in (tmp_path / "decoded").glob("*/pixels"))
    assert sum(sizes) <= budget
    assert sizes[1] >= stores[0].decoded_bytes()  # who came first has all that it needs


@pytest.mark.parametrize("why", ["the disk is full", "the budget is used up"])
def test_where_there_is_no_room_training_goes_on_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    store = photos(tmp_path / "photos")
    expected = read_all(store)
    room = store.decoded_bytes() // 2
    with disk_of(room if why == "the disk is full" else 1 << 30), caplog.at_level(logging.WARNING):
        kept = disk_store(store, tmp_path / "cache", room if why == "the budget is used up" else NO_LIMIT, NO_LIMIT)
        for _ in range(3):
            assert same(read_all(kept), expected)
    assert len(caplog.records) == 1
    assert "training goes on" in caplog.text
    assert room // 2 < (tmp_path / "cache" / "pixels").stat().st_size <= room
    shutil.rmtree(tmp_path / "photos")
    assert same(read_all(kept), expected)  # the others stayed in memory


def test_a_home_that_cannot_be_written_costs_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = photos(tmp_path / "photos")
    (tmp_path / "home").write_text("a file")
    kept = keep_decoded(store, memory=0, disk=NO_LIMIT, home=tmp_path / "home")
    assert same(read_all(kept), read_all(store))
    assert "no decoded images are kept on the disk: Not a directory" in caplog.text
