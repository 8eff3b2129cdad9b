from typing import Any

import numpy as np

from lenext.predictions import Predictions


def make(scores: Any, labels: Any, classes: tuple[str, ...] = ()) -> Predictions:
    """Predictions of one class a sample, or, where labels are (N, K), of several."""
    scores = np.asarray(scores, dtype=np.float32)
    return Predictions(
        ids=tuple(str(row) for row in range(len(scores))),
        labels=np.asarray(labels, dtype=np.int64),
        scores=scores,
        classes=classes or tuple(f"class {k}" for k in range(scores.shape[1])),
        split="test",
        split_digest="",
        preprocessing_digest="",
        model="",
    )
