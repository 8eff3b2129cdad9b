"""Arrays as pictures inside the page: data URIs as small as they can be, enlarged by the page itself."""

import base64
import io
from dataclasses import dataclass

import numpy as np

RIGHT_RGB, WRONG_RGB = (32, 150, 144), (214, 120, 30)  # readable on a light and on a dark page
PHOTOGRAPH = 64  # pixels: what is larger than this both ways is a photograph, and a fifth as large as JPEG
QUALITY = 85  # of JPEG


@dataclass(frozen=True)
class Picture:
    """An image for an `<img>` element: its address (the bytes themselves) and the size at which it is shown.

    crisp: each pixel is to be shown as a square.
    """

    uri: str
    width: int
    height: int
    crisp: bool


def picture(pixels: np.ndarray, side: int) -> Picture:
    """Return uint8 pixels, (H, W) or (H, W, 1 to 4 channels), as a picture whose longer side is shown at about `side`.

    Shown enlarged by a whole factor, each pixel a square; reduced (only then smoothed) where larger than twice `side`.
    """
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    if max(image.size) > 2 * side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    factor = max(1, round(side / max(image.size)))
    photograph = min(image.size) > PHOTOGRAPH and image.mode in ("L", "RGB")
    encoded = io.BytesIO()
    if photograph:
        image.save(encoded, format="JPEG", quality=QUALITY, optimize=True)
    else:
        image.save(encoded, format="PNG", optimize=True)
    uri = f"data:image/{'jpeg' if photograph else 'png'};base64,{base64.b64encode(encoded.getvalue()).decode()}"
    return Picture(uri, image.width * factor, image.height * factor, not photograph)


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
