"""From stored images to the network's input. Oracles: numpy in double precision, Pillow, and arithmetic by hand."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from lenext.config import from_mapping, read_toml, to_mapping, to_toml
from lenext.data.preprocessing import Preprocessing, fit, normalise, preprocess, statistics
from lenext.data.published import open_published
from lenext.errors import DataError, UsageError

COLOUR = torch.from_numpy(np.random.default_rng(6).integers(0, 256, (9, 3, 12, 10), dtype=np.uint8))
GREY = COLOUR[:, :1]
SMOOTH = torch.from_numpy(
    np.clip(np.add.outer(np.arange(40) * 4, np.arange(30) * 3), 0, 255).astype(np.uint8)[None, None]
)


def rule(**changes: Any) -> Preprocessing:
    base = Preprocessing(size=(12, 10), channels=1, mean=(0.3,), std=(0.25,))
    return dataclasses.replace(base, **changes)


def colour_rule(**changes: Any) -> Preprocessing:
    base = rule(channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return dataclasses.replace(base, **changes)


def test_normalising_follows_its_definition_to_float_precision() -> None:
    result = normalise(COLOUR, colour_rule())
    mean, std = (np.array(values)[None, :, None, None] for values in (colour_rule().mean, colour_rule().std))
    assert result.dtype == torch.float32
    assert np.abs(result.numpy() - (COLOUR.numpy() / 255.0 - mean) / std).max() < 1e-6


def test_normalising_leaves_its_input_as_it_was() -> None:
    before = COLOUR.clone()
    normalise(COLOUR, colour_rule())
    assert torch.equal(COLOUR, before)


def test_images_of_the_right_size_pass_unchanged() -> None:
    assert torch.equal(fit(list(COLOUR), colour_rule()), COLOUR)


def test_a_border_puts_the_image_in_the_middle_of_background() -> None:
    padded = fit(list(GREY), rule(size=(16, 14), border=2))
    assert padded.shape == (9, 1, 16, 14)
    assert torch.equal(padded[:, :, 2:14, 2:12], GREY)
    assert padded.to(torch.int64).sum() == GREY.to(torch.int64).sum()


@pytest.mark.parametrize("size", [(5, 5), (64, 48), (480, 640)])
def test_an_image_of_another_size_is_scaled_to_what_the_border_leaves(size: tuple[int, int]) -> None:
    """A photograph given to a network that was trained on small framed images sees the same frame."""
    image = torch.full((1, 1, *size), 200, dtype=torch.uint8)
    fitted = fit(list(image), rule(size=(16, 14), border=2))
    assert fitted.shape == (1, 1, 16, 14)
    assert (fitted[:, :, 2:14, 2:12] == 200).all()
    assert int(fitted.to(torch.int64).sum()) == 200 * 12 * 10


def test_a_border_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="a border of 6 leaves nothing of 12x10 pixels"):
        rule(border=6)


@pytest.mark.parametrize("size", [(20, 15), (13, 7), (80, 60), (224, 224)])
def test_resizing_agrees_with_pillow_to_one_level(size: tuple[int, int]) -> None:
    resized = fit(list(SMOOTH), rule(size=size))
    expected = Image.fromarray(SMOOTH[0, 0].numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
    assert resized.dtype == torch.uint8
    assert np.abs(resized[0, 0].numpy().astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_resized_values_are_rounded_to_the_nearest() -> None:
    """By hand: 0 and 255 drawn out to four pixels are 0, 63.75, 191.25 and 255."""
    edge = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert fit(list(edge), rule(size=(1, 4))).tolist() == [[[[0, 64, 191, 255]]]]


def test_resizing_noise_smooths_it_and_keeps_its_mean() -> None:
    noise = torch.from_numpy(np.random.default_rng(7).integers(0, 256, (1, 1, 64, 64), dtype=np.uint8))
    small = fit(list(noise), rule(size=(8, 8))).to(torch.float64)
    assert small.std() < noise.to(torch.float64).std() / 4  # a filter that spans 16 pixels averages over many
    assert abs(small.mean() - noise.to(torch.float64).mean()) < 8


def test_grey_becomes_three_equal_channels() -> None:
    tripled = fit(list(GREY), colour_rule())
    assert tripled.shape == (9, 3, 12, 10)
    assert all(torch.equal(tripled[:, c : c + 1], GREY) for c in range(3))
    assert torch.equal(normalise(tripled, colour_rule()), normalise(tripled.clone(), colour_rule()))


def test_colour_becomes_the_luma_that_pillow_computes() -> None:
    grey = fit(list(COLOUR), rule())
    for image, result in zip(COLOUR, grey, strict=True):
        expected = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
        assert np.array_equal(result[0].numpy(), np.asarray(expected))


def test_two_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot turn 2 channels into 3"):
        fit(list(COLOUR[:, :2]), colour_rule())


def test_preprocessing_is_fitting_then_normalising() -> None:
    p = colour_rule(size=(20, 20))
    assert torch.equal(preprocess(list(GREY), p), normalise(fit(list(GREY), p), p))


def test_statistics_are_those_of_numpy_in_double_precision() -> None:
    mean, std = statistics([list(COLOUR)])
    values = COLOUR.numpy() / 255.0
    assert mean == pytest.approx(values.mean((0, 2, 3)), abs=1e-14)
    assert std == pytest.approx(values.std((0, 2, 3)), abs=1e-14)


def test_statistics_of_digits_are_those_of_scikit_learns_values() -> None:
    """0 ... 16 rounded to bytes: no value moves by more than half a level."""
    images = torch.cat([open_published("digits").open("train").images, open_published("digits").open("test").images])
    (mean,), (std,) = statistics([list(images)])
    assert mean == pytest.approx(load_digits().images.mean() / 16, abs=0.5 / 255)
    assert std == pytest.approx(load_digits().images.std() / 16, abs=0.5 / 255)


def test_statistics_count_every_image_of_a_set_larger_than_one_step() -> None:
    images = torch.zeros(9000, 1, 1, 1, dtype=torch.uint8)
    images[:4500] = 255
    assert statistics([list(images)]) == ((0.5,), (0.5,))


def test_statistics_leave_no_mean_and_unit_deviation() -> None:
    mean, std = statistics([list(COLOUR)])
    normalised = normalise(COLOUR, colour_rule(mean=mean, std=std)).to(torch.float64)
    assert normalised.mean((0, 2, 3)).abs().max() < 1e-6
    assert (normalised.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6


def test_images_that_cannot_be_normalised_are_refused() -> None:
    flat = COLOUR.clone()
    flat[:, 1] = 7
    with pytest.raises(DataError, match="every pixel of channel 1 has the same value"):
        statistics([list(flat)])
    with pytest.raises(DataError, match="there are no pixels"):
        statistics([list(COLOUR[:0])])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"size": (0, 10)}, "size"),
        ({"size": (10,)}, "size"),
        ({"channels": 2, "mean": (0.1, 0.1), "std": (0.1, 0.1)}, "2 channels"),
        ({"mean": (0.1, 0.2)}, "2 means and 1 deviations for 1 channels"),
        ({"std": (0.0,)}, "std above 0"),
        ({"std": (float("nan"),)}, "std above 0"),
        ({"mean": (float("inf"),)}, "not finite"),
    ],
)
def test_senseless_preprocessing_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        rule(**changes)


def test_preprocessing_survives_a_toml_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(to_toml(to_mapping(colour_rule())))
    assert from_mapping(Preprocessing, read_toml(tmp_path / "p.toml")) == colour_rule()


def shape(height: int, width: int, channels: int = 1) -> torch.Tensor:
    """An image whose columns rise from left to right and whose rows are alike."""
    return torch.linspace(0, 255, width).round().to(torch.uint8).expand(channels, height, width)


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20), (8, 8), (3, 50), (50, 3), (8, 9)])
def test_crop_fills_the_frame_and_cuts_both_sides_alike(height: int, width: int) -> None:
    image = shape(height, width)
    fitted = fit([image], rule(size=(8, 8), fit="crop"))
    assert fitted.shape == (1, 1, 8, 8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, top : top + side, left : left + side]
    assert (fitted.int() - fit([square], rule(size=(8, 8))).int()).abs().max() <= 255 // width + 1


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"), [(20, 40, 4, 8), (40, 20, 8, 4), (8, 8, 8, 8), (3, 50, 1, 8)]
)
def test_pad_shows_all_of_the_image_between_background(height: int, width: int, rows: int, columns: int) -> None:
    fitted = fit([torch.full((1, height, width), 200, dtype=torch.uint8)], rule(size=(8, 8), fit="pad"))[0, 0]
    expected = torch.zeros(8, 8, dtype=torch.uint8)
    top, left = (8 - rows) // 2, (8 - columns) // 2
    expected[top : top + rows, left : left + columns] = 200
    assert torch.equal(fitted, expected)


def test_squash_is_the_resampling_of_the_whole_image() -> None:
    image = shape(20, 40, 3)
    expected = F.interpolate(image[None].float(), size=(8, 8), mode="bilinear", antialias=True).round().to(torch.uint8)
    assert torch.equal(fit([image], colour_rule(size=(8, 8), fit="squash")), expected)


@pytest.mark.parametrize("how", ["crop", "pad", "squash"])
def test_images_of_many_sizes_are_fitted_as_each_alone(how: str) -> None:
    images = [shape(20, 40), shape(8, 8), shape(20, 40).flip(-1), shape(9, 4)]
    together = fit(images, rule(size=(8, 8), fit=how))
    assert torch.equal(together, torch.cat([fit([image], rule(size=(8, 8), fit=how)) for image in images]))


def test_statistics_of_images_of_many_sizes_weigh_every_pixel_alike() -> None:
    images = [shape(20, 40), shape(8, 8), shape(9, 4)]
    pixels = np.concatenate([image.flatten().numpy() for image in images]) / 255
    (mean,), (std,) = statistics([images[:1], images[1:]])
    assert mean == pytest.approx(pixels.mean(), abs=1e-12)
    assert std == pytest.approx(pixels.std(), abs=1e-12)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("photograph", ["china.jpg", "flower.jpg"])
def test_a_published_crop_is_pillows(photograph: str, interpolation: Any) -> None:
    """224 of 256 pixels, as torchvision shows images: the shorter side to 256, then the middle 224 x 224."""
    image = load_sample_image(photograph)
    height, width = image.shape[:2]
    scaled = (round(width * 256 / min(height, width)), round(height * 256 / min(height, width)))
    kernel = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    large = np.asarray(Image.fromarray(image).resize(scaled, kernel))
    top, left = (large.shape[0] - 224) // 2, (large.shape[1] - 224) // 2
    expected = large[top : top + 224, left : left + 224].astype(int)
    p = Preprocessing(
        size=(224, 224), channels=3, mean=(0.5,) * 3, std=(0.5,) * 3, fit="crop", crop_fraction=224 / 256,
        interpolation=interpolation,
    )  # fmt: skip
    found = fit([torch.from_numpy(image.copy()).permute(2, 0, 1)], p)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() <= 1


def test_an_image_of_the_frames_size_is_enlarged_where_only_its_middle_is_shown() -> None:
    p = Preprocessing(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,), fit="crop", crop_fraction=0.5)
    corner = torch.zeros(1, 8, 8, dtype=torch.uint8)
    corner[0, 0, 0] = 255
    assert int(fit([corner], p).max()) == 0


@pytest.mark.parametrize(
    "changes", [{"crop_fraction": 0.0}, {"crop_fraction": 1.5}, {"crop_fraction": 0.9, "fit": "pad"}]
)
def test_a_crop_fraction_is_a_part_of_a_crop(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="crop_fraction"):
        rule(**changes)
