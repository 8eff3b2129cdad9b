"""What the page needs of a run folder, read and checked: missing or damaged files are a DataError for a human."""

import json
import math
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lenext import run as runs
from lenext.errors import DataError
from lenext.judge.metrics import Metrics, MultiLabelMetrics, measure
from lenext.judge.ranking import worst_mistakes
from lenext.predictions import Predictions
from lenext.reporting.findings import DataFacts, read_data

SPLIT = "test"
EARLIER = {"train_accuracy": "train_top1", "validation_score": "validation_top1"}  # the names in lenext 0.1


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of metrics.jsonl; None where the run did not record the figure.

    validation_score: top-1 accuracy or, where an image may have several classes, mean average precision.
    """

    epoch: int
    step: int | None = None
    lr: float | None = None
    train_loss: float | None = None
    train_accuracy: float | None = None
    validation_loss: float | None = None
    validation_score: float | None = None
    seconds: float | None = None
    images_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The pictures of a run.

    thumbnails: (T, H, W, C) uint8, C being 1 or 3; of each, the image is the upper left part whose height and width
    are in sizes, (T, 2). rows: (T,) rows of the predictions, the worst mistakes first. filters: (F, C, kh, kw) float32.
    """

    thumbnails: np.ndarray
    sizes: np.ndarray
    rows: np.ndarray
    filters: np.ndarray
    filters_name: str


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """The content of a run folder; metrics, predictions and gallery are None until the run is evaluated.

    metrics: measured again on the predictions, which metrics-test.json must agree with. evaluated: what that file tells
    beside them, such as the checkpoint. data: what was found in the data, None where the run does not tell.
    """

    path: Path
    index: dict[str, Any]
    config: str
    epochs: tuple[Epoch, ...]
    environment: dict[str, Any]
    data: DataFacts | None
    metrics: Metrics | MultiLabelMetrics | None
    evaluated: dict[str, Any]
    predictions: Predictions | None
    gallery: Gallery | None


def read_run(run: Path) -> RunFiles:
    """Read the run folder `run` and check that its files belong together."""
    index = runs.load_run(run)
    for key in ("model", "data"):
        if not isinstance(index.get(key), str):
            raise _damaged(run / runs.RUN_JSON, f"it has no {key!r}", "restore it from a copy")
    metrics_path = run / runs.metrics_name(SPLIT)
    evaluated = runs.read_json(metrics_path) if metrics_path.exists() else {}
    predictions = _read_predictions(run) if evaluated else None
    metrics = _agreed(measure(predictions), evaluated, metrics_path) if predictions else None
    gallery_path = run / runs.GALLERY_NPZ
    gallery = _read_gallery(gallery_path, predictions) if gallery_path.exists() else None
    return RunFiles(
        path=run,
        index=index,
        config=_read_text(run / runs.CONFIG_TOML),
        epochs=read_epochs(run / runs.METRICS_JSONL),
        environment=runs.read_json(run / runs.ENVIRONMENT_JSON),
        data=read_data(run / runs.DATA_JSON),
        metrics=metrics,
        evaluated=evaluated,
        predictions=predictions,
        gallery=gallery,
    )


def read_epochs(path: Path) -> tuple[Epoch, ...]:
    """Read the epochs of metrics.jsonl in order; of an epoch that was logged twice, the later line counts.

    A last line without its newline is still being written, or was torn by a crash, and is left out.
    """
    *lines, _unfinished = _read_text(path).split("\n")
    epochs: dict[int, Epoch] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if record["kind"] == "epoch":
                epochs[int(record["epoch"])] = _epoch(record)
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, f"line {number} is no record: {error!r}", "restore it from a copy") from error
    return tuple(epochs[key] for key in sorted(epochs))


def _epoch(record: dict[str, Any]) -> Epoch:
    values: dict[str, Any] = {}
    for field in fields(Epoch):
        value = record.get(field.name, record.get(EARLIER.get(field.name, "")))
        if value is not None:
            values[field.name] = int(value) if field.name in ("epoch", "step") else float(value)
    return Epoch(**values)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise _damaged(path, "there is no such file", "check that this is a run folder") from error
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, f"it cannot be read as text: {error}", "restore it from a copy") from error


def _read_predictions(run: Path) -> Predictions:
    path = run / runs.predictions_name(SPLIT)
    if not path.exists():
        raise _damaged(path, f"there is {runs.metrics_name(SPLIT)} but no such file", _evaluate(run))
    return Predictions.load(path)


def _agreed(metrics: Metrics | MultiLabelMetrics, evaluated: dict[str, Any], path: Path) -> Metrics | MultiLabelMetrics:
    """Return the metrics if the file tells the same; its counts do, for other figures may differ by their rounding."""
    measured = metrics.to_mapping()
    names = [row["name"] for row in measured["per_class"]]
    try:
        told = [row["name"] for row in evaluated["per_class"]]
    except (KeyError, TypeError) as error:
        raise _damaged(path, f"it has no classes: {error!r}", _evaluate(path.parent)) from error
    if told != names or any(evaluated.get(key) != measured.get(key) for key in ("n", "confusion", "exact")):
        why = f"it was measured on other predictions than those in {runs.predictions_name(SPLIT)}"
        raise _damaged(path, why, _evaluate(path.parent))
    return metrics


def _read_gallery(path: Path, predictions: Predictions | None) -> Gallery:
    try:
        with np.load(path, allow_pickle=False) as stored:
            # Before thumbnails, lenext kept the worst mistakes alone, all of one size.
            thumbnails = stored["thumbnails"] if "thumbnails" in stored else stored["mistakes"]
            whole = np.full((len(thumbnails), 2), thumbnails.shape[1:3])
            gallery = Gallery(
                thumbnails=thumbnails,
                sizes=stored.get("thumbnails_size", whole),
                rows=stored["thumbnails_row"] if "thumbnails_row" in stored else stored["mistakes_row"],
                filters=stored["filters"],
                filters_name=str(stored["filters_name"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, f"it is damaged: {error}", _evaluate(path.parent)) from error
    reason = _gallery_fault(gallery, predictions)
    if reason:
        raise _damaged(path, reason, _evaluate(path.parent))
    return gallery


def _gallery_fault(gallery: Gallery, predictions: Predictions | None) -> str:
    """Return why the gallery cannot be shown beside these predictions, or nothing."""
    images, sizes, rows, filters = gallery.thumbnails, gallery.sizes, gallery.rows, gallery.filters
    if images.ndim != 4 or images.dtype != np.uint8 or (len(images) and images.shape[3] not in (1, 3)):
        return f"its images are {images.dtype} {images.shape}, not uint8 (T, H, W, 1 or 3)"
    if rows.shape != images.shape[:1] or not np.issubdtype(rows.dtype, np.integer):
        return f"its rows are {rows.dtype} {rows.shape}, not one integer for each of {len(images)} images"
    if sizes.shape != (len(images), 2) or (sizes < 1).any() or (sizes > images.shape[1:3]).any():
        return f"its images are at most {images.shape[1]} high and {images.shape[2]} wide, their sizes are others"
    if filters.ndim != 4 or not np.issubdtype(filters.dtype, np.floating) or not np.isfinite(filters).all():
        return f"'filters' is {filters.dtype} {filters.shape}, not finite floats (F, C, kh, kw)"
    if predictions is None or not len(rows):
        return ""
    if rows.min() < 0 or rows.max() >= len(predictions) or len(np.unique(rows)) < len(rows):
        return f"its rows go from {rows.min()} to {rows.max()}, not all different, of {len(predictions)} predictions"
    first = rows[: len(worst_mistakes(predictions))]
    wrong = predictions.predicted()[first] != predictions.labels[first]
    if not wrong.reshape(len(first), -1).any(axis=1).all():
        return f"one of its mistakes is none in {runs.predictions_name(SPLIT)}: they come from different evaluations"
    return ""


def finite(value: Any) -> float | None:
    """Return a number of run.json as float, None where it is missing or not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _evaluate(run: Path) -> str:
    return f"run: lenext eval {run}"


def _damaged(path: Path, why: str, advice: str) -> DataError:
    return DataError(f"cannot report on {path}", why=why, advice=advice, kept="the run, untouched")
