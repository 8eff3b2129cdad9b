"""Image files to tensors. Files are written by Pillow, or broken by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lenext.data.decode import decode_file
from lenext.errors import DataError, UsageError

PIXELS = np.random.default_rng(10).integers(0, 256, (5, 8, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def why(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        decode_file(path, 3)
    assert str(path) in caught.value.what
    return caught.value.why


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.webp"])
def test_colours_come_back_channels_first(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, Image.fromarray(PIXELS), lossless=True)
    image = decode_file(path, 3)
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    assert np.array_equal(image.permute(1, 2, 0).numpy(), PIXELS)


def test_one_channel_is_luma(tmp_path: Path) -> None:
    image = decode_file(saved(tmp_path / "a.png", Image.fromarray(PIXELS)), 1)
    assert image.shape == (1, 5, 8)
    assert np.array_equal(image[0].numpy(), np.asarray(Image.fromarray(PIXELS).convert("L")))


def test_grey_file_fills_three_channels(tmp_path: Path) -> None:
    image = decode_file(saved(tmp_path / "a.png", Image.fromarray(PIXELS[..., 0])), 3)
    assert np.array_equal(image.numpy(), np.stack([PIXELS[..., 0]] * 3))


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


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_of_the_camera_is_undone(tmp_path: Path, orientation: int) -> None:
    """Oracle: the eight cases of the EXIF standard 2.3, tag 0x0112, as turns of a numpy array."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_file(saved(tmp_path / "a.png", Image.fromarray(PIXELS), exif=exif), 3)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), UPRIGHT[orientation](PIXELS))


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_pixels_show_white(tmp_path: Path, channels: int) -> None:
    alpha = np.zeros((5, 8, 1), np.uint8)
    alpha[2:] = 255
    image = decode_file(saved(tmp_path / "a.png", Image.fromarray(np.concatenate([PIXELS, alpha], 2))), channels)
    assert (image[:, :2] == 255).all()
    opaque = Image.fromarray(PIXELS[2:]).convert("L" if channels == 1 else "RGB")
    assert np.array_equal(image[:, 2:].numpy(), np.asarray(opaque).reshape(3, 8, channels).transpose(2, 0, 1))


def test_transparent_grey_and_palette_show_white(tmp_path: Path) -> None:
    grey = Image.fromarray(np.stack([PIXELS[..., 0], np.zeros((5, 8), np.uint8)], -1))
    assert (decode_file(saved(tmp_path / "grey.png", grey), 3) == 255).all()
    palette = Image.new("P", (8, 5), 1)
    palette.putpalette([9, 9, 9, 200, 0, 0])
    assert (decode_file(saved(tmp_path / "clear.png", palette, transparency=1), 3) == 255).all()
    opaque = decode_file(saved(tmp_path / "opaque.png", palette), 3)
    assert opaque[:, 0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 257, 128, 129, 65535, 51400]], dtype=np.uint16)
    image = decode_file(saved(tmp_path / name, Image.fromarray(values)), 1)
    assert image.tolist() == [[[0, 1, 0, 1, 255, 200]]]


def test_black_and_white_spans_the_range(tmp_path: Path) -> None:
    image = decode_file(saved(tmp_path / "a.png", Image.fromarray(PIXELS[..., 0] > 99)), 1)
    assert np.array_equal(image[0].numpy(), (PIXELS[..., 0] > 99) * 255)


def test_jpeg_of_a_printer_is_colours_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 5), (0, 255, 255, 0)))
    red = decode_file(path, 3)[:, 2, 2].tolist()
    assert red[0] > 240 > 15 > max(red[1:])


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.zeros((5, 8), np.float32)))
    assert "floating-point" in why(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.gif"])
def test_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(11).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / name, Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[:-800])
    assert why(path)


def test_file_that_is_no_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>404</html>")
    assert why(tmp_path / "a.jpg") == "its content is no image that Pillow knows"


def test_empty_missing_and_folder_say_so(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert why(tmp_path / "empty.png") == "it is empty"
    assert why(tmp_path / "absent.png") == "there is no such file"
    assert why(tmp_path) == "it is a folder"


def test_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "exceeds limit" in why(saved(tmp_path / "a.png", Image.fromarray(PIXELS)))


def test_two_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 channels"):
        decode_file(tmp_path / "a.png", 2)
