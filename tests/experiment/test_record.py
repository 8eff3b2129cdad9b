"""What a run says of itself can be trusted: edits are seen, stale answers go, the command makes the run again."""

import contextlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.cli import main
from lenext.data.config import DataConfig
from lenext.data.sources import find_source
from lenext.errors import ConflictError, DivergedError, UsageError
from lenext.experiment.config import compose
from lenext.experiment.resuming import resume

from .pieces import HELD_OUT, begin, bits, copy, finish

Fresh = Callable[..., Path]


def test_an_edited_split_is_a_conflict_for_training_and_for_judging(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    split = run / runs.SPLIT_CSV
    split.write_text(split.read_text(encoding="utf-8").replace(",validation\n", ",train\n", 1), encoding="utf-8")
    with pytest.raises(ConflictError, match=r"split\.csv"):
        resume(run)
    with pytest.raises(ConflictError, match=r"split\.csv"):
        lenext.evaluate(run, "validation")


def test_an_edited_split_stays_known_as_edited_after_the_index_is_written_anew(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    (run / runs.SPLIT_CSV).write_text("id,split\n", encoding="utf-8")
    runs.update_run(run, status="finished")
    with pytest.raises(ConflictError, match=r"split\.csv"):
        runs.verify(run, runs.SPLIT_CSV)


def test_an_edited_configuration_is_a_conflict_for_judging(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    config = run / runs.CONFIG_TOML
    config.write_text(config.read_text(encoding="utf-8").replace('"digits"', '"mnist"'), encoding="utf-8")
    with pytest.raises(ConflictError, match=r"config\.toml"):
        lenext.evaluate(run)


def test_answers_about_an_earlier_network_go_when_training_goes_on(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    lenext.evaluate(run)
    lenext.write_report(run)
    answers = ("predictions-test.npz", "metrics-test.json", "gallery.npz", "report.html")
    assert all((run / name).exists() for name in answers)
    finish(resume(run))
    assert not any((run / name).exists() for name in answers)
    lenext.evaluate(run)
    finish(resume(run))  # nothing left to train, so the answers stay true
    assert (run / "metrics-test.json").exists()
    assert runs.load_run(run)["test_opened"] == 2


def test_the_recorded_command_makes_the_same_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = finish(begin(tmp_path / "first", "training.optimizer.rate=0.05"))
    words = shlex.split(runs.load_run(first)["command"])
    assert words[0] == "lenext"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(words[1:])
    assert end.value.code == 0, capsys.readouterr().err
    again = tmp_path / "runs" / "digits-resnet20"
    assert bits(checkpoints.load(again / "last").weights) == bits(checkpoints.load(first / "last").weights)
    assert (again / runs.CONFIG_TOML).read_text() == (first / runs.CONFIG_TOML).read_text()


@pytest.mark.parametrize("key", ["model", "recipe", "size", "data.name"])
def test_a_name_is_not_a_setting(key: str) -> None:
    with pytest.raises(UsageError, match=f"cannot set '{key}'"):
        compose(DataConfig(name="digits"), find_source("digits"), "resnet20", settings=[f"{key}=x"])


def test_numerals_are_not_mirrored_unless_asked() -> None:
    experiment, decided = compose(DataConfig(name="digits"), find_source("digits"), "resnet20")
    assert not experiment.augment.flip
    assert "no mirrored images" in " ".join(decided)
    assert compose(DataConfig(name="digits"), find_source("digits"), "resnet20", settings=["augment.flip=true"])[
        0
    ].augment.flip


def test_the_configuration_says_how_many_images_are_held_out(fresh: Fresh) -> None:
    assert compose(DataConfig(name="digits"), find_source("digits"), "resnet20")[0].data.validation == 287
    assert runs.load_run(fresh())["validation_images"] == HELD_OUT


def test_a_plateau_needs_validation() -> None:
    settings = ["training.schedule.name=plateau", "data.validation=0"]
    with pytest.raises(UsageError, match="plateau"):
        compose(DataConfig(name="digits"), find_source("digits"), "resnet20", settings=settings)


def test_a_session_that_another_process_overtook_is_a_conflict(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    early = resume(run)
    finish(resume(run))
    before = (run / "last" / checkpoints.MANIFEST).read_bytes()
    with pytest.raises(ConflictError, match="another process"):
        finish(early)
    assert (run / "last" / checkpoints.MANIFEST).read_bytes() == before


def test_a_damaged_best_is_replaced_by_the_next_better_epoch(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    (run / "best" / checkpoints.MANIFEST).write_text("{", encoding="utf-8")
    finish(resume(run))
    assert checkpoints.load(run / "best").card.epoch > 0


def test_a_diverged_run_says_so_in_its_index(tmp_path: Path) -> None:
    session = begin(tmp_path / "run", "training.optimizer.rate=1e18", "training.schedule.warmup=0")
    with contextlib.suppress(DivergedError):
        finish(session)
    assert runs.load_run(tmp_path / "run")["status"] == "failed"


@pytest.mark.parametrize("size", [(5, 5), (28, 28), (640, 480)])
@pytest.mark.parametrize(("model", "pixels"), [("resnet20", 16), ("resnet20", 8)])
def test_pictures_of_any_size_are_answered(
    fresh: Fresh, tmp_path: Path, model: str, pixels: int, size: tuple[int, int]
) -> None:
    run = begin(tmp_path / "run", model=model, size=pixels).run
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "picture.png")
    (answer,) = lenext.predict(run, [tmp_path / "picture.png"])
    assert sum(entry["probability"] for entry in answer["top5"]) <= 1 + 1e-9
    assert answer["class"] in "0123456789"


def test_cost_of_a_run_is_what_its_index_says(fresh: Fresh, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cost", str(fresh()), "--json"])
    cost = json.loads(capsys.readouterr().out)["totals"]
    index = runs.load_run(fresh())
    assert (cost["params"], cost["macs"]) == (index["params"], index["macs"])
