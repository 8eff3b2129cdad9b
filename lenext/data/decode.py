"""Image files to tensors, with Pillow: the one way in for training, evaluation and prediction."""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image, UnidentifiedImageError, features
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from lenext.data.truncation import is_whole
from lenext.errors import DataError, UsageError

MAX_PIXELS = 2**27  # 400 MB as RGB
MAX_SIDE = 65_535  # what a JPEG can be
_RULES = 1  # to be raised whenever the same file gives other pixels, so that those kept on a disk are left alone

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_SCALED = ("JPEG", "MPO")  # MPO: a JPEG with more pictures behind the first, as some telephones write them
_HEIC = tuple(b"ftyp" + brand for brand in (b"hei", b"hev", b"mif1", b"msf1"))
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_BROKEN = (  # what Pillow's plugins raise on files that are damaged
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_GREY = ("1", "L", "LA", "La", "I", "F")  # Pillow's modes, and those that begin with I;16


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says of its image.

    format, mode: in Pillow's words. width, height: pixels as stored, before the orientation (1 to 8, as in EXIF) is
    undone. frames: pictures of an animation, pages of a TIFF.
    """

    format: str
    mode: str
    width: int
    height: int
    orientation: int
    frames: int

    @property
    def is_grey(self) -> bool:
        """Whether its pixels have no colour."""
        return self.mode in _GREY or self.mode.startswith("I;16")


def read_header(data: bytes) -> Header:
    """Return what the file says of its image; no pixel is decoded.

    data: the file's bytes. Of a JPEG or PNG those in front of the pixels suffice; an orientation that a PNG tells
    behind its pixels is not seen. No image, or one beyond MAX_PIXELS or MAX_SIDE, is a DataError.
    """
    with _explained("the image"):
        image = _open(data)
        orientation = _orientation(image)
        width, height = image.size
        if isinstance(image, TiffImageFile):  # the only format that Pillow turns by itself
            width, height = image.tag_v2[256], image.tag_v2[257]
        frames = getattr(image, "n_frames", 1)
        return Header(
            format=image.format or "",
            mode=image.mode,
            width=width,
            height=height,
            orientation=orientation,
            frames=frames,
        )


def decode_bytes(data: bytes, min_side: int = 0, channels: int = 3) -> Tensor:
    """Return uint8 (channels, H, W), upright as the EXIF orientation says; channels: 1 (luma) or 3 (RGB).

    An image comes at the smallest scale of 1, 1/2, 1/4 and 1/8 whose shorter side has at least `min_side` pixels, with
    `min_side` 0 at full size; nothing is enlarged. A JPEG is scaled by its own transform, another format by the means
    of its blocks. Transparent pixels show white, 16-bit values are scaled to 8 bits, of an animation the first picture
    counts. The limits of `read_header` hold. A file whose end is missing or that cannot be decoded to its end is a
    DataError; nothing takes its place. The three bytes of a pixel lie side by side, whatever the shape says.
    """
    _check(min_side, channels)
    with _explained("the image"):
        return _decode(data, min_side, channels)


def decoded_size(width: int, height: int, min_side: int) -> tuple[int, int]:
    """Return width and height of what `decode_bytes` makes of an image of this size, before it is turned upright."""
    divisor = _divisor(width, height, min_side)
    return -(-width // divisor), -(-height // divisor)


def decoder_versions() -> tuple[str, ...]:
    """What the pixels of a file depend on beside its bytes: this module's rules, Pillow, and its libraries."""
    codecs = [f"{name} {features.version(name)}" for name in ("libjpeg_turbo", "jpg", "webp", "jpg_2000", "avif")]
    return (f"rules {_RULES}", f"Pillow {PIL.__version__}", *codecs)


def decode_file(path: Path, channels: int, min_side: int = 0) -> Tensor:
    """Read a file and decode it as `decode_bytes` does; errors name the path."""
    _check(min_side, channels)
    with _explained(str(path)):
        if not path.is_file():  # reading a pipe would wait for ever
            raise ValueError(_no_file(path))
        return _decode(path.read_bytes(), min_side, channels)


def _check(min_side: int, channels: int) -> None:
    if channels not in (1, 3):
        raise UsageError(f"cannot decode to {channels} channels", why="images have 1 or 3", advice="use 1 or 3")
    if min_side < 0:
        raise UsageError(f"cannot decode to {min_side} pixels", why="it is negative", advice="use 0 for full size")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what Pillow and the file system raise into a DataError."""
    try:
        yield
    except _BROKEN as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(
            f"cannot decode {name}", why=why or type(error).__name__, advice="replace the file, or remove it"
        ) from error


def _no_file(path: Path) -> str:
    if path.is_dir():
        return "it is a folder"
    return "it is no regular file" if path.exists() else "there is no such file"


def _decode(data: bytes, min_side: int, channels: int) -> Tensor:
    if not is_whole(data):
        raise ValueError(f"it is truncated: its end is missing after {len(data)} bytes")
    image: Image.Image = _open(data)
    divisor = _divisor(image.width, image.height, min_side)
    if image.format in _SCALED:
        divisor = _draft(image, divisor)
    image.load()
    orientation = _orientation(image)  # a PNG may tell it behind the pixels; a TIFF is upright by now
    image = _to_8_bit(image)
    if divisor > 1:
        image = image.reduce(divisor)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    mode = "RGB" if channels == 3 else "L"
    pixels = np.array(image if image.mode == mode else image.convert(mode))
    return torch.from_numpy(pixels.reshape(image.height, image.width, channels)).permute(2, 0, 1)


def _open(data: bytes) -> Image.Image:
    """Read the header and hold it against the limits."""
    if not data:
        raise ValueError("it is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except (UnidentifiedImageError, KeyError) as error:  # KeyError: an older Pillow, of AVIF
        heic = "; HEIC photographs must be converted first" if data[4:12].startswith(_HEIC) else ""
        raise ValueError(f"its content is no image that Pillow knows{heic}") from error
    width, height = image.size
    if min(image.size) < 1:
        raise ValueError(f"it has {width} x {height} pixels")
    if max(image.size) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are beyond the limits: {MAX_SIDE} a side, {MAX_PIXELS} in all")
    return image


def _divisor(width: int, height: int, min_side: int) -> int:
    shorter = min(width, height)
    fitting = [divisor for divisor in (8, 4, 2) if divisor <= shorter and -(-shorter // divisor) >= min_side]
    return fitting[0] if min_side and fitting else 1


def _draft(image: Image.Image, divisor: int) -> int:
    """Have Pillow decode at 1/2, 1/4 or 1/8, which costs less than the whole; return by how much is left to divide."""
    if divisor > 1:
        width, height = image.size
        image.draft(None, (width // divisor, height // divisor))
        if image.size != (-(-width // divisor), -(-height // divisor)):
            raise ValueError(f"Pillow scales {width} x {height} to {image.size}, which is not 1/{divisor}")
    return 1


def _orientation(image: Image.Image) -> int:
    try:
        value = Image.Image.getexif(image).get(_ORIENTATION, 1)  # a PNG's own method would decode the pixels
    except _BROKEN:  # the EXIF block is damaged, the pixels need not be
        return 1
    return int(value) if value in _UPRIGHT else 1


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Return the image as L or RGB."""
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError(f"its pixels go from {values.min()} to {values.max()}, beyond 16 bits")
        values[values == image.info.get("transparency")] = 65_535
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of no known range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode in ("L", "RGB") else image.convert("RGB")
