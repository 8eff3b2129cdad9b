"""RandAugment and TrivialAugment: their tables, their draws, and operations that are Pillow's."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from lenext.data.policies import (
    AUTOAUGMENT,
    OPERATIONS,
    RANGES,
    draw_autoaugment,
    draw_randaugment,
    draw_trivial,
    in_portions,
    operate,
)

MANY = np.arange(14_000)
NAMES = list(OPERATIONS)


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


BY_PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, _: image,
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "rotate": lambda image, value: image.rotate(int(value)),
    "solarize": lambda image, value: ImageOps.solarize(image, 256 - int(256 - value)),
    "color": lambda image, value: ImageEnhance.Color(image).enhance(1 + value),
    "posterize": lambda image, value: ImageOps.posterize(image, 8 - int(8 - value)),
    "contrast": lambda image, value: ImageEnhance.Contrast(image).enhance(1 + value),
    "brightness": lambda image, value: ImageEnhance.Brightness(image).enhance(1 + value),
    "sharpness": lambda image, value: ImageEnhance.Sharpness(image).enhance(1 + value),
    "shear_x": lambda image, value: _affine(image, 1, value, 0, 0, 1, 0),
    "shear_y": lambda image, value: _affine(image, 1, 0, 0, value, 1, 0),
    "translate_x": lambda image, value: _affine(image, 1, 0, -int(value), 0, 1, 0),
    "translate_y": lambda image, value: _affine(image, 1, 0, 0, 0, 1, -int(value)),
}


def _images(n: int, height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).integers(0, 256, (n, 3, height, width), dtype=np.uint8))


def _apply_pillow(image: torch.Tensor, operations: list[int], magnitudes: list[float]) -> torch.Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    for operation, magnitude in zip(operations, magnitudes, strict=True):
        picture = BY_PILLOW[NAMES[operation]](picture, magnitude)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@pytest.mark.parametrize(("policy", "kinds"), [("randaugment", 14), ("trivial", 14), ("autoaugment", 10)])
def test_a_policy_does_to_each_image_what_pillow_does_with_the_same_numbers(policy: str, kinds: int) -> None:
    n = 400
    images = _images(n, 24, 18)
    if policy == "trivial":
        operations, magnitudes = draw_trivial(seed=0, epoch=0, samples=np.arange(n))
    elif policy == "autoaugment":
        operations, magnitudes = draw_autoaugment(seed=0, epoch=0, samples=np.arange(n))
    else:
        operations, magnitudes = draw_randaugment(3, 9, (24, 18), seed=0, epoch=0, samples=np.arange(n))
    assert len(operations.unique()) == kinds
    expected = [_apply_pillow(*row) for row in zip(images, operations.tolist(), magnitudes.tolist(), strict=True)]
    before = images.clone()
    assert torch.equal(operate(images, operations, magnitudes), torch.stack(expected))
    assert torch.equal(images, before)


def test_the_fourteen_operations_are_those_of_the_papers() -> None:
    """Cubuk et al. 2019, section 3, in its order."""
    listed = (
        "identity autocontrast equalize rotate solarize color posterize contrast brightness sharpness "
        "shear_x shear_y translate_x translate_y"
    )
    assert NAMES == list(RANGES) == listed.split()


def test_full_strengths_of_randaugment_are_the_ranges_of_autoaugment() -> None:
    """Cubuk et al. 2018, table 6: shear 0.3, translation 150 of 331 pixels, 30 degrees, 4 bits, factors 0.1 and 1.9."""
    seen = _seen(*draw_randaugment(1, 10, (331, 662), seed=0, epoch=0, samples=MANY))
    for name in ("identity", "autocontrast", "equalize"):
        assert seen.pop(name) == [0]
    expected = {
        "rotate": [-30, 30],
        "solarize": [0],
        "color": [-0.9, 0.9],
        "posterize": [4],
        "contrast": [-0.9, 0.9],
        "brightness": [-0.9, 0.9],
        "sharpness": [-0.9, 0.9],
        "shear_x": [-0.3, 0.3],
        "shear_y": [-0.3, 0.3],
        "translate_x": [-300, 300],
        "translate_y": [-150, 150],
    }
    assert seen == {name: pytest.approx(values) for name, values in expected.items()}


def test_strength_nought_of_randaugment_changes_nothing_but_what_has_no_strength() -> None:
    operations, magnitudes = draw_randaugment(1, 0, (20, 20), seed=0, epoch=0, samples=np.arange(300))
    images = _images(300, 20, 20)
    changed = (operate(images, operations, magnitudes) != images).flatten(1).any(1)
    assert {NAMES[number] for number in operations[changed, 0].tolist()} <= {"autocontrast", "equalize"}


def test_half_strength_is_half_the_way() -> None:
    seen = _seen(*draw_randaugment(1, 5, (331, 331), seed=0, epoch=0, samples=MANY))
    assert seen["rotate"] == [-15, 15]
    assert seen["solarize"] == [128]
    assert seen["posterize"] == [6]
    assert seen["brightness"] == pytest.approx([-0.45, 0.45])


def test_strengths_of_trivial_augment_are_the_thirty_one_of_the_wide_space() -> None:
    """Müller and Hutter 2021: 0.99, 32 pixels, 135 degrees, 2 bits, factors of 0.01 to 2."""
    seen = _seen(*draw_trivial(seed=0, epoch=0, samples=np.arange(100_000)))
    signed = {"rotate": 135, "shear_x": 0.99, "shear_y": 0.99, "translate_x": 32, "translate_y": 32}
    for name, highest in signed.items():
        assert seen[name] == pytest.approx(np.linspace(-highest, highest, 61).tolist())
    for name in ("color", "contrast", "brightness", "sharpness"):
        assert seen[name] == pytest.approx((np.linspace(0.01, 2, 31) - 1).tolist())
    assert seen["posterize"] == pytest.approx(np.linspace(2, 8, 31).tolist())
    assert seen["solarize"] == pytest.approx(np.linspace(0, 256, 31).tolist())


def test_every_operation_comes_up_evenly_in_every_place() -> None:
    for drawn in (
        draw_randaugment(2, 9, (8, 8), seed=1, epoch=0, samples=MANY),
        draw_trivial(seed=1, epoch=0, samples=MANY),
    ):
        for place in drawn[0].unbind(1):
            counts = np.bincount(place.numpy(), minlength=14)
            assert ((counts - 1000.0) ** 2 / 1000).sum() < 13 + 4 * np.sqrt(2 * 13)


def test_the_operations_of_one_image_and_their_signs_are_drawn_apart() -> None:
    operations, magnitudes = draw_randaugment(2, 9, (8, 8), seed=1, epoch=0, samples=MANY)
    pairs = np.bincount((operations[:, 0] * 14 + operations[:, 1]).numpy(), minlength=196)
    expected = len(MANY) / 196
    assert ((pairs - expected) ** 2 / expected).sum() < 195 + 4 * np.sqrt(2 * 195)
    rotated = magnitudes[(operations == NAMES.index("rotate")).all(1)].sign()
    assert len(rotated.unique(dim=0)) == 4


def test_portions_do_not_change_the_result() -> None:
    images = _images(40, 64, 64)  # 12 KiB each: 21 of them in a portion
    factors = torch.linspace(0, 1, 40)
    sizes = []

    def fade(part: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        sizes.append(len(part))
        return (part * factor[:, None, None, None]).to(torch.uint8)

    assert torch.equal(in_portions(fade, images, factors), (images * factors[:, None, None, None]).to(torch.uint8))
    assert sizes == [21, 19]


def test_no_images_are_no_trouble() -> None:
    nobody = np.zeros(0, dtype=np.int64)
    drawn = draw_randaugment(2, 9, (8, 8), seed=0, epoch=0, samples=nobody)
    assert operate(_images(0, 8, 8), *drawn).shape == (0, 3, 8, 8)


def _seen(operations: torch.Tensor, magnitudes: torch.Tensor) -> dict[str, list[float]]:
    return {name: magnitudes[operations == number].unique().tolist() for number, name in enumerate(NAMES)}


def test_autoaugment_draws_each_pair_evenly_with_its_probabilities_and_strengths() -> None:
    """By Table 9: how often each operation comes first, and the pairs whose magnitudes are known by hand."""
    operations, magnitudes = draw_autoaugment(seed=0, epoch=0, samples=MANY)
    for place in (0, 1):
        for name in ("equalize", "rotate", "posterize", "color"):
            expected = sum(pair[place][1] for pair in AUTOAUGMENT if pair[place][0] == name) / 25
            found = float((operations[:, place] == NAMES.index(name)).float().mean())
            assert found == pytest.approx(expected, abs=0.015), (place, name)
    by_name = {name: magnitudes[:, 0][operations[:, 0] == NAMES.index(name)] for name in NAMES}
    assert sorted({round(abs(float(m)), 6) for m in by_name["rotate"]}) == pytest.approx([10, 80 / 3, 30])
    assert sorted(set(by_name["posterize"].tolist())) == pytest.approx([8 - 4 * m / 9 for m in (8, 7, 5)])
    assert sorted(set(by_name["solarize"].tolist())) == pytest.approx([0, 256 - 256 * 5 / 9, 256 - 256 * 3 / 9])
    assert float((by_name["rotate"] < 0).float().mean()) == pytest.approx(0.5, abs=0.03)
