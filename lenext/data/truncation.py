"""Whether the end of an image file is there: Pillow decodes some files whose end was cut off and says nothing."""

import re
import struct

# A JPEG marker that is followed by a segment, or ends the image: no stuffed zero, fill byte or restart (T.81, B.1.1.2).
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_ALONE = b"\xd8\x01"  # SOI and TEM have no segment
_JPEG_SEQUENTIAL = b"\xc0\xc1"  # SOF0, SOF1: each component in one scan
_JPEG_SCAN = b"\xda"
_JPEG_END = b"\xd9"
# An unsigned number as wide as each type of field (TIFF 6.0, section 2; 16 to 18: BigTIFF); a rational is two.
_TIFF_TYPES = {**dict(enumerate("BBHIQBBHIQIQI", 1)), 16: "Q", 17: "Q", 18: "Q"}
_TIFF_PLACES = ((273, 279), (324, 325))  # offsets and byte counts of strips, and of tiles


def is_whole(data: bytes) -> bool:
    """Tell whether all of a file is there, by its own account; bytes behind its end are no fault.

    data: the bytes of a JPEG, PNG, GIF, WebP, BMP or TIFF file; of other formats the answer is True, since Pillow
    refuses those itself.
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _is_whole_jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _is_whole_png(data)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return _is_whole_gif(data)
        if data.startswith(b"RIFF"):
            return 8 + int.from_bytes(data[4:8], "little") <= len(data)
        if data.startswith(b"BM"):
            return _is_whole_bmp(data)
        if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
            return _is_whole_tiff(data)
    except (IndexError, struct.error):  # a field lies behind the end
        return False
    return True


def _is_whole_jpeg(data: bytes) -> bool:
    """Find the end marker outside of segments: a thumbnail inside the EXIF segment has one of its own."""
    at, components = 2, 0
    while marker := _JPEG_MARKER.search(data, at):
        at = marker.end()
        kind = data[at - 1 : at]
        if kind == _JPEG_END:
            return True
        if kind in _JPEG_SEQUENTIAL:
            components = data[at + 7]
        # where one scan holds all components no segment follows: these bytes are its end, and it need not be searched
        if kind == _JPEG_SCAN and data[at + 2] == components and data.endswith(b"\xff" + _JPEG_END, at):
            return True
        if kind not in _JPEG_ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
    return False


def _is_whole_png(data: bytes) -> bool:
    at = 8
    length: int
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length  # length, kind, content, checksum
        if kind == b"IEND":
            return at <= len(data)


def _is_whole_gif(data: bytes) -> bool:
    at = 13 + _gif_palette(data[10])
    while (kind := data[at]) != 0x3B:  # the trailer
        if kind == 0x2C:  # a picture: descriptor, palette, width of its codes, blocks
            at = _behind_gif_blocks(data, at + 11 + _gif_palette(data[at + 9]))
        elif kind == 0x21:
            at = _behind_gif_blocks(data, at + 2)
        else:
            at += 1  # as Pillow and browsers do
    return True


def _gif_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_gif_blocks(data: bytes, at: int) -> int:
    while size := data[at]:
        at += size + 1
    return at + 1


def _is_whole_bmp(data: bytes) -> bool:
    offset, header = struct.unpack_from("<II", data, 10)
    width, height, _, bits = struct.unpack_from("<HHHH" if header == 12 else "<iiHH", data, 18)
    if header >= 40 and data[30] not in (0, 3):  # run lengths: Pillow counts their pixels
        return True
    return bool(offset + (width * bits + 31) // 32 * 4 * abs(height) <= len(data))


def _is_whole_tiff(data: bytes) -> bool:
    """Walk the directories of all pages: each value, strip and tile must lie inside of the file."""
    order = "<" if data.startswith(b"II") else ">"
    big = b"+" in data[2:4]  # BigTIFF: 64-bit offsets
    offset, count = (f"{order}Q", f"{order}Q") if big else (f"{order}I", f"{order}H")
    width = struct.calcsize(offset)
    seen: set[int] = set()
    (at,) = struct.unpack_from(offset, data, width if big else 4)
    while at and at not in seen:
        seen.add(at)
        (entries,) = struct.unpack_from(count, data, at)
        at += struct.calcsize(count)
        values: dict[int, tuple[int, ...]] = {}
        for _ in range(entries):
            tag, kind, length = struct.unpack_from(f"{order}HH{offset[1]}", data, at)
            field = f"{order}{length}{_TIFF_TYPES.get(kind, 'B')}"
            place = at + 4 + width
            if struct.calcsize(field) > width:
                (place,) = struct.unpack_from(offset, data, place)
            values[tag] = struct.unpack_from(field, data, place)
            at += 4 + 2 * width
        for starts, sizes in _TIFF_PLACES:
            places = zip(values.get(starts, ()), values.get(sizes, ()), strict=False)
            if any(start + size > len(data) for start, size in places):
                return False
        (at,) = struct.unpack_from(offset, data, at)
    return True
