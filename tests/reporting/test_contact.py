"""The contact sheet, read back with Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from lenext.reporting.contact import contact_sheet


def opened(images: np.ndarray, captions: list[str], title: str = "", columns: int = 6) -> np.ndarray:
    picture = Image.open(io.BytesIO(contact_sheet(images, captions, title, columns)))
    assert picture.format == "PNG"
    return np.array(picture.convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_on_the_sheet_enlarged_pixel_by_pixel(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 40, 80, channels), dtype=np.uint8)
    sheet = opened(images, list("abcde"), columns=2)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (80, 160, 3))[:, :, 0]
    for image in images:
        large = np.broadcast_to(image, (40, 80, 3)).repeat(2, axis=0).repeat(2, axis=1)
        corners = np.argwhere(
            (windows[:, :, 0, 0] == large[0, 0]).all(-1) & (windows[:, :, -1, -1] == large[-1, -1]).all(-1)
        )
        assert any(np.array_equal(windows[y, x], large) for y, x in corners)


def test_captions_and_title_are_written_and_kept_within_the_sheet() -> None:
    images = np.full((2, 160, 160, 3), 255, np.uint8)
    plain = opened(images, ["", ""])
    assert (plain == 255).all()
    told = opened(images, ["a cat", "x" * 500 + "\nsecond \x07 line"], "a title " * 100)
    assert told.shape[1] == plain.shape[1]
    ink = np.argwhere((told < 128).any(-1))
    assert ink[:, 1].max() < told.shape[1] - 10
    assert len(np.unique(ink[:, 0])) > 24  # title, first lines, second line


def test_few_images_make_a_narrow_sheet() -> None:
    images = np.zeros((2, 30, 30, 1), np.uint8)
    assert opened(images, ["a", "b"]).shape[1] < opened(np.zeros((6, 30, 30, 1), np.uint8), list("abcdef")).shape[1]
