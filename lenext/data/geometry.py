"""Changes of where an image's pixels lie: pure functions on uint8 images, with parameters of each image's own.

`images` are uint8 (N, C, H, W) unless said otherwise, and so are the results. Lengths are in pixels. What comes in from
outside an image is background, value 0. A box is int64 (top, left, height, width).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lenext.data.store import Images

_ONE = 1 << 16  # Pillow's unit of fixed-point coordinates, kept so that the same pixels are chosen
_LARGE = 1 << 14  # bytes of an image from which on copying row by row is worth a call for each


def crop(images: Tensor, top: Tensor, left: Tensor, pad: int) -> Tensor:
    """Put `pad` pixels of background around each image and cut a window of the old size out at (top, left).

    top, left: int64 (N,) in [0, 2 * pad]. (pad, pad) gives the image back.
    """
    n, _, height, width = images.shape
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    rows = torch.arange(n, device=images.device)  # windows: (N, C, 2 pad + 1, 2 pad + 1, H, W), a view
    return windows[rows, :, top.to(images.device), left.to(images.device)]


def resized_crop(images: Images, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a box out of each image and scale it to `size`, bilinear with antialiasing: uint8 (N, C, *size).

    images: N of uint8 (C, H, W), of any heights and widths. boxes: int64 (N, 4), inside the images.
    """
    rows = [resize(_cut(image, *box), size) for image, box in zip(images, boxes.tolist(), strict=True)]
    return torch.cat(rows)


def resize(images: Tensor, size: tuple[int, int], interpolation: str = "bilinear") -> Tensor:
    """Scale uint8 (n, C, H, W) to `size` with antialiasing, in bytes all the way, as Pillow does.

    Twice as fast where the three bytes of a pixel lie side by side, and then they do so in the result; its values are
    the same.
    """
    return F.interpolate(images, size=size, mode=interpolation, antialias=True, align_corners=False)


def stack_images(images: Sequence[Tensor]) -> Tensor:
    """Copy N images, uint8 (C, H, W) of one shape, to (N, C, H, W), the bytes of a pixel side by side where they were.

    torch.stack would part them; and of a single image torch's operators see the order only where a copy was made.
    """
    if not has_pixels_together(images[0]):
        return torch.stack(list(images))
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def has_pixels_together(image: Tensor) -> bool:
    """Whether the bytes of each pixel of (..., C, H, W) lie side by side in memory, and there are several."""
    return image.shape[-3] > 1 and image.stride(-3) == 1 and image.stride(-1) == image.shape[-3]


def _cut(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """Return (1, C, height, width); whole pixels are copied, since torch is slow on parts of longer rows."""
    part = image[:, top : top + height, left : left + width]
    return stack_images([part]) if has_pixels_together(image) else part[None]


def flip(images: Tensor, mask: Tensor) -> Tensor:
    """Mirror the images left to right where `mask`, bool (N,), is true."""
    if images[:1].numel() < _LARGE:
        flipped = images.clone()
        flipped[mask.to(images.device)] = images[mask.to(images.device)].flip(-1)
        return flipped
    flipped = torch.empty_like(images)  # torch picks bytes one by one, and copies them many at a time
    for result, image, mirrored in zip(flipped, images, mask.tolist(), strict=True):
        result.copy_(image.flip(-1) if mirrored else image)
    return flipped


def shift(images: Tensor, dx: Tensor, dy: Tensor, repeat_edge: bool = False) -> Tensor:
    """Move each image dx pixels to the right and dy down, int64 (N,); what comes in is background or the edge."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) - dy.to(images.device)[:, None]  # (N, H)
    columns = torch.arange(width, device=images.device) - dx.to(images.device)[:, None]  # (N, W)
    if repeat_edge:
        rows, columns = rows.clamp_(0, height - 1), columns.clamp_(0, width - 1)
    return _pick(images, rows[:, :, None], columns[:, None, :])


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image about its middle by `degrees`, float (N,), counter-clockwise, nearest pixel."""
    height, width = images.shape[-2:]
    angle = -degrees.to(torch.float64).deg2rad()
    cosine, sine = angle.cos(), angle.sin()
    x, y = width / 2, height / 2
    across = torch.stack([cosine, sine, x - cosine * x - sine * y], dim=1)
    down = torch.stack([-sine, cosine, y + sine * x - cosine * y], dim=1)
    return _affine(images, torch.stack([across, down], dim=1))


def shear(images: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Take what lies at (x, y) from (x + dx * y, y + dy * x), nearest pixel; dx, dy: float (N,)."""
    one, zero = torch.ones_like(dx), torch.zeros_like(dx)
    return _affine(images, torch.stack([torch.stack([one, dx, zero], 1), torch.stack([dy, one, zero], 1)], 1))


def erase(images: Tensor, boxes: Tensor, values: Tensor) -> Tensor:
    """Put `values`, uint8 that broadcasts to the images, into a box of each image, int64 (N, 4), which may be empty."""
    height, width = images.shape[-2:]
    return torch.where(inside(boxes.to(images.device), height, width)[:, None], values, images)


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return bool (N, height, width), true inside the boxes, int64 (N, 4)."""
    top, left, tall, wide = boxes.view(-1, 4, 1).unbind(1)  # (N, 1) each
    rows, columns = torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device)
    down = (rows >= top) & (rows < top + tall)  # (N, H)
    across = (columns >= left) & (columns < left + wide)  # (N, W)
    return down[:, :, None] & across[:, None, :]


def _affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Take each pixel from where `matrices`, float (N, 2, 3), send its middle, in Pillow's fixed-point numbers."""
    height, width = images.shape[-2:]
    middle = matrices[:, :, 2] + 0.5 * (matrices[:, :, 0] + matrices[:, :, 1])
    terms = torch.stack([matrices[:, :, 0], matrices[:, :, 1], middle], dim=2).to(torch.float64)
    fixed = (terms * _ONE + 0.5).floor_().to(images.device, torch.int32)[:, :, :, None, None]  # (N, 2, 3, 1, 1)
    x = torch.arange(width, dtype=torch.int32, device=images.device)[None, :]
    y = torch.arange(height, dtype=torch.int32, device=images.device)[:, None]
    places = (fixed[:, :, 0] * x + fixed[:, :, 1] * y + fixed[:, :, 2]) >> 16  # (N, 2, H, W)
    return _pick(images, places[:, 1], places[:, 0])


def _pick(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels at (rows, columns), integers that broadcast to (N, H, W); background where they lie outside the image."""
    n, channels, height, width = images.shape
    nearest_row, nearest_column = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    known = (nearest_row == rows) & (nearest_column == columns)
    places = nearest_row * width + nearest_column  # (N, H, W)
    index = places.to(torch.int64).view(n, 1, -1).expand(-1, channels, -1)
    picked = images.flatten(2).gather(2, index).view(images.shape)
    return picked.mul_(known[:, None])
