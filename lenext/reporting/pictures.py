"""Arrays as pictures inside the page: PNG data URIs, enlarged without smoothing so that a pixel stays a square."""

import base64
import io
from dataclasses import dataclass

import numpy as np

RIGHT_RGB, WRONG_RGB = (32, 150, 144), (214, 120, 30)  # readable on a light and on a dark page


@dataclass(frozen=True)
class Picture:
    """An image for an `<img>` element: its address (the bytes themselves) and its size in pixels."""

    uri: str
    width: int
    height: int


def picture(pixels: np.ndarray, side: int) -> Picture:
    """Return uint8 pixels, (H, W) or (H, W, 1 to 4 channels), as a picture whose longer side is about `side`.

    Enlarged by a whole factor, nearest neighbour; reduced (only then smoothed) where larger than twice `side`.
    """
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    longer = max(image.size)
    factor = max(1, round(side / longer))
    if longer > 2 * side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    elif factor > 1:
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    encoded = io.BytesIO()
    image.save(encoded, format="PNG", optimize=True)
    return Picture("data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode(), *image.size)


def filter_pictures(filters: np.ndarray, side: int) -> list[Picture]:
    """Return each filter of (F, C, kh, kw) as a picture, zero being the middle grey.

    Each is divided by its own largest magnitude, so that its sign is kept and -1 and 1 are the ends of the scale.
    Three channels make one colour picture; any other number of channels, one grey picture each.
    """
    count, channels, height, width = filters.shape
    if channels != 3:
        filters = filters.reshape(count * channels, 1, height, width)
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    scaled = np.divide(filters, largest, out=np.zeros_like(filters, dtype=np.float64), where=largest > 0)
    pixels = np.rint(127.5 + 127.5 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)
    return [picture(one, side) for one in pixels]


def matrix_picture(strengths: np.ndarray, side: int) -> Picture:
    """Return a confusion matrix of many classes as a picture, a square a cell, transparent where it is empty.

    strengths: (K, K) in [0, 1], how strongly a cell is coloured.
    """
    size = len(strengths)
    pixels = np.zeros((size, size, 4), dtype=np.uint8)
    pixels[:, :, :3] = WRONG_RGB
    pixels[np.arange(size), np.arange(size), :3] = RIGHT_RGB
    pixels[:, :, 3] = np.rint(255 * strengths)
    return picture(pixels, side)
