"""The pictures that a run keeps for its report: small copies of the images worth a look, and the first filters."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lenext.data.geometry import resize
from lenext.data.store import Store
from lenext.judge.ranking import gallery_rows
from lenext.models.classifier import Classifier
from lenext.predictions import Predictions

SIDE = 96  # pixels: the longer side of a small copy at most
_PORTION = 32  # images in memory at the size in which they were decoded


def make_gallery(model: Classifier, store: Store, predictions: Predictions) -> bytes:
    """Return an .npz of thumbnails uint8 (T, H, W, C), their sizes (T, 2), their rows (T,), and the first filters.

    A thumbnail lies at the upper left of its frame; all frames are as large as the largest thumbnail.
    """
    rows = gallery_rows(predictions)
    small = [
        thumbnail(image)
        for start in range(0, len(rows), _PORTION)
        for image in store.read(rows[start : start + _PORTION])
    ]
    sizes = np.array([image.shape[1:] for image in small], np.int64).reshape(-1, 2)
    height, width = sizes.max(axis=0, initial=1).tolist()
    framed = [F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in small]
    channels = model.config.in_channels if not small else small[0].shape[0]
    thumbnails = torch.stack(framed) if framed else torch.zeros(0, channels, height, width, dtype=torch.uint8)
    name, filters = next((name, value) for name, value in model.named_parameters() if value.ndim == 4)
    content = io.BytesIO()
    np.savez_compressed(
        content,
        thumbnails=thumbnails.permute(0, 2, 3, 1).numpy(),
        thumbnails_size=sizes,
        thumbnails_row=rows,
        filters=filters.detach().cpu().numpy(),
        filters_name=np.array(name),
    )
    return content.getvalue()


def thumbnail(image: Tensor, side: int = SIDE) -> Tensor:
    """Scale an image, uint8 (C, H, W), down to a longer side of at most `side` pixels; a smaller one stays."""
    height, width = image.shape[1:]
    longer = max(height, width)
    if longer <= side:
        return image
    size = (max(round(height * side / longer), 1), max(round(width * side / longer), 1))
    return resize(image[None], size)[0]
