"""Mixup and cutmix: two images of a batch and their labels become one. Pure functions on normalised batches.

As in the papers' own programs, the weight or the box is drawn once a batch, and the partners are the same batch in
another order.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lenext import rng
from lenext.data.config import AugmentConfig
from lenext.data.geometry import inside

if TYPE_CHECKING:
    from lenext.data.batches import Batch  # which mixes its batches with this module


def mix(batch: "Batch", config: AugmentConfig, num_classes: int, *, seed: int, epoch: int, number: int) -> "Batch":
    """Mix a batch as configured; where both are asked for, half of the batches get each.

    number: what tells the batch from the others of its epoch.
    """
    if not (config.mixup or config.cutmix):
        return batch
    place = np.array([number], dtype=np.int64)
    partner = torch.from_numpy(rng.permutation(seed, epoch, len(batch.images), f"mixing partner {number}"))
    cut = rng.uniform(seed, epoch, place, "mixing kind")[0, 0] < 0.5 if config.mixup else True
    if config.cutmix and cut:
        weight = symmetric_beta(config.cutmix, seed=seed, epoch=epoch, samples=place, stream="cutmix")
        centre = torch.from_numpy(rng.uniform(seed, epoch, place, "cutmix centre", 2))
        return cutmix(batch, cut_boxes(weight, centre, *batch.images.shape[-2:]), partner, num_classes)
    weight = symmetric_beta(config.mixup, seed=seed, epoch=epoch, samples=place, stream="mixup")
    return mixup(batch, weight, partner, num_classes)


def mixup(batch: "Batch", weight: Tensor, partner: Tensor, num_classes: int) -> "Batch":
    """Return weight * batch + (1 - weight) * batch[partner], of images and of targets (Zhang et al. 2017).

    weight: float (N,), or (1,) for all. partner: int64 (N,). Targets become float32 (N, num_classes).
    """
    images = batch.images
    share = weight.to(images).view(-1, 1, 1, 1)
    mixed = share * images + (1 - share) * images[partner.to(images.device)]
    return dataclasses.replace(batch, images=mixed, targets=_mixed_targets(batch, weight, partner, num_classes))


def cutmix(batch: "Batch", boxes: Tensor, partner: Tensor, num_classes: int) -> "Batch":
    """Put a box of each image's partner in its place; targets are mixed by area (Yun et al. 2019).

    boxes: int64 (N, 4) of top, left, height, width inside the image, or (1, 4) for all. partner: int64 (N,). Targets
    become float32 (N, num_classes).
    """
    images = batch.images
    height, width = images.shape[-2:]
    mask = inside(boxes.to(images.device), height, width)[:, None]
    mixed = torch.where(mask, images[partner.to(images.device)], images)
    weight = 1 - boxes[:, 2] * boxes[:, 3] / (height * width)
    return dataclasses.replace(batch, images=mixed, targets=_mixed_targets(batch, weight, partner, num_classes))


def cut_boxes(weight: Tensor, centre: Tensor, height: int, width: int) -> Tensor:
    """Return int64 (N, 4), boxes of 1 - weight of the area, the image's aspect, cut off at the image's edges.

    weight: float (N,). centre: float (N, 2) in [0, 1), the middle's place down and across.
    """
    size = torch.tensor([height, width])
    half = (size * (1 - weight).sqrt()[:, None]).floor() // 2
    middle = (centre * size).floor()
    low = (middle - half).clamp(min=0)
    high = torch.minimum(middle + half, size)
    return torch.cat([low, high - low], dim=1).to(torch.int64)


def symmetric_beta(alpha: float, *, seed: int, epoch: int, samples: npt.NDArray[np.int64], stream: str) -> Tensor:
    """Return float64 (N,) drawn from Beta(alpha, alpha).

    1/2 + T / 2 sqrt(2 alpha + T^2) is, for a T of Student's t with 2 alpha degrees of freedom, which Bailey (1994,
    "Polar generation of random variates with the t-distribution") makes of two even numbers without rejection.
    """
    first, second = rng.uniform(seed, epoch, samples, stream, 2).T
    cosine = np.cos(2 * np.pi * second)
    with np.errstate(over="ignore"):  # an infinite square is a weight of 0 or 1
        square = np.expm1(-np.log1p(-first) / alpha) * cosine**2  # T^2 / 2 alpha
    return torch.from_numpy(0.5 + np.sign(cosine) / (2 * np.sqrt(1 + 1 / np.maximum(square, 1e-300))))


def _mixed_targets(batch: "Batch", weight: Tensor, partner: Tensor, num_classes: int) -> Tensor:
    targets = batch.targets if batch.targets.ndim == 2 else F.one_hot(batch.targets, num_classes)
    shares = targets.to(torch.float32)
    own = weight.to(shares)[:, None]
    return own * shares + (1 - own) * shares[partner.to(shares.device)]
