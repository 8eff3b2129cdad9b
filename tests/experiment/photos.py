"""A small folder of real image files, colour JPEGs of many sizes, and runs on it."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from lenext.data.config import DataConfig
from lenext.data.sources import Source, find_source
from lenext.experiment.config import compose
from lenext.experiment.opening import start
from lenext.experiment.session import Session

from ..data.image_folders import write_folder

CLASSES = ("cat", "dog", "owl")
# 14 images a class, of which 2 are held out and 2 are for test: 30 to train on, in batches of 3, two to an update
PLAIN = [
    "training.batch_size=3", "training.accumulate=2", "training.threads=1", "training.precision=float32",
    "training.epochs=2", "training.optimizer.rate=0.02", "training.schedule.name=cosine", "augment.trivial=false",
]  # fmt: skip


def photograph(kind: int, seed: int) -> bytes:
    """Soft blobs of a tint that tells the class, 20 to 44 pixels wide and high, as a JPEG."""
    random = np.random.default_rng([kind, seed])
    width, height = (int(side) for side in random.integers(20, 45, 2))
    coarse = random.integers(0, 160, (4, 4, 3))
    coarse[..., kind % 3] += 90
    buffer = io.BytesIO()
    Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def photographs(each: int = 14, classes: tuple[str, ...] = CLASSES, prefix: str = "") -> Mapping[str, bytes]:
    """The files of a folder by class, to be written with `write_folder`."""
    return {
        f"{prefix}{name}/{number:02}.jpg": photograph(kind, number + 1000 * len(prefix))
        for kind, name in enumerate(classes)
        for number in range(each)
    }


def write_photos(folder: Path, each: int = 14, classes: tuple[str, ...] = CLASSES) -> Path:
    """Write CLASS/00.jpg ... without splits."""
    return write_folder(folder, photographs(each, classes))


def begin_on(
    source: Source | str | Path, run: Path, *settings: str, model: str = "resnet20", size: int = 8, weights: str = ""
) -> Session:
    """Create a run of a small network on a folder, or on what a program has in memory."""
    found = find_source(str(source)) if isinstance(source, str | Path) else source
    told = [*PLAIN, *settings]
    data = DataConfig(name=found.name, home=str(run.parent / "home"))
    experiment, _ = compose(data, found, "" if weights else model, size=size, weights=weights, settings=told)
    return start(experiment, found, run, settings=told)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


Fresh = Callable[..., Path]
Whole = Callable[[Path], Path]
