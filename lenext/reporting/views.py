"""What the page shows, as text and small numbers: every figure is taken from a file of the run, none is made here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lenext import run as runs
from lenext.judge.metrics import ClassMetrics, Metrics
from lenext.reporting.pictures import Picture, matrix_picture, picture
from lenext.reporting.plots import TRAIN_COLOUR, Line, line_chart
from lenext.reporting.reading import Epoch, RunFiles, finite
from lenext.reporting.tables import MISSING, count, duration, percent

MATRIX_LIMIT = 30  # classes: a larger confusion matrix is a picture, not a table of numbers
FULL_STRENGTH = 0.25  # of its row: the share at which a confusion has its full colour
PAIRS = 6  # confusions told in words
MISTAKE_SIDE = 112  # pixels

CHECKPOINTS = {"best": "the checkpoint with the best validation accuracy", "last": "the last checkpoint"}


@dataclass(frozen=True)
class Tile:
    """One figure at the top of the page."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix: images, colour ("right", "wrong", "empty") and its strength in [0, 1]."""

    count: int
    kind: str
    strength: float


@dataclass(frozen=True)
class Pair:
    """One confusion: images of `true` that were called `said`, and their share of `true`."""

    true: str
    said: str
    count: int
    support: int

    @property
    def share(self) -> str:
        """Return the share of the true class that was confused."""
        return percent(self.count / self.support)


@dataclass(frozen=True)
class ClassRow:
    """One class; low, high and at are places on the bar in per cent of its length, None where there is no image."""

    metrics: ClassMetrics
    low: float | None
    high: float | None
    at: float | None


@dataclass(frozen=True)
class Mistake:
    """One wrongly named image."""

    picture: Picture
    true: str
    said: str
    probability: float
    id: str


def tiles(files: RunFiles) -> list[Tile]:
    """Return the figures at the top of the page; the first three only once the run is evaluated."""
    index, metrics = files.index, files.metrics
    shown = []
    if metrics:
        low, high = metrics.top1_interval
        shown = [
            Tile("Test accuracy", percent(metrics.top1), f"95 % interval {100 * low:.1f} to {100 * high:.1f}"),
            Tile("NLL", number(metrics.nll, 3), "nats per image, lower is better"),
            Tile("ECE", percent(metrics.ece), "calibration error, 15 bins"),
        ]
    size = _trained_epochs(files.epochs)
    return [
        *shown,
        Tile("Parameters", count(finite(index.get("params"))), whole(index.get("params"))),
        Tile("MACs", count(finite(index.get("macs"))), "multiply-adds per image"),
        Tile("Training time", duration(finite(index.get("train_seconds"))), size),
    ]


def openings(times: Any) -> str:
    """Say how often the test split was opened."""
    if not isinstance(times, int) or times < 1:
        return "an unknown number of times"
    return {1: "once", 2: "twice"}.get(times, f"{times} times")


def charts(epochs: Sequence[Epoch]) -> dict[str, str]:
    """Draw loss, accuracy and learning rate against the epoch; none where no epoch is finished."""
    if not epochs:
        return {}
    x = [epoch.epoch for epoch in epochs]

    def lines(train: list[float | None], validation: list[float | None]) -> list[Line]:
        both = [Line("train", x, train, TRAIN_COLOUR, dashed=True), Line("validation", x, validation)]
        return [line for line in both if any(value is not None for value in line.y)]

    loss = lines([epoch.train_loss for epoch in epochs], [epoch.validation_loss for epoch in epochs])
    top1 = lines([epoch.train_top1 for epoch in epochs], [epoch.validation_top1 for epoch in epochs])
    rate = [Line("rate", x, [epoch.lr for epoch in epochs])]
    return {
        "loss": line_chart(loss, key="loss", title="Loss", description=_told("Loss", loss, ".3f")),
        "accuracy": line_chart(
            top1, key="accuracy", title="Accuracy", description=_told("Accuracy", top1, ".1%"), percent=True
        ),
        "rate": line_chart(
            rate, key="rate", title="Learning rate", description=_told("Learning rate", rate, "g"), small=True
        ),
    }


def training_facts(files: RunFiles) -> list[tuple[str, str]]:
    """Return name and value of what the curves do not show."""
    index, epochs = files.index, files.epochs
    facts = [("Training images", whole(index.get("train_images")))]
    if index.get("validation_images"):
        facts.append(("Validation images", whole(index.get("validation_images"))))
    if not epochs:
        return facts
    facts.append(("Epochs", f"{epochs[-1].epoch:,}"))
    if epochs[-1].step is not None:
        facts.append(("Steps", f"{epochs[-1].step:,}"))
    judged = [epoch for epoch in epochs if finite(epoch.validation_top1) is not None]
    if judged:
        best = max(judged, key=lambda epoch: finite(epoch.validation_top1) or 0.0)
        facts.append(("Best validation accuracy", f"{percent(best.validation_top1)} in epoch {best.epoch}"))
    for label, values, unit in (
        ("Images per second, median", [epoch.images_per_second for epoch in epochs], whole),
        ("Time per epoch, median", [epoch.seconds for epoch in epochs], duration),
    ):
        known = [value for value in values if value is not None]
        if known:
            facts.append((label, unit(float(np.median(known)))))
    return facts


def confusion_cells(metrics: Metrics) -> list[list[Cell]]:
    """Return the confusion matrix as rows of cells, one row a true class."""
    strengths = _strengths(metrics)
    return [
        [
            Cell(images, "empty" if not images else "right" if row == column else "wrong", strengths[row, column])
            for column, images in enumerate(line)
        ]
        for row, line in enumerate(metrics.confusion)
    ]


def confusion_picture(metrics: Metrics) -> Picture:
    """Return the confusion matrix as a picture, for many classes."""
    return matrix_picture(_strengths(metrics), side=720)


def confused_pairs(metrics: Metrics, limit: int = PAIRS) -> list[Pair]:
    """Return the most frequent confusions, most images first."""
    matrix = np.array(metrics.confusion)
    np.fill_diagonal(matrix, 0)
    names = [row.name for row in metrics.per_class]
    order = np.argsort(-matrix, axis=None, kind="stable")[:limit]
    places = [divmod(int(place), len(names)) for place in order]
    return [
        Pair(names[true], names[said], int(matrix[true, said]), sum(metrics.confusion[true]))
        for true, said in places
        if matrix[true, said]
    ]


def class_rows(metrics: Metrics) -> tuple[list[ClassRow], float]:
    """Return the classes, lowest recall first, and the recall at which their bars start."""
    seen = [row for row in metrics.per_class if row.support]
    start = math.floor(10 * min((row.recall_interval[0] for row in seen), default=0.0)) / 10
    start = min(max(start, 0.0), 0.9)

    def place(value: float) -> float:
        return 100 * (value - start) / (1 - start)

    ordered = sorted(metrics.per_class, key=lambda row: row.recall if row.support else 2.0)
    return [
        ClassRow(row, *(place(value) for value in (*row.recall_interval, row.recall)))
        if row.support
        else ClassRow(row, None, None, None)
        for row in ordered
    ], start


def mistakes(files: RunFiles) -> list[Mistake]:
    """Return the mistakes of the gallery in its order, the most confident first."""
    if files.gallery is None or files.predictions is None:
        return []
    predictions, rows = files.predictions, files.gallery.mistakes_row
    probabilities = predictions.probabilities()[rows]
    said = predictions.scores[rows].argmax(axis=1)
    return [
        Mistake(
            picture(files.gallery.mistakes[place], MISTAKE_SIDE),
            predictions.classes[predictions.labels[row]],
            predictions.classes[said[place]],
            float(probabilities[place, said[place]]),
            predictions.ids[row],
        )
        for place, row in enumerate(rows)
    ]


def environment_facts(environment: Mapping[str, Any], where: str = "") -> list[tuple[str, str]]:
    """Return environment.json as dotted names and text, in the file's order."""
    facts: list[tuple[str, str]] = []
    for key, value in environment.items():
        name = f"{where}.{key}" if where else str(key)
        if isinstance(value, Mapping):
            facts += environment_facts(value, name)
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            facts.append((name, text if value not in (None, "") else MISSING))
    return facts


def digests(files: RunFiles) -> list[tuple[str, str]]:
    """Return name and digest of the splits, and of every file of the run but the page itself."""
    shown = []
    if files.predictions:
        shown = [
            ("test split", files.predictions.split_digest),
            ("preprocessing", files.predictions.preprocessing_digest),
        ]
    listed = files.index.get("files")
    for name, entry in listed.items() if isinstance(listed, Mapping) else ():
        if name != runs.REPORT_HTML and isinstance(entry, Mapping) and "sha256" in entry:
            shown.append((str(name), str(entry["sha256"])))
    return shown


def whole(value: Any) -> str:
    """Write a whole number with its thousands apart."""
    known = finite(value)
    return MISSING if known is None else f"{known:,.0f}"


def between(interval: tuple[float, float]) -> str:
    """Write an interval of fractions in per cent: "[90.6, 91.8]"."""
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def probability(value: float) -> str:
    """Write a probability in per cent; what only rounding would make certain is "> 99.9 %"."""
    return "> 99.9 %" if value >= 0.9995 else percent(value)


def number(value: float, digits: int) -> str:
    """Write a number with a fixed count of digits after the point."""
    return f"{value:.{digits}f}" if math.isfinite(value) else MISSING


def _strengths(metrics: Metrics) -> np.ndarray:
    """Return how strongly each cell of the confusion matrix is coloured, from its share of the row."""
    matrix = np.array(metrics.confusion, dtype=np.float64)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    strengths = np.sqrt(np.minimum(1.0, shares / FULL_STRENGTH))
    np.fill_diagonal(strengths, shares.diagonal())
    return np.asarray(strengths)


def _told(title: str, lines: Sequence[Line], form: str) -> str:
    """Tell a chart in words: its epochs, and where each line begins and ends."""
    told = []
    for line in lines:
        known = [value for value in line.y if value is not None]
        if known:
            told.append(f"{line.name} from {known[0]:{form}} to {known[-1]:{form}}")
    span = f"{title}, epochs {lines[0].x[0]} to {lines[0].x[-1]}: " if lines else title
    return span + ", ".join(told)


def _trained_epochs(epochs: Sequence[Epoch]) -> str:
    if not epochs:
        return "no epoch is finished"
    return f"{epochs[-1].epoch:,} epoch{'s' if epochs[-1].epoch > 1 else ''}"
