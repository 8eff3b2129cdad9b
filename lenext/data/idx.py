"""The idx format of MNIST and its descendants (LeCun, "The MNIST database", file formats), gzipped or not.

Magic number 00 00 08 nn (unsigned bytes, nn dimensions), one big-endian 32-bit size per dimension, then the bytes.
"""

import gzip
import hashlib
import io
import math
import zlib
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lenext.errors import DataError

_File: TypeAlias = io.BufferedReader | gzip.GzipFile

_GZIP = b"\x1f\x8b"
_UNSIGNED_BYTES = 0x08
_CHUNK = 1 << 20
_ADVICE = "get the file again: remove it, then lenext data get NAME"


def read_idx(path: Path, dimensions: int | None = None) -> npt.NDArray[np.uint8]:
    """Read a whole file; with `dimensions`, only 3 (images) or 1 (labels) will do. Anything amiss is a DataError."""
    with _open(path) as file:
        shape = _read_header(file, path, dimensions)
        expected = math.prod(shape)
        body = _read_up_to(file, expected, path)
        if len(body) < expected:
            raise _broken(path, f"it ends early: {expected - len(body)} of {expected} bytes are missing")
        trailing = 0
        while extra := len(_read_up_to(file, _CHUNK, path)):
            trailing += extra
        if trailing:
            raise _broken(path, f"{trailing} bytes follow the {expected} that its header announces")
    try:
        return np.frombuffer(body, dtype=np.uint8).reshape(shape)
    except ValueError as error:  # no bytes at all, by a size of 0 beside others beyond any array
        raise _broken(path, f"its header announces the sizes {shape}") from error


def read_shape(path: Path, dimensions: int | None = None) -> tuple[int, ...]:
    """Read the header alone: the sizes of the dimensions, as announced."""
    with _open(path) as file:
        return _read_header(file, path, dimensions)


def uncompressed_sha256(path: Path) -> str:
    """Digest the bytes that the file holds, header and all, as they are once unzipped."""
    found = hashlib.sha256()
    with _open(path) as file:
        while piece := _read_up_to(file, _CHUNK, path):
            found.update(piece)
    return found.hexdigest()


def _open(path: Path) -> _File:
    """Open the uncompressed bytes; that a file is gzipped is told by its content, whatever its name."""
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP
        return gzip.GzipFile(path) if compressed else path.open("rb")
    except OSError as error:
        raise _broken(path, error.strerror or str(error)) from error


def _read_header(file: _File, path: Path, dimensions: int | None) -> tuple[int, ...]:
    magic = _read_up_to(file, 4, path)
    if not magic:
        raise _broken(path, "it is empty")
    wanted = f"00 00 08 {dimensions:02x}" if dimensions else "00 00 08 nn"
    if len(magic) < 4 or magic[:3] != bytes((0, 0, _UNSIGNED_BYTES)) or magic[3] == 0:
        raise _broken(path, f"magic number {magic.hex(' ')}, expected {wanted}: not an idx file of bytes")
    if dimensions is not None and magic[3] != dimensions:
        raise _broken(
            path, f"magic number {magic.hex(' ')}, expected {wanted}: dimensions {magic[3]}, not {dimensions}"
        )
    sizes = _read_up_to(file, 4 * magic[3], path)
    if len(sizes) < 4 * magic[3]:
        raise _broken(path, f"it ends within its header: {4 * magic[3] - len(sizes)} bytes of it are missing")
    return tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))


def _read_up_to(file: _File, count: int, path: Path) -> bytearray:
    """Read `count` bytes, or fewer at the end of the file, be that a good end or a torn one.

    read1, because read forgets what it has when the compressed stream turns out to be torn.
    """
    data = bytearray()
    try:
        while len(data) < count and (piece := file.read1(min(_CHUNK, count - len(data)))):
            data += piece
    except EOFError:  # the compressed stream stops in the middle: what is missing is the caller's message
        pass
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _broken(path, f"the gzip stream is corrupt: {error}") from error
    except OSError as error:
        raise _broken(path, error.strerror or str(error)) from error
    return data


def _broken(path: Path, why: str) -> DataError:
    return DataError(f"cannot read {path}", why=why, advice=_ADVICE)
