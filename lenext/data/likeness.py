"""Near duplicates: one picture encoded anew, rescaled, made a little brighter, or cropped by a few per cent.

Chest films of two patients are more alike than most people expect, so likeness of the whole is no evidence. What
counts is fine structure that lies in the same place, after the one picture was moved and stretched onto the other.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

SIDE = 64  # pixels of a sketch; a smaller image holds too little to tell a copy from a likeness
SKETCH = SIDE * SIDE + 2 * 4 * 4  # bytes: luma, and the two chromas 4 x 4

# Measured on 3,166 chest films without a known copy among those compared, 300 photographs, and 100 of these edited
# in eight ways (tests/data/test_likeness.py): copies have 0.98 and more in the end, other films 0.87 and less.
_POSSIBLE = 0.78  # correlation of the coarse structure where nothing was moved
_LIKELY = 0.95  # part of the one explained by the other and its derivatives; copies cropped by 3 % have 0.98
_SAME = 0.94  # correlation of the fine structure after alignment
_CHROMA = 24  # levels of 255 by which a patch of colour may differ
_FLAT = 1.0  # levels: with less structure than this, only the noise of the encoder is compared
_BORDER = 2  # pixels at the edge that are not compared

_CLOSEST = 16  # of a row's likely others, those to be aligned: frames of a film are all like each other
_ROWS = 256  # images compared with all others at a time
_PAIRS = 256  # pairs aligned at a time

Floats = npt.NDArray[np.float32]


def sketch(image: Tensor) -> npt.NDArray[np.uint8]:
    """Return what `find_alike` compares, uint8 (SKETCH,). image: uint8 (3, H, W); its proportions are not kept."""
    planes = [Image.fromarray(plane.numpy()) for plane in image]
    small = Image.merge("RGB", planes).resize((SIDE, SIDE), Image.Resampling.BOX).convert("YCbCr")
    luma, *chroma = (np.asarray(band) for band in small.split())
    patches = [band.reshape(4, SIDE // 4, 4, SIDE // 4).mean((1, 3)) for band in chroma]
    return np.concatenate([luma.ravel(), *(patch.round().astype(np.uint8).ravel() for patch in patches)])


def find_alike(sketches: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return the pairs of rows (i < j) that show one picture; mirrored ones do not count. sketches: uint8 (N, SKETCH).

    Three sieves, each finer and slower than the one before: correlation of all pairs, one matrix product; how well one
    is explained by the other and its derivatives, one small product a row; alignment of the few pairs that are left.
    Where a row is like more than 16 after it, the 16 likeliest are compared.
    """
    if not len(sketches):
        return []
    parts = [_coarse(_luma(sketches[at : at + _ROWS])).astype(np.float16) for at in range(0, len(sketches), _ROWS)]
    coarse = np.concatenate(parts)  # (N, 784)
    likely = [pair for row, others in _possible(coarse) for pair in _likely(sketches, coarse, row, others)]
    return [pair for at in range(0, len(likely), _PAIRS) for pair in _aligned(sketches, likely[at : at + _PAIRS])]


def joined(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the groups that pairs of rows form, each in ascending order: what is like one of a group belongs to it."""
    groups: dict[int, list[int]] = {}
    for one, other in pairs:
        mine, yours = groups.setdefault(one, [one]), groups.setdefault(other, [other])
        if mine is not yours:
            mine += yours
            groups.update(dict.fromkeys(yours, mine))
    return sorted({id(group): sorted(group) for group in groups.values()}.values())


def _possible(coarse: npt.NDArray[np.float16]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield each row with those after it that correlate with it, by every fourth pixel: neighbours tell nearly that."""
    side = SIDE // 2 - 2 * _BORDER
    few = coarse.reshape(-1, side, side)[:, ::2, ::2].reshape(len(coarse), -1).astype(np.float32)  # (N, 196)
    few /= np.maximum(np.linalg.norm(few, axis=1, keepdims=True), 1e-6)
    for at in range(0, len(few), _ROWS):
        close = few[at : at + _ROWS] @ few[at:].T > _POSSIBLE  # (_ROWS, the rest)
        rows, others = np.nonzero(close)
        keep = others > rows
        rows, others = rows[keep] + at, others[keep] + at
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        for start, end in pairwise([*starts, len(rows)]):
            yield int(rows[start]), others[start:end]


def _likely(
    sketches: npt.NDArray[np.uint8], coarse: npt.NDArray[np.float16], row: int, others: npt.NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Keep the pairs where one linear step of moving and stretching `row` nearly gives the other, in colour too."""
    chroma = sketches[:, SIDE * SIDE :]
    basis = np.linalg.qr(_changes(_halved(_luma(sketches[row : row + 1])))[0].T)[0]  # (784, 5)
    found = []
    for at in range(0, len(others), _ROWS):
        part = others[at : at + _ROWS]
        part = part[np.abs(chroma[part].astype(int) - chroma[row].astype(int)).max(1) <= _CHROMA]
        explained = np.linalg.norm(coarse[part].astype(np.float32) @ basis, axis=1)
        found += [(-share, other) for share, other in zip(explained.tolist(), part.tolist(), strict=True)]
        found = sorted(pair for pair in found if -pair[0] > _LIKELY)[:_CLOSEST]
    return sorted((row, other) for _, other in found)


def _aligned(sketches: npt.NDArray[np.uint8], pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Keep the pairs whose fine structure agrees once the first is moved and stretched onto the second."""
    first, second = (_luma(sketches[[pair[side] for pair in pairs]]) for side in (0, 1))
    agreement = (_structure(first) * _structure(second)).sum(1)
    rest = np.flatnonzero(agreement <= _SAME)
    if len(rest):
        agreement[rest] = _agreement(first[rest], second[rest])
    return [pair for pair, value in zip(pairs, agreement, strict=True) if value > _SAME]


def _agreement(first: Floats, second: Floats) -> Floats:
    """How well the fine structure agrees after alignment, found at half the resolution and then at the whole: (n,)."""
    moves = np.zeros((len(first), 4), np.float32)
    for small, large in ((_halved(first), _halved(second)), (first, second)):
        moves *= large.shape[1] / (SIDE // 2)  # pixels of twice the resolution
        for _ in range(2):
            moves = _better(small, large, moves)
    result: Floats = (_structure(_moved(first, moves)) * _structure(second)).sum(1)
    return result


def _better(first: Floats, second: Floats, moves: Floats) -> Floats:
    """One step of least squares (Lucas and Kanade 1981): shift and stretch in x and y, and contrast."""
    changes = _changes(_moved(first, moves))  # (n, 5, pixels)
    normal = changes @ changes.transpose(0, 2, 1) + 1e-6 * np.eye(5, dtype=np.float32)
    steps = np.linalg.solve(normal, changes @ _structure(second)[:, :, None])[:, :, 0]
    contrast = np.where(np.abs(steps[:, :1]) < 0.2, 1, steps[:, :1])  # no alignment divides by nothing
    limit = first.shape[1] / 10
    return np.clip(moves + steps[:, 1:] / contrast, -limit, limit).astype(np.float32)


def _changes(images: Floats) -> Floats:
    """The structure of an image, and what a pixel of shift and of stretch in x and y adds to it: (n, 5, pixels)."""
    along = np.linspace(-1, 1, images.shape[1], dtype=np.float32)
    dy, dx = np.gradient(images, axis=(1, 2))
    norm = np.maximum(np.linalg.norm(_band(images), axis=1), 1e-6)[:, None, None]
    changes = np.stack([images, dx, dy, dx * along, dy * along[:, None]], 1)
    n, kinds, side, _ = changes.shape
    bands: Floats = _band(changes.reshape(n * kinds, side, side)).reshape(n, kinds, -1) / norm
    return bands


def _moved(images: Floats, moves: Floats) -> Floats:
    """Sample each image at places shifted and stretched by its `moves` (n, 4), in pixels, between pixels linearly."""
    side = images.shape[1]
    along = np.linspace(-1, 1, side, dtype=np.float32)
    x, y = (
        np.clip(np.arange(side) + moves[:, axis, None] + moves[:, axis + 2, None] * along, 0, side - 1.001)
        for axis in (0, 1)
    )
    left, upper = x.astype(int), y.astype(int)
    right, lower = ((x - left)[:, None, :], (y - upper)[:, :, None])
    row = np.arange(len(images))[:, None, None]
    columns, rows = left[:, None, :], upper[:, :, None]
    top = images[row, rows, columns] * (1 - right) + images[row, rows, columns + 1] * right
    bottom = images[row, rows + 1, columns] * (1 - right) + images[row, rows + 1, columns + 1] * right
    result: Floats = (top * (1 - lower) + bottom * lower).astype(np.float32)
    return result


def _coarse(luma: Floats) -> Floats:
    """Structure at half the resolution: (n, 784)."""
    return _structure(_halved(luma))


def _structure(images: Floats) -> Floats:
    """Pixels of the band as vectors of length 1, zero for an image that is flat: (n, pixels)."""
    vectors = _band(images)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    enough = norms > _FLAT * np.sqrt(vectors.shape[1])
    result: Floats = np.where(enough, vectors / np.maximum(norms, 1e-6), 0)
    return result


def _band(images: Floats) -> Floats:
    """Means over 3 x 3 less those over 7 x 7 pixels, without mean and without the border, which cropping takes away."""
    bands = (_box(images, 1) - _box(images, 3))[:, _BORDER:-_BORDER, _BORDER:-_BORDER].reshape(len(images), -1)
    result: Floats = bands - bands.mean(1, keepdims=True)
    return result


def _box(images: Floats, radius: int) -> Floats:
    size = 2 * radius + 1
    for axis in (1, 2):
        edges = [(0, 0), (0, 0), (0, 0)]
        edges[axis] = (radius, radius)
        padded = np.pad(images, edges, mode="edge")
        shifted = [np.take(padded, range(i, i + images.shape[axis]), axis) for i in range(size)]
        images = np.add.reduce(shifted) / np.float32(size)
    return images


def _halved(images: Floats) -> Floats:
    n, side, _ = images.shape
    result: Floats = images.reshape(n, side // 2, 2, side // 2, 2).mean((2, 4))
    return result


def _luma(sketches: npt.NDArray[np.uint8]) -> Floats:
    return sketches[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE).astype(np.float32)
