"""A run goes on under a longer schedule, as another run. Oracle: the schedules as functions, and the old run."""

import shlex
from pathlib import Path

import pytest

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import differing_keys, read_toml
from lenext.errors import ConflictError, UsageError
from lenext.experiment.resuming import extend, resume
from lenext.training.loop import Step
from lenext.training.schedule import rate_factor

from .photos import Fresh, tree
from .pieces import BATCHES, begin, bits, copy, damage_newest, finish, metrics, result

TWO = ["data.limit=137", "training.epochs=2", "training.batch_size=20", "training.optimizer.rate=0.05"]
EACH = 6  # 137 images in batches of 20


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and judged run of two epochs with an average; read only."""
    run = tmp_path_factory.mktemp("short") / "run"
    finish(begin(run, *TWO, "training.average=0.9"))
    lenext.evaluate(run)
    return run


def test_the_longer_run_has_all_its_epochs_and_the_first_ones_are_those_of_the_old_run(
    short: Path, tmp_path: Path
) -> None:
    before = tree(short)
    run = finish(extend(short, 4, tmp_path / "longer"))
    assert tree(short) == before
    assert [line["epoch"] for line in metrics(run)] == [1, 2, 3, 4]
    assert [line["step"] for line in metrics(run)] == [EACH, 2 * EACH, 3 * EACH, 4 * EACH]
    assert runs.read_metrics(run)[:2] == runs.read_metrics(short)
    old, new = (read_toml(place / runs.CONFIG_TOML) for place in (short, run))
    assert differing_keys(old, new) == ["training.epochs"]
    assert (run / runs.SPLIT_CSV).read_bytes() == (short / runs.SPLIT_CSV).read_bytes()
    index = runs.load_run(run)
    assert (index["extended_from"], index["status"]) == (str(short), "finished")
    assert index["test_opened"] == runs.load_run(short)["test_opened"]


def test_it_begins_with_the_old_runs_weights_optimiser_average_and_best(short: Path, tmp_path: Path) -> None:
    run = extend(short, 3, tmp_path / "longer").run
    for part in ("best", "last"):
        old, new = (checkpoints.load(place / part) for place in (short, run))
        assert bits(new.weights) == bits(old.weights)
        assert new.card == old.card
    assert bits(new.optimizer) == bits(old.optimizer)


def test_rates_afterwards_are_those_of_the_longer_schedule(short: Path, tmp_path: Path) -> None:
    rates: list[float] = []
    session = extend(short, 4, tmp_path / "longer")
    finish(session, lambda record: rates.append(record.rate) if isinstance(record, Step) else None)
    schedule = session.experiment.training.schedule
    assert rates == [0.05 * rate_factor(schedule, step, 4 * EACH) for step in range(2 * EACH, 4 * EACH)]
    last = [line["lr"] for line in metrics(session.run)]
    assert last[1] < rates[0]  # one cycle had ended


def test_under_a_constant_rate_it_is_the_run_that_was_longer_from_the_start(tmp_path: Path) -> None:
    settings = [*TWO, "training.schedule.name=constant", "training.schedule.warmup=0", "training.average=0.9"]
    first = finish(begin(tmp_path / "first", *settings, "training.epochs=1"))
    whole = finish(begin(tmp_path / "whole", *settings))
    assert result(finish(extend(first, 2, tmp_path / "longer"))) == result(whole)


def test_a_run_interrupted_within_an_epoch_is_extended_from_there(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    for record in resume(run).records():
        if isinstance(record, Step) and record.step == BATCHES + 2:
            break
    session = extend(run, 4, tmp_path / "longer")
    assert (session.state.progress.epoch, session.state.progress.step) == (1, BATCHES + 2)
    assert [line["step"] for line in metrics(finish(session))] == [BATCHES * n for n in (1, 2, 3, 4)]


def test_an_extended_run_is_resumed_judged_and_extended_again(short: Path, tmp_path: Path) -> None:
    run = extend(short, 3, tmp_path / "longer").run
    twin = copy(run, tmp_path / "twin")
    for record in resume(run).records():
        if isinstance(record, Step) and record.step == 2 * EACH + 3:
            break
    finish(resume(run))
    assert result(run) == result(finish(resume(twin)))
    assert lenext.evaluate(run).n == 360
    again = finish(extend(run, 4, tmp_path / "again"))
    assert len(metrics(again)) == 4


@pytest.mark.parametrize("epochs", [0, 1, 2])
def test_no_more_epochs_than_it_has_is_refused(short: Path, tmp_path: Path, epochs: int) -> None:
    with pytest.raises(UsageError, match=f"to {epochs} epochs") as caught:
        extend(short, epochs, tmp_path / "longer")
    assert caught.value.why == "it has 2"
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_ended_within_an_epoch_has_no_more_epochs_than_asked_for(tmp_path: Path) -> None:
    """Nine updates are one epoch and a half, recorded as two; four epochs in all are four lines."""
    run = finish(begin(tmp_path / "run", *TWO, "training.steps=9"))
    assert [line["step"] for line in metrics(run)] == [6, 9]
    longer = finish(extend(run, 4, tmp_path / "longer"))
    assert [line["epoch"] for line in metrics(longer)] == [1, 2, 3, 4]


def test_a_run_that_stopped_early_goes_on(tmp_path: Path) -> None:
    """What was asked for is more epochs; patience begins anew."""
    run = finish(begin(tmp_path / "run", *TWO, "training.epochs=9", "training.patience=1", "training.optimizer.rate=0"))
    assert runs.load_run(run)["stopped_early"]
    longer = finish(extend(run, 12, tmp_path / "longer"))
    assert len(metrics(longer)) > len(metrics(run))


def test_an_edited_configuration_is_a_conflict(short: Path, tmp_path: Path) -> None:
    run = copy(short, tmp_path / "run")
    path = run / runs.CONFIG_TOML
    path.write_text(path.read_text(encoding="utf-8").replace("rate = 0.05", "rate = 0.5"), encoding="utf-8")
    with pytest.raises(ConflictError, match=r"config\.toml"):
        extend(run, 4, tmp_path / "longer")


def test_a_damaged_newest_generation_does_not_matter_where_an_older_one_is_whole(short: Path, tmp_path: Path) -> None:
    run = copy(short, tmp_path / "run")
    damage_newest(run)
    session = extend(run, 3, tmp_path / "longer")
    assert session.state.progress.epoch == 1
    assert [line["epoch"] for line in metrics(finish(session))] == [1, 2, 3]


def test_the_recorded_command_names_the_run_that_it_went_on_from(short: Path, tmp_path: Path) -> None:
    """A run from the start under the longer schedule has other rates, and so other bits."""
    run = extend(short, 3, tmp_path / "longer").run
    words = shlex.split(runs.load_run(run)["command"])
    assert words[:2] == ["lenext", "train"]
    assert words[words.index("--extend") + 1] == str(short)
    assert words[words.index("--epochs") + 1] == "3"
