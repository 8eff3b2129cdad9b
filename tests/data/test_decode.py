"""Image files to tensors. Files are written by Pillow, or broken by hand."""

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lenext.data.decode import Header, decode_bytes, decode_file, read_header
from lenext.errors import DataError, UsageError
from tests.data.photographs import JPEGS, PHOTO, UPRIGHT, chunk, encoded, png, turned

PIXELS = np.random.default_rng(10).integers(0, 256, (5, 8, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def why(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        decode_file(path, 3)
    assert str(path) in caught.value.what
    return caught.value.why


def why_of(data: bytes) -> str:
    with pytest.raises(DataError, match="cannot decode the image") as caught:
        decode_bytes(data)
    return caught.value.why


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.webp"])
def test_colours_come_back_channels_first(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / name, Image.fromarray(PIXELS), lossless=True)
    image = decode_file(path, 3)
    assert image.dtype == torch.uint8
    assert image.permute(1, 2, 0).is_contiguous()
    assert np.array_equal(image.permute(1, 2, 0).numpy(), PIXELS)


def test_one_channel_is_luma(tmp_path: Path) -> None:
    image = decode_file(saved(tmp_path / "a.png", Image.fromarray(PIXELS)), 1)
    assert image.shape == (1, 5, 8)
    assert np.array_equal(image[0].numpy(), np.asarray(Image.fromarray(PIXELS).convert("L")))


def test_grey_file_fills_three_channels(tmp_path: Path) -> None:
    image = decode_file(saved(tmp_path / "a.png", Image.fromarray(PIXELS[..., 0])), 3)
    assert np.array_equal(image.numpy(), np.stack([PIXELS[..., 0]] * 3))


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tiff"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_of_the_camera_is_undone(tmp_path: Path, orientation: int, name: str) -> None:
    """Oracle: the eight cases of the EXIF standard 2.3, tag 0x0112, as turns of a numpy array."""
    path = saved(tmp_path / name, Image.fromarray(PIXELS), exif=turned(orientation), lossless=True)
    assert np.array_equal(decode_file(path, 3).permute(1, 2, 0).numpy(), UPRIGHT[orientation](PIXELS))
    assert read_header(path.read_bytes()).orientation == orientation


def test_orientation_behind_the_pixels_of_a_png_counts() -> None:
    data = encoded(Image.fromarray(PIXELS), "PNG")
    late = data[:-12] + chunk(b"eXIf", turned(3).tobytes().removeprefix(b"Exif\0\0")) + data[-12:]
    assert np.array_equal(decode_bytes(late).permute(1, 2, 0).numpy(), PIXELS[::-1, ::-1])
    assert read_header(late).orientation == 1  # it decodes nothing, so it cannot know


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_other_formats_are_scaled_by_the_means_of_their_blocks(format_: str) -> None:
    """Oracle: numpy's mean over blocks of 8 x 8, rounded; Pillow's sides, rounded up."""
    full = decode_bytes(encoded(PHOTO, format_)).numpy()
    assert full.shape == (3, 203, 317)
    scaled = decode_bytes(encoded(PHOTO, format_), min_side=10).numpy()
    assert scaled.shape == (3, 26, 40)
    means = full[:, :200, :312].reshape(3, 25, 8, 39, 8).mean((2, 4))
    assert np.abs(scaled[:, :25, :39] - means).max() <= 0.5


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


def test_sixteen_bits_stay_in_scale_in_every_layout() -> None:
    values = np.array([[0, 257, 25_700, 65_535]])
    for mode, dtype in [("I;16", "<u2"), ("I;16B", ">u2"), ("I", "<i4")]:
        image = Image.frombytes(mode, (4, 1), values.astype(dtype).tobytes())
        assert decode_bytes(encoded(image, "TIFF")).tolist() == [[[0, 1, 100, 255]]] * 3, mode


@pytest.mark.parametrize("value", [-1, 65_536, 2**31 - 1])
def test_integers_beyond_sixteen_bits_are_refused_not_clipped(value: int) -> None:
    image = Image.fromarray(np.array([[7, value]], dtype=np.int32))
    assert "beyond 16 bits" in why_of(encoded(image, "TIFF"))


def test_transparent_value_of_sixteen_bits_shows_white() -> None:
    image = Image.fromarray(np.array([[300, 25_700]], dtype=np.uint16))
    assert decode_bytes(encoded(image, "PNG", transparency=300), channels=1).tolist() == [[[255, 100]]]


def test_sixteen_bit_colours_keep_their_high_byte() -> None:
    """Pillow halves them so; against division by 257 that is at most one level less."""
    colour = struct.pack(">6H", 0, 25_700, 65_535, 255, 256, 51_456)
    assert decode_bytes(png(2, 1, 2, b"\0" + colour)).tolist() == [[[0, 0]], [[100, 1]], [[255, 201]]]
    half_clear_grey = struct.pack(">4H", 25_700, 65_535, 25_700, 0)
    assert decode_bytes(png(2, 1, 4, b"\0" + half_clear_grey), channels=1).tolist() == [[[100, 255]]]
    clear_colour = struct.pack(">8H", 25_700, 0, 51_400, 65_535, 25_700, 0, 51_400, 0)
    assert decode_bytes(png(2, 1, 6, b"\0" + clear_colour)).tolist() == [[[100, 255]], [[0, 255]], [[200, 255]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_half_transparent_pixels_are_mixed_with_white(mode: str) -> None:
    """Oracle: colour * a + 255 * (1 - a), to within the rounding."""
    solid = Image.fromarray(PIXELS[..., 0])
    image = solid.convert("RGB").convert("RGBA") if mode == "RGBA" else solid.convert(mode)
    image.putalpha(100)
    format_ = "TIFF" if mode == "PA" else "PNG"
    expected = PIXELS[..., 0] * (100 / 255) + 255 * (155 / 255)
    shown = decode_bytes(encoded(image, format_), channels=1)[0].numpy()
    assert np.abs(shown - expected).max() <= 1


def test_transparent_colour_shows_white() -> None:
    image = Image.new("RGB", (2, 1), (9, 8, 7))
    image.putpixel((1, 0), (9, 8, 6))
    assert decode_bytes(encoded(image, "PNG", transparency=(9, 8, 7))).tolist() == [[[255, 9]], [[255, 8]], [[255, 6]]]


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_first_picture_of_several_counts(format_: str) -> None:
    pictures = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    data = encoded(pictures[0], format_, save_all=True, append_images=pictures[1:])
    red, green, blue = decode_bytes(data).float().mean((1, 2)).tolist()
    assert red > 250 > 5 > max(green, blue)
    assert read_header(data).frames == 3


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


WHOLE = {
    "JPEG": encoded(PHOTO, "JPEG"),
    "progressive JPEG": JPEGS["progressive"],
    "PNG": encoded(PHOTO, "PNG"),
    "GIF": encoded(PHOTO, "GIF"),
    "WEBP": encoded(PHOTO, "WEBP"),
    "BMP": encoded(PHOTO, "BMP"),
    "TIFF": encoded(PHOTO, "TIFF", compression="tiff_lzw"),
    "PPM": encoded(PHOTO, "PPM"),
    "JPEG2000": encoded(PHOTO, "JPEG2000"),
    "bare JPEG2000": encoded(PHOTO, "JPEG2000", no_jp2=True),
    "AVIF": encoded(PHOTO, "AVIF"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_file_cut_anywhere_is_refused(kind: str) -> None:
    data = WHOLE[kind]
    assert decode_bytes(data).shape == (3, 203, 317)
    for place in [len(data) * part // 17 for part in range(17)] + [len(data) - cut for cut in (1, 2, 10)]:
        assert why_of(data[:place]), place


def test_cut_file_says_what_is_missing() -> None:
    assert why_of(WHOLE["JPEG"][:3000]) == "it is truncated: its end is missing after 3000 bytes"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_bytes_behind_the_end_are_no_fault(kind: str) -> None:
    assert decode_bytes(WHOLE[kind] + b"more").equal(decode_bytes(WHOLE[kind]))


def test_file_that_is_no_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>404</html>")
    assert why(tmp_path / "a.jpg") == "its content is no image that Pillow knows"


def test_drawing_and_heic_photograph_say_what_to_do() -> None:
    assert why_of(b'<svg xmlns="http://www.w3.org/2000/svg"/>') == "its content is no image that Pillow knows"
    assert "HEIC photographs must be converted first" in why_of(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert why(tmp_path / "a.jpg") == "it is no regular file"


def test_reason_of_the_file_system_is_told(tmp_path: Path) -> None:
    assert why(tmp_path / ("a" * 300)) == "File name too long"


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


def test_negative_side_is_refused() -> None:
    with pytest.raises(UsageError, match="-1 pixels"):
        decode_bytes(JPEGS["grey"], -1)


def test_file_is_scaled_like_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEGS["4:2:0"])
    assert decode_file(tmp_path / "a.jpg", 1, 60).equal(decode_bytes(JPEGS["4:2:0"], 60, 1))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # Pillow's own advice
@pytest.mark.parametrize(("width", "height"), [(8193, 16_384), (65_536, 1), (1, 65_536), (2**31 - 1, 2)])
def test_size_beyond_the_limits_is_refused_by_the_header(width: int, height: int) -> None:
    """The files hold no pixels: a decoder would say so instead."""
    data = png(width, height, 0, b"", bits=1)
    reason = why_of(data)
    assert f"{width} x {height} pixels are beyond the limits" in reason or "exceeds limit" in reason
    with pytest.raises(DataError) as caught:
        read_header(data)
    assert caught.value.why == reason


def test_size_at_the_limits_is_not_refused() -> None:
    with pytest.warns(Image.DecompressionBombWarning):
        assert read_header(png(8192, 16_384, 0, b"", bits=1)).height == 16_384
    assert read_header(png(65_535, 1, 0, b"", bits=1)).width == 65_535


@pytest.mark.parametrize(
    ("format_", "options", "mode", "orientation"),
    [
        ("JPEG", {"exif": turned(6)}, "RGB", 6),
        ("PNG", {"exif": turned(8)}, "RGB", 8),
        ("TIFF", {"exif": turned(5)}, "RGB", 5),
        ("WEBP", {"exif": turned(3)}, "RGB", 3),
        ("GIF", {}, "P", 1),
        ("BMP", {}, "RGB", 1),
        ("PPM", {}, "RGB", 1),
    ],
)
def test_header_tells_the_size_as_stored(format_: str, options: dict[str, Any], mode: str, orientation: int) -> None:
    expected = Header(format=format_, mode=mode, width=317, height=203, orientation=orientation, frames=1)
    assert read_header(encoded(PHOTO, format_, **options)) == expected


def test_header_is_read_without_the_pixels() -> None:
    jpeg = encoded(PHOTO, "JPEG", exif=turned(6))
    assert read_header(jpeg[: jpeg.index(b"\xff\xda") + 14]) == read_header(jpeg)
    whole = encoded(PHOTO, "PNG", exif=turned(6))
    assert read_header(whole[: whole.index(b"IDAT") + 4]) == read_header(whole)


def test_header_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="it is empty"):
        read_header(b"")
    with pytest.raises(DataError, match="no image that Pillow knows"):
        read_header(b"<html>404</html>")
