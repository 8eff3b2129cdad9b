import subprocess
import sys

import numpy as np
import pytest

from lenext.judge.metrics import measure
from lenext.predictions import Predictions
from lenext.reporting.tables import ResultRow, class_cells, count, duration, metrics_line, percent, results_table
from lenext.reporting.views import probability

ROWS = [
    ResultRow(network="lenet5", accuracy=0.8931, interval=(0.8869, 0.899), seconds=39.96, params=61706, macs=416520),
    ResultRow(network="resnet20", accuracy=None, interval=None, seconds=None, params=269722, macs=40_551_040),
]


@pytest.mark.parametrize(
    ("fraction", "interval", "text"),
    [
        (0.9123, (0.9061, 0.9178), "91.2 % [90.6, 91.8]"),
        (1.0, (0.9894, 1.0), "100.0 % [98.9, 100.0]"),
        (0.5, None, "50.0 %"),
        (None, None, "-"),
        (float("nan"), (0.0, 1.0), "-"),
    ],
)
def test_percent_carries_its_interval(fraction: float | None, interval: tuple[float, float] | None, text: str) -> None:
    assert percent(fraction, interval) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (842, "842"),
        (999, "999"),
        (1000, "1.00 k"),
        (61706, "61.7 k"),
        (269722, "270 k"),
        (999_960, "1.00 M"),
        (40_551_040, "40.6 M"),
        (15_470_264_320, "15.5 G"),
        (2.5e15, "2,500 T"),
        (None, "-"),
    ],
)
def test_count_keeps_three_significant_digits(number: float | None, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.423, "0.42 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (133.2, "2 min 13 s"),
        (3599.6, "1 h 00 min"),
        (3840, "1 h 04 min"),
        (None, "-"),
    ],
)
def test_duration_names_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_plain_table_is_aligned_and_has_no_escape_codes() -> None:
    assert results_table(ROWS) == (
        "network   test accuracy [95 % interval]    time  parameters    MACs\n"
        "lenet5              89.3 % [88.7, 89.9]  40.0 s      61.7 k   417 k\n"
        "resnet20                              -       -       270 k  40.6 M"
    )


def test_terminal_table_shows_the_same_cells_as_the_plain_one() -> None:
    drawn = results_table(ROWS, terminal=True, width=120)
    assert "\x1b[" in drawn
    for row in ROWS:
        assert all(cell in drawn for cell in row.cells())


def test_markup_in_a_network_name_is_shown_as_it_stands() -> None:
    row = ResultRow(network="[red]a[/]\nb", accuracy=None, interval=None, seconds=None, params=None, macs=None)
    assert "[red]a[/] b" in results_table([row], terminal=True, width=120)
    assert results_table([row]).count("\n") == 1


def test_tables_load_neither_torch_nor_rich() -> None:
    code = (
        "import sys, lenext.reporting.tables; print([n for n in ('torch', 'rich', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("value", "text"), [(0.98, "98.0 %"), (0.99949, "99.9 %"), (0.9996, "> 99.9 %"), (1.0, "> 99.9 %")]
)
def test_probability_is_never_rounded_to_certainty(value: float, text: str) -> None:
    assert probability(value) == text


def predictions_of(scores: list[list[float]], labels: list[int] | list[list[int]]) -> Predictions:
    return Predictions(
        ids=tuple(map(str, range(len(scores)))), labels=np.array(labels), scores=np.array(scores),
        classes=("a", "b"), split="test", split_digest="", preprocessing_digest="", model="",
    )  # fmt: skip


def test_figures_of_an_evaluation_are_told_in_a_line() -> None:
    one = measure(predictions_of([[0.0, 0.0]] * 8 + [[0.0, 0.0]] * 2, [0] * 8 + [1] * 2))
    assert metrics_line(one) == "top-1 80.0 % [49.0, 94.3], NLL 0.693, ECE 0.300"
    many = measure(predictions_of([[1.0, -1.0], [1.0, 1.0]], [[1, 0], [1, 0]]))
    expected = "mAP 100.0 %, all labels right 50.0 % [9.5, 90.5], F1 1.000 macro, 0.800 micro, NLL 0.563, ECE 0.116"
    assert metrics_line(many) == expected


def test_classes_are_rows_and_average_precision_is_a_column_of_multi_label_alone() -> None:
    one, many = predictions_of([[2.0, 1.0]], [0]), predictions_of([[2.0, -1.0]], [[1, 1]])
    assert class_cells(measure(one)) == [
        ("class", "images", "precision", "recall", "F1"),
        ("a", "1", "1.000", "1.000", "1.000"),
        ("b", "0", "0.000", "0.000", "0.000"),
    ]
    assert class_cells(measure(many))[::2] == [
        ("class", "images", "precision", "recall", "F1", "AP"),
        ("b", "1", "0.000", "0.000", "0.000", "1.000"),
    ]
