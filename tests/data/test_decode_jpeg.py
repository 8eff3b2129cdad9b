"""Photographs of a camera: scales, turns, and the kinds of JPEG. Files are written by Pillow."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lenext.data.decode import decode_bytes, read_header
from tests.data.photographs import JPEGS, PHOTO, UPRIGHT, encoded, turned


def shown_by_pillow(data: bytes, channels: int) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    pixels = np.asarray(image.convert("L") if channels == 1 else image)
    return pixels.reshape(image.height, image.width, channels).transpose(2, 0, 1)


@pytest.mark.parametrize(("format_", "min_side"), [("JPEG", 0), ("JPEG", 40), ("AVIF", 0)])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photograph_is_turned_after_it_was_scaled(orientation: int, format_: str, min_side: int) -> None:
    stored = encoded(PHOTO, format_, exif=turned(orientation))
    plain = decode_bytes(encoded(PHOTO, format_), min_side).permute(1, 2, 0).numpy()
    image = decode_bytes(stored, min_side)
    assert image.permute(1, 2, 0).is_contiguous()
    assert np.array_equal(image.permute(1, 2, 0).numpy(), UPRIGHT[orientation](plain))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("broken", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", turned(9).tobytes()])
def test_orientation_that_cannot_be_read_leaves_the_picture_as_stored(broken: bytes) -> None:
    data = encoded(PHOTO, "JPEG", exif=broken)
    assert decode_bytes(data).equal(decode_bytes(encoded(PHOTO, "JPEG")))
    assert read_header(data).orientation == 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_at_full_size_is_what_pillow_shows(kind: str, channels: int) -> None:
    image = decode_bytes(JPEGS[kind], channels=channels)
    assert image.permute(1, 2, 0).is_contiguous()
    assert np.array_equal(image.numpy(), shown_by_pillow(JPEGS[kind], channels))


@pytest.mark.parametrize("divisor", [2, 4, 8])
@pytest.mark.parametrize("kind", JPEGS)
def test_scaled_jpeg_is_the_mean_of_its_blocks(kind: str, divisor: int) -> None:
    """Oracle: the brightness of the full picture, averaged over blocks; one shifted by a pixel is far from it."""
    full = decode_bytes(JPEGS[kind], channels=1)[0].double()
    height, width = (side // divisor for side in full.shape)
    blocks = full[: height * divisor, : width * divisor].reshape(height, divisor, width, divisor).mean((1, 3))
    scaled = decode_bytes(JPEGS[kind], min_side=-(-min(full.shape) // divisor), channels=1)[0].double()
    assert scaled.shape == tuple(-(-side // divisor) for side in full.shape)
    error = (scaled[:height, :width] - blocks).abs().mean()
    shifted = (scaled[:height, 1:width] - blocks[:, :-1]).abs().mean()
    assert error < 2.5
    assert shifted > 3 * error


@pytest.mark.parametrize("width", [1, 7, 8, 9, 15, 16, 17, 31, 33, 40])
@pytest.mark.parametrize("height", [1, 3, 8, 15, 16, 23, 64])
def test_scale_is_the_smallest_that_keeps_the_side(height: int, width: int) -> None:
    data = encoded(Image.new("RGB", (width, height)), "JPEG")
    for min_side in range(1, 42):
        allowed = [(-(-height // n), -(-width // n)) for n in (1, 2, 4, 8) if n <= min(height, width)]
        expected = min([size for size in allowed if min(size) >= min_side], default=(height, width))
        assert tuple(decode_bytes(data, min_side).shape[1:]) == expected


def test_threads_decode_the_same_bytes() -> None:
    alone = [decode_bytes(data, 60) for data in JPEGS.values()]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda data: decode_bytes(data, 60), list(JPEGS.values()) * 4))
    assert all(image.equal(alone[place % len(alone)]) for place, image in enumerate(together))
