"""RandAugment, TrivialAugment and AutoAugment: a few of fourteen operations on each image, drawn at random.

RandAugment (Cubuk et al. 2019, section 3): N operations, drawn with replacement, all of strength M on a scale of 0 to
10. Its ranges are AutoAugment's (Cubuk et al. 2018, table 6), and 0 changes nothing in any of them here. The authors'
program differs from their paper: it has no identity but inversion, cutout and an addition to dark pixels; colour,
contrast, brightness and sharpness run from 0.1 to 1.9 with 5 as the middle; solarising and posterising weaken as M
grows; the background is grey, 128. Programs disagree on strengths above 10, so those are refused.

TrivialAugment (Müller and Hutter 2021, its wide space): one operation, of a strength drawn from 31. As in the authors'
program, colour, contrast, brightness and sharpness run from 0.01 to 2, and translation is in pixels whatever the size.

AutoAugment (Cubuk et al. 2018, table 9, the policy for ImageNet): one of 25 pairs, each operation with its probability
and a strength of ten, 0 to 9. Programs disagree on what those are; here as in torchvision 0 changes nothing, 9 is the
strongest of RandAugment's ranges, and signs are drawn. Its inversion is to solarise everything.

In all, what is whole (pixels, degrees, bits, thresholds) is rounded towards no change, and the background is 0.

Each operation is applied by torch to all images that drew it, and not by Pillow image by image, which computes the same
bytes. Of 128 images on one thread Pillow takes 3.1 to 3.3 times as long at 32 pixels, 1.6 to 2.0 times at 96, and 0.84
(RandAugment) to 1.31 times (TrivialAugment) at 224, where it turns and shears faster: benchmarks/augmentation.py.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lenext import rng
from lenext.data.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
    adjust_sharpness,
    autocontrast,
    equalize,
    posterize,
    solarize,
)
from lenext.data.geometry import rotate, shear, shift

Samples = npt.NDArray[np.int64]
_TOP = 10  # the strongest of RandAugment's scale
_STRENGTHS = 31  # of TrivialAugment's
_TENTH = 9  # the strongest of AutoAugment's ten
_PORTION = 1 << 18  # bytes; 128 images of 224 pixels in one piece take 2 to 6 times as long

# What takes images and the magnitude of each, float64 (N,).
# fmt: off
OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity":     lambda images, _: images,
    "autocontrast": lambda images, _: autocontrast(images),
    "equalize":     lambda images, _: equalize(images),
    "rotate":       lambda images, degrees: rotate(images, degrees.trunc()),
    "solarize":     lambda images, threshold: solarize(images, threshold.ceil()),
    "color":        lambda images, change: adjust_saturation(images, 1 + change),
    "posterize":    lambda images, bits: posterize(images, bits.ceil().long()),
    "contrast":     lambda images, change: adjust_contrast(images, 1 + change),
    "brightness":   lambda images, change: adjust_brightness(images, 1 + change),
    "sharpness":    lambda images, change: adjust_sharpness(images, 1 + change),
    "shear_x":      lambda images, slope: shear(images, slope, 0 * slope),
    "shear_y":      lambda images, slope: shear(images, 0 * slope, slope),
    "translate_x":  lambda images, pixels: shift(images, pixels.long(), 0 * pixels.long()),
    "translate_y":  lambda images, pixels: shift(images, 0 * pixels.long(), pixels.long()),
}

# Magnitudes at the weakest and at the strongest, and whether their sign is drawn too.
#                   RandAugment               TrivialAugment wide
RANGES: dict[str, tuple[tuple[float, float, bool], tuple[float, float, bool]]] = {
    "identity":     ((0, 0, False),           (0, 0, False)),
    "autocontrast": ((0, 0, False),           (0, 0, False)),
    "equalize":     ((0, 0, False),           (0, 0, False)),
    "rotate":       ((0, 30, True),           (0, 135, True)),        # degrees
    "solarize":     ((256, 0, False),         (256, 0, False)),       # threshold
    "color":        ((0, 0.9, True),          (-0.99, 1, False)),     # factor - 1
    "posterize":    ((8, 4, False),           (8, 2, False)),         # bits
    "contrast":     ((0, 0.9, True),          (-0.99, 1, False)),
    "brightness":   ((0, 0.9, True),          (-0.99, 1, False)),
    "sharpness":    ((0, 0.9, True),          (-0.99, 1, False)),
    "shear_x":      ((0, 0.3, True),          (0, 0.99, True)),       # pixels a pixel
    "shear_y":      ((0, 0.3, True),          (0, 0.99, True)),
    "translate_x":  ((0, 150 / 331, True),    (0, 32, True)),         # of the width; pixels
    "translate_y":  ((0, 150 / 331, True),    (0, 32, True)),         # of the height; pixels
}

# Cubuk et al. 2018, table 9: operation, probability, strength.
AUTOAUGMENT: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("posterize", 0.4, 8), ("rotate",       0.6, 9)),
    (("solarize",  0.6, 5), ("autocontrast", 0.6, 5)),
    (("equalize",  0.8, 8), ("equalize",     0.6, 3)),
    (("posterize", 0.6, 7), ("posterize",    0.6, 6)),
    (("equalize",  0.4, 7), ("solarize",     0.2, 4)),
    (("equalize",  0.4, 4), ("rotate",       0.8, 8)),
    (("solarize",  0.6, 3), ("equalize",     0.6, 7)),
    (("posterize", 0.8, 5), ("equalize",     1.0, 2)),
    (("rotate",    0.2, 3), ("solarize",     0.6, 8)),
    (("equalize",  0.6, 8), ("posterize",    0.4, 6)),
    (("rotate",    0.8, 8), ("color",        0.4, 0)),
    (("rotate",    0.4, 9), ("equalize",     0.6, 2)),
    (("equalize",  0.0, 7), ("equalize",     0.8, 8)),
    (("invert",    0.6, 4), ("equalize",     1.0, 8)),
    (("color",     0.6, 4), ("contrast",     1.0, 8)),
    (("rotate",    0.8, 8), ("color",        1.0, 2)),
    (("color",     0.8, 8), ("solarize",     0.8, 7)),
    (("sharpness", 0.4, 7), ("invert",       0.6, 8)),
    (("shear_x",   0.6, 5), ("equalize",     1.0, 9)),
    (("color",     0.4, 0), ("equalize",     0.6, 3)),
    (("equalize",  0.4, 7), ("solarize",     0.2, 4)),
    (("solarize",  0.6, 5), ("autocontrast", 0.6, 5)),
    (("invert",    0.6, 4), ("equalize",     1.0, 8)),
    (("color",     0.6, 4), ("contrast",     1.0, 8)),
    (("equalize",  0.8, 8), ("equalize",     0.6, 3)),
)
# fmt: on


def draw_randaugment(
    number: int, strength: int, size: tuple[int, int], *, seed: int, epoch: int, samples: Samples
) -> tuple[Tensor, Tensor]:
    """Return operations, int64 (N, number), and magnitudes, float64 (N, number), for images of (height, width)."""
    operations = rng.integers(seed, epoch, samples, "randaugment operations", len(OPERATIONS), number)
    signs = rng.integers(seed, epoch, samples, "randaugment signs", 2, number)
    ranges = np.array([row[0] for row in RANGES.values()], dtype=np.float64)
    names = list(RANGES)
    ranges[names.index("translate_x"), :2] *= size[1]
    ranges[names.index("translate_y"), :2] *= size[0]
    return torch.from_numpy(operations), _magnitudes(ranges[operations], np.float64(strength), _TOP, signs)


def draw_trivial(*, seed: int, epoch: int, samples: Samples) -> tuple[Tensor, Tensor]:
    """Return operations, int64 (N, 1), and magnitudes, float64 (N, 1)."""
    operations = rng.integers(seed, epoch, samples, "trivial operation", len(OPERATIONS))
    levels = rng.integers(seed, epoch, samples, "trivial strength", _STRENGTHS)
    signs = rng.integers(seed, epoch, samples, "trivial sign", 2)
    ranges = np.array([row[1] for row in RANGES.values()], dtype=np.float64)
    return torch.from_numpy(operations), _magnitudes(ranges[operations], levels, _STRENGTHS - 1, signs)


def draw_autoaugment(*, seed: int, epoch: int, samples: Samples) -> tuple[Tensor, Tensor]:
    """Return operations, int64 (N, 2), the identity where one is left out, and magnitudes, float64 (N, 2)."""
    names = list(RANGES)
    rows = [
        [(names.index("solarize"), p, _TENTH) if name == "invert" else (names.index(name), p, m) for name, p, m in pair]
        for pair in AUTOAUGMENT
    ]
    pairs = rng.integers(seed, epoch, samples, "autoaugment pair", len(AUTOAUGMENT))[:, 0]
    operations, probabilities, levels = np.moveaxis(np.array(rows)[pairs], 2, 0)  # (N, 2) each
    applied = rng.uniform(seed, epoch, samples, "autoaugment applied", 2) < probabilities
    operations = np.where(applied, operations, names.index("identity")).astype(np.int64)
    signs = rng.integers(seed, epoch, samples, "autoaugment signs", 2, 2)
    ranges = np.array([row[0] for row in RANGES.values()], dtype=np.float64)
    return torch.from_numpy(operations), _magnitudes(ranges[operations], levels, _TENTH, signs)


def operate(images: Tensor, operations: Tensor, magnitudes: Tensor) -> Tensor:
    """Apply to each image its row of operations, from left to right.

    images: uint8 (N, C, H, W). operations: int64 (N, K), places in OPERATIONS. magnitudes: float64 (N, K), see RANGES.
    """
    functions = list(OPERATIONS.values())
    for which, magnitude in zip(operations.unbind(1), magnitudes.unbind(1), strict=True):
        groups = [torch.nonzero(which == number)[:, 0] for number in range(len(functions))]
        changed = [
            in_portions(function, images.index_select(0, rows.to(images.device)), magnitude[rows])
            for function, rows in zip(functions, groups, strict=True)
            if len(rows)
        ]
        back = torch.argsort(torch.cat(groups)).to(images.device)
        images = torch.cat(changed).index_select(0, back) if changed else images
    return images


def in_portions(function: Callable[..., Tensor], images: Tensor, *parameters: Tensor) -> Tensor:
    """Return function(images, *parameters), of as many images at a time as fit the cache; the result is the same."""
    rows = max(_PORTION // max(images[:1].numel(), 1), 1) if images.device.type == "cpu" else len(images)
    if len(images) <= rows:
        return function(images, *parameters)
    result = torch.empty_like(images)
    for start in range(0, len(images), rows):
        part = slice(start, start + rows)
        result[part] = function(images[part], *(values[part] for values in parameters))
    return result


def _magnitudes(
    ranges: npt.NDArray[np.float64],
    level: npt.NDArray[np.int64] | npt.NDArray[np.float64] | np.float64,
    top: int,
    signs: npt.NDArray[np.int64],
) -> Tensor:
    """ranges: (N, K, 3) of weakest, strongest, signed."""
    weakest, strongest, signed = np.moveaxis(ranges, 2, 0)
    size = weakest + (strongest - weakest) * level / top  # in this order: what is whole comes out whole
    return torch.from_numpy(np.where((signed == 1) & (signs == 1), -size, size))
