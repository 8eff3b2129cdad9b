"""Different pictures for tests, cut out of the two photographs that scikit-learn brings, and edits of them."""

import io
from typing import Any

from PIL import Image
from sklearn.datasets import load_sample_images

PHOTOGRAPHS = [Image.fromarray(pixels) for pixels in load_sample_images().images]  # 640 x 427


def crops(count: int, side: int = 96, step: int = 36) -> list[Image.Image]:
    """Squares that overlap, but none of which is another moved by a few pixels; those of plain sky are left out."""
    found = []
    for photo in PHOTOGRAPHS:
        for top in range(0, photo.height - side + 1, step):
            for left in range(0, photo.width - side + 1, step):
                crop = photo.crop((left, top, left + side, top + side))
                low, high = crop.convert("L").resize((16, 16), Image.Resampling.BOX).getextrema()
                if int(high) - int(low) > 60:  # type: ignore[arg-type]
                    found.append(crop)
    assert len(found) >= count, len(found)
    return found[:: len(found) // count][:count]


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
