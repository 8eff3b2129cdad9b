"""Changes of place. Oracles: Pillow's affine transform and resampling, numpy's slicing."""

import numpy as np
import pytest
import torch
from PIL import Image

from lenext.data.geometry import crop, erase, flip, inside, resized_crop, rotate, shear, shift

IMAGES = torch.from_numpy(np.random.default_rng(8).integers(1, 256, (50, 3, 7, 6), dtype=np.uint8))
LAST = torch.channels_last
SIZES = [(7, 6), (32, 32), (33, 20), (96, 64)]


def _noise(n: int, channels: int, height: int, width: int) -> torch.Tensor:
    numbers = np.random.default_rng(height)
    return torch.from_numpy(numbers.integers(1, 256, (n, channels, height, width), dtype=np.uint8))


def _picture(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def _pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def test_crop_cuts_the_window_out_of_the_padded_image() -> None:
    """Oracle: numpy's padding and slicing, an image at a time."""
    places = np.random.default_rng(9).integers(0, 5, (50, 2))
    result = crop(IMAGES, torch.from_numpy(places[:, 0]), torch.from_numpy(places[:, 1]), 2)
    for image, (top, left), cut in zip(IMAGES.numpy(), places, result.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)))
        assert np.array_equal(cut, padded[:, top : top + 7, left : left + 6])


def test_crop_in_the_middle_gives_the_image_back() -> None:
    middle = torch.full((50,), 3)
    assert torch.equal(crop(IMAGES, middle, middle, 3), IMAGES)


def test_crop_at_the_corner_brings_background_in() -> None:
    corner = torch.zeros(50, dtype=torch.int64)
    cut = crop(IMAGES, corner, corner, 2)
    assert torch.equal(cut[:, :, 2:, 2:], IMAGES[:, :, :5, :4])
    assert cut[:, :, :2].sum() == 0
    assert cut[:, :, :, :2].sum() == 0


@pytest.mark.parametrize("images", [IMAGES, _noise(4, 3, 90, 70), _noise(4, 3, 90, 70).to(memory_format=LAST)])
def test_flip_mirrors_left_to_right_where_told(images: torch.Tensor) -> None:
    """Small images and large ones, which are copied in other ways."""
    mask = torch.arange(len(images)) % 2 == 0
    flipped = flip(images, mask)
    assert np.array_equal(flipped[::2].numpy(), images[::2].numpy()[..., ::-1])
    assert torch.equal(flipped[1::2], images[1::2])
    assert flipped.stride() == images.stride()


@pytest.mark.parametrize("repeat_edge", [False, True])
def test_shift_moves_right_and_down_and_fills_from_the_edge_or_with_background(repeat_edge: bool) -> None:
    """Oracle: numpy's padding and slicing, an image at a time."""
    moves = np.random.default_rng(9).integers(-8, 9, (50, 2))
    result = shift(IMAGES, torch.from_numpy(moves[:, 0]), torch.from_numpy(moves[:, 1]), repeat_edge)
    for image, (dx, dy), moved in zip(IMAGES.numpy(), moves, result.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (8, 8), (8, 8)), mode="edge" if repeat_edge else "constant")
        assert np.array_equal(moved, padded[:, 8 - dy : 15 - dy, 8 - dx : 14 - dx])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_rotation_picks_the_pixels_that_pillow_picks(height: int, width: int) -> None:
    degrees = [0.0, 1, -3, 17, 30, -45, 89, 91, 135, -134.5, 0.25, 179]
    images = _noise(len(degrees), 3, height, width)
    expected = [_pixels(_picture(image).rotate(angle)) for image, angle in zip(images, degrees, strict=True)]
    assert torch.equal(rotate(images, torch.tensor(degrees)), torch.stack(expected))


def test_a_quarter_turn_is_counter_clockwise() -> None:
    square = _noise(1, 3, 8, 8)
    assert np.array_equal(rotate(square, torch.tensor([90.0])).numpy(), np.rot90(square.numpy(), axes=(2, 3)))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_shear_picks_the_pixels_that_pillow_picks(height: int, width: int) -> None:
    slopes = np.random.default_rng(3).uniform(-1, 1, (30, 2))
    slopes[:3] = np.array([[0, 0], [0.99, 0], [0, -0.99]])
    images = _noise(len(slopes), 3, height, width)
    expected = [
        _pixels(_picture(image).transform((width, height), Image.Transform.AFFINE, (1, dx, 0, dy, 1, 0)))
        for image, (dx, dy) in zip(images, slopes.tolist(), strict=True)
    ]
    result = shear(images, torch.from_numpy(slopes[:, 0]), torch.from_numpy(slopes[:, 1]))
    assert torch.equal(result, torch.stack(expected))


def test_erase_fills_each_box_and_nothing_else() -> None:
    """Oracle: numpy's slices, an image at a time."""
    boxes = np.stack([np.arange(50) % 4, np.arange(50) % 3, np.arange(50) % 5, np.arange(50) % 4], axis=1)
    values = 255 - IMAGES
    result = erase(IMAGES, torch.from_numpy(boxes), values)
    for i, (top, left, height, width) in enumerate(boxes):
        expected = IMAGES[i].numpy().copy()
        expected[:, top : top + height, left : left + width] = values[i, :, top : top + height, left : left + width]
        assert np.array_equal(result[i].numpy(), expected)
    assert torch.equal(result[0], IMAGES[0])


def test_inside_counts_the_pixels_of_the_box() -> None:
    mask = inside(torch.tensor([[1, 2, 3, 4], [0, 0, 7, 6], [3, 3, 0, 2]]), 7, 6)
    assert mask.sum((1, 2)).tolist() == [12, 42, 0]


def test_resized_crop_is_pillows_crop_then_resize() -> None:
    """Images of different shapes, smooth ones and noise, made smaller and larger. Within one grey level."""
    boxes = torch.tensor([[0, 0, 50, 70], [10, 20, 30, 40], [3, 1, 9, 8], [0, 0, 20, 91], [5, 5, 1, 1], [0, 9, 80, 3]])
    images = [
        _noise(1, 3, height, width)[0] for height, width in [(50, 70), (64, 64), (20, 30), (33, 91), (9, 9), (80, 12)]
    ]
    images[1] = images[1] // 64 + torch.arange(64, dtype=torch.uint8)[:, None] * 3
    result = resized_crop(images, boxes, (32, 28))
    assert result.shape == (6, 3, 32, 28)
    for image, (top, left, height, width), row in zip(images, boxes.tolist(), result, strict=True):
        part = _picture(image).crop((left, top, left + width, top + height))
        expected = _pixels(part.resize((28, 32), Image.Resampling.BILINEAR))
        assert (row.int() - expected.int()).abs().max() <= 1


def test_resized_crop_of_the_same_size_is_a_plain_cut() -> None:
    image = _noise(1, 1, 20, 20)[0]
    assert torch.equal(resized_crop([image], torch.tensor([[4, 5, 8, 9]]), (8, 9))[0], image[:, 4:12, 5:14])
