"""Gradients vanish through sigmoids, and reach the first layer through ReLU, normalisation and shortcuts.

A sigmoid's slope is at most 1/4. Glorot and Bengio 2010, section 4.2 and Figure 7: gradients shrink from layer to
layer on their way back, with their own first weights less. He et al. 2015, section 4.1: with batch normalisation the
gradients of a plain network have healthy norms. Here: chains of 16 3x3 convolutions before training, the gradient of
the loss of one batch. The measure is the power of ten between the first layer's gradient norm and the last one's.

python -m benchmarks.experiments.gradient_norms [--quick]
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.experiments.common import Claim, draw_curves, read_options, tell
from lenext.data.sources import find_source
from lenext.models.init import initialise
from lenext.models.parts import ACTIVATIONS

LAYERS, WIDTH = 16, 16
CHAINS = {
    # name:                activation, method of the first weights, normalised, with shortcuts
    "sigmoid": ("sigmoid", "xavier_uniform", False, False),
    "tanh": ("tanh", "xavier_uniform", False, False),
    "ReLU": ("relu", "he_normal", False, False),
    "ReLU and BN": ("relu", "he_normal", True, False),
    "residual, BN": ("relu", "he_normal", True, True),
}


class Chain(nn.Module):
    """Convolutions of one width behind each other, and a linear layer on their average."""

    def __init__(self, activation: str, channels: int, *, normalised: bool, residual: bool) -> None:
        super().__init__()
        sizes = [channels, *[WIDTH] * LAYERS]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(sizes))
        self.norms = nn.ModuleList(nn.BatchNorm2d(WIDTH) if normalised else nn.Identity() for _ in range(LAYERS))
        self.activation = ACTIVATIONS[activation]()
        self.residual = residual
        self.fc = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = self.activation(norm(conv(x)))
            x = x + y if self.residual and x.shape == y.shape else y
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


def gradient_norms(name: str, images: Tensor, labels: Tensor, seed: int) -> list[float]:
    """Of each convolution's weights, the first layer first."""
    activation, method, normalised, residual = CHAINS[name]
    chain = Chain(activation, images.shape[1], normalised=normalised, residual=residual)
    initialise(chain, method, seed)
    weights = [module.weight for module in chain.convs if isinstance(module, nn.Conv2d)]
    gradients = torch.autograd.grad(F.cross_entropy(chain(images), labels), weights)
    return [float(gradient.norm()) for gradient in gradients]


def main(words: Sequence[str] | None = None) -> list[str]:
    options = read_options(__doc__ or "", "gradient_norms", words, epochs=1)
    store = find_source(options.data, options.root).open("train")
    count = 64 if options.quick else 256
    images = torch.stack(list(store.read(np.arange(count)))).float()
    images, labels = (images - images.mean()) / images.std(), torch.from_numpy(store.labels[:count])
    seeds = range(max(options.seeds, 10))  # one backward pass each
    norms = {name: [gradient_norms(name, images, labels, seed) for seed in seeds] for name in CHAINS}
    curves = {name: (range(1, LAYERS + 1), found) for name, found in norms.items()}
    draw_curves(options, {"layer": curves}, vertical="gradient norm", logarithmic=True)
    groups = {name: [math.log10(one[0] / one[-1]) for one in found] for name, found in norms.items()}
    claims = [Claim(f"sigmoids lose more than {name}", "sigmoid", name) for name in list(CHAINS)[1:]]
    return tell(options, groups, claims, label="first to last layer, powers of ten", percent=False)


if __name__ == "__main__":
    main()
