"""The sheet of kernels, read back with Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from lenext.reporting.kernels import Panel, draw_kernels

Numbers = tuple[tuple[int, ...], ...]


def opened(panels: list[Panel], columns: int = 2) -> np.ndarray:
    picture = Image.open(io.BytesIO(draw_kernels(panels, "a title", columns)))
    assert picture.format == "PNG"
    return np.array(picture.convert("RGB"))


def panel(
    pixels: np.ndarray,
    numbers: Numbers = ((0, 0, 0), (0, 1, 0), (0, 0, 0)),
    divisor: int = 1,
    words: tuple[str, ...] = (),
) -> Panel:
    return Panel("name", pixels, numbers, divisor, words)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_response_is_on_the_sheet_enlarged_pixel_by_pixel(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 128, channels), dtype=np.uint8)
    sheet = opened([panel(image) for image in images])
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (128, 256, 3))[:, :, 0]
    for image in images:
        large = np.broadcast_to(image, (64, 128, 3)).repeat(2, axis=0).repeat(2, axis=1)
        corners = np.argwhere(
            (windows[:, :, 0, 0] == large[0, 0]).all(-1) & (windows[:, :, -1, -1] == large[-1, -1]).all(-1)
        )
        assert any(np.array_equal(windows[y, x], large) for y, x in corners)


def test_cells_of_numbers_beside_an_image_are_coloured_by_their_sign() -> None:
    white = np.full((16, 16, 1), 255, np.uint8)
    sheet = opened([panel(white, ((0, 1), (-1, 0)))]).astype(int)
    red, blue = sheet[:, :, 0], sheet[:, :, 2]
    positive, negative = np.argwhere(blue > red + 20), np.argwhere(red > blue + 20)
    assert len(positive) and len(negative)
    assert positive[:, 0].max() < negative[:, 0].min() + 3  # the first row above the second
    assert positive[:, 1].min() > negative[:, 1].max() - 3
    assert min(positive[:, 1].min(), negative[:, 1].min()) > 256  # beside the image, which is 16 times as large


def test_other_numbers_divisors_and_words_make_another_sheet() -> None:
    grey = np.full((100, 256, 3), 128, np.uint8)
    plain = opened([panel(grey)])
    for other in (
        panel(grey, ((0, 0, 0), (0, 2, 0), (0, 0, 0))),
        panel(grey, divisor=9),
        panel(grey, words=("what it does",)),
    ):
        assert not np.array_equal(opened([other]), plain)


def test_a_row_is_as_high_as_its_own_numbers_need() -> None:
    flat = np.zeros((10, 256, 1), np.uint8)
    small, large = panel(flat), panel(flat, ((1,) * 5,) * 5, 25, ("some words " * 9,))
    heights = [opened(panels, columns=1).shape[0] for panels in ([small], [small, small], [small, large])]
    assert heights[2] - heights[1] > 2 * 24
    assert opened([small, large]).shape[0] == heights[2] - (heights[1] - heights[0])
    ink = np.argwhere((opened([large]) < 200).all(-1))
    assert ink[:, 1].max() < opened([large]).shape[1] - 8  # words stay on the sheet
