"""Bytes of image files for tests, written by Pillow or by hand."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

PHOTO = Image.fromarray(load_sample_images().images[1]).resize((317, 203))  # odd sides, as camera crops have


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, colour: int, rows: bytes, bits: int = 16) -> bytes:
    """A PNG by hand, after the PNG specification, section 11.2: Pillow writes no 16-bit colours."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    content = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(content)


JPEGS = {
    "4:4:4": encoded(PHOTO, "JPEG", subsampling="4:4:4"),
    "4:2:2": encoded(PHOTO, "JPEG", subsampling="4:2:2"),
    "4:2:0": encoded(PHOTO, "JPEG", subsampling="4:2:0"),
    "best": encoded(PHOTO, "JPEG", quality=97),
    "poor": encoded(PHOTO, "JPEG", quality=30),
    "progressive": encoded(PHOTO, "JPEG", progressive=True),
    "with restarts": encoded(PHOTO, "JPEG", restart_marker_rows=1),
    "grey": encoded(PHOTO.convert("L"), "JPEG"),
    "grey and progressive": encoded(PHOTO.convert("L"), "JPEG", progressive=True),
    "of a printer": encoded(PHOTO.convert("CMYK"), "JPEG"),
    "as RGB": encoded(PHOTO, "JPEG", keep_rgb=True),
    "of even sides": encoded(PHOTO.resize((320, 208)), "JPEG"),
    "of two pictures": encoded(PHOTO, "MPO", save_all=True, append_images=[PHOTO.convert("L")]),
}


UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}
