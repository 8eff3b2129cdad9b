"""Image files to tensors, with Pillow."""

import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lenext.errors import DataError, UsageError

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
)  # Pillow's plugins
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def decode_file(path: Path, channels: int) -> Tensor:
    """Return uint8 (channels, H, W), upright as the EXIF orientation says; channels: 1 (luma) or 3 (RGB).

    Transparent pixels show white, 16-bit values are scaled to 8 bits, of an animation the first picture counts. A file
    that cannot be decoded to its end is a DataError that names it; nothing takes its place.
    """
    if channels not in (1, 3):
        raise UsageError(f"cannot decode to {channels} channels", why="images have 1 or 3", advice="use 1 or 3")
    try:
        with Image.open(path) as opened:
            opened.load()
            image = _to_8_bit(ImageOps.exif_transpose(opened))
    except Image.DecompressionBombError as error:
        raise _unreadable(path, str(error)) from error
    except _BROKEN as error:
        raise _unreadable(path, _reason(path, error)) from error
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels.reshape(image.height, image.width, channels)).permute(2, 0, 1).contiguous()


def _to_8_bit(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.clip(np.round(values / 257), 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of no known range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image


def _reason(path: Path, error: Exception) -> str:
    if path.is_dir():
        return "it is a folder"
    if not path.exists():
        return "there is no such file"
    if path.stat().st_size == 0:
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):
        return "its content is no image that Pillow knows"
    return str(error)


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"cannot decode {path}", why=why, advice="replace the file, or remove it")
