import dataclasses
import json
from pathlib import Path

import pytest

from lenext.judge.metrics import ClassMetrics, Metrics, wilson
from lenext.reporting.reading import Epoch, read_run
from lenext.reporting.views import class_rows, confused_pairs, confusion_cells, digests, openings, training_facts


def metrics_of(confusion: tuple[tuple[int, ...], ...]) -> Metrics:
    """Metrics of a hand-made matrix; only what the views read of them is right."""
    rows = tuple(
        ClassMetrics(
            name="abc"[k],
            support=sum(row),
            precision=0.5,
            recall=row[k] / max(sum(row), 1),
            f1=0.5,
            recall_interval=wilson(row[k], sum(row)),
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


@pytest.mark.parametrize(
    ("times", "text"), [(1, "once"), (2, "twice"), (3, "3 times"), (None, "an unknown number of times")]
)
def test_openings_are_told_in_words(times: int | None, text: str) -> None:
    assert openings(times) == text


def test_best_validation_accuracy_is_the_highest_of_the_run_at_its_first_epoch(trained: Path) -> None:
    files = read_run(trained)
    tops = (0.5, 0.75, float("nan"), 0.75, 0.625)
    epochs = tuple(Epoch(epoch=place, validation_top1=top1) for place, top1 in enumerate(tops, start=1))
    facts = dict(training_facts(dataclasses.replace(files, epochs=epochs)))
    assert facts["Best validation accuracy"] == "75.0 % in epoch 2"


def test_training_facts_are_those_of_the_files(trained: Path) -> None:
    files = read_run(trained)
    last = json.loads((trained / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    facts = dict(training_facts(files))
    assert facts["Training images"] == "1,237"
    assert facts["Epochs"] == "8"
    assert facts["Steps"] == str(last["step"])


def test_digests_leave_out_the_page_itself(run: Path) -> None:
    files = read_run(run)
    files.index["files"]["report.html"] = {"sha256": "0" * 64, "bytes": 1}
    assert {"test split", "split.csv", "config.toml"} <= set(dict(digests(files)))
    assert "report.html" not in dict(digests(files))
