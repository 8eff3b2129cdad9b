"""Decoded photographs kept on the disk: each is decoded once, while the first epoch runs, and mapped into memory later.

A cache belongs to one set of files by their content, to the scale they are decoded at and to the decoder: images that
changed make another cache, and a run has the same bits with a cache or without.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lenext.data.decode import decoder_versions
from lenext.data.files import FileStore
from lenext.data.pixels import ALIGNED, PIXELS, PixelFile
from lenext.data.store import CachedStore, Store

FOLDER = "decoded"
LOCK = "lock"
CLAIM = "claim"  # the bytes that the processes in a cache may let it grow to

_FORMAT = 1
_log = logging.getLogger(__name__)  # stderr, unless the program that uses lenext has said otherwise


class DiskStore:
    """A store of files whose images stay on the disk once they were decoded; those that do not fit there, in memory.

    limit: bytes of the disk for this set. memory: bytes for what found no place there.
    """

    def __init__(self, store: FileStore, folder: Path, *, limit: int, memory: int) -> None:
        self.store = store
        self.limit = limit
        self.labels: npt.NDArray[Any] = store.labels
        self.ids: Sequence[str] = store.ids
        self._lock = _enter(folder)  # held as long as this store lives
        self._pixels = PixelFile(folder, len(store), store.channels)
        self._rest = CachedStore(store, memory)
        self._full = False

    def __len__(self) -> int:
        return len(self.store)

    def read(self, indices: npt.NDArray[np.int64]) -> list[Tensor]:
        """Return the images at `indices`, in that order: uint8 (C, H, W) each, to be read and not written."""
        wanted = dict.fromkeys(indices.tolist())
        found = {index: image for index in wanted if (image := self._pixels.get(index)) is not None}
        missing = np.array([index for index in wanted if index not in found], np.int64)
        fresh = (self._rest if self._full else self.store).read(missing)
        for index, image in zip(missing.tolist(), fresh, strict=True):
            self._keep(index, image)
            found[index] = image
        return [found[index] for index in indices.tolist()]

    def _keep(self, index: int, image: Tensor) -> None:
        if self._full:
            return
        try:
            self._full = not self._pixels.put(index, image, self.limit)
            why = f"they may have {self.limit >> 20:,} MiB (data.disk_cache, and half of what is free)"
        except OSError as error:
            self._full, why = True, error.strerror or str(error)
        if self._full:
            _say(f"{self._pixels.size >> 20:,} MiB of decoded images are kept on the disk", why)


def keep_decoded(store: FileStore, *, memory: int, disk: int, home: Path) -> Store:
    """Return the store with its decoded images kept: in memory where all fit into `memory` bytes, else on the disk.

    disk: bytes that all caches together may have below `home`; what was not used for longest goes, and half of what is
    free stays free. Where nothing can be written, the images that fit into memory are kept there, and it is said.
    """
    wanted = store.decoded_bytes()
    if wanted <= memory or disk == 0:
        return CachedStore(store, memory)
    folder = home / FOLDER / _key(store)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent):  # two that begin at once do not both take what is left
            limit, others = _make_room(folder, wanted, disk), _claimed(folder)
            kept = DiskStore(store, folder, limit=limit, memory=memory)
            with contextlib.suppress(OSError):  # of a full disk, where a cache that is whole is read all the same
                (folder / CLAIM).write_text(str(max(others, min(limit, wanted + ALIGNED * len(store)))))
        return kept
    except OSError as error:
        _say("no decoded images are kept on the disk", error.strerror or str(error))
        return CachedStore(store, memory)


def _key(store: FileStore) -> str:
    contents = [name.rpartition(":")[2] for name in store.ids]
    facts = [str(_FORMAT), *decoder_versions(), str(store.min_side), str(store.channels), *contents]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]


def _make_room(folder: Path, wanted: int, budget: int) -> int:
    """Remove other caches, the one that was used last at the end, until `wanted` bytes fit; return how many may be had.

    One that a process uses stays, and counts as what it may grow to.
    """
    for left in folder.parent.glob(".*.gone"):
        shutil.rmtree(left, ignore_errors=True)
    sizes = {path: _claimed(path) for path in folder.parent.iterdir() if path != folder and (path / LOCK).is_file()}
    for path in sorted(sizes, key=_last_used):
        if sum(sizes.values()) + wanted <= budget:
            break
        if _remove_unused(path):
            del sizes[path]
    free = shutil.disk_usage(folder.parent).free - sum(size - _size(path) for path, size in sizes.items())
    return max(min(budget - sum(sizes.values()), _size(folder) + max(free, 0) // 2), 0)


def _enter(folder: Path) -> BinaryIO:
    """Make the folder of a cache where there is none, and hold its lock beside others as long as the file is open.

    Whoever enters or removes one holds the lock of all caches meanwhile.
    """
    folder.mkdir(exist_ok=True)
    lock = (folder / LOCK).open("a+b")
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.utime(folder / LOCK)
    return lock


@contextlib.contextmanager
def _locked(path: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a file's or a folder's lock inside the block; with LOCK_NB it is an OSError where another holds it."""
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # a network's file system locks what is written
    try:
        fcntl.flock(file, how)
        yield
    finally:
        os.close(file)


def _claimed(folder: Path) -> int:
    """Bytes that a cache takes or, while a process uses it, may come to take."""
    try:
        with _locked(folder / LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return _size(folder)
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            return max(_size(folder), int((folder / CLAIM).read_text()))
        return _size(folder)


def _remove_unused(folder: Path) -> bool:
    """Remove a cache that no process has entered; tell whether it went."""
    with contextlib.suppress(OSError), _locked(folder / LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
        gone = folder.with_name(f".{folder.name}.{os.getpid()}.gone")
        folder.rename(gone)  # at once: a killed process leaves no half of a cache under its name
        shutil.rmtree(gone, ignore_errors=True)
        return True
    return False


def _last_used(folder: Path) -> float:
    try:
        return (folder / LOCK).stat().st_mtime
    except OSError:
        return 0.0


def _size(folder: Path) -> int:
    try:
        return (folder / PIXELS).stat().st_size
    except OSError:
        return 0


def _say(what: str, why: str) -> None:
    _log.warning("%s: %s; training goes on, and the other images are decoded each time", what, why)
