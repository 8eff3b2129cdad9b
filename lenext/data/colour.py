"""Changes of an image's colours: pure functions on uint8 images, with parameters of each image's own.

`images` are uint8 (N, C, H, W) with C = 1 or 3, and so are the results; a factor is float (N,), and 1 changes nothing.
The operations are those of Pillow's ImageEnhance and ImageOps, to the grey level.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lenext.errors import DataError

_LUMA = (19595, 38470, 7471)  # ITU-R 601 in units of 2^-16, as Pillow


@dataclass(frozen=True, eq=False)
class ColourBasis:
    """The principal axes of the colours of a set of images.

    deviations: float64 (C,), the standard deviation of the pixels along each axis in grey levels, largest first.
    vectors: float64 (C, C), the axes in columns, of length one, their largest component positive.
    """

    deviations: Tensor
    vectors: Tensor


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with black; a factor of 0 gives black, of 2 twice the light."""
    return _blend(torch.zeros_like(images), images, factor)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the even grey of the image's mean luma."""
    grey = luma(images)
    pixels = grey[0].numel()
    mean = (2 * grey.sum((1, 2, 3), keepdim=True, dtype=torch.int64) + pixels) // (2 * pixels)  # rounded, halves up
    return _blend(mean.to(torch.uint8), images, factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image's luma; a factor of 0 gives greys. Images of one channel have no colours to change."""
    return images if images.shape[1] == 1 else _blend(luma(images), images, factor)


def adjust_sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the image smoothed by 1 1 1, 1 5 1, 1 1 1 over 13; the pixels of the edge stay as they are."""
    if min(images.shape[-2:]) < 3:
        return images
    values = images.to(torch.int16)
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * values[:, :, 1:-1, 1:-1]  # at most 13 * 255
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = total.to(torch.float32).div_(13).add_(0.5)  # the fraction is dropped: rounded
    return _blend(smooth, images, factor)


def adjust_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of HSV by `turns`, float (N,) in whole turns of the circle; greys stay as they are."""
    if images.shape[1] == 1:
        return images
    pixels = images.to(torch.float32)
    red, green, blue = pixels.unbind(1)  # (N, H, W) each
    value, least = pixels.amax(1), pixels.amin(1)
    chroma = value - least
    span = chroma.clamp(min=1)
    sixths = torch.where(
        red == value,
        (green - blue) / span,
        torch.where(green == value, 2 + (blue - red) / span, 4 + (red - green) / span),
    )
    sixths = sixths + 6 * turns.to(pixels)[:, None, None]
    places = (sixths[:, None] + sixths.new_tensor([5.0, 3.0, 1.0]).view(1, 3, 1, 1)).remainder_(6)
    ramp = torch.minimum(places, 4 - places).clamp_(0, 1)  # how far each channel lies below the value, in chromas
    return (value[:, None] - chroma[:, None] * ramp).round_().to(torch.uint8)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Invert the values that are not below `threshold`, int64 (N,); 256 inverts none."""
    above = images >= threshold.to(images.device, torch.int16)[:, None, None, None]  # 256 is no byte
    return images ^ above.to(torch.uint8).mul_(255)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest `bits`, int64 (N,) in 1 ... 8, of each value."""
    return images & (256 - (1 << (8 - bits.to(images.device)))).to(torch.uint8)[:, None, None, None]


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel so that its darkest value becomes 0 and its lightest 255."""
    low, high = images.flatten(2).amin(2, keepdim=True), images.flatten(2).amax(2, keepdim=True)  # (N, C, 1)
    levels = torch.arange(256, dtype=torch.float64, device=images.device)
    scale = levels[255] / (high.to(torch.float64) - low)  # and not 255 / ..., which torch takes for 255 * (1 / ...)
    table = (levels * scale - low * scale).clamp_(0, 255).to(torch.uint8)
    return _look_up(images, torch.where(high > low, table, levels.to(torch.uint8)))


def equalize(images: Tensor) -> Tensor:
    """Map each channel so that its values are spread evenly over 0 ... 255."""
    n, channels = images.shape[:2]
    rows = torch.arange(n * channels, device=images.device)[:, None] * 256
    values = images.reshape(n * channels, -1)
    counts = torch.bincount((values + rows).flatten(), minlength=256 * n * channels).view(n, channels, 256)
    last = counts.gather(2, values.amax(1).to(torch.int64).view(n, channels, 1))
    step = (counts.sum(2, keepdim=True) - last) // 255
    table = (counts.cumsum(2) - counts + step // 2) // step.clamp(min=1)
    return _look_up(images, torch.where(step > 0, table.clamp(max=255), torch.arange(256, device=images.device)))


def colour_components(portions: Iterable[Sequence[Tensor]]) -> ColourBasis:
    """Return the principal axes of the pixels of images in portions, uint8 (C, H, W) each.

    From the exact integer sums of the values and of their products. A DataError where there are no pixels.
    """
    count, sums, products = 0, np.zeros(0, np.int64), np.zeros((0, 0), np.int64)
    for portion in portions:
        for image in portion:
            pixels = image.flatten(1).to(torch.float64)  # sums of products below 2^53: exact
            if not count:
                sums, products = np.zeros(len(pixels), np.int64), np.zeros((len(pixels),) * 2, np.int64)
            count += pixels.shape[1]
            sums += pixels.sum(1).numpy().astype(np.int64)
            products += (pixels @ pixels.T).numpy().astype(np.int64)
    if not count:
        raise DataError("cannot find the axes of colours", why="there are no pixels", advice="give it images")
    mean = sums / count
    variances, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    axes = (vectors * np.sign(largest))[:, ::-1].copy()  # either sign is right, so the same on every machine
    return ColourBasis(torch.from_numpy(np.sqrt(np.maximum(variances[::-1], 0))), torch.from_numpy(axes))


def shift_colours(basis: ColourBasis, images: Tensor, multiples: Tensor) -> Tensor:
    """Add to every pixel a multiple of each principal axis (Krizhevsky et al. 2012, section 4.1).

    multiples: float (N, C); 1 is a standard deviation of the pixels along that axis. The paper's text multiplies by the
    eigenvalues of the covariance, which are variances and depend on the unit of a pixel; the authors' program,
    cuda-convnet2, by what it names deviations, as here.
    """
    offsets = (multiples.to(torch.float64) * basis.deviations) @ basis.vectors.T  # (N, C), in grey levels
    moved = images.to(torch.float32) + offsets.to(images.device, torch.float32)[:, :, None, None]
    return moved.round_().clamp_(0, 255).to(torch.uint8)


def _blend(base: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """base + factor * (images - base), cut to 0 ... 255 and its fraction dropped, as Pillow's Image.blend."""
    start = base.to(torch.float32)
    weight = factor.to(images.device, torch.float32)[:, None, None, None]
    return (images.to(torch.float32) - start).mul_(weight).add_(start).clamp_(0, 255).to(torch.uint8)


def luma(images: Tensor) -> Tensor:
    """Turn uint8 (N, 1 or 3, H, W) into its brightness (N, 1, H, W), as Pillow's convert("L") does."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(_LUMA, dtype=torch.int32, device=images.device).view(1, 3, 1, 1)
    return ((images * weights).sum(1, keepdim=True, dtype=torch.int32) + 0x8000 >> 16).to(torch.uint8)


def _look_up(images: Tensor, table: Tensor) -> Tensor:
    """table: (N, C, 256), what becomes of each value."""
    return table.to(torch.uint8).gather(2, images.flatten(2).to(torch.int64)).view(images.shape)
