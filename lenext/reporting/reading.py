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
from lenext.config import from_mapping
from lenext.errors import DataError, UsageError
from lenext.judge.metrics import Metrics
from lenext.predictions import Predictions

SPLIT = "test"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of metrics.jsonl; None where the run did not record the figure."""

    epoch: int
    step: int | None = None
    lr: float | None = None
    train_loss: float | None = None
    train_top1: float | None = None
    validation_loss: float | None = None
    validation_top1: float | None = None
    seconds: float | None = None
    images_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """The pictures of a run.

    mistakes: (M, H, W, C) uint8. mistakes_row: (M,) rows of the predictions. filters: (F, C, kh, kw) float32.
    """

    mistakes: np.ndarray
    mistakes_row: np.ndarray
    filters: np.ndarray
    filters_name: str


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """The content of a run folder; metrics, predictions and gallery are None until the run is evaluated.

    evaluated: what metrics-test.json tells beside the metrics themselves, such as the checkpoint.
    """

    path: Path
    index: dict[str, Any]
    config: str
    epochs: tuple[Epoch, ...]
    environment: dict[str, Any]
    metrics: Metrics | None
    evaluated: dict[str, Any]
    predictions: Predictions | None
    gallery: Gallery | None


def read_run(run: Path) -> RunFiles:
    """Read the run folder `run` and check that its files belong together."""
    index = runs.load_run(run)
    for key in ("model", "data"):
        if not isinstance(index.get(key), str):
            raise _damaged(run / runs.RUN_JSON, f"it has no {key!r}", "restore it from a copy")
    metrics, evaluated = _read_metrics(run / runs.metrics_name(SPLIT))
    predictions = _read_predictions(run, metrics) if metrics else None
    gallery_path = run / runs.GALLERY_NPZ
    gallery = _read_gallery(gallery_path, predictions) if gallery_path.exists() else None
    return RunFiles(
        path=run,
        index=index,
        config=_read_text(run / runs.CONFIG_TOML),
        epochs=read_epochs(run / runs.METRICS_JSONL),
        environment=runs.read_json(run / runs.ENVIRONMENT_JSON),
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
        value = record.get(field.name)
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


def _read_metrics(path: Path) -> tuple[Metrics | None, dict[str, Any]]:
    if not path.exists():
        return None, {}
    content = runs.read_json(path)
    known = {field.name for field in fields(Metrics)}
    try:
        metrics = from_mapping(Metrics, {key: value for key, value in content.items() if key in known})
    except UsageError as error:
        raise _damaged(path, f"{error.what}: {error.why}", _evaluate(path.parent)) from error
    sizes = {len(metrics.per_class), len(metrics.confusion), *(len(row) for row in metrics.confusion)}
    total = sum(map(sum, metrics.confusion))
    if len(sizes) != 1 or total != metrics.n:
        why = f"its confusion matrix counts {total} images in {len(metrics.confusion)} classes, it speaks of "
        why += f"{metrics.n} in {len(metrics.per_class)}"
        raise _damaged(path, why, _evaluate(path.parent))
    return metrics, {key: value for key, value in content.items() if key not in known}


def _read_predictions(run: Path, metrics: Metrics) -> Predictions:
    path = run / runs.predictions_name(SPLIT)
    if not path.exists():
        raise _damaged(path, f"there is {runs.metrics_name(SPLIT)} but no such file", _evaluate(run))
    predictions = Predictions.load(path)
    names = tuple(row.name for row in metrics.per_class)
    if len(predictions.labels) != metrics.n or predictions.classes != names:
        why = f"{runs.metrics_name(SPLIT)} was measured on other predictions"
        raise _damaged(path, why, _evaluate(run))
    return predictions


def _read_gallery(path: Path, predictions: Predictions | None) -> Gallery:
    try:
        with np.load(path, allow_pickle=False) as stored:
            gallery = Gallery(
                mistakes=stored["mistakes"],
                mistakes_row=stored["mistakes_row"],
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
    mistakes, rows, filters = gallery.mistakes, gallery.mistakes_row, gallery.filters
    if mistakes.ndim != 4 or mistakes.dtype != np.uint8 or (len(mistakes) and mistakes.shape[3] not in (1, 3)):
        return f"'mistakes' is {mistakes.dtype} {mistakes.shape}, not uint8 (M, H, W, 1 or 3)"
    if rows.shape != mistakes.shape[:1] or not np.issubdtype(rows.dtype, np.integer):
        return f"'mistakes_row' is {rows.dtype} {rows.shape}, not one integer for each of {len(mistakes)} mistakes"
    if filters.ndim != 4 or not np.issubdtype(filters.dtype, np.floating) or not np.isfinite(filters).all():
        return f"'filters' is {filters.dtype} {filters.shape}, not finite floats (F, C, kh, kw)"
    if predictions is None or not len(rows):
        return ""
    if rows.min() < 0 or rows.max() >= len(predictions.labels):
        return f"a mistake is row {rows.max()} of {len(predictions.labels)} predictions"
    if (predictions.scores[rows].argmax(axis=1) == predictions.labels[rows]).any():
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
