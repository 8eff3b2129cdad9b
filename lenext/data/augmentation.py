"""Random changes of training images: pure functions on uint8 values, numbers drawn for the whole batch."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lenext import rng
from lenext.data.config import AugmentConfig


def augment(images: Tensor, config: AugmentConfig, *, seed: int, epoch: int, samples: npt.NDArray[np.int64]) -> Tensor:
    """Crop, then flip, as configured; what happens to an image is a function of (seed, epoch, its sample number)."""
    if config.pad:
        places = torch.from_numpy(rng.integers(seed, epoch, samples, "crop", 2 * config.pad + 1, draws=2))
        images = crop(images, places[:, 0], places[:, 1], config.pad)
    if config.flip:
        images = flip(images, torch.from_numpy(rng.uniform(seed, epoch, samples, "flip")[:, 0] < 0.5))
    return images


def crop(images: Tensor, top: Tensor, left: Tensor, pad: int) -> Tensor:
    """Put `pad` pixels of background around each image and cut a window of the old size out at (top, left).

    images: uint8 (N, C, H, W); top, left: int64 (N,) in [0, 2 * pad]. (pad, pad) gives the image back.
    """
    n, _, height, width = images.shape
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    rows = torch.arange(n, device=images.device)  # windows: (N, C, 2 pad + 1, 2 pad + 1, H, W), a view
    return windows[rows, :, top.to(images.device), left.to(images.device)]


def flip(images: Tensor, mask: Tensor) -> Tensor:
    """Mirror the images where `mask`, bool (N,), is true; images: (N, C, H, W)."""
    return torch.where(mask.to(images.device)[:, None, None, None], images.flip(-1), images)
