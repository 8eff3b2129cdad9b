import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lenext import run as runs
from lenext.errors import DataError
from lenext.reporting.page import write_report
from lenext.reporting.reading import read_epochs, read_run


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def edit_gallery(run: Path, **changes: np.ndarray) -> None:
    with np.load(run / "gallery.npz") as stored:
        np.savez(run / "gallery.npz", **{**stored, **changes})


@pytest.mark.parametrize(
    "name", ["run.json", "config.toml", "metrics.jsonl", "environment.json", "predictions-test.npz"]
)
def test_missing_file_is_a_data_error_that_names_it(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(DataError, match=name) as raised:
        write_report(run)
    assert "no" in raised.value.why
    assert raised.value.advice


@pytest.mark.parametrize(
    "name",
    ["run.json", "metrics-test.json", "environment.json", "predictions-test.npz", "gallery.npz"],
)
def test_half_a_file_is_a_data_error_that_names_it(run: Path, name: str) -> None:
    cut(run / name)
    with pytest.raises(DataError, match=name):
        write_report(run)


def test_line_that_is_no_record_is_named_by_its_number(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([lines[0], lines[1][:20] + "\n", *lines[2:]]), encoding="utf-8")
    with pytest.raises(DataError, match="line 2 is no record"):
        read_run(run)


def test_record_whose_figure_is_a_text_is_a_data_error(run: Path) -> None:
    (run / "metrics.jsonl").write_text('{"kind": "epoch", "epoch": 1, "train_loss": "low"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 1 is no record"):
        read_run(run)


def test_last_line_torn_by_a_crash_is_left_out(run: Path) -> None:
    whole = read_epochs(run / "metrics.jsonl")
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert read_epochs(path) == whole[:-1]


def test_epoch_logged_again_after_a_resume_counts_once(run: Path) -> None:
    path = run / "metrics.jsonl"
    again = json.loads(path.read_text(encoding="utf-8").splitlines()[1]) | {"train_loss": 0.125}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(again) + "\n" + json.dumps({"kind": "note", "text": "resumed"}) + "\n")
    epochs = read_epochs(path)
    assert [epoch.epoch for epoch in epochs] == list(range(1, 9))
    assert epochs[1].train_loss == 0.125


def test_run_without_a_model_name_is_a_data_error(run: Path) -> None:
    edit(run / "run.json", lambda index: index.pop("model"))
    with pytest.raises(DataError, match="no 'model'"):
        read_run(run)


def test_metrics_without_a_figure_are_a_data_error(run: Path) -> None:
    edit(run / "metrics-test.json", lambda metrics: metrics.pop("nll"))
    with pytest.raises(DataError, match=r"metrics-test\.json") as raised:
        read_run(run)
    assert "nll" in raised.value.why
    assert raised.value.advice == f"run: lenext eval {run}"


def test_metrics_that_do_not_add_up_are_a_data_error(run: Path) -> None:
    edit(run / "metrics-test.json", lambda metrics: metrics.update(n=361))
    with pytest.raises(DataError, match="counts 360 images in 10 classes, it speaks of 361 in 10"):
        read_run(run)


def test_metrics_of_other_predictions_are_a_data_error(run: Path) -> None:
    def rename(metrics: dict[str, object]) -> None:
        rows = metrics["per_class"]
        assert isinstance(rows, list)
        rows[0]["name"] = "nought"

    edit(run / "metrics-test.json", rename)
    with pytest.raises(DataError, match="measured on other predictions"):
        read_run(run)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mistakes": np.zeros((12, 8, 8, 1), np.float32)}, "'mistakes' is float32"),
        ({"mistakes": np.zeros((12, 8, 8, 2), np.uint8)}, "not uint8"),
        ({"mistakes_row": np.zeros(11, np.int64)}, "not one integer for each of 12 mistakes"),
        ({"mistakes_row": np.full(12, 360)}, "row 360 of 360 predictions"),
        ({"filters": np.full((2, 1, 3, 3), np.nan, np.float32)}, "not finite floats"),
    ],
)
def test_gallery_that_cannot_be_shown_is_a_data_error(run: Path, changes: dict[str, np.ndarray], why: str) -> None:
    edit_gallery(run, **changes)
    with pytest.raises(DataError, match=why):
        read_run(run)


def test_gallery_of_another_evaluation_is_a_data_error(run: Path) -> None:
    predictions = read_run(run).predictions
    assert predictions is not None
    right = np.flatnonzero(predictions.scores.argmax(axis=1) == predictions.labels)
    edit_gallery(run, mistakes_row=right[:12])
    with pytest.raises(DataError, match="different evaluations"):
        read_run(run)


def test_run_of_a_newer_format_is_a_data_error(run: Path) -> None:
    edit(run / runs.RUN_JSON, lambda index: index.update(format=99))
    with pytest.raises(DataError, match="99"):
        read_run(run)
