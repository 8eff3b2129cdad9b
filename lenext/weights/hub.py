"""Get published weights from their publisher, on request only, checked against the digest that he states."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenext.downloads import download_file, has_digest, read_answer
from lenext.errors import DataError, MachineError
from lenext.weights.published import Published

_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth")  # torchvision's names end in the start of the SHA-256
_FILES = ("model.safetensors", "pytorch_model.bin")  # of a repository on the hub, the first that is there


@dataclass(frozen=True)
class Addresses:
    """Where the publishers are."""

    torchvision: str = "https://download.pytorch.org/models"
    hub: str = "https://huggingface.co"


def get_weights(one: Published, root: Path, addresses: Addresses, *, offline: bool = False) -> Path:
    """Return the file of published weights below `root`, getting it where it is not there.

    torchvision's digest is in the file's name, the hub's in its listing of the repository. offline: never connect; a
    file that is not there is then a MachineError. A file that is not what was published is a DataError.
    """
    if one.source == "torchvision":
        return _get(
            f"{addresses.torchvision}/{one.file}", root / "torchvision" / one.file, _digest_in(one.file), offline
        )
    if one.source != "timm":
        raise DataError(
            f"cannot get weights of {one.source}",
            why="its publisher states no digest",
            advice="lenext weights import FILE",
        )
    folder = root / "timm" / one.tag
    for path in sorted(folder.glob("*-*.*")):  # as this function names them: by the digest that the hub stated
        if has_digest(path, "sha256", path.stem.rpartition("-")[2]):
            return path
    if offline:
        raise _offline(folder / _FILES[0])
    listed = _listed(f"{addresses.hub}/api/models/timm/{one.tag}/tree/main")
    target = folder / f"{Path(listed.name).stem}-{listed.sha256[:16]}{Path(listed.name).suffix}"
    url = f"{addresses.hub}/timm/{one.tag}/resolve/main/{listed.name}"
    return _get(url, target, listed.sha256, offline, listed.size)


def _get(url: str, target: Path, digest: str, offline: bool, size: int | None = None) -> Path:
    if has_digest(target, "sha256", digest):
        return target
    if offline:
        raise _offline(target)
    download_file(url, target, "sha256", digest, size)
    return target


@dataclass(frozen=True)
class _Listed:
    """A file as the hub lists it; size in bytes."""

    name: str
    sha256: str
    size: int


def _listed(url: str) -> _Listed:
    """The repository's file of weights."""
    try:
        listing: Any = json.loads(read_answer(url))
        entries = {entry["path"]: entry.get("lfs") for entry in listing}
        for name in _FILES:
            lfs = entries.get(name)
            if lfs and isinstance(lfs["oid"], str) and re.fullmatch("[0-9a-f]{64}", lfs["oid"]):
                return _Listed(name, lfs["oid"], int(lfs["size"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"cannot get {url}", why=f"no listing of files: {error}", advice="try again later") from error
    raise DataError(
        f"cannot get {url}", why=f"it lists none of {', '.join(_FILES)} with a digest", advice="another tag"
    )


def _digest_in(name: str) -> str:
    found = _IN_NAME.search(name)
    if found is None:
        raise DataError(f"cannot get {name}", why="its name states no digest", advice="lenext weights import FILE")
    return found[1]


def _offline(target: Path) -> MachineError:
    return MachineError(
        f"cannot get {target.name}",
        why="the environment says to stay offline",
        advice="lenext weights import FILE, with a file that you have",
    )
