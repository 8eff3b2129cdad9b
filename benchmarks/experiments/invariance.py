"""How much shift, rotation, scale and noise a network stands that was trained without any.

LeCun et al. 1998, section III.E, estimates of LeNet-5 (trained on centred digits) that it stands scales up to a
factor of two, vertical shifts of half a character's height, and rotations of 30 degrees. Here: accuracy on held-out
images that are changed more and more; the claim is that convolution and pooling do not make a network invariant: it
stands the small changes that pooling absorbs, and loses at least ten points at the largest.

python -m benchmarks.experiments.invariance [--quick] [--data mnist]
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.experiments.common import Claim, draw_curves, read_options, stores_of, tell, train_variants
from lenext import checkpoint as checkpoints
from lenext.data.store import ArrayStore
from lenext.experiment.answers import predict_store
from lenext.judge.metrics import measure


def affine(images: Tensor, degrees: float = 0.0, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Turn clockwise, enlarge and move down uint8 images (N, C, H, W); shift in heights of the image; outside is 0."""
    cos, sin = (f(math.radians(degrees)) / scale for f in (math.cos, math.sin))
    matrix = torch.tensor([[cos, sin, -2 * shift * sin], [-sin, cos, -2 * shift * cos]])
    grid = F.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round().to(torch.uint8)


def noisy(images: Tensor, deviation: float) -> Tensor:
    """Add Gaussian noise; deviation in parts of the grey scale."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 255 * deviation * noise).round().clamp(0, 255).to(torch.uint8)


CHANGES: dict[str, tuple[Sequence[float], Callable[[Tensor, float], Tensor]]] = {
    # the first value changes nothing
    "shift down, heights": ((0, 0.05, 0.1, 0.2, 0.3), lambda images, x: affine(images, shift=x)),
    "rotation, degrees": ((0, 10, 20, 30, 45, 60), lambda images, x: affine(images, degrees=x)),
    "scale": ((1, 0.9, 0.75, 0.6, 0.5), lambda images, x: affine(images, scale=x)),
    "noise, deviation": ((0, 0.05, 0.1, 0.2, 0.4), noisy),
}


def accuracies(run: Path, root: str) -> dict[str, list[float]]:
    """Of the run's chosen network on its held-out images, for every change."""
    loaded, store = checkpoints.load(checkpoints.find_folder(run)), stores_of(run, root)["validation"]
    network = checkpoints.restore(loaded)
    images = torch.stack(list(store.read(np.arange(len(store)))))

    def accuracy(changed: Tensor) -> float:
        return measure(
            predict_store(network, ArrayStore(changed, store.labels, store.ids), loaded.card, "validation")
        ).score

    return {name: [accuracy(change(images, x)) for x in values] for name, (values, change) in CHANGES.items()}


def main(words: Sequence[str] | None = None) -> list[str]:
    options = read_options(__doc__ or "", "invariance", words, epochs=10, quick_epochs=6)
    models = ["lenet5_relu", "resnet20"] if options.quick else ["lenet5", "lenet5_relu", "resnet20"]
    own = {"resnet20": ["augment.pad=0", "augment.flip=false"]}  # its recipe would shift and mirror
    runs = train_variants(options, {name: [f"model={name}", *own.get(name, [])] for name in models})
    found = {name: [accuracies(run, options.root) for run in of_model] for name, of_model in runs.items()}
    panels = {
        change: {name: (values, [one[change] for one in of_model]) for name, of_model in found.items()}
        for change, (values, _) in CHANGES.items()
    }
    draw_curves(options, panels, vertical="validation accuracy")
    groups, claims = {}, []
    for name, of_model in found.items():
        groups[f"{name}, unchanged less ten points"] = [one["scale"][0] - 0.1 for one in of_model]
        for change, (values, _) in CHANGES.items():
            changed = f"{name}, {change.partition(',')[0]} {values[-1]}"
            groups[changed] = [one[change][-1] for one in of_model]
            claims.append(Claim(f"{changed} costs ten points", changed, f"{name}, unchanged less ten points"))
    return tell(options, groups, claims, label="validation accuracy")


if __name__ == "__main__":
    main()
