"""Random changes of training images: what is drawn, for whom, and in which shares."""

from typing import Any

import numpy as np
import pytest
import torch

from lenext.config import from_mapping, to_mapping
from lenext.data.augmentation import augment, draw_crops, draw_erasing, draw_windows, random_resized_crop
from lenext.data.colour import colour_components
from lenext.data.config import AugmentConfig
from lenext.errors import UsageError

IMAGES = torch.from_numpy(np.random.default_rng(8).integers(1, 256, (50, 3, 7, 6), dtype=np.uint8))
COLOURS = colour_components([list(IMAGES)])
EVERYTHING = AugmentConfig(
    pad=2, shift=1, flip=True, randaugment=(2, 9), jitter=(0.4, 0.4, 0.4, 0.1), colour_noise=0.1, erase=0.5
)
EACH = {
    "pad": AugmentConfig(pad=2),
    "shift": AugmentConfig(shift=2),
    "flip": AugmentConfig(flip=True),
    "randaugment": AugmentConfig(randaugment=(2, 9)),
    "trivial": AugmentConfig(trivial=True),
    "autoaugment": AugmentConfig(autoaugment=True),
    "brightness": AugmentConfig(jitter=(0.4, 0, 0, 0)),
    "contrast": AugmentConfig(jitter=(0, 0.4, 0, 0)),
    "saturation": AugmentConfig(jitter=(0, 0, 0.4, 0)),
    "hue": AugmentConfig(jitter=(0, 0, 0, 0.1)),
    "colour noise": AugmentConfig(colour_noise=0.1),
    "erase": AugmentConfig(erase=0.5),
    "everything": EVERYTHING,
}
MANY = np.arange(20_000)


def test_nothing_configured_changes_nothing() -> None:
    assert torch.equal(augment(IMAGES, AugmentConfig(), seed=0, epoch=0, samples=np.arange(50)), IMAGES)


@pytest.mark.parametrize("config", EACH.values(), ids=EACH)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_stay_bytes_of_the_same_shape_and_the_input_stays_as_it_was(
    config: AugmentConfig, channels: int
) -> None:
    images = IMAGES[:, :channels].clone()
    before = images.clone()
    colours = colour_components([list(images)])
    varied = augment(images, config, seed=0, epoch=0, samples=np.arange(50), colours=colours)
    assert varied.dtype == torch.uint8
    assert varied.shape == images.shape
    assert torch.equal(images, before)
    grey_has_none = channels == 1 and config in (EACH["saturation"], EACH["hue"])
    assert torch.equal(varied, images) == grey_has_none


@pytest.mark.parametrize("config", EACH.values(), ids=EACH)
def test_what_happens_to_an_image_does_not_depend_on_its_neighbours(config: AugmentConfig) -> None:
    samples = np.arange(50) * 7
    together = augment(IMAGES, config, seed=3, epoch=1, samples=samples, colours=COLOURS)
    alone = [
        augment(IMAGES[i : i + 1], config, seed=3, epoch=1, samples=samples[i : i + 1], colours=COLOURS)
        for i in range(50)
    ]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("config", EACH.values(), ids=EACH)
@pytest.mark.parametrize(("seed", "epoch", "shift"), [(1, 0, 0), (0, 1, 0), (0, 0, 50)])
def test_another_seed_epoch_or_sample_is_varied_otherwise(
    config: AugmentConfig, seed: int, epoch: int, shift: int
) -> None:
    first = augment(IMAGES, config, seed=0, epoch=0, samples=np.arange(50), colours=COLOURS)
    other = augment(IMAGES, config, seed=seed, epoch=epoch, samples=np.arange(50) + shift, colours=COLOURS)
    assert not torch.equal(first, other)


def test_every_place_of_the_crop_and_both_sides_come_up_evenly() -> None:
    """An image whose pixels name themselves tells where it was cut: at 9 places x 2 sides, 18 kinds."""
    n = 9000
    image = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
    image[0, 0, 1, 1], image[0, 0, 1, 2] = 1, 2
    varied = augment(image.expand(n, 1, 3, 3), AugmentConfig(pad=1, flip=True), seed=0, epoch=0, samples=np.arange(n))
    counts = np.unique(varied.reshape(n, 9).numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == 18
    assert ((counts - n / 18) ** 2 / (n / 18)).sum() < 17 + 4 * np.sqrt(2 * 17)


def test_every_shift_comes_up_evenly_and_repeats_the_edge() -> None:
    n = 9000
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    varied = augment(image.expand(n, 1, 3, 3), AugmentConfig(shift=1), seed=0, epoch=0, samples=np.arange(n))
    assert varied.min() == 1
    counts = np.bincount(varied[:, 0, 1, 1].numpy(), minlength=10)[1:]
    assert ((counts - n / 9) ** 2 / (n / 9)).sum() < 8 + 4 * np.sqrt(2 * 8)


def test_the_order_is_crop_shift_flip_policy_jitter_colour_noise_erase() -> None:
    """Each alone, one after the other, is all of them at once; RandAugment is told nothing but the order."""
    order = ("pad", "shift", "flip", "randaugment", "jitter", "colour_noise", "erase")
    images = IMAGES
    for key in order:
        alone = AugmentConfig(**{key: getattr(EVERYTHING, key)})
        images = augment(images, alone, seed=2, epoch=0, samples=np.arange(50), colours=COLOURS)
    assert torch.equal(augment(IMAGES, EVERYTHING, seed=2, epoch=0, samples=np.arange(50), colours=COLOURS), images)


def test_jitter_of_brightness_is_even_between_its_limits() -> None:
    grey = torch.full((len(MANY), 1, 1, 1), 100, dtype=torch.uint8)
    varied = augment(grey, AugmentConfig(jitter=(0.4, 0, 0, 0)), seed=0, epoch=0, samples=MANY).flatten().double()
    assert varied.min() == 60
    assert varied.max() == 139
    assert abs(varied.mean() - 99.5) < 4 * np.sqrt(80**2 / 12 / len(MANY))


def test_a_jitter_beyond_one_reaches_black_and_not_below() -> None:
    varied = augment(IMAGES, AugmentConfig(jitter=(3.0, 0, 0, 0)), seed=0, epoch=0, samples=np.arange(50))
    assert (varied.flatten(1).amax(1) == 0).any()
    contrasted = augment(IMAGES, AugmentConfig(jitter=(0, 3.0, 0, 0)), seed=0, epoch=0, samples=np.arange(50))
    assert (contrasted.flatten(1).amax(1) == contrasted.flatten(1).amin(1)).any()


def test_colour_noise_has_the_deviation_asked_for_along_each_axis() -> None:
    grey = torch.full((len(MANY), 3, 1, 1), 128, dtype=torch.uint8)
    config = AugmentConfig(colour_noise=0.3)
    varied = augment(grey, config, seed=0, epoch=0, samples=MANY, colours=COLOURS).flatten(1).double() - 128
    along = (varied @ COLOURS.vectors).std(dim=0)
    rounding = 1 / 12  # the variance of what rounding to a byte adds
    expected = torch.sqrt((0.3 * COLOURS.deviations) ** 2 + rounding)
    assert torch.allclose(along, expected, rtol=4 / np.sqrt(2 * len(MANY)))


def test_colour_noise_without_the_axes_of_the_training_images_is_refused() -> None:
    with pytest.raises(ValueError, match="principal axes"):
        augment(IMAGES, AugmentConfig(colour_noise=0.1), seed=0, epoch=0, samples=np.arange(50))


def test_crops_have_even_areas_and_even_logarithms_of_aspects() -> None:
    """Up to 0.5 of a square every try fits, so what is drawn is what is seen."""
    sizes = np.full((len(MANY), 2), 10_000)
    _, _, height, width = draw_crops(sizes, (0.1, 0.5), (3 / 4, 4 / 3), seed=0, epoch=0, samples=MANY).numpy().T
    _is_even(height * width / 1e8, 0.1, 0.5)
    _is_even(np.log(width / height), np.log(3 / 4), np.log(4 / 3))


def test_crops_lie_inside_images_of_any_shape_and_reach_every_edge() -> None:
    numbers = np.random.default_rng(0)
    sizes = numbers.integers(1, 30, (len(MANY), 2))
    boxes = draw_crops(sizes, (0.08, 1.0), (3 / 4, 4 / 3), seed=0, epoch=0, samples=MANY).numpy()
    corners, extents = boxes[:, :2], boxes[:, 2:]
    assert corners.min() == 0
    assert extents.min() >= 1
    assert (corners + extents <= sizes).all()
    assert ((corners + extents == sizes) & (corners > 0)).any(axis=0).all()


def test_places_of_crops_are_even() -> None:
    sizes = np.full((len(MANY), 2), 1000)
    boxes = draw_crops(sizes, (0.2, 0.3), (1.0, 1.0), seed=0, epoch=0, samples=MANY).numpy()
    for axis in (0, 1):
        _is_even((boxes[:, axis] + 0.5) / (1001 - boxes[:, 2 + axis]), 0, 1)


def test_windows_are_the_frame_of_a_shorter_side_that_is_even_between_its_limits() -> None:
    """Of 480 x 640 pixels, shown as 224 of 256 to 480: squares of 420 down to 224, anywhere, even in 1 / side."""
    samples = np.arange(4000)
    sizes = np.tile(np.array([[480, 640]]), (4000, 1))
    boxes = draw_windows(sizes, (256 / 224, 480 / 224), seed=0, epoch=0, samples=samples).numpy()
    assert (boxes[:, 2] == boxes[:, 3]).all()
    assert (boxes[:, 2].min(), boxes[:, 2].max()) == (224, 420)
    shorter = 224 * 480 / boxes[:, 2]
    assert np.quantile(shorter, [0.25, 0.5, 0.75]) == pytest.approx([312, 368, 424], abs=6)
    slack = (sizes - boxes[:, 2:]).astype(float)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] <= slack).all()
    assert (boxes[:, :2] / slack).mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_window_as_tall_as_the_image_moves_along_its_longer_side() -> None:
    images = [torch.arange(12, dtype=torch.uint8).view(1, 3, 4)]
    config = AugmentConfig(short_side=(1.0, 1.0))
    found = set()
    for epoch in range(20):
        cut = random_resized_crop(images, (3, 3), config, seed=0, epoch=epoch, samples=np.arange(1))
        found.add(tuple(cut[0, 0, 0].tolist()))
    assert found == {(0, 1, 2), (1, 2, 3)}


@pytest.mark.parametrize(
    ("size", "box"),
    [((100, 1000), [0, 433, 100, 133]), ((1000, 100), [433, 0, 133, 100]), ((1, 1000), [0, 499, 1, 1])],
)
def test_an_image_in_which_no_try_fits_gives_its_middle(size: tuple[int, int], box: list[int]) -> None:
    """At full area nothing of an aspect of 3/4 to 4/3 fits into a strip; the largest that does is in the middle."""
    boxes = draw_crops(np.array([size]), (1.0, 1.0), (3 / 4, 4 / 3), seed=0, epoch=0, samples=np.array([5]))
    assert boxes[0].tolist() == box


def test_random_resized_crops_of_images_of_different_shapes_do_not_depend_on_their_neighbours() -> None:
    config = AugmentConfig(crop_area=(0.08, 1.0))
    numbers = np.random.default_rng(1)
    images = [torch.from_numpy(numbers.integers(0, 256, (3, 20 + i, 50 - i), dtype=np.uint8)) for i in range(20)]
    samples = np.arange(20) + 3
    together = random_resized_crop(images, (16, 12), config, seed=0, epoch=0, samples=samples)
    assert together.shape == (20, 3, 16, 12)
    assert together.dtype == torch.uint8
    for i, image in enumerate(images):
        alone = random_resized_crop([image], (16, 12), config, seed=0, epoch=0, samples=samples[i : i + 1])
        assert torch.equal(alone[0], together[i])
    other = random_resized_crop(images, (16, 12), config, seed=0, epoch=1, samples=samples)
    assert not torch.equal(other, together)


def test_erasing_has_the_probability_areas_and_aspects_of_the_paper() -> None:
    """Zhong et al. 2017: area 0.02 to 0.4, aspect 0.3 to 1 / 0.3. On a square, small boxes all fit."""
    n = 2000
    images = torch.zeros(n, 1, 60, 60, dtype=torch.uint8)
    boxes, _ = draw_erasing(images, 0.5, seed=0, epoch=0, samples=np.arange(n))
    top, left, height, width = boxes.numpy().T
    erased = height * width > 0
    assert abs(erased.mean() - 0.5) < 4 * np.sqrt(0.25 / n)
    assert boxes[~erased].sum() == 0
    assert (top + height).max() == (left + width).max() == 60
    shares = (height * width)[erased] / 3600
    assert 0.018 < shares.min() < 0.03
    assert 0.37 < shares.max() < 0.41
    aspects = height[erased] / width[erased]
    assert 0.25 < aspects.min() < 0.4
    assert 2.9 < aspects.max() < 3.6
    assert np.median(aspects[shares < 0.2]) == pytest.approx((0.3 + 1 / 0.3) / 2, abs=0.2)  # even, not its logarithm


def test_erased_pixels_are_noise_and_the_others_stay() -> None:
    n = 200
    images = torch.full((n, 3, 31, 30), 7, dtype=torch.uint8)
    boxes, values = draw_erasing(images, 1.0, seed=0, epoch=0, samples=np.arange(n))
    varied = augment(images, AugmentConfig(erase=1.0), seed=0, epoch=0, samples=np.arange(n))
    areas = boxes[:, 2] * boxes[:, 3]
    assert ((varied != 7).flatten(1).sum(1) <= 3 * areas).all()
    assert (varied == 7).sum() > 0.5 * varied.numel()
    counts = np.bincount(values.flatten().numpy(), minlength=256)
    expected = values.numel() / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 4 * np.sqrt(2 * 255)
    flat = values.flatten(1).double()
    assert abs(np.corrcoef(flat[:, :-1].flatten(), flat[:, 1:].flatten())[0, 1]) < 4 / np.sqrt(values.numel())


def test_every_key_survives_a_table() -> None:
    config = AugmentConfig(crop_area=(0.08, 1.0), trivial=True, jitter=(0.4, 0.3, 0.2, 0.1), mixup=0.2, cutmix=1.0)
    assert from_mapping(AugmentConfig, to_mapping(config)) == config
    assert from_mapping(AugmentConfig, to_mapping(EVERYTHING)) == EVERYTHING


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"shift": -1}, r"augment\.shift = -1"),
        ({"erase": 1.5}, "share of the images"),
        ({"mixup": -0.1}, r"augment\.mixup"),
        ({"cutmix": float("inf")}, "not finite"),
        ({"colour_noise": float("nan")}, "not finite"),
        ({"jitter": [0.4, -0.1, 0.4, 0.1]}, "negative"),
        ({"jitter": [0.4, 0.4, 0.4, 0.6]}, "half a turn"),
        ({"jitter": [0.4]}, "4 values"),
        ({"crop_area": [0.5, 0.1]}, "rising"),
        ({"crop_area": [0.0, 1.0]}, "rising"),
        ({"crop_area": [0.1, 1.1]}, "rising"),
        ({"crop_aspect": [2.0, 1.0]}, "rising"),
        ({"crop_aspect": [1.0, float("inf")]}, "rising"),
        ({"short_side": [0.9, 1.0]}, "rising"),
        ({"short_side": [1.1, 1.2], "crop_area": [0.1, 1.0]}, "another way"),
        ({"autoaugment": True, "trivial": True}, "whole policy"),
        ({"randaugment": [0, 9]}, "at least 1"),
        ({"randaugment": [2, 11]}, "0 to 10"),
        ({"randaugment": [2, 9], "trivial": True}, "whole policy"),
        ({"randaugment": 2}, "augment.randaugment|randaugment"),
    ],
)
def test_what_makes_no_sense_is_refused(table: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        from_mapping(AugmentConfig, table)


def _is_even(values: np.ndarray[Any, Any], low: float, high: float) -> None:
    """Kolmogorov-Smirnov against an even distribution, p = 1e-4."""
    ordered = (np.sort(values) - low) / (high - low)
    assert np.abs(ordered - (np.arange(len(values)) + 0.5) / len(values)).max() < 2.23 / np.sqrt(len(values))
