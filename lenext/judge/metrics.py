"""Accuracy, calibration and errors by class, on Predictions.

Rankings are decided by score; where scores tie, the class with the lower index comes first, as in `argmax`.
(scikit-learn's `top_k_accuracy_score` lets the higher index win.)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenext import config
from lenext.errors import DataError
from lenext.judge.calibration import calibration_error
from lenext.judge.intervals import f1_interval, wilson
from lenext.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One class against the rest; fractions, 0.0 where nothing was there to divide by.

    support: samples of the class. Intervals are at 95 %: Wilson's of precision (among the samples that were called the
    class) and of recall, `f1_interval` of F1. average_precision: the area under the steps of precision against recall,
    of a multi-label task alone.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float
    precision_interval: tuple[float, float]
    recall_interval: tuple[float, float]
    f1_interval: tuple[float, float]
    average_precision: float | None = None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What `measure` found on `n` samples of one class each; accuracies are fractions.

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

    score_name = "top-1"

    @property
    def score(self) -> float:
        """The figure by which the best epoch is chosen, in [0, 1]: the accuracy."""
        return self.top1

    def to_mapping(self) -> dict[str, Any]:
        """Return plain numbers, texts, lists and mappings, as JSON has them."""
        return config.to_mapping(self)


@dataclass(frozen=True, kw_only=True)
class MultiLabelMetrics:
    """What `measure` found on `n` samples of any number of classes each; a class is predicted above one half.

    exact: share of the samples of which every class was decided rightly, with Wilson's interval at 95 %. mean_ap,
    macro_f1: means over the classes that have samples. micro_f1: all decisions counted together. nll: binary
    cross-entropy in nats, the mean over samples and classes. ece: expected calibration error of the probability that a
    class is there, over all samples and classes and 15 bins of equal width.
    """

    n: int
    mean_ap: float
    exact: float
    exact_interval: tuple[float, float]
    macro_f1: float
    micro_f1: float
    nll: float
    ece: float
    per_class: tuple[ClassMetrics, ...]

    score_name = "mAP"

    @property
    def score(self) -> float:
        """The figure by which the best epoch is chosen, in [0, 1]: the mean average precision."""
        return self.mean_ap

    def to_mapping(self) -> dict[str, Any]:
        """Return plain numbers, texts, lists and mappings, as JSON has them."""
        return config.to_mapping(self)


def measure(predictions: Predictions) -> Metrics | MultiLabelMetrics:
    """Compute every metric; predictions of no sample at all are a DataError."""
    if not len(predictions):
        raise DataError(
            "cannot measure these predictions",
            why=f"the split {predictions.split!r} has no samples",
            advice="check the data set and its split",
        )
    return _measure_many(predictions) if predictions.multi_label else _measure_one(predictions)


def _measure_one(predictions: Predictions) -> Metrics:
    n, labels = len(predictions), predictions.labels
    scores = predictions.scores.astype(np.float64)
    rank = _rank_of_label(scores, labels)
    predicted = predictions.predicted()
    confusion = _confusion(labels, predicted, len(predictions.classes))
    correct = int((rank == 0).sum())
    return Metrics(
        n=n,
        top1=correct / n,
        top1_interval=wilson(correct, n),
        top5=int((rank < 5).sum()) / n,
        nll=_negative_log_likelihood(scores, labels),
        ece=calibration_error(predictions.probabilities().max(axis=1), predicted == labels),
        per_class=tuple(
            _class_metrics(name, int(confusion[k, k]), int(confusion[k].sum()), int(confusion[:, k].sum()))
            for k, name in enumerate(predictions.classes)
        ),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def _measure_many(predictions: Predictions) -> MultiLabelMetrics:
    n, labels, predicted = len(predictions), predictions.labels != 0, predictions.predicted() != 0
    scores = predictions.scores.astype(np.float64)
    hits, support, said = (marks.sum(axis=0).tolist() for marks in (labels & predicted, labels, predicted))
    rows = tuple(
        _class_metrics(name, hits[k], support[k], said[k], _average_precision(labels[:, k], scores[:, k]))
        for k, name in enumerate(predictions.classes)
    )
    seen = [row for row in rows if row.support]
    exact = int((labels == predicted).all(axis=1).sum())
    return MultiLabelMetrics(
        n=n,
        mean_ap=sum(row.average_precision or 0.0 for row in seen) / max(len(seen), 1),
        exact=exact / n,
        exact_interval=wilson(exact, n),
        macro_f1=sum(row.f1 for row in seen) / max(len(seen), 1),
        micro_f1=_ratio(2 * sum(hits), sum(support) + sum(said)),
        nll=float(np.logaddexp(0.0, np.where(labels, -scores, scores)).mean()),
        ece=calibration_error(predictions.probabilities().ravel(), labels.ravel()),
        per_class=rows,
    )


def _rank_of_label(scores: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.int64]:
    """How many classes come before the true one, (N,)."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    return np.asarray(((scores > own) | ((scores == own) & earlier)).sum(axis=1))


def _negative_log_likelihood(scores: NDArray[np.float64], labels: NDArray[Any]) -> float:
    shifted = scores - scores.max(axis=1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels]
    return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - own))


def _confusion(labels: NDArray[Any], predicted: NDArray[Any], classes: int) -> NDArray[np.int64]:
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _average_precision(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Mean of the precision at each sample of the class, samples of equal score being taken together."""
    order = np.argsort(-scores, kind="stable")
    hits = labels[order].cumsum()
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # of each run of equal scores
    gained = np.diff(hits[last], prepend=0)
    return _ratio(float((gained * hits[last] / (last + 1)).sum()), int(hits[-1]))


def _class_metrics(
    name: str, hits: int, support: int, predicted: int, average_precision: float | None = None
) -> ClassMetrics:
    return ClassMetrics(
        name=name,
        support=support,
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, support + predicted),
        precision_interval=wilson(hits, predicted),
        recall_interval=wilson(hits, support),
        f1_interval=f1_interval(hits, support + predicted - 2 * hits),
        average_precision=average_precision,
    )


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else 0.0
