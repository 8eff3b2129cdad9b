"""Cut files: written whole by Pillow, or built by hand where the layout matters, then cut at many places."""

import struct
from typing import Any

import pytest
from PIL import Image

from lenext.data.truncation import is_whole
from tests.data.photographs import PHOTO, encoded


def photo(format_: str, mode: str = "RGB", **options: Any) -> bytes:
    return encoded(PHOTO.resize((101, 67)).convert(mode), format_, **options)


PAGES: dict[str, Any] = {
    "save_all": True,
    "append_images": [PHOTO.resize((101, 67)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)],
}
WHOLE = {
    "jpeg": photo("JPEG"),
    "progressive jpeg": photo("JPEG", progressive=True),
    "jpeg with restarts": photo("JPEG", restart_marker_blocks=3),
    "jpeg of a printer": photo("JPEG", "CMYK"),
    "png": photo("PNG"),
    "animated png": photo("PNG", **PAGES),
    "gif": photo("GIF"),
    "animated gif": photo("GIF", **PAGES),
    "webp": photo("WEBP"),
    "animated webp": photo("WEBP", **PAGES),
    "bmp": photo("BMP"),
    "bmp with a palette": photo("BMP", "P"),
    "black and white bmp": photo("BMP", "1"),
    "tiff": photo("TIFF"),
    "lzw tiff": photo("TIFF", compression="tiff_lzw"),
    "deflated tiff": photo("TIFF", compression="tiff_adobe_deflate"),
    "fax tiff": photo("TIFF", "1", compression="group4"),
    "jpeg tiff": photo("TIFF", compression="jpeg"),
    "tiff of two pages": photo("TIFF", **PAGES).rstrip(b"\0"),  # Pillow fills up to 16 bytes
    "big tiff": photo("TIFF", big_tiff=True),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_file_is_whole_and_may_have_bytes_behind_its_end(kind: str) -> None:
    assert is_whole(WHOLE[kind])
    assert is_whole(WHOLE[kind] + b"\0\xff\xd8 and more")


@pytest.mark.parametrize("kind", WHOLE)
def test_file_cut_anywhere_is_not_whole(kind: str) -> None:
    data = WHOLE[kind]
    places = {*range(8, len(data), 17), *range(len(data) - 40, len(data))}
    seen = [len(data) - place for place in sorted(places) if is_whole(data[:place])]
    assert seen == []


def test_end_marker_of_a_thumbnail_is_not_the_end() -> None:
    data = photo("JPEG", exif=Image.Exif().tobytes() + photo("JPEG", "L", quality=5))
    assert data.count(b"\xff\xd9") == 2
    assert is_whole(data)
    assert not any(is_whole(data[:place]) for place in range(3, len(data)))


def test_end_marker_in_a_comment_between_scans_is_not_the_end() -> None:
    data = WHOLE["progressive jpeg"]
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xc4", first)  # the Huffman table of the second scan
    comment = b"\xff\xfe" + struct.pack(">H", 4) + b"\xff\xd9"
    assert is_whole(data[:second] + comment + data[second:])
    assert not is_whole(data[:second] + comment + data[second:-2])
    assert not is_whole(data[:second] + comment)


def test_fill_bytes_and_markers_without_a_segment_are_stepped_over() -> None:
    data = WHOLE["jpeg"]
    assert is_whole(data[:2] + b"\xff\xff\xff\x01" + data[2:])
    assert is_whole(data[:-2] + b"\xff\xff\xff\xd9")


def test_jpeg_that_ends_in_a_stuffed_byte_or_a_restart_is_cut() -> None:
    assert not is_whole(WHOLE["jpeg"][:-2] + b"\xff\x00\xff\xd3\xff")


def big_endian_tiff(*, tile: int, page: int = 0) -> bytes:
    """Hand-made: one 16 x 16 tile of bytes behind the directory; tile: its length, page: where the next page is."""
    entries = [(256, 3, 16 << 16), (257, 3, 16 << 16), (324, 4, 10 + 12 * 4), (325, 4, tile)]
    packed = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"MM\0*" + struct.pack(">IH", 8, 4) + packed + struct.pack(">I", page) + bytes(256)


def test_tiles_of_a_tiff_lie_inside_of_it() -> None:
    assert is_whole(big_endian_tiff(tile=260))
    assert not is_whole(big_endian_tiff(tile=261))


def test_pages_of_a_tiff_that_go_in_a_circle_end() -> None:
    assert is_whole(big_endian_tiff(tile=1, page=8))
    assert not is_whole(big_endian_tiff(tile=1, page=5_000))


def test_bmp_from_the_bottom_or_the_top_needs_all_of_its_rows() -> None:
    """Hand arithmetic: 3 pixels of 24 bits are 9 bytes, 12 with padding; two rows are 24."""
    for height in (2, -2):
        header = struct.pack("<2sIHHIIiiHHI", b"BM", 0, 0, 0, 54, 40, 3, height, 1, 24, 0) + bytes(20)
        assert is_whole(header + bytes(24))
        assert not is_whole(header + bytes(23))


def test_bmp_of_the_oldest_kind_has_sixteen_bit_sides() -> None:
    header = struct.pack("<2sIHHIIHHHH", b"BM", 0, 0, 0, 26, 12, 3, 2, 1, 24)
    assert is_whole(header + bytes(24))
    assert not is_whole(header + bytes(23))


def test_other_formats_are_left_to_pillow() -> None:
    assert is_whole(b"P5 9 9 255 ")
    assert is_whole(b"")
