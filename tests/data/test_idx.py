"""Reading idx files, whole and broken."""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
import pytest

from lenext.data.idx import read_idx, read_shape, uncompressed_sha256
from lenext.errors import DataError

from .idx_files import idx_bytes

IMAGES = np.random.default_rng(1).integers(0, 256, (7, 5, 4), dtype=np.uint8)
WHOLE = idx_bytes(IMAGES)


def why(path: Path, dimensions: int | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_idx(path, dimensions)
    assert str(path) in caught.value.what
    assert caught.value.advice
    return caught.value.why


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize("zipped", [False, True])
def test_content_and_not_name_tells_whether_a_file_is_gzipped(tmp_path: Path, name: str, zipped: bool) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(WHOLE) if zipped else WHOLE)
    assert np.array_equal(read_idx(path, 3), IMAGES)
    assert read_shape(path) == (7, 5, 4)
    assert uncompressed_sha256(path) == hashlib.sha256(WHOLE).hexdigest()


def test_labels_are_files_of_one_dimension(tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.uint8)
    (tmp_path / "labels").write_bytes(idx_bytes(labels))
    assert np.array_equal(read_idx(tmp_path / "labels", 1), labels)


def test_a_file_of_no_images_is_read_as_none(tmp_path: Path) -> None:
    (tmp_path / "none").write_bytes(idx_bytes(IMAGES[:0]))
    assert read_idx(tmp_path / "none").shape == (0, 5, 4)


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert why(tmp_path / "absent") == "No such file or directory"


def test_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    assert why(tmp_path) == "Is a directory"


def test_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert why(tmp_path / "empty") == "it is empty"


@pytest.mark.parametrize(
    ("start", "found"),
    [(b"\x89PNG", "89 50 4e 47"), (bytes((0, 0, 13, 3)), "00 00 0d 03"), (bytes((0, 0, 8, 0)), "00 00 08 00")],
    ids=["a PNG", "floats", "no dimensions"],
)
def test_wrong_magic_number_is_shown_beside_the_expected(tmp_path: Path, start: bytes, found: str) -> None:
    (tmp_path / "file").write_bytes(start + WHOLE[4:])
    assert why(tmp_path / "file").startswith(f"magic number {found}, expected 00 00 08 nn")


def test_two_bytes_are_no_magic_number(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(WHOLE[:2])
    assert why(tmp_path / "file").startswith("magic number 00 00, expected 00 00 08 nn")


def test_labels_in_place_of_images_are_told_by_their_magic_number(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(idx_bytes(np.arange(12, dtype=np.uint8)))
    assert why(tmp_path / "file", 3) == "magic number 00 00 08 01, expected 00 00 08 03: dimensions 1, not 3"


def test_truncated_header_names_the_missing_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(WHOLE[:9])
    assert why(tmp_path / "file") == "it ends within its header: 7 bytes of it are missing"


def test_truncated_idx_names_the_missing_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(WHOLE[:-13])
    assert why(tmp_path / "file") == "it ends early: 13 of 140 bytes are missing"


def test_header_that_promises_the_moon_needs_no_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes((0, 0, 8, 3)) + b"\xff" * 12 + b"12345")
    assert why(tmp_path / "file") == f"it ends early: {(2**32 - 1) ** 3 - 5} of {(2**32 - 1) ** 3} bytes are missing"


def test_header_of_no_images_beyond_any_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes((0, 0, 8, 3, 0, 0, 0, 0)) + b"\xff" * 8)
    assert why(tmp_path / "file") == f"its header announces the sizes (0, {2**32 - 1}, {2**32 - 1})"


@pytest.mark.parametrize("zipped", [False, True])
def test_trailing_bytes_are_counted(tmp_path: Path, zipped: bool) -> None:
    longer = WHOLE + b"more"
    (tmp_path / "file").write_bytes(gzip.compress(longer) if zipped else longer)
    assert why(tmp_path / "file") == "4 bytes follow the 140 that its header announces"


def test_torn_gzip_names_the_bytes_that_do_not_come_out(tmp_path: Path) -> None:
    """Oracle: zlib, which gives what it can of the torn stream."""
    images = np.random.default_rng(2).integers(0, 16, (300, 28, 28), dtype=np.uint8)
    torn = gzip.compress(idx_bytes(images))[:60_000]
    (tmp_path / "file").write_bytes(torn)
    arrived = len(zlib.decompressobj(wbits=31).decompress(torn)) - 16
    assert 0 < arrived < images.size
    assert why(tmp_path / "file") == f"it ends early: {images.size - arrived} of {images.size} bytes are missing"
    assert uncompressed_sha256(tmp_path / "file") != hashlib.sha256(idx_bytes(images)).hexdigest()


@pytest.mark.parametrize("place", [12, -6], ids=["in the stream", "in its checksum"])
def test_corrupt_gzip_is_told(tmp_path: Path, place: int) -> None:
    stream = bytearray(gzip.compress(WHOLE))
    stream[place] ^= 0xFF
    (tmp_path / "file").write_bytes(stream)
    assert why(tmp_path / "file").startswith("the gzip stream is corrupt: ")


def test_digest_of_a_corrupt_gzip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(DataError, match="gzip stream is corrupt"):
        uncompressed_sha256(tmp_path / "file")
