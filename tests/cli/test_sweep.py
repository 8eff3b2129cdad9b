"""`lenext sweep` as a person uses it. The engine behind it is tested in tests/experiment/test_sweeping.py."""

import csv
import json
import os
import signal
import statistics
import threading
import time
from pathlib import Path

import pytest

from lenext import run as runs

from ..conftest import Lenext

SMALL = ("--model", "lenet5_relu", "--epochs", "1", "--set", "data.validation=1300", "--set", "training.batch_size=20",
    "--set", "training.threads=1", "--set", "training.precision=float32")  # fmt: skip
SWEEP = ("sweep", "digits", "--vary", "model.pooling=average,max", "--seeds", "2", *SMALL, "--run", "s")


def scores(folder: Path) -> dict[str, list[float]]:
    """By hand, from the logs."""
    return {
        variant.name: [
            max(line["validation_score"] for line in runs.read_metrics(variant / f"seed-{seed}")) for seed in (0, 1)
        ]
        for variant in folder.glob("network*")
    }


def test_sweep_prints_a_row_a_setting_and_goes_on_where_it_stands(lenext: Lenext, tmp_path: Path) -> None:
    answer = lenext(*SWEEP)
    assert answer.code == 0, answer.err
    heading, average, largest, *files = answer.out.splitlines()
    assert heading.split("  ")[0] == "setting"
    assert "validation top-1" in heading
    assert "test" not in heading
    for row, (name, found) in zip((average, largest), sorted(scores(tmp_path / "s").items()), strict=True):
        half = 12.7062 * statistics.stdev(found) / 2**0.5  # Student's t of one degree of freedom at 0.975
        assert row.startswith(name)
        assert f"{100 * statistics.mean(found):.2f} % ± {100 * half:.2f}" in row
    assert files == ["s/sweep.csv", "s/sweep.svg", "s/sweep.png"]
    assert all((tmp_path / file).stat().st_size for file in files)

    lines = list(csv.DictReader((tmp_path / "s" / "sweep.csv").open(encoding="utf-8")))
    assert [(line["variant"], line["seed"], line["status"]) for line in lines] == [
        (f"network.pooling={pooling}", seed, "finished") for pooling in ("average", "max") for seed in ("0", "1")
    ]
    again = lenext(*SWEEP, "--test", "--json")  # the same sweep, judged
    assert again.code == 0, again.err
    assert "4 of 4 runs are done" in again.err
    assert "epoch 1/1" not in again.err
    told = json.loads(again.out)
    assert [(row["variant"], row["n"]) for row in told["settings"]] == [(line["variant"], 2) for line in lines[::2]]
    for run in told["runs"]:
        index = runs.load_run(tmp_path / run["run"])
        metrics = runs.read_json(tmp_path / run["run"] / "metrics-test.json")
        assert (run["test_score"], run["params"], run["macs"]) == (metrics["top1"], index["params"], index["macs"])
    assert "test top-1" in lenext(*SWEEP, "--test").out
    assert {runs.load_run(tmp_path / run["run"])["test_opened"] for run in told["runs"]} == {1}


def test_failed_run_is_told_in_the_table_and_by_the_exit_code(lenext: Lenext) -> None:
    words = ("sweep", "digits", "--vary", "training.optimizer.rate=1e12,0.01", "--seeds", "1", *SMALL, "--run", "s")
    answer = lenext(*words)
    assert answer.code == 7
    heading, diverged, trained, *_ = answer.out.splitlines()
    assert heading.endswith("failed")
    assert diverged.endswith("seed 0 (exit 7)")
    assert "failed" not in trained
    assert "1 of 2 runs failed (exit 7)" in answer.err
    assert lenext(*words).code == 7


def test_ctrl_c_saves_and_prints_the_command_that_goes_on(lenext: Lenext, tmp_path: Path) -> None:
    run = tmp_path / "s" / "network.pooling=average" / "seed-0"

    def interrupt() -> None:
        while not (run / "run.json").is_file() or runs.load_run(run)["status"] != "running":
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    answer = lenext(*SWEEP[:4], "--seeds", "2", *SMALL, "--set", "training.epochs=9999", "--run", "s")
    assert answer.code == 130
    assert "try:  lenext sweep digits --vary model.pooling=average,max --model lenet5_relu" in answer.err
    assert runs.load_run(run)["status"] == "interrupted"


def test_another_command_in_the_folder_is_a_conflict(lenext: Lenext) -> None:
    assert lenext(*SWEEP, "--dry-run").code == 0
    one = ("sweep", "digits", "--vary", "network.pooling=max", "--seeds", "1", *SMALL, "--run", "s")
    assert lenext(*one).code == 0
    answer = lenext(*one, "--set", "training.clip=1")
    assert answer.code == 5
    assert "training.clip=1" in answer.err


def test_dry_run_lists_the_settings_and_writes_nothing(lenext: Lenext, tmp_path: Path) -> None:
    answer = lenext(*SWEEP, "--dry-run")
    assert answer.code == 0, answer.err
    assert [line.split()[0] for line in answer.out.splitlines()[:3]] == [
        "setting", "network.pooling=average", "network.pooling=max",
    ]  # fmt: skip
    assert answer.out.splitlines()[3].startswith("4 runs, 2 of each: about")
    told = json.loads(lenext(*SWEEP, "--dry-run", "--json").out)
    assert (told["runs"], [row["params"] for row in told["settings"]]) == (4, [61_706, 61_706])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("sweep", "digits", "--model", "lenet5_relu"), 2),
        (("sweep", "digits", "--vary", "model.pooling=average,max"), 2),
        (("sweep", "nowhere", "--vary", "model.pooling=average,max", "--model", "lenet5_relu"), 2),
    ],
)
def test_what_is_no_sweep_is_an_error(lenext: Lenext, tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    assert lenext(*words).code == code
    assert list(tmp_path.iterdir()) == []


def test_set_takes_the_spelling_that_vary_takes(lenext: Lenext, tmp_path: Path) -> None:
    words = ("train", "digits", *SMALL, "--set", "model.pooling=average", "--run", "run")
    assert lenext(*words).code == 0
    assert runs.read_json(tmp_path / "run" / "last" / "manifest.json")
    assert 'pooling = "average"' in (tmp_path / "run" / "config.toml").read_text(encoding="utf-8")
