import dataclasses
import json
from pathlib import Path

import pytest

from lenext import run as runs
from lenext.reporting.findings import DataFacts, Part
from lenext.reporting.reading import Epoch, read_run
from lenext.reporting.views import charts, class_balance, digests, openings, tiles, training_facts


@pytest.mark.parametrize(
    ("times", "text"), [(1, "once"), (2, "twice"), (3, "3 times"), (None, "an unknown number of times")]
)
def test_openings_are_told_in_words(times: int | None, text: str) -> None:
    assert openings(times) == text


def test_best_validation_accuracy_is_the_highest_of_the_run_at_its_first_epoch(trained: Path) -> None:
    files = read_run(trained)
    tops = (0.5, 0.75, float("nan"), 0.75, 0.625)
    epochs = tuple(Epoch(epoch=place, validation_score=top1) for place, top1 in enumerate(tops, start=1))
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


def test_measure_of_a_multi_label_run_is_called_by_its_name(labelled: Path) -> None:
    files = read_run(labelled)
    assert "Mean average precision</text>" in charts(files)["accuracy"]
    assert ">train</text>" not in charts(files)["accuracy"]  # its measure is another
    assert "Best validation mAP" in dict(training_facts(files))


def test_unevaluated_run_takes_the_name_of_its_measure_from_the_index(unevaluated: Path) -> None:
    assert "Best validation accuracy" in dict(training_facts(read_run(unevaluated)))
    runs.update_run(unevaluated, score_name="mAP")
    assert "Best validation mAP" in dict(training_facts(read_run(unevaluated)))


def test_weights_are_told_in_megabytes_of_four_bytes_each(run: Path) -> None:
    runs.update_run(run, params=25_557_032)
    notes = {tile.label: tile.note for tile in tiles(read_run(run))}
    assert notes["Parameters"] == "25,557,032, 102 MB as float32"
    runs.update_run(run, params=None)
    assert {tile.label: tile.note for tile in tiles(read_run(run))}["Parameters"] == "-, - as float32"


def test_balance_is_drawn_in_proportion_to_the_largest_class_of_any_part() -> None:
    parts = (
        Part(name="train", images=50, classes={"a": 40, "b": 10}),
        Part(name="validation", images=10, classes={}),  # whose labels nobody looked at: no zeros
        Part(name="test", images=9, classes={"b": 8, "c": 1}),
    )
    facts = DataFacts(source="", found="", ignored=(), findings=(), parts=parts)
    assert [(row.name, row.counts, row.shares) for row in class_balance(facts)] == [
        ("a", (40, 0), (1.0, 0.0)),
        ("b", (10, 8), (0.25, 0.2)),
        ("c", (0, 1), (0.0, 0.025)),
    ]
