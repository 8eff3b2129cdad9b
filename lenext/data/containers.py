"""A folder, a .zip or a .tar as one thing: names of files, and random access to their bytes. Nothing is unpacked.

Names are parted by "/" and are str as the operating system gives them, bytes that are no UTF-8 as surrogate escapes.
"""

import lzma
import os
import posixpath
import shlex
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from lenext.config import nearest
from lenext.errors import DataError

T = TypeVar("T")

_BLOCK = 512  # bytes of a tar, POSIX.1-2017, pax, "ustar Interchange Format"
_UNIX = 3  # "version made by" of a zip, APPNOTE.TXT 4.4.2.2
_UTF_8 = 0x800  # general purpose bit 11, APPNOTE.TXT 4.4.4
_ENCRYPTED = 0x1
_LARGEST = 1 << 30  # bytes: no image that can be decoded is larger, but a few bytes of a hostile zip can be
_LONGEST_LINK = 4096  # PATH_MAX of Linux
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
_BROKEN_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class Container(Protocol):
    """Files by name; several threads may read at once."""

    def names(self) -> list[str]:
        """All files, in the order of the bytes of their names."""

    def folders(self) -> list[str]:
        """All folders, those without a file included, in the order of the bytes of their names."""

    def read(self, name: str, limit: int = -1) -> bytes:
        """Return what the file holds, or its first `limit` bytes. A file that cannot be read is a DataError."""

    def size(self, name: str) -> int:
        """Bytes of the file."""


def open_container(path: Path) -> Container:
    """Open a folder, a .zip, an uncompressed .tar or a folder of shards, told apart by content; else a DataError."""
    if path.is_dir():
        from lenext.data.shards import Shards, is_sharded  # which are made of what is defined below

        return Shards(path) if is_sharded(path) else Folder(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _unusable(path, "it is neither a folder nor a file", "name a folder, a .zip or a .tar")
        with path.open("rb") as file:
            start = file.read(8)
    except FileNotFoundError as error:
        raise _unusable(path, "there is no such file or folder", _other_name(path)) from error
    except OSError as error:
        raise _unusable(path, error.strerror or str(error), "name a folder, a .zip or a .tar") from error
    if start.startswith(_ZIP):
        return Zip(path)
    if start.startswith(_COMPRESSED):
        folder = shlex.quote(path.name.partition(".")[0] or "images")
        raise _unusable(
            path,
            "it is compressed as a whole, and single images cannot be reached",
            f"unpack it: mkdir {folder} && tar -xf {shlex.quote(shown(str(path)))} -C {folder}",
        )
    return Tar(path)


def shown(name: str) -> str:
    r"""Return a name that can be written and displayed: bytes that are no UTF-8 become \xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class Folder:
    """Files below a folder. Links are followed, but not back into a folder that is being walked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: list[str] = []
        self._folders: list[str] = []
        for name, is_folder in _walk(path, "", frozenset()):
            (self._folders if is_folder else self._names).append(name)
        self._names.sort(key=os.fsencode)
        self._folders.sort(key=os.fsencode)

    def names(self) -> list[str]:
        """All files; a link that leads nowhere among them, since reading it tells what is wrong."""
        return self._names

    def folders(self) -> list[str]:
        """All folders below this one."""
        return self._folders

    def read(self, name: str, limit: int = -1) -> bytes:
        """Return what the file holds, or its first `limit` bytes."""
        try:
            self.size(name)  # opening a pipe would wait for ever
            with (self.path / name).open("rb") as file:
                return file.read(limit)
        except OSError as error:
            raise _unreadable(self.path / name, error.strerror or str(error)) from error

    def size(self, name: str) -> int:
        """Bytes of the file."""
        try:
            found = (self.path / name).stat()
        except OSError as error:
            raise _unreadable(self.path / name, error.strerror or str(error)) from error
        if not stat.S_ISREG(found.st_mode):
            raise _unreadable(self.path / name, "it is no regular file")
        return found.st_size


class Zip:
    """Members of a .zip, found by its central directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()  # zipfile counts its open members without one
        self._members: dict[str, zipfile.ZipInfo] = {}
        folders, links = set(), {}
        try:
            self._archive = zipfile.ZipFile(path)
        except _BROKEN_ZIP as error:
            raise _unusable(path, f"it is damaged or cut off: {error}", "get the file again") from error
        for info in self._archive.infolist():
            name = _inside(path, _zip_name(info))
            if info.is_dir():
                folders.add(name)
            elif info.flag_bits & _ENCRYPTED:
                raise _unusable(path, f"{shown(name)} in it is encrypted", "unpack it, and use the folder")
            elif info.create_system == _UNIX and stat.S_ISLNK(info.external_attr >> 16):
                links[name] = _target(name, os.fsdecode(self._bytes(name, info, _LONGEST_LINK)))
            else:
                self._members[name] = info
        self._broken = _resolve(self._members, links)
        self._names, self._folders = _sorted_names([*self._members, *self._broken], folders)

    def names(self) -> list[str]:
        """All files."""
        return self._names

    def folders(self) -> list[str]:
        """All folders, named by themselves or by a file."""
        return self._folders

    def read(self, name: str, limit: int = -1) -> bytes:
        """Return what the file holds, or its first `limit` bytes."""
        return self._bytes(name, self._member(name), limit)

    def size(self, name: str) -> int:
        """Bytes of the file, uncompressed."""
        return self._member(name).file_size

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name in self._broken:
            raise _broken_link(self.path / name, self._broken[name])
        return self._members[name]

    def _bytes(self, name: str, info: zipfile.ZipInfo, limit: int) -> bytes:
        if limit < 0 and info.file_size > _LARGEST:
            raise _unreadable(self.path / name, f"it would have {info.file_size:,} bytes")
        try:
            with self._lock:
                member = self._archive.open(info)
            try:
                return member.read(limit)
            finally:
                with self._lock:
                    member.close()
        except _BROKEN_ZIP as error:
            raise _unreadable(self.path / name, f"the archive is damaged there: {error}") from error


class Tar:
    """Members of an uncompressed .tar: their places are found once, then each is read by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, tuple[int, int]] = {}  # offset, size
        self._links: dict[str, str] = {}
        folders: set[str] = set()
        try:
            with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as archive:
                while (info := archive.next()) is not None:
                    self._add(info, folders)
                    archive.members.clear()  # type: ignore[attr-defined]  # a million of them would fill the memory
                end = archive.offset
            self._file = path.open("rb")
        except (tarfile.TarError, OSError, ValueError) as error:
            why = f"it is neither a folder nor a whole .zip or .tar ({error})"
            raise _unusable(path, why, "name a folder, a .zip or a .tar, or get the file again") from error
        if self._pread(_BLOCK, end) != bytes(_BLOCK):  # tarfile takes a damaged header for the end
            raise _unusable(path, f"it is damaged or cut off at byte {end:,}", "get the file again")
        self._broken = _resolve(self._members, self._links)
        self._names, self._folders = _sorted_names([*self._members, *self._broken], folders)

    def names(self) -> list[str]:
        """All files."""
        return self._names

    def folders(self) -> list[str]:
        """All folders, named by themselves or by a file."""
        return self._folders

    def read(self, name: str, limit: int = -1) -> bytes:
        """Return what the file holds, or its first `limit` bytes."""
        offset, size = self._place(name)
        wanted = size if limit < 0 else min(size, limit)
        data = self._pread(wanted, offset)
        if len(data) < wanted:
            raise _unreadable(self.path / name, f"the archive ends {wanted - len(data):,} bytes early")
        return data

    def size(self, name: str) -> int:
        """Bytes of the file."""
        return self._place(name)[1]

    def _add(self, info: tarfile.TarInfo, folders: set[str]) -> None:
        name = _inside(self.path, info.name)
        self._members.pop(name, None)  # a later member of the same name replaces an earlier one, as in unpacking
        self._links.pop(name, None)
        if info.isdir():
            folders.add(name)
        elif info.issym():
            self._links[name] = _target(name, info.linkname)
        elif info.islnk():
            self._links[name] = _inside(self.path, info.linkname)
        elif info.isreg() and not info.issparse():
            self._members[name] = (info.offset_data, info.size)
        else:
            raise _unusable(self.path, f"{shown(name)} in it is no regular file", "unpack it, and use the folder")

    def _place(self, name: str) -> tuple[int, int]:
        if name in self._broken:
            raise _broken_link(self.path / name, self._broken[name])
        return self._members[name]

    def _pread(self, count: int, offset: int) -> bytes:
        try:
            return os.pread(self._file.fileno(), count, offset)
        except OSError as error:
            raise _unreadable(self.path, error.strerror or str(error)) from error


def _walk(top: Path, below: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """Yield names relative to `top`, and whether each is a folder; `above`: device and inode of the folders entered."""
    folder = top / below
    try:
        found = folder.stat()
        identity = (found.st_dev, found.st_ino)
        if identity in above:
            return
        with os.scandir(folder) as entries:
            children = [(entry.name, entry.is_dir()) for entry in entries]
    except OSError as error:
        raise _unreadable(folder, error.strerror or str(error)) from error
    if below:
        yield below, True
    for child, is_folder in children:
        name = f"{below}/{child}" if below else child
        if is_folder:
            yield from _walk(top, name, above | {identity})
        else:
            yield name, False


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the name as unpacking would: zipfile takes what is not marked as UTF-8 for code page 437."""
    if info.flag_bits & _UTF_8:
        return info.filename
    raw = info.orig_filename.encode("cp437")
    try:
        return raw.decode("utf-8")  # some writers forget the mark
    except UnicodeDecodeError:
        return os.fsdecode(raw) if info.create_system == _UNIX else info.filename


def _inside(path: Path, name: str) -> str:
    """Return the member's name without empty parts and "."; one that points out of the archive is a DataError."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise _unusable(path, f"{shown(name)} in it points out of the archive", "do not trust the file; pack it anew")
    return "/".join(parts)


def _target(name: str, link: str) -> str:
    """Return the name in the archive that a symbolic link leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), link))


def _resolve(members: dict[str, T], links: Mapping[str, str]) -> dict[str, str]:
    """Add to `members` the links that lead to one; return the others with their targets."""
    broken = {}
    for name, target in links.items():
        steps = 0
        while target in links and steps < len(links):
            target, steps = links[target], steps + 1
        if target in members and target not in links:
            members[name] = members[target]
        else:
            broken[name] = links[name]
    return broken


def _sorted_names(files: Iterable[str], folders: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the files and the folders, those that only a name below them tells of among them."""
    names = sorted(set(files), key=os.fsencode)
    found = {""}
    for folder in {*map(posixpath.dirname, names), *folders}:
        while folder not in found:
            found.add(folder)
            folder = posixpath.dirname(folder)
    return names, sorted(found - {""}, key=os.fsencode)


def _other_name(path: Path) -> str:
    try:
        return nearest(path.name, [shown(other.name) for other in path.parent.iterdir()])
    except OSError:
        return f"check the path: there is no folder {shown(str(path.parent))} either"


def _broken_link(path: Path, target: str) -> DataError:
    return _unreadable(path, f"it is a link to {shown(target)}, which is no file of the archive")


def _unusable(path: Path, why: str, advice: str) -> DataError:
    return DataError(f"cannot use {shown(str(path))} as data", why=why, advice=advice)


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"cannot read {shown(str(path))}", why=why, advice="replace the file, or remove it")
