"""From images as stored (uint8) to what the network sees (float32): fit to the size, match the channels, normalise."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lenext.data.colour import luma
from lenext.data.geometry import has_pixels_together, resize, stack_images
from lenext.data.store import Images
from lenext.errors import DataError, UsageError

Fit = Literal["crop", "pad", "squash"]
Interpolation = Literal["bilinear", "bicubic"]

_PORTION = 1 << 17  # values that are normalised at a time: as floats they stay in a core's cache


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How images become the network's input.

    size: (height, width). mean, std: one a channel, in units where white is 1. border: pixels of background (value 0)
    on each side, inside `size`; an image is scaled to what is left, unless it has that size already. fit: what becomes
    of an image of another shape: "crop" fills the frame and cuts off what sticks out on both sides, "pad" shows all of
    it between background, "squash" distorts it. crop_fraction: with fit "crop", how much of the image's shorter side
    the frame shows; below 1 the image is made larger than the frame and its middle is cut out, as 224 of 256 pixels in
    most papers since 2012. interpolation: by which an image is scaled; both antialias.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    border: int = 0
    fit: Fit = "squash"
    crop_fraction: float = 1.0
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise _unusable(f"size {self.size} is not (height, width)")
        if not 0 <= 2 * self.border < min(self.size):
            raise _unusable(f"a border of {self.border} leaves nothing of {self.size[0]}x{self.size[1]} pixels")
        if not 0 < self.crop_fraction <= 1 or (self.crop_fraction < 1 and self.fit != "crop"):
            raise _unusable(f"a crop_fraction of {self.crop_fraction} with fit {self.fit!r}; it is for crops, 0 to 1")
        if self.channels not in (1, 3):
            raise _unusable(f"{self.channels} channels; images have 1 or 3")
        if not len(self.mean) == len(self.std) == self.channels:
            raise _unusable(f"{len(self.mean)} means and {len(self.std)} deviations for {self.channels} channels")
        if not all(map(math.isfinite, self.mean)) or not all(math.isfinite(s) and s > 0 for s in self.std):
            raise _unusable(f"mean {self.mean} and std {self.std} are not finite with std above 0")

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width within the border."""
        return (self.size[0] - 2 * self.border, self.size[1] - 2 * self.border)

    @property
    def min_side(self) -> int:
        """The shorter side that a decoded image keeps at least."""
        return decoded_side(max(self.size))


def decoded_side(size: int) -> int:
    """Return the shorter side that a decoded image keeps at least, for networks that see `size` pixels.

    One and a half times: what the photographs of ImageNet, many of them 500 x 375 pixels, have to a frame of 224.
    """
    return -(-3 * size // 2)


def preprocess(images: Images, p: Preprocessing) -> Tensor:
    """Return float32 (N, channels, *size) of N images, uint8 (C, H, W) each, contiguous whatever the images are."""
    return normalise(fit(images, p).contiguous(), p)


def fit(images: Images, p: Preprocessing) -> Tensor:
    """Bring N images, uint8 (C, H, W) each, to uint8 (N, channels, *size): scaled, matched in channels, framed."""
    rows: list[Tensor] = [torch.empty(0)] * len(images)
    for places, group in _of_one_shape(images):
        fitted = enframe(_fill(group, p), p)
        if len(places) == len(images):
            return fitted
        for place, image in zip(places, fitted, strict=True):
            rows[place] = image
    return stack_images(rows)


def enframe(images: Tensor, p: Preprocessing) -> Tensor:
    """Match the channels of uint8 (N, C, *inner) and add the border: uint8 (N, channels, *size)."""
    images = match_channels(images, p.channels)
    return F.pad(images, (p.border,) * 4) if p.border else images


def normalise(images: Tensor, p: Preprocessing) -> Tensor:
    """Return (x / 255 - mean) / std as float32, computed as x * scale + offset; images: uint8 (N, C, H, W)."""
    scale = images.new_tensor([1 / (255 * std) for std in p.std], dtype=torch.float32)
    offset = images.new_tensor([-mean / std for mean, std in zip(p.mean, p.std, strict=True)], dtype=torch.float32)
    result = _room_for(images)
    if has_pixels_together(images):  # a row is then a line of values; parted from it, torch would work by threes
        width = images.shape[-1]
        images, lines = (x.permute(0, 2, 3, 1).flatten(2) for x in (images, result))  # (N, H, W * C)
        scale, offset = scale.repeat(width), offset.repeat(width)
    else:
        lines, scale, offset = result, scale.view(-1, 1, 1), offset.view(-1, 1, 1)
    portion = max(_PORTION // max(images[0].numel(), 1), 1) if len(images) else 1
    for part, line in zip(images.split(portion), lines.split(portion), strict=True):
        line.copy_(part).mul_(scale).add_(offset)
    return result


def _room_for(images: Tensor) -> Tensor:
    """Return float32 like `images`, unfilled; from numpy, which asks the system for large pages: half the time."""
    n, channels, height, width = images.shape
    if images.device.type != "cpu":
        return torch.empty_like(images, dtype=torch.float32)
    if has_pixels_together(images):
        return torch.from_numpy(np.empty((n, height, width, channels), np.float32)).permute(0, 3, 1, 2)
    return torch.from_numpy(np.empty((n, channels, height, width), np.float32))


def statistics(images: Iterable[Images]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (mean, std) of each channel in [0, 1] units, of images in portions, uint8 (C, H, W) each.

    Exact: from the integer sums of the values and of their squares, rounded once at the end. std divides by the number
    of pixels, as the published figures do.
    """
    counts = np.zeros((0, 256), np.int64)
    for portion in images:
        for _, group in _of_one_shape(portion):
            channels = [torch.bincount(group[:, c].flatten(), minlength=256).numpy() for c in range(group.shape[1])]
            counts = counts + np.stack(channels) if len(counts) else np.stack(channels)
    if not len(counts):
        raise _no_range("there are no pixels")
    means, deviations = zip(*(_moments(channel, row.tolist()) for channel, row in enumerate(counts)), strict=True)
    return means, deviations


def _moments(channel: int, histogram: list[int]) -> tuple[float, float]:
    n = sum(histogram)
    total = sum(value * count for value, count in enumerate(histogram))
    squares = sum(value * value * count for value, count in enumerate(histogram))
    if n * squares == total * total:  # no pixels, or all the same
        raise _no_range(f"every pixel of channel {channel} has the same value" if n else "there are no pixels")
    return total / (255 * n), math.sqrt((n * squares - total * total) / (n * n)) / 255


def _of_one_shape(images: Images) -> list[tuple[Sequence[int], Tensor]]:
    """Stack images that have the same shape: their places, and uint8 (n, C, H, W)."""
    if isinstance(images, Tensor):
        return [(range(len(images)), images)] if len(images) else []
    places: dict[torch.Size, list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault(image.shape, []).append(place)
    return [(group, stack_images([images[place] for place in group])) for group in places.values()]


def _fill(images: Tensor, p: Preprocessing) -> Tensor:
    """Scale uint8 (n, C, H, W) as `p.fit` says, and cut or pad it to the size within the border."""
    (height, width), (frame_height, frame_width) = images.shape[-2:], p.inner
    if (height, width) != p.inner or p.crop_fraction < 1:
        choose = {"crop": max, "pad": min}.get(p.fit)
        ratio = choose(frame_height / height, frame_width / width) / p.crop_fraction if choose else 0.0
        size = (max(round(height * ratio), 1), max(round(width * ratio), 1)) if choose else p.inner
        images = resize(images, size, p.interpolation) if size != (height, width) else images
    down, across = frame_height - images.shape[-2], frame_width - images.shape[-1]
    left, top = int(across / 2), int(down / 2)  # towards zero: an odd rest is at the right and at the bottom
    edges = (left, across - left, top, down - top)
    return F.pad(images, edges) if any(edges) else images  # negative edges cut


def match_channels(images: Tensor, channels: int) -> Tensor:
    """Turn uint8 (n, 1 or 3, H, W) into (n, channels, H, W): grey repeated, colour to luma."""
    have = images.shape[1]
    if have == channels:
        return images
    if have == 1:
        return images.expand(-1, channels, -1, -1)
    if have == 3 and channels == 1:
        return luma(images)
    raise UsageError(
        f"cannot turn {have} channels into {channels}",
        why="only 1 to 3 (repeated) and 3 to 1 (luma) are defined",
        advice="store the images with 1 or 3 channels",
    )


def _no_range(why: str) -> DataError:
    return DataError("cannot normalise these images", why=why, advice="check that these are images")


def _unusable(why: str) -> UsageError:
    return UsageError("cannot use this preprocessing", why=why, advice="correct the preprocessing table")
