"""What the page shows of an evaluation: confusions with the images behind them, classes, calibration, mistakes."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from lenext.judge.calibration import ReliabilityBin, reliability
from lenext.judge.metrics import ClassMetrics, Metrics, MultiLabelMetrics
from lenext.judge.ranking import PER_CELL, cell_rows
from lenext.predictions import Predictions, sigmoid, softmax
from lenext.reporting.pictures import Picture, matrix_picture, picture
from lenext.reporting.reading import Gallery
from lenext.reporting.tables import percent

MATRIX_LIMIT = 30  # classes: a larger confusion matrix is a picture, not a table of numbers
FULL_STRENGTH = 0.25  # of its row: the share at which a confusion has its full colour
PAIRS, MANY_PAIRS = 6, 24  # confusions told in words, beside a table and beside a picture
THUMBNAIL_SIDE = 112  # pixels


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix: images, colour ("right", "wrong", "empty") and its strength in [0, 1].

    panel: the id of the panel that shows its images, "" where there is none.
    """

    count: int
    kind: str
    strength: float
    panel: str


@dataclass(frozen=True)
class Pair:
    """One confusion: images of `true` that were called `said`, and their share of `true`; panel as in Cell."""

    true: str
    said: str
    count: int
    support: int
    panel: str

    @property
    def share(self) -> str:
        """Return the share of the true class that was confused."""
        return percent(self.count / self.support)


@dataclass(frozen=True)
class Shown:
    """An image of the test split and its id; probability: of the class that the network names."""

    picture: Picture
    true: str
    said: str
    probability: float
    id: str


@dataclass(frozen=True)
class Decided:
    """An image of a multi-label task: its wrong decisions, each with the probability that the network gave the class.

    missed: classes that it has. invented: classes that it has not.
    """

    picture: Picture
    missed: tuple[tuple[str, float], ...]
    invented: tuple[tuple[str, float], ...]
    id: str


@dataclass(frozen=True)
class Panel:
    """The images behind one cell, the surest first, of `count` there are."""

    id: str
    true: str
    said: str
    count: int
    images: tuple[Shown, ...]


@dataclass(frozen=True)
class ClassRow:
    """One class; low, high and at are places on the bar in per cent of its length, None where there is no image."""

    metrics: ClassMetrics
    low: float | None
    high: float | None
    at: float | None


def named_images(predictions: Predictions, gallery: Gallery) -> dict[int, Shown]:
    """Return the gallery's images by their row of the predictions, in its order."""
    shown = {}
    for place, row in enumerate(gallery.rows.tolist()):
        probabilities = softmax(predictions.scores[row])
        said = int(probabilities.argmax())
        shown[row] = Shown(
            _thumbnail(gallery, place),
            predictions.classes[int(predictions.labels[row])],
            predictions.classes[said],
            float(probabilities[said]),
            predictions.ids[row],
        )
    return shown


def decided_images(predictions: Predictions, gallery: Gallery) -> dict[int, Decided]:
    """Return the gallery's images of a multi-label task by their row of the predictions, in its order."""
    shown = {}
    for place, row in enumerate(gallery.rows.tolist()):
        probabilities = sigmoid(predictions.scores[row])
        wrong = predictions.predicted()[row].astype(int) - predictions.labels[row]
        missed, invented = (
            tuple((predictions.classes[k], float(probabilities[k])) for k in np.flatnonzero(wrong == kind))
            for kind in (-1, 1)
        )
        shown[row] = Decided(_thumbnail(gallery, place), missed, invented, predictions.ids[row])
    return shown


def panels(predictions: Predictions, shown: Mapping[int, Shown]) -> dict[tuple[int, int], Panel]:
    """Return a panel for every cell (true, said) of which there are images to show."""
    found = {}
    for (true, said), rows in cell_rows(predictions).items():
        images = tuple(shown[row] for row in rows[:PER_CELL] if row in shown)
        if images:
            names = predictions.classes[true], predictions.classes[said]
            found[true, said] = Panel(f"cell-{true}-{said}", *names, len(rows), images)
    return found


def confusion_cells(metrics: Metrics, opening: Collection[tuple[int, int]] = ()) -> list[list[Cell]]:
    """Return the confusion matrix as rows of cells, one row a true class; those in `opening` open a panel."""
    strengths = _strengths(metrics)
    return [
        [
            Cell(
                images,
                "empty" if not images else "right" if row == column else "wrong",
                strengths[row, column],
                f"cell-{row}-{column}" if (row, column) in opening else "",
            )
            for column, images in enumerate(line)
        ]
        for row, line in enumerate(metrics.confusion)
    ]


def confusion_picture(metrics: Metrics) -> Picture:
    """Return the confusion matrix as a picture, for many classes."""
    return matrix_picture(_strengths(metrics), side=720)


def confused_pairs(metrics: Metrics, limit: int = PAIRS, opening: Collection[tuple[int, int]] = ()) -> list[Pair]:
    """Return the most frequent confusions, most images first."""
    matrix = np.array(metrics.confusion)
    np.fill_diagonal(matrix, 0)
    names = [row.name for row in metrics.per_class]
    order = np.argsort(-matrix, axis=None, kind="stable")[:limit]
    places = [divmod(int(place), len(names)) for place in order]
    return [
        Pair(
            names[true],
            names[said],
            int(matrix[true, said]),
            sum(metrics.confusion[true]),
            f"cell-{true}-{said}" if (true, said) in opening else "",
        )
        for true, said in places
        if matrix[true, said]
    ]


def class_rows(metrics: Metrics | MultiLabelMetrics) -> tuple[list[ClassRow], float]:
    """Return the classes, the worst first, and the recall at which their bars start.

    The worst has the lowest recall or, multi-label, the lowest average precision; classes without images come last.
    """
    seen = [row for row in metrics.per_class if row.support]
    start = math.floor(10 * min((row.recall_interval[0] for row in seen), default=0.0)) / 10
    start = min(max(start, 0.0), 0.9)

    def place(value: float) -> float:
        return 100 * (value - start) / (1 - start)

    def goodness(row: ClassMetrics) -> float:
        return 2.0 if not row.support else row.recall if row.average_precision is None else row.average_precision

    return [
        ClassRow(row, *(place(value) for value in (*row.recall_interval, row.recall)))
        if row.support
        else ClassRow(row, None, None, None)
        for row in sorted(metrics.per_class, key=goodness)
    ], start


def calibration_bins(predictions: Predictions) -> tuple[ReliabilityBin, ...]:
    """Return confidence and accuracy by bin; multi-label, of every class of every image by itself."""
    if predictions.multi_label:
        return reliability(predictions.probabilities().ravel(), predictions.labels.ravel() != 0)
    return reliability(predictions.probabilities().max(axis=1), predictions.predicted() == predictions.labels)


def count_wrong(metrics: Metrics | MultiLabelMetrics) -> int:
    """Return how many images are wrong: wrongly named, or with a wrong decision about a class."""
    if isinstance(metrics, MultiLabelMetrics):
        return metrics.n - round(metrics.exact * metrics.n)
    return metrics.n - sum(metrics.confusion[place][place] for place in range(len(metrics.confusion)))


def _thumbnail(gallery: Gallery, place: int) -> Picture:
    height, width = gallery.sizes[place]
    return picture(gallery.thumbnails[place, :height, :width], THUMBNAIL_SIDE)


def _strengths(metrics: Metrics) -> np.ndarray:
    """Return how strongly each cell of the confusion matrix is coloured, from its share of the row."""
    matrix = np.array(metrics.confusion, dtype=np.float64)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    strengths = np.sqrt(np.minimum(1.0, shares / FULL_STRENGTH))
    np.fill_diagonal(strengths, shares.diagonal())
    return np.asarray(strengths)
