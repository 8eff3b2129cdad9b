"""Changes of colour. Oracle: Pillow on the same image with the same number, unless a test names another."""

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from lenext.data.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    adjust_sharpness,
    autocontrast,
    colour_components,
    equalize,
    posterize,
    shift_colours,
    solarize,
)
from lenext.errors import DataError


def _images(channels: int) -> Tensor:
    """Noise, a narrow range, an even field, two values, few values, a ramp, extremes: 23 x 17 pixels each."""
    numbers = np.random.default_rng(5)
    shape = (channels, 23, 17)
    ramp = np.broadcast_to(np.arange(23 * 17).reshape(23, 17) * 255 // (23 * 17), shape)
    kinds = [
        numbers.integers(0, 256, shape),
        numbers.integers(90, 143, shape),
        np.full(shape, 77),
        numbers.integers(0, 2, shape) * 200 + 5,
        numbers.integers(0, 9, shape) ** 2,
        ramp,
        numbers.integers(0, 2, shape) * 255,
        np.where(numbers.random(shape) < 0.95, 255, numbers.integers(0, 256, shape)),
    ]
    return torch.from_numpy(np.stack(kinds).astype(np.uint8))


IMAGES = {1: _images(1), 3: _images(3)}
FACTORS = [0.0, 0.01, 0.37, 1.0, 1.5, 1.9, 2.0, 3.3]
ENHANCERS: list[tuple[Callable[[Tensor, Tensor], Tensor], type[ImageEnhance._Enhance]]] = [
    (adjust_brightness, ImageEnhance.Brightness),
    (adjust_contrast, ImageEnhance.Contrast),
    (adjust_saturation, ImageEnhance.Color),
    (adjust_sharpness, ImageEnhance.Sharpness),
]


def _by_pillow(images: Tensor, change: Callable[[Image.Image, int], Image.Image]) -> Tensor:
    results = []
    for i, image in enumerate(images.numpy()):
        changed = np.asarray(change(Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)), i))
        results.append(changed[None] if changed.ndim == 2 else changed.transpose(2, 0, 1))
    return torch.from_numpy(np.stack(results))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("adjust", "enhancer"), ENHANCERS, ids=[pair[1].__name__ for pair in ENHANCERS])
def test_adjustments_are_those_of_pillow_at_any_factor(
    adjust: Callable[[Tensor, Tensor], Tensor], enhancer: type[ImageEnhance._Enhance], channels: int
) -> None:
    images = IMAGES[channels].repeat_interleave(len(FACTORS), dim=0)
    factors = FACTORS * len(IMAGES[channels])
    expected = _by_pillow(images, lambda image, i: enhancer(image).enhance(factors[i]))  # type: ignore[call-arg]
    assert torch.equal(adjust(images, torch.tensor(factors)), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_equalised_and_stretched_images_are_those_of_pillow(channels: int) -> None:
    images = IMAGES[channels]
    assert torch.equal(equalize(images), _by_pillow(images, lambda image, _: ImageOps.equalize(image)))
    assert torch.equal(autocontrast(images), _by_pillow(images, lambda image, _: ImageOps.autocontrast(image)))


def test_autocontrast_of_every_range_is_that_of_pillow() -> None:
    """All 32,640 pairs of a darkest and a lightest value: each divides otherwise."""
    low, high = np.triu_indices(256, 1)
    ramps = low[:, None] + (high - low)[:, None] * np.arange(17)[None, :] // 16
    chosen = torch.from_numpy(ramps.astype(np.uint8)).view(-1, 1, 1, 17)[::13]
    assert torch.equal(autocontrast(chosen), _by_pillow(chosen, lambda image, _: ImageOps.autocontrast(image)))


@pytest.mark.parametrize("threshold", [0, 1, 128, 255, 256])
def test_solarised_images_are_those_of_pillow(threshold: int) -> None:
    images = IMAGES[3]
    expected = _by_pillow(images, lambda image, _: ImageOps.solarize(image, threshold))
    assert torch.equal(solarize(images, torch.full((len(images),), threshold)), expected)


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterised_images_are_those_of_pillow(bits: int) -> None:
    images = IMAGES[3]
    expected = _by_pillow(images, lambda image, _: ImageOps.posterize(image, bits))
    assert torch.equal(posterize(images, torch.full((len(images),), bits)), expected)


def test_each_image_has_its_own_factor_threshold_and_bits() -> None:
    images = IMAGES[3]
    factors = torch.linspace(0, 2, len(images))
    for adjust in (adjust_brightness, adjust_contrast, adjust_saturation, adjust_sharpness, adjust_hue):
        alone = [adjust(image[None], factor[None]) for image, factor in zip(images, factors, strict=True)]
        assert torch.equal(adjust(images, factors), torch.cat(alone))
    numbers = torch.arange(1, len(images) + 1)
    for change in (posterize, solarize):
        alone = [change(image[None], number[None]) for image, number in zip(images, numbers, strict=True)]
        assert torch.equal(change(images, numbers), torch.cat(alone))


def test_hue_is_that_of_colorsys() -> None:
    """Oracle: Python's colorsys, a pixel at a time."""
    turns = torch.tensor([-0.5, -0.2, 0.0, 0.1, 1 / 3, 0.5, 0.9, -1.4])
    images = IMAGES[3]
    turned = adjust_hue(images, turns)
    for image, turn, result in zip(images, turns.tolist(), turned, strict=True):
        pixels = image.flatten(1).T.numpy() / 255
        hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in pixels]
        rgb = np.array([colorsys.hsv_to_rgb((hue + turn) % 1, s, v) for hue, s, v in hsv])
        assert np.abs(result.flatten(1).T.numpy() - 255 * rgb).max() < 0.501


def test_no_turn_and_a_whole_turn_of_the_hue_give_every_colour_back() -> None:
    colours = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 100, 100), dtype=np.uint8))
    assert torch.equal(adjust_hue(colours, torch.tensor([0.0, 1.0])), colours)


def test_images_of_one_channel_have_no_hue_to_turn() -> None:
    assert torch.equal(adjust_hue(IMAGES[1], torch.full((8,), 0.3)), IMAGES[1])


def test_images_too_small_to_smooth_keep_their_sharpness() -> None:
    small = torch.randint(0, 256, (3, 3, 2, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(adjust_sharpness(small, torch.tensor([0.0, 1.0, 2.0])), small)


def test_components_are_the_principal_axes_of_the_pixels() -> None:
    """Oracle: numpy's covariance and singular values of all pixels in one table."""
    numbers = np.random.default_rng(1)
    images = [torch.from_numpy(numbers.integers(0, 256, (3, 4 + i, 9), dtype=np.uint8)) for i in range(6)]
    images[2][1] = images[2][0]
    basis = colour_components([images[:2], images[2:]])
    table = np.concatenate([image.flatten(1).T.numpy() for image in images]).astype(np.float64)
    centred = table - table.mean(axis=0)
    assert np.allclose(basis.deviations, np.linalg.svd(centred, compute_uv=False) / np.sqrt(len(table)))
    rebuilt = basis.vectors.numpy() * basis.deviations.numpy() ** 2 @ basis.vectors.numpy().T
    assert np.allclose(rebuilt, np.cov(table.T, bias=True))
    largest = basis.vectors.abs().argmax(dim=0)
    assert (basis.vectors.gather(0, largest[None]) > 0).all()


def test_components_need_pixels() -> None:
    with pytest.raises(DataError, match="no pixels"):
        colour_components([])


def test_colours_move_along_the_axes_by_whole_deviations() -> None:
    """Hand arithmetic: greys that run from 118 to 138 have one axis, (1, 1, 1) / sqrt 3, and no deviation off it."""
    greys = torch.arange(118, 139, dtype=torch.uint8).expand(3, 1, 21)
    basis = colour_components([[greys]])
    deviation = np.sqrt((21**2 - 1) / 12)  # of 21 whole numbers in a row, in each channel
    moved = shift_colours(basis, greys[None].repeat(3, 1, 1, 1), torch.tensor([[0.0, 5, 5], [1, 0, 0], [-20, 0, 0]]))
    assert torch.equal(moved[0], greys)
    assert torch.equal(moved[1], greys + round(deviation))
    assert moved[2].min() == 0
    assert moved[2].max() == round(138 - 20 * deviation)
