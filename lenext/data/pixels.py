"""Decoded images of one set in two files: their pixels one behind the other, and a table of where each lies.

An entry of the table carries a checksum of itself and one of its pixels, and is believed only when both are right. So a
process may be killed at any moment, power may fail, and several processes may fill the same files: what is not whole is
not there, and is written again.
"""

import fcntl
import mmap
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

PIXELS = "pixels"
TABLE = "table"

_ENTRY = struct.Struct("<QIII")  # offset, height, width, checksum of the pixels
_WIDTH = _ENTRY.size + 4  # and the CRC-32 of all that
ALIGNED = 64  # bytes: a line of a processor's cache
_PAGE = 4096  # bytes: what a disk loses, it loses by the page


class PixelFile:
    """The images of a set by their rows, memory-mapped; several threads and processes may read and write at once."""

    def __init__(self, folder: Path, count: int, channels: int) -> None:
        self.channels = channels
        self._pixels = _opened(folder / PIXELS)
        self._table = _opened(folder / TABLE)
        if os.fstat(self._table.fileno()).st_size < count * _WIDTH:
            os.ftruncate(self._table.fileno(), count * _WIDTH)  # zeros: no image yet
        self._entries = mmap.mmap(self._table.fileno(), count * _WIDTH, access=mmap.ACCESS_READ)
        self._map: mmap.mmap | None = None
        self._sure = np.zeros(count, np.bool_)  # rows whose pixels this process has written or compared
        self._lock = threading.Lock()  # between threads, what flock is between processes

    @property
    def size(self) -> int:
        """Bytes of all pixels."""
        return os.fstat(self._pixels.fileno()).st_size

    def get(self, row: int) -> Tensor | None:
        """Return an image, uint8 (C, H, W), to be read and not written; None where it is not there, or not whole."""
        entry = self._entries[row * _WIDTH : (row + 1) * _WIDTH]
        if entry != _checked(entry[: _ENTRY.size]):  # zeros where there is no image yet
            return None
        offset, height, width, checksum = _ENTRY.unpack_from(entry)
        pixels = self._view(offset, height * width * self.channels)
        if pixels is None or not (self._sure[row] or checksum_of(pixels) == checksum):
            return None
        self._sure[row] = True
        return torch.from_numpy(pixels.reshape(height, width, self.channels)).permute(2, 0, 1)

    def put(self, row: int, image: Tensor, limit: int) -> bool:
        """Write an image, uint8 (C, H, W), unless it is there; return whether it fitted into `limit` bytes of all.

        A full disk is an OSError.
        """
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy()).reshape(-1)
        with self._lock:  # one image at a time: of processes that decode the same ones, the first writes
            fcntl.flock(self._pixels, fcntl.LOCK_EX)  # a killed process leaves no lock
            try:
                return self.get(row) is not None or self._append(row, image, pixels, limit)
            finally:
                fcntl.flock(self._pixels, fcntl.LOCK_UN)

    def _append(self, row: int, image: Tensor, pixels: npt.NDArray[np.uint8], limit: int) -> bool:
        offset = -(-self.size // ALIGNED) * ALIGNED
        if offset + pixels.size > limit:
            return False
        os.ftruncate(self._pixels.fileno(), offset + pixels.size)
        _write(self._pixels, pixels.data, offset)
        entry = _ENTRY.pack(offset, image.shape[1], image.shape[2], checksum_of(pixels))
        _write(self._table, memoryview(_checked(entry)), row * _WIDTH)
        self._sure[row] = True
        return True

    def _view(self, offset: int, count: int) -> npt.NDArray[np.uint8] | None:
        mapped = self._map
        if mapped is None or offset + count > len(mapped):
            size = self.size
            if offset + count > size:
                return None
            # writable, though nobody writes: torch has no tensors that are not. Older maps live as long as their images
            self._map = mapped = mmap.mmap(self._pixels.fileno(), size, access=mmap.ACCESS_WRITE)
        return np.frombuffer(mapped, np.uint8, count, offset)


def checksum_of(pixels: npt.NDArray[np.uint8]) -> int:
    """Return the CRC-32 of the sums of each page, as 64-bit words, and of what is behind the last whole page.

    A page that was never written shows, and so does one in another's place; CRC-32 of it all takes five times as long.
    """
    whole = pixels.size // _PAGE * _PAGE
    sums = pixels[:whole].view("<u8").reshape(-1, _PAGE // 8).sum(axis=1, dtype=np.uint64)
    return zlib.crc32(pixels[whole:].data, zlib.crc32(sums.astype("<u8").tobytes()))


def _checked(entry: bytes) -> bytes:
    return entry + zlib.crc32(entry).to_bytes(4, "little")


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)


def _write(file: BinaryIO, content: memoryview, offset: int) -> None:
    while content:
        written = os.pwrite(file.fileno(), content, offset)
        content, offset = content[written:], offset + written
