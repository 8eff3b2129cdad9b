"""Ours beside the peer with the same weights: scores, and the gradient of every parameter."""

import functools
import math
import sys
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.papers import load_papers
from lenext.weights import convert
from parity.peers import make_peer, randomise


@dataclass(frozen=True)
class Difference:
    """Largest differences relative to the peer's largest value of the same tensor; size: of the images, in pixels."""

    size: int
    scores: float
    gradients: float
    worst: str


def pairs() -> list[tuple[str, str, str]]:
    """Every (network, source, name there) that a row of the papers names."""
    rows = load_papers().values()
    return [
        (row.name, source, peer) for row in rows for source in ("torchvision", "timm") if (peer := getattr(row, source))
    ]


def converted(name: str, source: str, peer: nn.Module) -> Classifier:
    """Our network with the peer's tensors, shared where the shapes agree."""
    with torch.device("meta"):
        ours = build(name)
    ours.load_state_dict(convert(peer.state_dict(), name, source), assign=True)
    return ours.eval()


def reduced_size(name: str) -> int:
    """The smallest multiple of 16 at which the last map before the head has 4x4 pixels at least.

    Strided layers then meet even maps first and odd ones at the end: the rules of padding differ on one or the other.
    """
    with torch.device("meta"):
        ours = build(name).eval()
        size = -(-ours.config.min_size // 16) * 16
        while True:
            last = ours.features(torch.empty(1, ours.config.in_channels, size, size))
            if min(next(iter(last.values())).shape[2:]) >= 4 or size >= ours.config.input_size:
                return size
            size += 16


def compare(name: str, source: str, peer_name: str, batch: int = 4) -> Difference:
    """In float64 at the reduced size: scores, and gradients of a random combination of them."""
    size = reduced_size(name)
    peer = make_peer(source, peer_name).eval()
    randomise(peer, seed=0)
    peer = peer.double()
    ours = converted(name, source, peer)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch, ours.config.in_channels, size, size, dtype=torch.float64, generator=generator)
    theirs = backward(peer, images)
    gradients = {key: value.grad for key, value in peer.named_parameters() if value.grad is not None}
    expected = convert({key: gradients.get(key, value) for key, value in peer.state_dict().items()}, name, source)
    del peer, gradients
    differences = {key: math.inf for key, _ in ours.named_parameters() if not key.startswith("auxiliary.")}

    def look(key: str, parameter: Tensor) -> None:
        """Compare a gradient as soon as it is there, and let it go: the largest networks' are gigabytes."""
        assert parameter.grad is not None
        differences[key] = relative(parameter.grad, expected[key])
        parameter.grad = None

    for key, parameter in ours.named_parameters():
        parameter.register_post_accumulate_grad_hook(functools.partial(look, key))
    mine = backward(ours, images)
    worst = max(differences, key=lambda key: differences[key])
    return Difference(size, relative(mine, theirs), differences[worst], worst)


def backward(model: nn.Module, images: Tensor) -> Tensor:
    """Scores (N, K); the gradient of a combination of them stays in the parameters that took part."""
    scores: Tensor = model(images)
    weights = torch.linspace(-1, 1, scores.numel(), dtype=scores.dtype).view_as(scores)
    (scores * weights).sum().backward()
    return scores.detach()


@torch.no_grad()
def compare_at_native_size(name: str, source: str, peer_name: str) -> float:
    """The relative difference of the float32 scores of one image of the published size."""
    peer = make_peer(source, peer_name).eval()
    randomise(peer, seed=0)
    ours = converted(name, source, peer)
    size = ours.config.input_size
    images = torch.randn(1, ours.config.in_channels, size, size, generator=torch.Generator().manual_seed(1))
    return relative(ours(images), peer(images))


@torch.no_grad()
def compare_auxiliary(name: str, source: str, peer_name: str, batch: int = 4) -> float:
    """In float64 at the published size, both training without dropout: the scores of the worst auxiliary head.

    The peer returns a named tuple, whose fields aux..., sorted, are the heads in the order of our dictionary.
    """
    peer = make_peer(source, peer_name)
    randomise(peer, seed=0)
    ours = converted(name, source, peer.double())
    for module in [*peer.train().modules(), *ours.train().modules()]:
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    size, generator = ours.config.input_size, torch.Generator().manual_seed(1)
    images = torch.randn(batch, ours.config.in_channels, size, size, dtype=torch.float64, generator=generator)
    theirs = peer(images)._asdict()
    fields = sorted(field for field in theirs if field.startswith("aux"))
    found = ours.features(images, [f"stages.{stage}" for stage in ours.auxiliary])
    return max(
        relative(head(found[f"stages.{stage}"]), theirs[field])
        for field, (stage, head) in zip(fields, ours.auxiliary.items(), strict=True)
    )


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference over the largest value of theirs; infinite where one of them is no number."""
    difference = float((ours - theirs).abs().max()) / (float(theirs.abs().max()) or 1.0)
    return difference if math.isfinite(difference) else math.inf


def main(patterns: list[str]) -> None:
    """Print the differences of the pairs whose network is named."""
    for name, source, peer in pairs():
        if name in patterns or not patterns:
            print(
                name,
                source,
                peer,
                compare(name, source, peer),
                f"float32 {compare_at_native_size(name, source, peer):.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
