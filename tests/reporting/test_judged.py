from pathlib import Path

import numpy as np
import pytest

from lenext.judge.intervals import wilson
from lenext.judge.metrics import ClassMetrics, Metrics, measure
from lenext.judge.ranking import PER_CELL, cell_rows
from lenext.predictions import Predictions
from lenext.reporting.judged import (
    calibration_bins,
    class_rows,
    confused_pairs,
    confusion_cells,
    decided_images,
    named_images,
    panels,
)
from lenext.reporting.reading import read_run


def metrics_of(confusion: tuple[tuple[int, ...], ...]) -> Metrics:
    """Metrics of a hand-made matrix; only what the views read of them is right."""
    rows = tuple(
        ClassMetrics(
            name="abc"[k],
            support=sum(row),
            precision=0.5,
            recall=row[k] / max(sum(row), 1),
            f1=0.5,
            precision_interval=(0.4, 0.6),
            recall_interval=wilson(row[k], sum(row)),
            f1_interval=(0.4, 0.6),
        )
        for k, row in enumerate(confusion)
    )
    n = sum(map(sum, confusion))
    return Metrics(
        n=n, top1=0.5, top1_interval=(0.4, 0.6), top5=1.0, nll=0.7, ece=0.1, per_class=rows, confusion=confusion
    )


HAND_MADE = metrics_of(((16, 4, 0), (1, 98, 1), (0, 0, 0)))


def test_confusion_has_its_full_colour_from_a_quarter_of_the_row_on() -> None:
    (right, wrong, empty), (rare, *_), _ = confusion_cells(metrics_of(((12, 4, 0), (1, 98, 1), (0, 0, 0))))
    assert (right.kind, right.strength) == ("right", 0.75)
    assert (wrong.kind, wrong.strength) == ("wrong", 1.0)
    assert (empty.kind, empty.count) == ("empty", 0)
    assert rare.strength == pytest.approx(0.2)


def test_most_confused_pairs_come_first_and_pairs_without_images_not_at_all() -> None:
    pairs = [(pair.true, pair.said, pair.count, pair.share) for pair in confused_pairs(HAND_MADE)]
    assert pairs == [("a", "b", 4, "20.0 %"), ("b", "a", 1, "1.0 %"), ("b", "c", 1, "1.0 %")]


def test_bars_begin_at_the_tenth_below_the_lowest_interval() -> None:
    rows, start = class_rows(HAND_MADE)
    low, high = wilson(16, 20)
    assert start == 0.5 < low < 0.6
    assert [row.metrics.name for row in rows] == ["a", "b", "c"]
    assert (rows[0].low, rows[0].high, rows[0].at) == pytest.approx((200 * (low - 0.5), 200 * (high - 0.5), 60.0))
    assert rows[2].at is None


def test_cells_and_pairs_open_the_panels_that_there_are() -> None:
    cells = confusion_cells(HAND_MADE, {(0, 1), (1, 1)})
    assert [[cell.panel for cell in row] for row in cells] == [["", "cell-0-1", ""], ["", "cell-1-1", ""], ["", "", ""]]
    assert [pair.panel for pair in confused_pairs(HAND_MADE, opening={(0, 1)})] == ["cell-0-1", "", ""]


def test_panel_has_the_images_of_its_cell_the_surest_first(trained: Path) -> None:
    files = read_run(trained)
    assert files.predictions is not None
    assert files.gallery is not None
    found = panels(files.predictions, named_images(files.predictions, files.gallery))
    said = files.predictions.scores.argmax(axis=1)
    assert set(found) == set(zip(files.predictions.labels.tolist(), said.tolist(), strict=True))
    for (true, named), panel in found.items():
        inside = (files.predictions.labels == true) & (said == named)
        assert panel.count == inside.sum()
        sure = [shown.probability for shown in panel.images]
        assert sure == sorted(sure, reverse=True)
        assert sure == pytest.approx(np.sort(files.predictions.probabilities()[inside].max(axis=1))[::-1][:PER_CELL])
        assert {shown.id for shown in panel.images} <= {files.predictions.ids[row] for row in np.flatnonzero(inside)}


def test_cell_without_images_in_the_gallery_has_no_panel(trained: Path) -> None:
    files = read_run(trained)
    assert files.predictions is not None
    row = cell_rows(files.predictions)[3, 3][0]
    assert files.gallery is not None
    shown = {row: named_images(files.predictions, files.gallery)[row]}
    assert list(panels(files.predictions, shown)) == [(3, 3)]


def test_missed_and_invented_labels_are_told_with_their_probabilities(labelled: Path) -> None:
    files = read_run(labelled)
    assert files.predictions is not None
    assert files.gallery is not None
    for row, shown in decided_images(files.predictions, files.gallery).items():
        has, probabilities = files.predictions.labels[row], files.predictions.probabilities()[row]
        for decisions, label in ((shown.missed, 1), (shown.invented, 0)):
            for name, probability in decisions:
                k = files.predictions.classes.index(name)
                assert has[k] == label
                assert probability == pytest.approx(probabilities[k], rel=1e-12)
        assert len(shown.missed) + len(shown.invented) == (has != (probabilities > 0.5)).sum() > 0


def test_calibration_error_is_the_mean_distance_of_the_bins(trained: Path, labelled: Path) -> None:
    for path in (trained, labelled):
        predictions = Predictions.load(path / "predictions-test.npz")
        bins = calibration_bins(predictions)
        counted = sum(one.count for one in bins)
        assert counted == len(predictions) * (len(predictions.classes) if predictions.multi_label else 1)
        distance = sum(one.count * abs(one.accuracy - one.confidence) for one in bins) / counted
        assert distance == pytest.approx(measure(predictions).ece, rel=1e-9)


def test_classes_of_a_multi_label_task_begin_with_the_lowest_average_precision(labelled: Path) -> None:
    rows, _ = class_rows(measure(Predictions.load(labelled / "predictions-test.npz")))
    precisions = [row.metrics.average_precision or 0.0 for row in rows]
    assert precisions == sorted(precisions)
    assert len(set(precisions)) == 3
