"""A small real run (ResNet-20 on digits, 21 updates) and what of a run must be equal to the bit."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.data.config import DataConfig
from lenext.data.published import open_published
from lenext.data.sources import find_source
from lenext.experiment.config import compose
from lenext.experiment.opening import start
from lenext.experiment.session import Epoch, Session
from lenext.training.loop import Step

from ..data.idx_files import idx_bytes

EPOCHS, BATCHES = 3, 7  # 337 images in batches of 48
HELD_OUT = 100
STEPS = EPOCHS * BATCHES
SMALL = ["training.batch_size=48", "data.limit=337", f"data.validation={HELD_OUT}", "training.threads=1",
    "training.precision=float32"]  # fmt: skip
SCHEDULES = {
    "one_cycle": ["training.optimizer.rate=0.05"],
    # a cut after every epoch that does not lose nine tenths of its loss
    "plateau": ["training.schedule.name=plateau", "training.schedule.patience=0", "training.schedule.threshold=0.9"],
}
TIMINGS = {"seconds", "images_per_second"}


def begin(
    run: Path, *settings: str, data: str = "digits", root: str = "", model: str = "resnet20", size: int = 0
) -> Session:
    """Create a small run."""
    told = [*SMALL, *settings]
    source = find_source(data, root)
    experiment, _ = compose(
        DataConfig(name=data, root=root), source, model, size=size, settings=[f"training.epochs={EPOCHS}", *told]
    )
    return start(experiment, source, run, settings=told)


def copy(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


def finish(session: Session, each: Callable[[Step | Epoch], object] = lambda _: None) -> Path:
    """Train to the end."""
    for record in session.records():
        each(record)
    return session.run


def result(run: Path) -> dict[str, Any]:
    """Everything of a run that an interruption may not change: all but times, and what counts their digits."""
    found: dict[str, Any] = {"metrics": metrics(run), "config": (run / "config.toml").read_bytes()}
    for part in ("best", "last"):
        loaded = checkpoints.load(run / part)
        progress = {key: value for key, value in loaded.progress.items() if key not in PASSING}
        found[part] = (loaded.card, bits(loaded.weights), bits(loaded.optimizer), progress)
    return found


PASSING = {"seconds", "epoch_start", "metrics_bytes"}


def metrics(run: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key not in TIMINGS} for line in runs.read_metrics(run)]


def bits(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    return {name: value.contiguous().numpy().tobytes() for name, value in tensors.items()}


def step_of(run: Path) -> int:
    """The update after which the newest checkpoint was taken."""
    return int(checkpoints.load(run / "last").progress["step"])


def damage_newest(run: Path, role: str = "weights") -> None:
    """Invert a bit in the middle of a file of the newest generation."""
    manifest = json.loads((run / "last" / "manifest.json").read_text())
    path = run / "last" / manifest["generations"][0][role]["name"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_digits(root: Path) -> Path:
    """The digits as an idx set called mnist, so that its files can be changed, moved and broken."""
    folder = root / "mnist"
    folder.mkdir(parents=True)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        store = open_published("digits").open(split)
        images = store.images[:, 0].numpy()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(store.labels.astype(np.uint8)))
    return root
