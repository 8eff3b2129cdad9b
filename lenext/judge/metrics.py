"""Accuracy, calibration and errors by class, on Predictions.

Rankings are decided by score; where scores tie, the class with the lower index comes first, as in `argmax`.
(scikit-learn's `top_k_accuracy_score` lets the higher index win.)
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenext import config
from lenext.errors import DataError, UsageError
from lenext.predictions import Predictions

BINS = 15  # of the calibration error, as in Guo et al. 2017, section 5
Z95 = 1.959963984540054  # the normal quantile at 0.975


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One class against the rest; fractions, 0.0 where nothing was there to divide by.

    support: samples of the class. recall_interval: Wilson's, at 95 %.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float
    recall_interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What `measure` found on `n` samples; accuracies are fractions.

    top1_interval: Wilson's, at 95 %. top5: the label is among the five highest scores (all of them, where the task
    has fewer classes). nll: mean negative log likelihood, in nats. ece: expected calibration error of the highest
    probability, over 15 bins of equal width. confusion: counts, a row for each true class, a column for each predicted.
    """

    n: int
    top1: float
    top1_interval: tuple[float, float]
    top5: float
    nll: float
    ece: float
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_mapping(self) -> dict[str, Any]:
        """Return plain numbers, texts, lists and mappings, as JSON has them."""
        return config.to_mapping(self)


def measure(predictions: Predictions) -> Metrics:
    """Compute every metric; predictions of no sample at all are a DataError."""
    n, labels = len(predictions), predictions.labels
    if n == 0:
        raise DataError(
            "cannot measure these predictions",
            why=f"the split {predictions.split!r} has no samples",
            advice="check the data set and its split",
        )
    scores = predictions.scores.astype(np.float64)
    rank = _rank_of_label(scores, labels)
    predicted = scores.argmax(axis=1)
    confusion = _confusion(labels, predicted, len(predictions.classes))
    correct = int((rank == 0).sum())
    return Metrics(
        n=n,
        top1=correct / n,
        top1_interval=wilson(correct, n),
        top5=int((rank < 5).sum()) / n,
        nll=_negative_log_likelihood(scores, labels),
        ece=calibration_error(predictions.probabilities().max(axis=1), predicted == labels),
        per_class=tuple(_class_metrics(name, confusion, k) for k, name in enumerate(predictions.classes)),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927); (0, 1) where n is 0, for then nothing is known."""
    if not 0 <= successes <= n:
        raise UsageError(
            f"no interval for {successes} of {n}",
            why="successes lie between 0 and the number of trials",
            advice="count again",
        )
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    scale = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / scale
    # At the ends the interval touches 0 or 1 exactly; rounding would miss it by an ulp.
    return 0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half


def calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017, equation 3): mean distance of accuracy and confidence by bin.

    confidence: (N,) in [0, 1]; bin m holds ((m - 1) / bins, m / bins].
    """
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    surplus = np.bincount(place, weights=confidence - correct, minlength=bins)
    return float(np.abs(surplus).sum() / len(confidence))


def worst_mistakes(predictions: Predictions, count: int) -> NDArray[np.int64]:
    """Rows of at most `count` wrong predictions, the most confident first; equal confidence keeps the rows' order."""
    predicted = predictions.scores.argmax(axis=1)
    confidence = predictions.probabilities().max(axis=1)
    wrong = np.flatnonzero(predicted != predictions.labels)
    order = np.argsort(-confidence[wrong], kind="stable")
    return wrong[order][: max(count, 0)].astype(np.int64)


def _rank_of_label(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many classes come before the true one, (N,)."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    return np.asarray(((scores > own) | ((scores == own) & earlier)).sum(axis=1))


def _negative_log_likelihood(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    shifted = scores - scores.max(axis=1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - own))


def _confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _class_metrics(name: str, confusion: NDArray[np.int64], k: int) -> ClassMetrics:
    hits, support, predicted = int(confusion[k, k]), int(confusion[k].sum()), int(confusion[:, k].sum())
    return ClassMetrics(
        name=name,
        support=support,
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, support + predicted),
        recall_interval=wilson(hits, support),
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
