"""From images as stored (uint8) to what the network sees (float32): fit to the size, match the channels, normalise."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lenext.errors import DataError, UsageError

_CHUNK = 4096  # images a step of the statistics: bounds the memory, changes nothing


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How images become the network's input.

    size: (height, width). mean, std: one a channel, in units where white is 1. border: pixels of background (value 0)
    on each side, inside `size`; an image is scaled to what is left, unless it has that size already.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    border: int = 0

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise _unusable(f"size {self.size} is not (height, width)")
        if not 0 <= 2 * self.border < min(self.size):
            raise _unusable(f"a border of {self.border} leaves nothing of {self.size[0]}x{self.size[1]} pixels")
        if self.channels not in (1, 3):
            raise _unusable(f"{self.channels} channels; images have 1 or 3")
        if not len(self.mean) == len(self.std) == self.channels:
            raise _unusable(f"{len(self.mean)} means and {len(self.std)} deviations for {self.channels} channels")
        if not all(map(math.isfinite, self.mean)) or not all(math.isfinite(s) and s > 0 for s in self.std):
            raise _unusable(f"mean {self.mean} and std {self.std} are not finite with std above 0")


def preprocess(images: Tensor, p: Preprocessing) -> Tensor:
    """Return float32 (N, channels, *size) of uint8 (N, C, H, W)."""
    return normalise(fit(images, p), p)


def fit(images: Tensor, p: Preprocessing) -> Tensor:
    """Bring uint8 (N, C, H, W) to uint8 (N, channels, *size): scaled, matched in channels, framed."""
    inner = (p.size[0] - 2 * p.border, p.size[1] - 2 * p.border)
    if tuple(images.shape[-2:]) != inner:
        images = _resize(images, inner)
    images = _match_channels(images, p.channels)
    return F.pad(images, (p.border,) * 4) if p.border else images


def normalise(images: Tensor, p: Preprocessing) -> Tensor:
    """Return (x / 255 - mean) / std as float32, computed as x * scale + offset; images: uint8 (N, C, H, W)."""
    scale = [1 / (255 * std) for std in p.std]
    offset = [-mean / std for mean, std in zip(p.mean, p.std, strict=True)]
    shape = (1, p.channels, 1, 1)
    result = images.to(torch.float32)
    return result.mul_(result.new_tensor(scale).view(shape)).add_(result.new_tensor(offset).view(shape))


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, std) of each channel in [0, 1] units, of uint8 (N, C, H, W).

    Exact: from the integer sums of the values and of their squares, rounded once at the end. std divides by the number
    of pixels, as the published figures do.
    """
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = torch.zeros(256, dtype=torch.int64, device=images.device)
        for start in range(0, len(images), _CHUNK):
            counts += torch.bincount(images[start : start + _CHUNK, channel].flatten(), minlength=256)
        histogram = counts.tolist()
        n = sum(histogram)
        total = sum(value * count for value, count in enumerate(histogram))
        squares = sum(value * value * count for value, count in enumerate(histogram))
        if n * squares == total * total:  # no pixels, or all the same
            raise DataError(
                "cannot normalise these images",
                why=f"every pixel of channel {channel} has the same value" if n else "there are no pixels",
                advice="check that these are images",
            )
        means.append(total / (255 * n))
        deviations.append(math.sqrt((n * squares - total * total) / (n * n)) / 255)
    return tuple(means), tuple(deviations)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(images.to(torch.float32), size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _match_channels(images: Tensor, channels: int) -> Tensor:
    have = images.shape[1]
    if have == channels:
        return images
    if have == 1:
        return images.expand(-1, channels, -1, -1)
    if have == 3 and channels == 1:
        weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32, device=images.device)  # ITU-R 601, as Pillow
        luma = (images.to(torch.int32) * weights.view(1, 3, 1, 1)).sum(1, keepdim=True, dtype=torch.int32)
        return ((luma + 0x8000) >> 16).to(torch.uint8)
    raise UsageError(
        f"cannot turn {have} channels into {channels}",
        why="only 1 to 3 (repeated) and 3 to 1 (luma) are defined",
        advice="store the images with 1 or 3 channels",
    )


def _unusable(why: str) -> UsageError:
    return UsageError("cannot use this preprocessing", why=why, advice="correct the preprocessing table")
