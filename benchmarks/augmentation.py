"""Augmentation by torch against Pillow image by image: python benchmarks/augmentation.py.

Pixels change for 128 images on one thread, in turn; a row is the time by Pillow over the time by torch, the median of
the rounds with the lowest and the highest. Above 1 torch is faster. Both give the same bytes, which is checked first
(resized crops: within one grey level).
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from lenext.data.augmentation import draw_crops
from lenext.data.geometry import resized_crop
from lenext.data.policies import RANGES, draw_randaugment, draw_trivial, operate

Work = Callable[[], Tensor]
IMAGES, ROUNDS = 128, 7
PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "identity": lambda image, _: image,
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "rotate": lambda image, degrees: image.rotate(int(degrees)),
    "solarize": lambda image, threshold: ImageOps.solarize(image, int(np.ceil(threshold))),
    "color": lambda image, change: ImageEnhance.Color(image).enhance(1 + change),
    "posterize": lambda image, bits: ImageOps.posterize(image, int(np.ceil(bits))),
    "contrast": lambda image, change: ImageEnhance.Contrast(image).enhance(1 + change),
    "brightness": lambda image, change: ImageEnhance.Brightness(image).enhance(1 + change),
    "sharpness": lambda image, change: ImageEnhance.Sharpness(image).enhance(1 + change),
    "shear_x": lambda image, slope: affine(image, (1, slope, 0, 0, 1, 0)),
    "shear_y": lambda image, slope: affine(image, (1, 0, 0, slope, 1, 0)),
    "translate_x": lambda image, pixels: affine(image, (1, 0, -int(pixels), 0, 1, 0)),
    "translate_y": lambda image, pixels: affine(image, (1, 0, 0, 0, 1, -int(pixels))),
}


def affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def by_pillow(images: Tensor, operations: Tensor, magnitudes: Tensor) -> Tensor:
    functions = list(PILLOW.values())
    results = []
    for image, row, values in zip(images, operations.tolist(), magnitudes.tolist(), strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        for operation, value in zip(row, values, strict=True):
            picture = functions[operation](picture, value)
        results.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    return torch.stack(results)


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def crop_by_pillow(images: list[Tensor], boxes: Tensor, side: int) -> Tensor:
    results = []
    for image, (top, left, height, width) in zip(images, boxes.tolist(), strict=True):
        part = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).crop(
            (left, top, left + width, top + height)
        )
        scaled = part.resize((side, side), Image.Resampling.BILINEAR)
        results.append(torch.from_numpy(np.array(scaled)).permute(2, 0, 1))
    return torch.stack(results)


def compare(name: str, side: int, by_pillow: Work, by_torch: Work, tolerance: int = 0) -> None:
    apart = int((by_torch().int() - by_pillow().int()).abs().max())
    pairs = [(seconds(by_pillow), seconds(by_torch)) for _ in range(ROUNDS)]
    ratios = [pillow / ours for pillow, ours in pairs]
    print(
        f"{side:4d} px  {name:16s} {statistics.median(ratios):6.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
        f"   torch {1e3 * min(ours for _, ours in pairs):7.1f} ms{'' if apart <= tolerance else f'   {apart} APART'}"
    )


def compare_policy(name: str, images: Tensor, drawn: tuple[Tensor, Tensor]) -> None:
    compare(name, images.shape[-1], partial(by_pillow, images, *drawn), partial(operate, images, *drawn))


def main() -> None:
    torch.set_num_threads(1)
    samples = np.arange(IMAGES)
    for side in (32, 96, 224):
        noise = torch.rand(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        images = (F.interpolate(noise, size=(side, side), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)
        signs = torch.tensor([1.0, -1.0]).repeat(IMAGES // 2)[:, None]
        for number, (name, ((weakest, strongest, signed), _)) in enumerate(RANGES.items()):
            reach = 0.9 * (strongest - weakest) * (side if name.startswith("translate") else 1)
            magnitudes = weakest + reach * (signs if signed else torch.ones_like(signs))
            compare_policy(name, images, (torch.full((IMAGES, 1), number), magnitudes.to(torch.float64)))
        randaugment = draw_randaugment(2, 9, (side, side), seed=0, epoch=0, samples=samples)
        compare_policy("RandAugment 2, 9", images, randaugment)
        compare_policy("TrivialAugment", images, draw_trivial(seed=0, epoch=0, samples=samples))
        sizes = np.tile([[2 * side, 3 * side]], (IMAGES, 1))
        boxes = draw_crops(sizes, (0.08, 1.0), (3 / 4, 4 / 3), seed=0, epoch=0, samples=samples)
        photos = [
            resized_crop([image], torch.tensor([[0, 0, side, side]]), (2 * side, 3 * side))[0] for image in images
        ]
        by_torch = partial(resized_crop, photos, boxes, (side, side))
        compare("resized crop", side, partial(crop_by_pillow, photos, boxes, side), by_torch, tolerance=1)


if __name__ == "__main__":
    main()
