"""Random changes of training images."""

import numpy as np
import pytest
import torch

from lenext.data.augmentation import augment, crop, flip
from lenext.data.config import AugmentConfig

IMAGES = torch.from_numpy(np.random.default_rng(8).integers(1, 256, (50, 3, 7, 6), dtype=np.uint8))
BOTH = AugmentConfig(pad=2, flip=True)


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


def test_flip_mirrors_left_to_right_where_told() -> None:
    mask = torch.arange(50) % 2 == 0
    flipped = flip(IMAGES, mask)
    assert np.array_equal(flipped[::2].numpy(), IMAGES[::2].numpy()[..., ::-1])
    assert torch.equal(flipped[1::2], IMAGES[1::2])


def test_nothing_configured_changes_nothing() -> None:
    assert torch.equal(augment(IMAGES, AugmentConfig(), seed=0, epoch=0, samples=np.arange(50)), IMAGES)


def test_images_stay_bytes_of_the_same_shape_and_the_input_stays_as_it_was() -> None:
    before = IMAGES.clone()
    varied = augment(IMAGES, BOTH, seed=0, epoch=0, samples=np.arange(50))
    assert varied.dtype == torch.uint8
    assert varied.shape == IMAGES.shape
    assert torch.equal(IMAGES, before)


def test_what_happens_to_an_image_does_not_depend_on_its_neighbours() -> None:
    samples = np.arange(50) * 7
    together = augment(IMAGES, BOTH, seed=3, epoch=1, samples=samples)
    alone = [augment(IMAGES[i : i + 1], BOTH, seed=3, epoch=1, samples=samples[i : i + 1]) for i in range(50)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize(("seed", "epoch", "shift"), [(1, 0, 0), (0, 1, 0), (0, 0, 50)])
def test_another_seed_epoch_or_sample_is_varied_otherwise(seed: int, epoch: int, shift: int) -> None:
    first = augment(IMAGES, BOTH, seed=0, epoch=0, samples=np.arange(50))
    assert not torch.equal(first, augment(IMAGES, BOTH, seed=seed, epoch=epoch, samples=np.arange(50) + shift))


def test_every_place_of_the_crop_and_both_sides_come_up_evenly() -> None:
    """An image whose pixels name themselves tells where it was cut: at 9 places x 2 sides, 18 kinds."""
    n = 9000
    image = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
    image[0, 0, 1, 1], image[0, 0, 1, 2] = 1, 2
    varied = augment(image.expand(n, 1, 3, 3), AugmentConfig(pad=1, flip=True), seed=0, epoch=0, samples=np.arange(n))
    counts = np.unique(varied.reshape(n, 9).numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == 18
    assert ((counts - n / 18) ** 2 / (n / 18)).sum() < 17 + 4 * np.sqrt(2 * 17)
