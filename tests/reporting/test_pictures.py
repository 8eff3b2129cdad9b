import base64
import io

import numpy as np
import pytest
from PIL import Image

from lenext.reporting.pictures import Picture, filter_pictures, matrix_picture, picture


def pixels_of(shown: Picture, kind: str = "png") -> np.ndarray:
    prefix, _, encoded = shown.uri.partition(",")
    assert prefix == f"data:image/{kind};base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


@pytest.mark.parametrize("channels", [1, 3])
def test_small_picture_is_kept_to_the_bit_and_shown_enlarged_by_a_whole_factor(channels: int) -> None:
    source = np.arange(8 * 6 * channels, dtype=np.uint8).reshape(8, 6, channels)
    shown = picture(source, 112)
    assert (pixels_of(shown).reshape(8, 6, channels) == source).all()
    assert (shown.width, shown.height, shown.crisp) == (84, 112, True)


def test_large_picture_is_reduced_to_fit() -> None:
    shown = picture(np.full((300, 600, 3), 90, np.uint8), 112)
    assert (shown.width, shown.height) == (112, 56)
    assert pixels_of(shown).shape == (56, 112, 3)
    assert (pixels_of(shown) == 90).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_photograph_becomes_a_jpeg_close_to_it_and_is_shown_smooth(channels: int) -> None:
    y, x = np.mgrid[:96, :72]
    source = np.stack([60 + x, 200 - y, 100 + x // 2], axis=2)[:, :, :channels].astype(np.uint8)
    shown = picture(source, 112)
    found = pixels_of(shown, "jpeg").reshape(source.shape).astype(int)
    assert np.abs(found - source).mean() < 3
    assert (shown.width, shown.height, shown.crisp) == (72, 96, False)


def test_filter_is_scaled_by_its_largest_magnitude_with_zero_in_the_middle() -> None:
    filters = np.array([[[[-4.0, 0.0], [1.0, 2.0]]], [[[0.0, 0.0], [0.0, 0.001]]]], dtype=np.float32)
    first, second = (pixels_of(one) for one in filter_pictures(filters, 48))
    assert first.tolist() == [[0, 128], [159, 191]]
    assert second.tolist() == [[128, 128], [128, 255]]


def test_filter_of_zeros_is_the_middle_grey() -> None:
    (shown,) = filter_pictures(np.zeros((1, 1, 3, 3), np.float32), 48)
    assert (pixels_of(shown) == 128).all()


def test_filters_of_three_channels_are_colour_and_of_two_are_two_pictures() -> None:
    assert pixels_of(filter_pictures(np.ones((4, 3, 3, 3), np.float32), 48)[0]).shape == (3, 3, 3)
    assert len(filter_pictures(np.ones((4, 2, 3, 3), np.float32), 48)) == 8


def test_matrix_is_transparent_where_no_image_was_counted() -> None:
    shown = pixels_of(matrix_picture(np.array([[0.9, 0.6], [0.0, 1.0]]), 2))
    assert shown[:, :, 3].tolist() == [[230, 153], [0, 255]]
    assert (shown[0, 0, :3] != shown[0, 1, :3]).any()
