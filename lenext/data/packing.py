"""A folder or an archive of images as one uncompressed .tar, in which every image can be reached by itself."""

import contextlib
import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from lenext import run as runs
from lenext.data.containers import Container, open_container, shown
from lenext.data.listing import Listing, list_images
from lenext.errors import DataError, MachineError


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What was written. size: bytes of the .tar. ignored: what the listing leaves out and the .tar has not, a sentence
    each."""

    path: Path
    images: int
    size: int
    ignored: tuple[str, ...]


def pack_images(path: Path, out: Path) -> Packed:
    """Write the images of a folder, a .zip or a .tar, and each metadata.csv that counts, to the new .tar `out`.

    Names and bytes stay as they are, and the same images always give the same .tar. It is written beside its place,
    read back and compared, then renamed; an `out` that exists is a DataError, a full disk a MachineError.
    """
    container = open_container(path)
    listing = list_images(container, path)
    if out.exists():
        raise DataError(f"cannot write {out}", why="it exists", advice="name another file, or remove it")
    names = sorted([*(item.name for item in listing.items), *listing.tables], key=os.fsencode)
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            digests = _write(file, container, names)
            file.flush()
            os.fsync(file.fileno())
        _verify(beside, listing, digests)
        beside.rename(out)
        runs.sync_folder(out.parent)
    except OSError as error:
        why = error.strerror or str(error)
        raise MachineError(f"cannot write {out}", why=why, advice="free some space, or name another place") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
    return Packed(path=out, images=len(listing.items), size=out.stat().st_size, ignored=listing.ignored)


def _write(file: io.BufferedWriter, container: Container, names: list[str]) -> dict[str, str]:
    """Return the digest of each file as it was read."""
    digests = {}
    # names as they are on the disk: the format of GNU keeps bytes that are no UTF-8
    with tarfile.open(
        fileobj=file, mode="w:", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for name in names:
            data = container.read(name)
            digests[name] = hashlib.sha256(data).hexdigest()
            info = tarfile.TarInfo(name)  # time, owner and group are 0, the mode is rw-r--r--
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
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
