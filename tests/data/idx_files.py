"""Small idx files in the publishers' format, for the tests of this folder."""

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    """The file that the format's description asks for, written out byte by byte."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def small_set(train: int = 30, test: int = 20) -> dict[str, bytes]:
    """Four files by name: random 6x5 images, labels 0 ... 9 in turn."""
    generator = np.random.default_rng(0)
    contents = {}
    for prefix, count in (("train", train), ("t10k", test)):
        pixels = generator.integers(0, 256, (count, 6, 5), dtype=np.uint8)
        contents[f"{prefix}-images-idx3-ubyte"] = idx_bytes(pixels)
        contents[f"{prefix}-labels-idx1-ubyte"] = idx_bytes((np.arange(count) % 10).astype(np.uint8))
    return contents


def write_set(folder: Path, *, zipped: bool = False, train: int = 30, test: int = 20) -> Path:
    """Write the small set, gzipped or not, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in small_set(train, test).items():
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)
    return folder
