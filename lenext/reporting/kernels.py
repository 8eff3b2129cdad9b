"""An image under kernels: a sheet with each response, and beside it the numbers that made it."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lenext.reporting.pictures import RIGHT_RGB, WRONG_RGB

if TYPE_CHECKING:
    from PIL import ImageDraw

SIDE = 256  # pixels: the longer side of an image on the sheet, about
COLUMNS = 2
_BESIDE = 184  # pixels: width of the column of numbers
_GAP, _LINE, _CELL_WIDTH, _CELL_HEIGHT = 16, 17, 32, 24  # pixels: between panels, of a line, of a number's cell
_LETTERS = 27  # of a line of words beside an image
_PAPER, _INK, _PALE, _EDGE = (255, 255, 255), (27, 31, 35), (105, 105, 105), (190, 190, 190)
_TINT = 0.55  # of the strongest number's cell


@dataclass(frozen=True)
class Panel:
    """A kernel and its response.

    pixels: uint8 (H, W, 1 or 3). numbers: K rows of K whole numbers, all divided by `divisor`. words: below them.
    """

    name: str
    pixels: np.ndarray
    numbers: Sequence[Sequence[int]]
    divisor: int
    words: Sequence[str]


def draw_kernels(panels: Sequence[Panel], title: str, columns: int = COLUMNS) -> bytes:
    """Return a PNG of the panels, row by row: the response, and beside it name, numbers and words.

    Images, all of one size, are enlarged by a whole factor where they are small, without smoothing.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = panels[0].pixels.shape[:2]
    factor = max(1, round(SIDE / max(height, width)))
    height, width, columns = height * factor, width * factor, min(columns, len(panels))
    rows = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    heights = [max(height, *(_beside_height(panel) for panel in row)) for row in rows]
    pitch = width + _BESIDE + 2 * _GAP  # from panel to panel
    sheet = Image.new("RGB", (_GAP + columns * pitch, 2 * _GAP + _LINE + sum(heights) + len(rows) * _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), title, _INK, ImageFont.load_default(size=14))
    y = 2 * _GAP + _LINE
    for row, row_height in zip(rows, heights, strict=True):
        for x, panel in zip(range(_GAP, sheet.width, pitch), row, strict=False):
            pixels = panel.pixels[:, :, 0] if panel.pixels.shape[2] == 1 else panel.pixels
            picture = Image.fromarray(pixels).convert("RGB")
            sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (x, y))
            _draw_beside(draw, panel, x + width + _GAP, y)
        y += row_height + _GAP
    encoded = io.BytesIO()
    sheet.save(encoded, format="PNG", optimize=True)
    return encoded.getvalue()


def _wrapped(panel: Panel) -> list[str]:
    return [line for words in panel.words for line in textwrap.wrap(words, _LETTERS)]


def _beside_height(panel: Panel) -> int:
    return (3 + len(_wrapped(panel))) * _LINE + len(panel.numbers) * _CELL_HEIGHT


def _draw_beside(draw: "ImageDraw.ImageDraw", panel: Panel, x: int, y: int) -> None:
    from PIL import ImageFont

    font, large = ImageFont.load_default(size=12), ImageFont.load_default(size=14)
    draw.text((x, y), panel.name, _INK, large)
    top = y + _LINE + 6
    numbers = np.array(panel.numbers)
    strongest = np.abs(numbers).max()
    for (row, column), number in np.ndenumerate(numbers):
        left, above = x + column * _CELL_WIDTH, top + row * _CELL_HEIGHT
        box = (left, above, left + _CELL_WIDTH, above + _CELL_HEIGHT)
        draw.rectangle(box, fill=_tinted(number / strongest), outline=_EDGE)
        middle = (left + _CELL_WIDTH / 2, above + _CELL_HEIGHT / 2)
        draw.text(middle, str(number), _INK, font, anchor="mm")
    below = top + len(panel.numbers) * _CELL_HEIGHT + 6
    if panel.divisor != 1:
        draw.text((x, below), f"divided by {panel.divisor}", _INK, font)
        below += _LINE
    for line in _wrapped(panel):
        draw.text((x, below), line, _PALE, font)
        below += _LINE


def _tinted(strength: float) -> tuple[int, int, int]:
    """White for 0, the page's colours for 1 and -1, paler, so that a number reads on them."""
    colour = RIGHT_RGB if strength > 0 else WRONG_RGB
    red, green, blue = (round(255 + _TINT * abs(strength) * (value - 255)) for value in colour)
    return red, green, blue
