"""The classic kernels. Oracles: sums by hand on a small image, Pillow's own filter, what the kernels do to ramps."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from lenext.explain.kernels import KERNELS, apply_kernel, as_pixels


def noise(channels: int, height: int, width: int) -> Tensor:
    values = np.random.default_rng(0).integers(0, 256, (channels, height, width), dtype=np.uint8)
    return torch.from_numpy(values)


def reflected(place: int, size: int) -> int:
    """The pixel that stands at a place beside the image: -1 is 1, size is size - 2."""
    return abs(place) if place < size else 2 * (size - 1) - place


@pytest.mark.parametrize("name", KERNELS)
def test_response_is_the_sum_by_hand_and_beside_the_border_the_image_is_reflected(name: str) -> None:
    kernel, image = KERNELS[name], noise(2, 4, 5)
    reach = len(kernel.numbers) // 2
    for (channel, i, j), value in np.ndenumerate(apply_kernel(image, kernel).numpy()):
        total = sum(
            number * int(image[channel, reflected(i + u - reach, 4), reflected(j + v - reach, 5)])
            for u, row in enumerate(kernel.numbers)
            for v, number in enumerate(row)
        )
        assert value == pytest.approx(total / kernel.divisor, abs=1e-9)


@pytest.mark.parametrize("name", sorted(set(KERNELS) - {"sobel_y"}))  # Pillow counts a kernel's rows from the bottom
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_response_is_pillows_inside_the_border(name: str, mode: str) -> None:
    kernel, image = KERNELS[name], noise(3 if mode == "RGB" else 1, 12, 15)
    numbers = [number for row in kernel.numbers for number in row]
    scale, offset = (16, 100) if min(numbers) < 0 else (1, 0)  # Pillow's responses are bytes
    side = len(kernel.numbers)
    pixels = image.permute(1, 2, 0).squeeze(-1).numpy()
    filtered = Image.fromarray(pixels).filter(ImageFilter.Kernel((side, side), numbers, scale * kernel.divisor, offset))
    theirs = np.asarray(filtered).reshape(12, 15, -1).transpose(2, 0, 1)
    ours = apply_kernel(image, kernel).numpy() / scale + offset
    assert np.abs(ours - theirs)[:, 2:-2, 2:-2].max() < 0.501


def test_edges_of_a_ramp_are_its_slope_and_its_curvature_is_nothing() -> None:
    """Eight times the slope, 1 + 2 + 1 rows over two pixels; the second difference of a line is 0."""
    ramp = torch.arange(0, 60, 10, dtype=torch.uint8).expand(1, 5, 6)
    inside = (slice(None), slice(1, -1), slice(1, -1))
    assert (apply_kernel(ramp, KERNELS["sobel_x"])[inside] == 80).all()
    assert (apply_kernel(ramp.mT, KERNELS["sobel_y"])[inside] == 80).all()
    assert (apply_kernel(ramp, KERNELS["sobel_y"]) == 0).all()
    assert (apply_kernel(ramp, KERNELS["laplacian"])[inside] == 0).all()


def test_sharpened_image_is_the_image_less_its_laplacian() -> None:
    image = noise(3, 7, 6)
    laplacian = apply_kernel(image, KERNELS["laplacian"])
    torch.testing.assert_close(apply_kernel(image, KERNELS["sharpen"]), image - laplacian)


def test_gaussian_blur_is_the_binomial_row_twice_of_variance_1() -> None:
    row = np.array([1, 4, 6, 4, 1])
    gaussian = KERNELS["gaussian_blur"]
    assert np.array_equal(np.array(gaussian.numbers), np.outer(row, row))
    assert gaussian.divisor == gaussian.total == 16**2
    assert (row * np.arange(-2, 3) ** 2).sum() / 16 == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 2)])
def test_images_smaller_than_the_kernel_have_a_reflection_too(shape: tuple[int, int]) -> None:
    flat = torch.full((3, *shape), 77, dtype=torch.uint8)
    for kernel in KERNELS.values():
        response = apply_kernel(flat, kernel)
        assert response.shape == flat.shape
        torch.testing.assert_close(response, torch.full_like(response, 77.0 if kernel.total else 0.0))


def test_identity_is_shown_as_the_image_itself() -> None:
    image = noise(3, 5, 4)
    identity = KERNELS["identity"]
    assert np.array_equal(as_pixels(apply_kernel(image, identity), identity), image.permute(1, 2, 0).numpy())


def test_edges_are_shown_around_the_middle_grey_and_other_responses_are_cut() -> None:
    response = torch.tensor([[[-300.0, 0.0, 300.0, 254.6]]], dtype=torch.float64)
    assert as_pixels(response, KERNELS["sobel_x"]).flatten().tolist() == [0, 128, 255, 236]
    assert as_pixels(response, KERNELS["sharpen"]).flatten().tolist() == [0, 0, 255, 255]
    assert (as_pixels(torch.zeros(1, 2, 2), KERNELS["laplacian"]) == 128).all()
