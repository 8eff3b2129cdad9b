"""The page of a run: one offline HTML file, made again from the run's files at any time, the same bytes each time."""

import shlex
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lenext import run as runs
from lenext.papers import load_papers
from lenext.reporting import views
from lenext.reporting.pictures import Picture, filter_pictures
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
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, range=views.between, whole=views.whole, number=views.number)
    environment.filters["probability"] = views.probability
    template = environment.from_string((HERE / "page.html").read_text(encoding="utf-8"))
    return template.render(**_context(files))


def _context(files: RunFiles) -> dict[str, Any]:
    index, gallery = files.index, files.gallery
    name = index.get("name")
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
        "evaluate": shlex.join(["lenext", "eval", str(files.path)]),
        "tiles": views.tiles(files),
        "charts": {key: Markup(svg) for key, svg in views.charts(files.epochs).items()},  # numbers only
        "training_facts": views.training_facts(files),
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
    checkpoint = str(files.evaluated.get("checkpoint") or files.index.get("chosen", ""))
    epoch = finite(files.evaluated.get("epoch"))
    rows, start = views.class_rows(metrics)
    tabled = len(metrics.per_class) <= views.MATRIX_LIMIT
    return {
        "metrics": metrics,
        "checkpoint": views.CHECKPOINTS.get(checkpoint, f"the checkpoint {checkpoint}"),
        "epoch": None if epoch is None else int(epoch),
        "views": predictions.views,
        "names": [row.name for row in metrics.per_class],
        "cells": views.confusion_cells(metrics) if tabled else [],
        "matrix": None if tabled else views.confusion_picture(metrics),
        "pairs": views.confused_pairs(metrics),
        "classes": rows,
        "bar_start": start,
        "mistakes": views.mistakes(files),
        "wrong": metrics.n - sum(metrics.confusion[place][place] for place in range(len(metrics.confusion))),
    }
