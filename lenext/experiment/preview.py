"""What the network will see in training: images as they are varied, and what they are said to show."""

import numpy as np
import numpy.typing as npt
import torch

from lenext.data.batches import Batch, train_batches
from lenext.data.ordering import epoch_order
from lenext.data.preprocessing import Preprocessing
from lenext.data.sources import Source
from lenext.errors import UsageError
from lenext.experiment.config import Experiment
from lenext.experiment.material import divide, make_parts, settle_preprocessing
from lenext.experiment.progression import parts_in

SHOWN = 0.005  # a share of a class below this is not told


def seen_images(
    experiment: Experiment, source: Source, count: int, epoch: int = 0
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Return the first `count` training images of an epoch as the network sees them, (N, H, W, C), and their labels.

    A mixed image's label tells its shares: "0.7 cat, 0.3 dog".
    """
    stores = divide(source, experiment.data, experiment.size, source.channels)
    parts = make_parts(experiment, source, stores, settle_preprocessing(experiment, source, stores["train"]))
    if not 1 <= count <= len(parts.train):
        raise UsageError(
            f"cannot show {count} images", why=f"there are {len(parts.train)} to train on", advice="--count 24"
        )
    parts = parts_in(epoch, experiment, parts)
    order = epoch_order(
        parts.train, seed=experiment.seed, epoch=epoch, balanced=experiment.training.sampling == "balanced"
    )
    size = min(experiment.training.batch_size, len(order))
    told = {"seed": experiment.seed, "epoch": epoch, "batch_size": size, "workers": parts.workers}
    pixels, labels = [], []
    for batch in train_batches(parts.train, parts.preprocessing, parts.variation, order, **told):
        pixels.append(_seen(batch, parts.preprocessing))
        labels += _labels(batch, source.task.classes)
        if len(labels) >= count:
            break
    return np.concatenate(pixels)[:count], labels[:count]


def _seen(batch: Batch, p: Preprocessing) -> npt.NDArray[np.uint8]:
    """Undo the normalisation."""
    std, mean = (torch.tensor(values).view(1, -1, 1, 1) for values in (p.std, p.mean))
    values = ((batch.images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return np.asarray(values.permute(0, 2, 3, 1).numpy())


def _labels(batch: Batch, classes: tuple[str, ...]) -> list[str]:
    if batch.targets.ndim == 1:
        return [classes[label] for label in batch.targets.tolist()]
    told = []
    for row in batch.targets.tolist():
        shares = sorted(
            ((share, name) for share, name in zip(row, classes, strict=True) if share > SHOWN), reverse=True
        )
        whole = all(share == 1 for share, _ in shares)
        told.append(", ".join(name if whole else f"{share:.2g} {name}" for share, name in shares) or "none")
    return told
