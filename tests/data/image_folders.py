"""Small real image folders and archives, for the tests of this folder."""

import io
import os
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from lenext.data.containers import open_container
from lenext.data.listing import Listing, list_images


def image_bytes(seed: int = 0, size: tuple[int, int] = (8, 6), kind: str = "PNG", mode: str = "RGB") -> bytes:
    """An image file as Pillow writes it; size: width, height."""
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def images(*names: str) -> dict[str, bytes]:
    """A different image for each name."""
    return {name: image_bytes(seed) for seed, name in enumerate(names)}


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write each file to its place; a name that ends with "/" is a folder."""
    for name, content in files.items():
        path = os.fsencode(folder / name)
        os.makedirs(path if name.endswith("/") else os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        if not name.endswith("/"):
            Path(os.fsdecode(path)).write_bytes(content)
    return folder


def write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    """Pack the files, deflated."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes], kind: str = "w:") -> Path:
    """Pack the files; kind: a mode of tarfile."""
    with tarfile.open(path, kind) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            archive.addfile(info, io.BytesIO(content))
    return Path(path)


WRITERS = {"folder": write_folder, "zip": write_zip, "tar": write_tar}


def listed(path: Path) -> Listing:
    """Open and list what was written."""
    return list_images(open_container(path), path)
