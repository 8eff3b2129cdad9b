"""A contact sheet: many images in one picture, each with its label."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as Font

CELL = 160  # pixels: the longer side of an image on the sheet, about
COLUMNS = 6
_GAP, _LINE = 12, 16  # pixels between images, of a line of text
_PAPER, _INK = (255, 255, 255), (40, 40, 40)


def contact_sheet(images: np.ndarray, captions: Sequence[str], title: str = "", columns: int = COLUMNS) -> bytes:
    """Return a PNG of the images, row by row, with a caption of up to two lines under each.

    images: uint8 (N, H, W, 1 or 3), shown enlarged by a whole factor where they are small, without smoothing. A caption
    that is too long ends in "...".
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = images.shape[1:3]
    factor = max(1, round(CELL / max(height, width)))
    cell_width, cell_height = width * factor, height * factor
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    top = 2 * _GAP + _LINE if title else _GAP
    size = (_GAP + columns * (cell_width + _GAP), top + rows * (cell_height + 2 * _LINE + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    if title:
        draw.text((_GAP, _GAP), _shortened(title, size[0] - 2 * _GAP, font), _INK, font)
    for place, (pixels, caption) in enumerate(zip(images, captions, strict=True)):
        x = _GAP + place % columns * (cell_width + _GAP)
        y = top + place // columns * (cell_height + 2 * _LINE + _GAP)
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
        sheet.paste(picture.resize((cell_width, cell_height), Image.Resampling.NEAREST), (x, y))
        for line, text in enumerate(caption.splitlines()[:2]):
            draw.text((x, y + cell_height + 2 + line * _LINE), _shortened(text, cell_width, font), _INK, font)
    encoded = io.BytesIO()
    sheet.save(encoded, format="PNG", optimize=True)
    return encoded.getvalue()


def _shortened(text: str, width: int, font: "FreeTypeFont | Font") -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
