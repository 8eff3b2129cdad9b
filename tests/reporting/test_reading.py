import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lenext import run as runs
from lenext.errors import DataError
from lenext.judge.ranking import worst_mistakes
from lenext.predictions import Predictions
from lenext.reporting.findings import DataFacts
from lenext.reporting.page import write_report
from lenext.reporting.reading import Epoch, read_epochs, read_run


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


def test_metrics_are_measured_again_so_that_a_file_of_an_earlier_lenext_is_read(run: Path) -> None:
    def forget(metrics: dict[str, object]) -> None:
        rows = metrics["per_class"]
        assert isinstance(rows, list)
        for row in rows:
            del row["f1_interval"], row["precision_interval"]

    edit(run / "metrics-test.json", forget)
    metrics = read_run(run).metrics
    assert metrics is not None
    assert metrics.per_class[3].f1_interval[0] > 0


def test_metrics_without_classes_are_a_data_error(run: Path) -> None:
    edit(run / "metrics-test.json", lambda metrics: metrics.pop("per_class"))
    with pytest.raises(DataError, match=r"metrics-test\.json") as raised:
        read_run(run)
    assert "per_class" in raised.value.why
    assert raised.value.advice == f"run: lenext eval {run}"


@pytest.mark.parametrize(("figure", "value"), [("n", 361), ("confusion", [[360]])])
def test_metrics_that_count_otherwise_than_the_predictions_are_a_data_error(
    run: Path, figure: str, value: object
) -> None:
    edit(run / "metrics-test.json", lambda metrics: metrics.update({figure: value}))
    with pytest.raises(DataError, match="measured on other predictions"):
        read_run(run)


def test_exact_matches_that_are_not_those_of_the_predictions_are_a_data_error(labelled: Path) -> None:
    edit(labelled / "metrics-test.json", lambda metrics: metrics.update(exact=0.5))
    with pytest.raises(DataError, match="measured on other predictions"):
        read_run(labelled)


def test_metrics_of_other_predictions_are_a_data_error(run: Path) -> None:
    def rename(metrics: dict[str, object]) -> None:
        rows = metrics["per_class"]
        assert isinstance(rows, list)
        rows[0]["name"] = "nought"

    edit(run / "metrics-test.json", rename)
    with pytest.raises(DataError, match="measured on other predictions"):
        read_run(run)


@pytest.mark.parametrize(
    ("name", "broken", "why"),
    [
        ("thumbnails", lambda n: np.zeros((n, 8, 8, 1), np.float32), "its images are float32"),
        ("thumbnails", lambda n: np.zeros((n, 8, 8, 2), np.uint8), "not uint8"),
        ("thumbnails_row", lambda n: np.arange(n - 1), "not one integer for each of"),
        ("thumbnails_row", lambda n: np.arange(n) + 360, "its rows go from 360 .* of 360 predictions"),
        ("thumbnails_row", lambda n: np.arange(n) - 1, "its rows go from -1"),
        ("thumbnails_row", lambda n: np.zeros(n, np.int64), "not all different"),
        ("thumbnails_size", lambda n: np.full((n, 2), 9), "at most 8 high and 8 wide"),
        ("thumbnails_size", lambda n: np.full((n, 2), 0), "at most 8 high and 8 wide"),
        ("thumbnails_size", lambda n: np.full(n, 8), "at most 8 high and 8 wide"),
        ("filters", lambda n: np.full((2, 1, 3, 3), np.nan, np.float32), "not finite floats"),
    ],
)
def test_gallery_that_cannot_be_shown_is_a_data_error(
    run: Path, name: str, broken: Callable[[int], np.ndarray], why: str
) -> None:
    with np.load(run / "gallery.npz") as stored:
        count = len(stored["thumbnails"])
    edit_gallery(run, **{name: broken(count)})
    with pytest.raises(DataError, match=why):
        read_run(run)


def test_gallery_of_another_evaluation_is_a_data_error(run: Path) -> None:
    predictions = read_run(run).predictions
    assert predictions is not None
    right = np.flatnonzero(predictions.scores.argmax(axis=1) == predictions.labels)
    with np.load(run / "gallery.npz") as stored:
        count = len(stored["thumbnails_row"])
    edit_gallery(run, thumbnails_row=right[:count])
    with pytest.raises(DataError, match="different evaluations"):
        read_run(run)


def test_run_of_a_newer_format_is_a_data_error(run: Path) -> None:
    edit(run / runs.RUN_JSON, lambda index: index.update(format=99))
    with pytest.raises(DataError, match="99"):
        read_run(run)


def test_gallery_of_an_earlier_lenext_shows_its_mistakes(run: Path) -> None:
    predictions = Predictions.load(run / "predictions-test.npz")
    rows = worst_mistakes(predictions, 12)
    filters = np.ones((1, 1, 3, 3), np.float32)
    pixels = np.arange(12 * 8 * 6, dtype=np.uint8).reshape(12, 8, 6, 1)
    np.savez(run / "gallery.npz", mistakes=pixels, mistakes_row=rows, filters=filters, filters_name="conv")
    gallery = read_run(run).gallery
    assert gallery is not None
    np.testing.assert_array_equal(gallery.rows, rows)
    np.testing.assert_array_equal(gallery.thumbnails, pixels)
    assert gallery.sizes.tolist() == [[8, 6]] * 12


def test_epochs_of_an_earlier_lenext_are_read(run: Path) -> None:
    record = {"kind": "epoch", "epoch": 1, "train_top1": 0.25, "validation_top1": 0.5}
    (run / "metrics.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    assert read_epochs(run / "metrics.jsonl") == (Epoch(epoch=1, train_accuracy=0.25, validation_score=0.5),)


def test_data_file_is_read_in_the_order_of_the_split(run: Path) -> None:
    edit(run / "data.json", lambda data: data.update(split=dict(reversed(list(data["split"].items())))))  # type: ignore[attr-defined]
    data = read_run(run).data
    assert data is not None
    assert [(part.name, part.images) for part in data.parts] == [("train", 1237), ("validation", 200), ("test", 360)]
    assert data.parts[0].classes["nine"] == sum(load_digits().target == 9) - sum(
        part.classes["nine"] for part in data.parts[1:]
    )
    assert (data.findings[0].count, data.findings[0].examples) == (2, ("00017 = 00612",))


@pytest.mark.parametrize("content", ["{}", '{"newer": 1}'])
def test_data_file_that_tells_nothing_is_empty(run: Path, content: str) -> None:
    (run / "data.json").write_text(content, encoding="utf-8")
    assert read_run(run).data == DataFacts(source="", found="", ignored=(), findings=(), parts=())


@pytest.mark.parametrize(
    "content",
    [
        '{"findings": [{"kind": "x"}]}',
        '{"split": {"train": 3}}',
        '{"split": [1]}',
        '{"ignored": 3}',
        '{"findings": "x"}',
    ],
)
def test_data_file_of_another_shape_is_a_data_error_that_names_it(run: Path, content: str) -> None:
    (run / "data.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.json"):
        read_run(run)
