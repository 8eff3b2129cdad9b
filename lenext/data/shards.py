"""A set of images in several .tar files with an index: how many files each holds, how long it is, its digest."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lenext import run as runs
from lenext.data.containers import Tar, shown
from lenext.errors import DataError

INDEX = "shards.json"

_FORMAT = "lenext shards 1"


class Shards:
    """Members of all the shards of a folder, as if it were one .tar.

    Opened, the index is held against its own digest, and each shard against its length and the names and sizes of its
    files; what is cut off, missing, too many or in another's place is a DataError that names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = _read_index(path)
        known = {entry["name"] for entry in self._entries}
        for found in sorted(path.glob("*.tar")):
            if found.name not in known:
                raise _damaged(path, f"the shard {shown(found.name)} is not in {INDEX}")
        self._tars: dict[str, Tar] = {}  # by the name of the member
        folders: set[str] = set()
        for entry in self._entries:
            tar = _open_shard(path, entry)
            self._tars.update(dict.fromkeys(tar.names(), tar))
            folders.update(tar.folders())
        if len(self._tars) < sum(entry["files"] for entry in self._entries):
            raise _damaged(path, "two shards hold a file of the same name")
        self._names = sorted(self._tars, key=os.fsencode)
        self._folders = sorted(folders, key=os.fsencode)

    def names(self) -> list[str]:
        """All files."""
        return self._names

    def folders(self) -> list[str]:
        """All folders, named by themselves or by a file."""
        return self._folders

    def read(self, name: str, limit: int = -1) -> bytes:
        """Return what the file holds, or its first `limit` bytes."""
        return self._tars[name].read(name, limit)

    def size(self, name: str) -> int:
        """Bytes of the file."""
        return self._tars[name].size(name)

    def verify(self) -> None:
        """Read every shard and compare its digest; another one is a DataError that names the shard."""
        for entry in self._entries:
            if runs.sha256_file(self.path / entry["name"]) != entry["sha256"]:
                raise _damaged(self.path, f"the shard {entry['name']} has another SHA-256 than {INDEX} tells")


def is_sharded(path: Path) -> bool:
    """Whether a folder holds shards."""
    return (path / INDEX).is_file()


def write_index(folder: Path, images: int, shards: Sequence[str]) -> None:
    """Write what `Shards` compares: of these files in the folder, in this order."""
    entries: list[dict[str, Any]] = []
    for name in shards:
        tar = Tar(folder / name)
        entries.append(
            {
                "name": name,
                "files": len(tar.names()),
                "bytes": (folder / name).stat().st_size,
                "sha256": runs.sha256_file(folder / name),
                "members": _members_digest(tar),
            }
        )
    files, size = (sum(entry[key] for entry in entries) for key in ("files", "bytes"))
    content = {"format": _FORMAT, "images": images, "files": files, "bytes": size, "shards": entries}
    runs.write_json(folder / INDEX, {**content, "digest": _digest(content)})


def _read_index(path: Path) -> list[dict[str, Any]]:
    content = runs.read_json(path / INDEX)
    if content.get("format") != _FORMAT:
        raise _damaged(path, f"the format of {INDEX} is {content.get('format')!r}, this lenext reads {_FORMAT!r}")
    if content.pop("digest", None) != _digest(content):
        raise _damaged(path, f"{INDEX} does not have its own digest: it was edited or damaged")
    entries: list[dict[str, Any]] = content["shards"]
    return entries


def _open_shard(path: Path, entry: Mapping[str, Any]) -> Tar:
    """Open one shard, held against what the index tells of it without reading it all."""
    name = entry["name"]
    try:
        size = (path / name).stat().st_size
    except OSError as error:
        raise _damaged(path, f"the shard {name} with {entry['files']:,} files: {error.strerror}") from error
    if size != entry["bytes"]:
        why = f"the shard {name} has {size:,} bytes, and had {entry['bytes']:,}"
        raise _damaged(path, why + (": it is cut off" if size < entry["bytes"] else ""))
    tar = Tar(path / name)
    if _members_digest(tar) != entry["members"]:
        raise _damaged(path, f"the shard {name} holds other files than {INDEX} tells")
    return tar


def _members_digest(tar: Tar) -> str:
    names = hashlib.sha256()
    for name in tar.names():
        names.update(os.fsencode(name) + b"\0%d\n" % tar.size(name))
    return names.hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _damaged(path: Path, why: str) -> DataError:
    advice = "get the shards again, or pack them anew: lenext data pack DATA OUT --shard-size 1GB"
    return DataError(f"cannot use {shown(str(path))} as data", why=why, advice=advice)
