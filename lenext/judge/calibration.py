"""How far confidence can be believed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of the calibration error, as in Guo et al. 2017, section 5


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The answers whose confidence lies in (low, high]: how many, their mean confidence, the share that is right.

    Of a bin without answers, confidence and accuracy are 0.0.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """Sort answers into bins of equal width by their confidence; bin m holds ((m - 1) / bins, m / bins].

    confidence: (N,) in [0, 1], 0 itself being in the first bin. correct: (N,).
    """
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    shared = np.maximum(counts, 1)
    stated = np.bincount(place, weights=confidence, minlength=bins) / shared
    right = np.bincount(place, weights=correct, minlength=bins) / shared
    return tuple(
        ReliabilityBin(low=m / bins, high=(m + 1) / bins, count=int(n), confidence=float(said), accuracy=float(true))
        for m, (n, said, true) in enumerate(zip(counts, stated, right, strict=True))
    )


def calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3): mean distance of accuracy and confidence by bin."""
    filled = reliability(confidence, correct, bins)
    return sum(one.count * abs(one.accuracy - one.confidence) for one in filled) / len(confidence)
