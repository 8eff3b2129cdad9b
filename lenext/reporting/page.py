"""The page of a run: one offline HTML file, made again from the run's files at any time, the same bytes each time."""

import shlex
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lenext import run as runs
from lenext.judge.metrics import Metrics
from lenext.judge.ranking import worst_mistakes
from lenext.papers import load_papers
from lenext.predictions import Predictions
from lenext.reporting import judged, views
from lenext.reporting.pictures import Picture, filter_pictures
from lenext.reporting.plots import reliability_chart
from lenext.reporting.reading import Gallery, RunFiles, finite, read_run
from lenext.reporting.tables import duration, percent

HERE = Path(__file__).parent
FILTER_SIDE, FEW_FILTERS_SIDE, FEW_FILTERS = 48, 80, 16  # pixels, pixels, filters


def write_report(run: Path | str) -> Path:
    """Write RUN/report.html from the run's other files and return its path; the old page stays whole until then."""
    run = Path(run)
    path = run / runs.REPORT_HTML
    runs.write_durably(path, render(read_run(run)).encode())
    return path


def render(files: RunFiles) -> str:
    """Return the page as HTML; every text of the run is escaped, and the page forbids itself any request or script."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent=percent, range=views.between, span=views.span, whole=views.whole, number=views.number
    )
    environment.filters["probability"] = views.probability
    return environment.get_template("page.html").render(**_context(files))


def _context(files: RunFiles) -> dict[str, Any]:
    index, gallery = files.index, files.gallery
    name, unlabelled = index.get("name"), index.get("labels") is False
    return {
        "css": Markup((HERE / "page.css").read_text(encoding="utf-8")),  # ours, nothing of the run in it
        "name": str(name) if name else files.path.name,
        "model": index["model"],
        "data": index["data"],
        "paper": load_papers().get(index["model"]),
        "status": str(index.get("status", "")),
        "created": str(index.get("created", ""))[:16].replace("T", " "),
        "lenext": str(index.get("lenext", "")),
        "trained": duration(finite(index.get("train_seconds"))),
        "openings": views.openings(index.get("test_opened")),
        "opened_often": (finite(index.get("test_opened")) or 0) > 1,
        "unlabelled": unlabelled,
        "next": shlex.join(["lenext", *(("train", "DATA", "--weights") if unlabelled else ("eval",)), str(files.path)]),
        "tiles": views.tiles(files),
        "charts": {key: Markup(svg) for key, svg in views.charts(files).items()},  # numbers only
        "training_facts": views.training_facts(files),
        "facts": files.data,
        "balance": views.class_balance(files.data) if files.data else None,
        "filters": _filters(gallery) if gallery else [],
        "filter_shape": gallery.filters.shape if gallery else (),
        "filters_name": gallery.filters_name if gallery else "",
        "gallery": gallery is not None,
        "config": files.config,
        "command": str(index.get("command", "")),
        "environment": views.environment_facts(files.environment),
        "digests": views.digests(files),
        "test": _test_context(files),
    }


def _filters(gallery: Gallery) -> list[Picture]:
    few = len(gallery.filters) <= FEW_FILTERS
    return filter_pictures(gallery.filters, FEW_FILTERS_SIDE if few else FILTER_SIDE)


def _test_context(files: RunFiles) -> dict[str, Any] | None:
    """Return what the page shows of the evaluation, None where there is none yet."""
    metrics, predictions = files.metrics, files.predictions
    if metrics is None or predictions is None:
        return None
    epoch = finite(files.evaluated.get("epoch"))
    rows, start = judged.class_rows(metrics)
    seen = _named(metrics, predictions, files.gallery) if isinstance(metrics, Metrics) else _decided(files)
    return {
        "metrics": metrics,
        "multi_label": predictions.multi_label,
        "checkpoint": views.checkpoint_name(files),
        "epoch": None if epoch is None else int(epoch),
        "views": predictions.views,
        "trained_on": finite(files.evaluated.get("trained_on")) or 0,
        "names": [row.name for row in metrics.per_class],
        "classes": rows,
        "bar_start": start,
        "wrong": judged.count_wrong(metrics),
        **_calibration(predictions),
        **seen,
    }


def _named(metrics: Metrics, predictions: Predictions, gallery: Gallery | None) -> dict[str, Any]:
    """Return the confusion matrix, its panels and the worst mistakes."""
    shown = judged.named_images(predictions, gallery) if gallery else {}
    panels = judged.panels(predictions, shown)
    tabled = len(metrics.per_class) <= judged.MATRIX_LIMIT
    pairs = judged.confused_pairs(metrics, judged.PAIRS if tabled else judged.MANY_PAIRS, opening=panels)
    if not tabled:  # nothing but the pairs opens them
        panels = {cell: panel for cell, panel in panels.items() if panel.id in {pair.panel for pair in pairs}}
    return {
        "cells": judged.confusion_cells(metrics, panels) if tabled else [],
        "matrix": None if tabled else judged.confusion_picture(metrics),
        "pairs": pairs,
        "panels": list(panels.values()),
        "mistakes": [shown[row] for row in worst_mistakes(predictions).tolist() if row in shown],
    }


def _decided(files: RunFiles) -> dict[str, Any]:
    """Return the worst mistakes of a multi-label task, which has no confusion matrix."""
    predictions, gallery = files.predictions, files.gallery
    shown = judged.decided_images(predictions, gallery) if predictions and gallery else {}
    worst = worst_mistakes(predictions).tolist() if predictions else []
    return {"panels": [], "mistakes": [shown[row] for row in worst if row in shown]}


def _calibration(predictions: Predictions) -> dict[str, Any]:
    bins = judged.calibration_bins(predictions)
    told = ", ".join(f"{one.accuracy:.0%} at {one.confidence:.0%}" for one in bins if one.count)
    vertical = "Share of classes that are there" if predictions.multi_label else "Accuracy"
    chart = reliability_chart(
        bins, key="reliability", vertical=vertical, description=f"{vertical} by confidence: {told}"
    )
    return {"reliability": Markup(chart), "bins": [one for one in bins if one.count]}  # numbers only
