"""What the page shows of the run itself, as text and small numbers: its figures, its training, its record."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lenext import run as runs
from lenext.judge.metrics import Metrics, MultiLabelMetrics
from lenext.reporting.findings import DataFacts
from lenext.reporting.plots import TRAIN_COLOUR, Line, line_chart
from lenext.reporting.reading import Epoch, RunFiles, finite
from lenext.reporting.tables import MISSING, count, duration, percent

BYTES_OF_A_WEIGHT = 4  # float32
CHECKPOINTS = {"best": "the checkpoint with the best validation MEASURE", "last": "the last checkpoint"}


@dataclass(frozen=True)
class Tile:
    """One figure at the top of the page."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class BalanceRow:
    """One class: its images in each part of the split, and each as a share of the largest such count."""

    name: str
    counts: tuple[int, ...]
    shares: tuple[float, ...]


def tiles(files: RunFiles) -> list[Tile]:
    """Return the figures at the top of the page; those of the test split only once the run is evaluated."""
    index, metrics = files.index, files.metrics
    params = finite(index.get("params"))
    weights = MISSING if params is None else f"{params * BYTES_OF_A_WEIGHT / 1e6:.3g} MB"
    size = _trained_epochs(files.epochs)
    return [
        *(_test_tiles(metrics) if metrics else []),
        Tile("Parameters", count(params), f"{whole(params)}, {weights} as float32"),
        Tile("MACs", count(finite(index.get("macs"))), "multiply-adds per image"),
        Tile("Training time", duration(finite(index.get("train_seconds"))), size),
    ]


def _test_tiles(metrics: Metrics | MultiLabelMetrics) -> list[Tile]:
    calibration = Tile("ECE", percent(metrics.ece), "calibration error, 15 bins")
    if isinstance(metrics, Metrics):
        return [
            Tile("Test accuracy", percent(metrics.top1), f"95 % interval {span(metrics.top1_interval)}"),
            Tile("NLL", number(metrics.nll, 3), "nats per image, lower is better"),
            calibration,
        ]
    return [
        Tile("Test mAP", percent(metrics.mean_ap), f"F1 {metrics.macro_f1:.3f} macro, {metrics.micro_f1:.3f} micro"),
        Tile("All labels right", percent(metrics.exact), f"95 % interval {span(metrics.exact_interval)}"),
        calibration,
    ]


def openings(times: Any) -> str:
    """Say how often the test split was opened."""
    if not isinstance(times, int) or times < 1:
        return "an unknown number of times"
    return {1: "once", 2: "twice"}.get(times, f"{times} times")


def charts(files: RunFiles) -> dict[str, str]:
    """Draw loss, accuracy and learning rate against the epoch; none where no epoch is finished."""
    epochs = files.epochs
    if not epochs:
        return {}
    x = [epoch.epoch for epoch in epochs]

    def lines(train: list[float | None], validation: list[float | None]) -> list[Line]:
        both = [Line("train", x, train, TRAIN_COLOUR, dashed=True), Line("validation", x, validation)]
        return [line for line in both if any(value is not None for value in line.y)]

    loss = lines([epoch.train_loss for epoch in epochs], [epoch.validation_loss for epoch in epochs])
    title, name = _measure_of(files)
    seen = [epoch.train_accuracy if name == "accuracy" else None for epoch in epochs]  # another measure than mAP
    score = lines(seen, [epoch.validation_score for epoch in epochs])
    rate = [Line("rate", x, [epoch.lr for epoch in epochs])]
    drawn = {"loss": line_chart(loss, key="loss", title="Loss", description=_told("Loss", loss, ".3f"))}
    if score:  # without labels there is none
        told = _told(title, score, ".1%")
        drawn["accuracy"] = line_chart(score, key="accuracy", title=title, description=told, percent=True)
    told = _told("Learning rate", rate, "g")
    return {**drawn, "rate": line_chart(rate, key="rate", title="Learning rate", description=told, small=True)}


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
    judged = [
        ((score, -(finite(epoch.validation_loss) or 0.0)), epoch)
        for epoch in epochs
        if (score := finite(epoch.validation_score)) is not None
    ]
    if judged:
        (score, _), best = max(judged, key=lambda one: one[0])  # of equal scores that of the least loss
        facts.append((f"Best validation {_measure_of(files)[1]}", f"{percent(score)} in epoch {best.epoch}"))
    for label, values, unit in (
        ("Images per second, median", [epoch.images_per_second for epoch in epochs], whole),
        ("Time per epoch, median", [epoch.seconds for epoch in epochs], duration),
    ):
        known = [value for value in values if value is not None]
        if known:
            facts.append((label, unit(float(np.median(known)))))
    return facts


def checkpoint_name(files: RunFiles) -> str:
    """Say which checkpoint was judged."""
    checkpoint = str(files.evaluated.get("checkpoint") or files.index.get("chosen", ""))
    known = CHECKPOINTS.get(checkpoint, f"the checkpoint {checkpoint}")
    return known.replace("MEASURE", _measure_of(files)[1])


def class_balance(data: DataFacts) -> list[BalanceRow]:
    """Return the images of each class by part whose classes are told, in their order."""
    parts = [part for part in data.parts if part.classes]
    names = dict.fromkeys(name for part in parts for name in part.classes)
    table = {name: tuple(part.classes.get(name, 0) for part in parts) for name in names}
    largest = max((max(counts) for counts in table.values()), default=0)
    return [
        BalanceRow(name, counts, tuple(images / max(largest, 1) for images in counts)) for name, counts in table.items()
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


def span(interval: tuple[float, float]) -> str:
    """Write an interval of fractions in per cent: "90.6 to 91.8"."""
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def probability(value: float) -> str:
    """Write a probability in per cent; what only rounding would make certain is "> 99.9 %"."""
    return "> 99.9 %" if value >= 0.9995 else percent(value)


def number(value: float, digits: int) -> str:
    """Write a number with a fixed count of digits after the point."""
    return f"{value:.{digits}f}" if math.isfinite(value) else MISSING


def _told(title: str, lines: Sequence[Line], form: str) -> str:
    """Tell a chart in words: its epochs, and where each line begins and ends."""
    told = []
    for line in lines:
        known = [value for value in line.y if value is not None]
        if known:
            told.append(f"{line.name} from {known[0]:{form}} to {known[-1]:{form}}")
    begun = f"{title}, epochs {lines[0].x[0]} to {lines[0].x[-1]}: " if lines else title
    return begun + ", ".join(told)


def _measure_of(files: RunFiles) -> tuple[str, str]:
    """Return what the best epoch was chosen by: its title, and its name in a sentence."""
    name = files.metrics.score_name if files.metrics else files.index.get("score_name")
    return ("Mean average precision", "mAP") if name == MultiLabelMetrics.score_name else ("Accuracy", "accuracy")


def _trained_epochs(epochs: Sequence[Epoch]) -> str:
    if not epochs:
        return "no epoch is finished"
    return f"{epochs[-1].epoch:,} epoch{'s' if epochs[-1].epoch > 1 else ''}"
