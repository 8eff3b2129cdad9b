"""Random changes of training images: the numbers are drawn here, the pixels are changed in geometry and colour.

Every number is a function of (seed, epoch, sample number), drawn for the whole batch as one array. The order is fixed:
random resized crop (in place of fitting), crop, shift, flip, RandAugment, TrivialAugment or AutoAugment, jitter
(brightness, contrast, saturation, hue), colour noise, erasing; then, on normalised images, mixup or cutmix (`mixing`).
"""

from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lenext import rng
from lenext.data.colour import (
    ColourBasis,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    shift_colours,
)
from lenext.data.config import AugmentConfig
from lenext.data.geometry import crop, erase, flip, resized_crop, shift
from lenext.data.policies import draw_autoaugment, draw_randaugment, draw_trivial, in_portions, operate
from lenext.data.store import Images

Samples = npt.NDArray[np.int64]
_TRIES = 10
_ERASED_AREA = (0.02, 0.4)  # Zhong et al. 2017
_ERASED_ASPECT = (0.3, 1 / 0.3)


def augment(
    images: Tensor,
    config: AugmentConfig,
    *,
    seed: int,
    epoch: int,
    samples: Samples,
    colours: ColourBasis | None = None,
) -> Tensor:
    """Vary images, uint8 (N, C, H, W), as configured; the input stays as it was.

    colours: of the training images, needed where `config.colour_noise` is set (`colour_components`).
    """
    images = _place(images, config, seed, epoch, samples)
    if config.randaugment or config.trivial or config.autoaugment or config.colour_noise or any(config.jitter):
        images = images.contiguous()  # these work on planes of colour
    size = (images.shape[-2], images.shape[-1])
    if config.randaugment:
        drawn = draw_randaugment(*config.randaugment, size, seed=seed, epoch=epoch, samples=samples)
        images = operate(images, *drawn)
    if config.trivial:
        images = operate(images, *draw_trivial(seed=seed, epoch=epoch, samples=samples))
    if config.autoaugment:
        images = operate(images, *draw_autoaugment(seed=seed, epoch=epoch, samples=samples))
    images = _jitter(images, config, seed, epoch, samples)
    if config.colour_noise:
        if colours is None:
            raise ValueError("colour noise needs the principal axes of the training images' colours")
        multiples = config.colour_noise * rng.normal(seed, epoch, samples, "colour noise", images.shape[1])
        images = in_portions(partial(shift_colours, colours), images, torch.from_numpy(multiples))
    if config.erase:
        images = erase(images, *draw_erasing(images, config.erase, seed=seed, epoch=epoch, samples=samples))
    return images


def random_resized_crop(
    images: Images, size: tuple[int, int], config: AugmentConfig, *, seed: int, epoch: int, samples: Samples
) -> Tensor:
    """Cut a random part out of each image and scale it to `size`: uint8 (N, C, *size) (Szegedy et al. 2015, section 6).

    images: N of uint8 (C, H, W), of any heights and widths, all of the same C; see `config.crop_area` and
    `config.short_side`.
    """
    sizes = np.array([image.shape[-2:] for image in images], dtype=np.int64).reshape(-1, 2)
    if config.short_side:
        boxes = draw_windows(sizes, config.short_side, seed=seed, epoch=epoch, samples=samples)
    else:
        area = config.crop_area or (1.0, 1.0)
        boxes = draw_crops(sizes, area, config.crop_aspect, seed=seed, epoch=epoch, samples=samples)
    return resized_crop(images, boxes, size)


def draw_windows(
    sizes: npt.NDArray[np.int64], scale: tuple[float, float], *, seed: int, epoch: int, samples: Samples
) -> Tensor:
    """Return a square, int64 (N, 4), inside each image: the frame, where the shorter side is `scale` times as long.

    The scale is even between its limits, and so is the square's place (Simonyan & Zisserman 2014, section 3.1). sizes:
    int64 (N, 2), height and width.
    """
    drawn = rng.uniform(seed, epoch, samples, "window", 3)
    sides = np.maximum(np.rint(sizes.min(axis=1) / (scale[0] + (scale[1] - scale[0]) * drawn[:, 0])), 1)
    sides = sides.astype(np.int64)[:, None]  # (N, 1)
    corners = np.floor(drawn[:, 1:] * (sizes - sides + 1)).astype(np.int64)
    return torch.from_numpy(np.concatenate([corners, sides, sides], axis=1))


def draw_crops(
    sizes: npt.NDArray[np.int64],
    area: tuple[float, float],
    aspect: tuple[float, float],
    *,
    seed: int,
    epoch: int,
    samples: Samples,
) -> Tensor:
    """Return a box, int64 (N, 4) of top, left, height, width, inside each image; sizes: int64 (N, 2), height and width.

    The share of the area is even, the aspect (width / height) even in its logarithm: the first of ten tries that fits,
    else the largest box of an allowed aspect, in the middle.
    """
    drawn = rng.uniform(seed, epoch, samples, "resized crop", 2 + 2 * _TRIES)
    low, high = np.log(aspect)
    aspects = np.exp(low + (high - low) * drawn[:, 2 + _TRIES :])
    boxes, fits = _first_that_fits(sizes, drawn[:, 2 : 2 + _TRIES], area, aspects, drawn[:, :2])
    tallest = np.minimum(sizes[:, 0], np.rint(sizes[:, 1] / aspect[0]))
    widest = np.minimum(sizes[:, 1], np.rint(sizes[:, 0] * aspect[1]))
    largest = np.maximum(np.stack([tallest, widest], axis=1), 1).astype(np.int64)
    middle = np.concatenate([(sizes - largest) // 2, largest], axis=1)
    return torch.from_numpy(np.where(fits[:, None], boxes, middle))


def draw_erasing(
    images: Tensor, probability: float, *, seed: int, epoch: int, samples: Samples
) -> tuple[Tensor, Tensor]:
    """Return boxes, int64 (N, 4), empty where nothing is erased, and values, uint8 like `images` (Zhong et al. 2017).

    As in the paper's algorithm: an even share of 0.02 to 0.4 of the area, an even aspect (height / width) of 0.3 to
    1 / 0.3, and a random value for each pixel; the authors' program fills with the mean. The place is even among those
    where the box fits, as in that program; the algorithm redraws a box that sticks out.
    """
    n, channels, height, width = images.shape
    drawn = rng.uniform(seed, epoch, samples, "erase", 3 + 2 * _TRIES)
    low, high = _ERASED_ASPECT
    aspects = 1 / (low + (high - low) * drawn[:, 3 + _TRIES :])
    sizes = np.tile(np.array([[height, width]], dtype=np.int64), (n, 1))
    boxes, fits = _first_that_fits(sizes, drawn[:, 3 : 3 + _TRIES], _ERASED_AREA, aspects, drawn[:, 1:3])
    erased = fits & (drawn[:, 0] < probability)
    values = np.zeros((n, channels * height * width), np.uint8)
    count = -(-values.shape[1] // 6)  # six bytes of a word are random
    words = rng.integers(seed, epoch, samples[erased], "erase values", 1 << 48, count)
    noise = words.astype("<i8").view(np.uint8).reshape(len(words), count, 8)[:, :, :6]
    values[erased] = noise.reshape(len(words), 6 * count)[:, : values.shape[1]]
    return torch.from_numpy(boxes * erased[:, None]), torch.from_numpy(values).view(images.shape).to(images.device)


def _place(images: Tensor, config: AugmentConfig, seed: int, epoch: int, samples: Samples) -> Tensor:
    if config.pad:
        places = torch.from_numpy(rng.integers(seed, epoch, samples, "crop", 2 * config.pad + 1, draws=2))
        images = crop(images, places[:, 0], places[:, 1], config.pad)
    if config.shift:
        moves = torch.from_numpy(rng.integers(seed, epoch, samples, "shift", 2 * config.shift + 1, draws=2))
        images = shift(images, moves[:, 0] - config.shift, moves[:, 1] - config.shift, repeat_edge=True)
    if config.flip:
        images = flip(images, torch.from_numpy(rng.uniform(seed, epoch, samples, "flip")[:, 0] < 0.5))
    return images


def _jitter(images: Tensor, config: AugmentConfig, seed: int, epoch: int, samples: Samples) -> Tensor:
    drawn = 2 * rng.uniform(seed, epoch, samples, "jitter", 4) - 1
    changes = torch.from_numpy(drawn * np.array(config.jitter))  # (N, 4), even in -x ... x
    brightness, contrast, saturation, hue = config.jitter
    if brightness:
        images = in_portions(adjust_brightness, images, (1 + changes[:, 0]).clamp(min=0))
    if contrast:
        images = in_portions(adjust_contrast, images, (1 + changes[:, 1]).clamp(min=0))
    if saturation:
        images = in_portions(adjust_saturation, images, (1 + changes[:, 2]).clamp(min=0))
    if hue:
        images = in_portions(adjust_hue, images, changes[:, 3])
    return images


def _first_that_fits(
    sizes: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
    area: tuple[float, float],
    aspects: npt.NDArray[np.float64],
    places: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return boxes, int64 (N, 4), and whether any of the T tries fits its image, bool (N,).

    shares, aspects: (N, T), where the area lies between the limits of `area`, and width / height. places: (N, 2).
    """
    areas = (area[0] + (area[1] - area[0]) * shares) * sizes.prod(axis=1)[:, None]
    tries = np.rint(np.sqrt(np.stack([areas / aspects, areas * aspects], axis=2))).astype(np.int64)  # (N, T, 2)
    fitting = ((tries >= 1) & (tries <= sizes[:, None])).all(axis=2)  # (N, T)
    chosen = tries[np.arange(len(sizes)), fitting.argmax(axis=1)]
    corners = np.floor(places * (sizes - chosen + 1)).astype(np.int64)
    return np.concatenate([corners, chosen], axis=1), fitting.any(axis=1)
