"""The classic kernels of image processing, and an image under each of them.

The arithmetic is `definitions.cross_correlation`, the formula itself: what is shown is what a network's convolution
does, the kernel laid on unflipped. Under convolution as mathematics has it the two Sobel kernels, the only ones here
that turning by half changes, would give the opposite sign.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lenext.models.definitions import cross_correlation


@dataclass(frozen=True)
class Kernel:
    """A square of whole numbers, all divided by one.

    purpose: what it does, or where its response is positive.
    """

    numbers: tuple[tuple[int, ...], ...]
    divisor: int
    purpose: str

    @property
    def total(self) -> int:
        """Sum of the numbers: the divisor where a flat image stays as it is, 0 where it gives nothing."""
        return sum(map(sum, self.numbers))


# Gonzalez & Woods, "Digital Image Processing", chapter 3. The Gaussian is the binomial one, of variance 1 each way.
KERNELS: Mapping[str, Kernel] = {
    "identity": Kernel(((0, 0, 0), (0, 1, 0), (0, 0, 0)), 1, "the image itself"),
    "sobel_x": Kernel(((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), 1, "edge: brighter to the right"),
    "sobel_y": Kernel(((-1, -2, -1), (0, 0, 0), (1, 2, 1)), 1, "edge: brighter below"),
    "laplacian": Kernel(((0, 1, 0), (1, -4, 1), (0, 1, 0)), 1, "edge: brighter around than here"),
    "sharpen": Kernel(((0, -1, 0), (-1, 5, -1), (0, -1, 0)), 1, "the image less its Laplacian"),
    "box_blur": Kernel(((1, 1, 1), (1, 1, 1), (1, 1, 1)), 9, "mean of a square"),
    "gaussian_blur": Kernel(
        ((1, 4, 6, 4, 1), (4, 16, 24, 16, 4), (6, 24, 36, 24, 6), (4, 16, 24, 16, 4), (1, 4, 6, 4, 1)),
        256,
        "mean that counts near pixels more",
    ),
}


def apply_kernel(image: Tensor, kernel: Kernel) -> Tensor:
    """Return the kernel's response to an image, float64 (C, H, W), each channel by itself.

    image: (C, H, W). Behind the border it is reflected, the pixel on the border not being repeated.
    """
    reach = len(kernel.numbers) // 2
    around = np.pad(image.double().numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    weight = torch.tensor(kernel.numbers, dtype=torch.float64)[None, None]
    return cross_correlation(torch.from_numpy(around)[:, None], weight)[:, 0] / kernel.divisor


def as_pixels(response: Tensor, kernel: Kernel) -> npt.NDArray[np.uint8]:
    """Return a response as uint8 (H, W, C) to look at.

    Of a kernel that sums to 0 zero becomes the middle grey, and the strongest hundredth of the pixels black or white.
    Other responses are rounded, and cut at 0 and 255.
    """
    if kernel.total == 0:
        strong = max(float(np.quantile(response.abs().numpy(), 0.99)), 1.0)  # 1: a flat image stays grey
        response = 127.5 + 127.5 * response / strong
    return np.asarray(response.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())
