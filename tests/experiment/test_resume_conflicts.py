"""What a run refuses to go on with: other settings, other data, weights that are no numbers.

Oracle: the run as it was, which stays untouched.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import to_toml
from lenext.data.sources import find_source
from lenext.errors import ConflictError, DataError, DivergedError
from lenext.experiment.opening import start
from lenext.experiment.resuming import resume

from .pieces import STEPS, begin, copy, finish, result, write_digits

Fresh = Callable[..., Path]
Whole = Callable[[Path], Path]


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("training.optimizer.rate=0.3", "training.optimizer.rate"),
        ("training.epochs=4", "training.epochs"),
        ("seed=1", "seed"),
        ("augment.flip=true", "augment.flip"),
        ("data.root=/elsewhere", "data.root"),
        ("training.new=1", "training.new"),
    ],
)
def test_changed_setting_is_exit_5_and_named(fresh: Fresh, setting: str, key: str) -> None:
    with pytest.raises(ConflictError) as caught:
        resume(fresh(), [setting, "seed=0" if key != "seed" else "augment.pad=2"])
    assert caught.value.exit_code == 5
    assert caught.value.why == f"differs: {key}"


def test_setting_that_changes_nothing_is_no_conflict(fresh: Fresh) -> None:
    assert resume(fresh(), ["seed=0", "training.epochs=3", "model=resnet20"]).total_steps == STEPS


def test_edited_configuration_is_exit_5(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    path = run / "config.toml"
    path.write_text(path.read_text().replace("epochs = 3", "epochs = 4"))
    with pytest.raises(ConflictError, match=r"config\.toml was edited"):
        resume(run)


def test_configuration_of_the_same_content_in_another_order_is_the_same(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    stored = lenext.config.read_toml(run / "config.toml")
    (run / "config.toml").write_text("# mine\n" + to_toml(dict(reversed(stored.items()))))
    assert resume(run).total_steps == STEPS


def test_finished_run_resumes_to_nothing_and_stays_finished(fresh: Fresh, uninterrupted: Whole, tmp_path: Path) -> None:
    whole = uninterrupted(fresh())
    run = copy(whole, tmp_path / "run")
    assert list(resume(run).records()) == []
    assert result(run) == result(whole)
    assert runs.load_run(run) == runs.load_run(whole)


@pytest.fixture
def on_files(tmp_path: Path) -> tuple[Path, Path]:
    """A run on files that can be changed: (run, folder of the files)."""
    root = write_digits(tmp_path / "data")
    begin(tmp_path / "run", data="mnist", root=str(root))
    return tmp_path / "run", root / "mnist"


def test_changed_image_is_exit_5(on_files: tuple[Path, Path]) -> None:
    run, folder = on_files
    path = folder / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    name = [line for line in (run / "split.csv").read_text().splitlines() if line.endswith(",train")][-1].split(":")[0]
    content[16 + 64 * int(name.removeprefix("train/"))] ^= 1  # after the header, of 8x8 pixels
    path.write_bytes(content)
    with pytest.raises(ConflictError, match=f"1 of its images are not there, {name}:"):
        resume(run)


def test_data_that_moved_is_found_where_one_says(on_files: tuple[Path, Path], tmp_path: Path) -> None:
    """A folder called "7" is a folder and no number."""
    run, folder = on_files
    whole = finish(resume(copy(run, tmp_path / "whole")))
    moved = tmp_path / "7"
    folder.parent.rename(moved)
    with pytest.raises(DataError):
        resume(run)
    with contextlib.chdir(tmp_path):
        assert result(finish(resume(run, root="7"))) == result(whole)
    before, after = result(whole), result(run)
    assert before["config"] == after["config"]


def test_diverged_run_is_exit_7_and_keeps_its_last_checkpoint(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", "training.optimizer.rate=1e38", "training.save_seconds=0").run
    with pytest.raises(DivergedError) as caught:
        finish(resume(run))
    assert caught.value.exit_code == 7
    loaded = checkpoints.load(run / "last")
    assert f"diverged at step {loaded.progress['step'] + 1}" in caught.value.what
    assert all(torch.isfinite(value).all() for value in loaded.weights.values())
    with pytest.raises(DivergedError, match=f"diverged at step {loaded.progress['step'] + 1} "):
        finish(resume(run))


def test_start_refuses_a_folder_that_exists(fresh: Fresh) -> None:
    run = fresh()
    before = json.dumps(runs.load_run(run))
    with pytest.raises(DataError, match="it exists already"):
        start(resume(run).experiment, find_source("digits"), run)
    assert json.dumps(runs.load_run(run)) == before
