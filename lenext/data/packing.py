"""A folder or an archive of images as one uncompressed .tar, or as several with an index: each image can be reached."""

import contextlib
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lenext import run as runs
from lenext.data.containers import Container, open_container, shown
from lenext.data.listing import Listing, list_images
from lenext.data.shards import write_index
from lenext.errors import DataError, MachineError

_BLOCK = 512  # bytes: what a .tar is made of (POSIX.1-2017, pax, "ustar Interchange Format")
_LONG = 100  # bytes of a name from which it has blocks of its own


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What was written. shards: how many .tar files. size: their bytes. ignored: what the listing leaves out and they
    have not, a sentence each."""

    path: Path
    images: int
    shards: int
    size: int
    ignored: tuple[str, ...]


def pack_images(path: Path, out: Path, shard_size: int = 0) -> Packed:
    """Write the images of a folder, a .zip or a .tar, and each metadata.csv that counts, to the new .tar `out`.

    shard_size: bytes of a shard at most; `out` is then a folder of them with an index (`lenext.data.shards`). A file
    that is longer has a shard of its own. Names and bytes stay as they are, and the same images always give the same
    files. They are written beside their place, read back and compared, then renamed; an `out` that exists is a
    DataError, a full disk a MachineError.
    """
    container = open_container(path)
    listing = list_images(container, path)
    if out.exists():
        raise DataError(f"cannot write {out}", why="it exists", advice="name another file, or remove it")
    names = sorted([*(item.name for item in listing.items), *listing.tables], key=os.fsencode)
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        if shard_size:
            digests = _write_shards(beside, container, names, len(listing.items), shard_size)
        else:
            digests = _write(beside, container, names)
        _verify(beside, listing, digests)
        files = sorted(beside.glob("*.tar")) if shard_size else [beside]
        size = sum(file.stat().st_size for file in files)
        beside.rename(out)
        runs.sync_folder(out.parent)
    except OSError as error:
        why = error.strerror or str(error)
        raise MachineError(f"cannot write {out}", why=why, advice="free some space, or name another place") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        with contextlib.suppress(OSError):
            beside.unlink()
    return Packed(path=out, images=len(listing.items), shards=len(files), size=size, ignored=listing.ignored)


def _write_shards(
    folder: Path, container: Container, names: Sequence[str], images: int, shard_size: int
) -> dict[str, str]:
    """Write 00000.tar, 00001.tar ... and their index; return the digest of each file as it was read."""
    folder.mkdir()
    digests, written = {}, []
    for number, part in enumerate(_parts(container, names, shard_size)):
        written.append(f"{number:05}.tar")
        digests.update(_write(folder / written[-1], container, part))
    write_index(folder, images, written)
    runs.sync_folder(folder)
    return digests


def _parts(container: Container, names: Sequence[str], shard_size: int) -> Iterator[list[str]]:
    """Divide the names, in their order, into as few parts as shards of `shard_size` bytes hold."""
    room = shard_size - tarfile.RECORDSIZE  # a .tar ends with zeros, and is a multiple of these
    part: list[str] = []
    taken = 0
    for name in names:
        blocks = 1 + -(-container.size(name) // _BLOCK)
        if (length := len(os.fsencode(name))) >= _LONG:
            blocks += 1 + -(-(length + 1) // _BLOCK)
        if part and taken + blocks * _BLOCK > room:
            yield part
            part, taken = [], 0
        part.append(name)
        taken += blocks * _BLOCK
    yield part


def _write(path: Path, container: Container, names: Sequence[str]) -> dict[str, str]:
    """Write one .tar; return the digest of each file as it was read."""
    digests = {}
    # names as they are on the disk: the format of GNU keeps bytes that are no UTF-8
    with path.open("xb") as file:
        with tarfile.open(
            fileobj=file, mode="w:", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for name in names:
                data = container.read(name)
                digests[name] = hashlib.sha256(data).hexdigest()
                info = tarfile.TarInfo(name)  # time, owner and group are 0, the mode is rw-r--r--
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        file.flush()
        os.fsync(file.fileno())
    return digests


def _verify(beside: Path, listing: Listing, digests: dict[str, str]) -> None:
    packed = open_container(beside)
    wrong = [name for name in digests if hashlib.sha256(packed.read(name)).hexdigest() != digests[name]]
    found = list_images(packed, beside)
    if wrong or (found.task, found.items) != (listing.task, listing.items):
        why = f"{shown(wrong[0])} reads back otherwise" if wrong else "without the ignored files the classes differ"
        raise DataError(
            f"cannot pack {shown(str(listing.path))}",
            why=why,
            advice=f"clear up the folder: lenext data check {listing.path}",
        )
