"""A run that was interrupted, killed or damaged ends in the same bits as one that was not.

Oracle: the run trained at one go from the same step 0. Signals and deaths are those of real processes.
"""

import contextlib
import functools
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import lenext
from lenext import run as runs
from lenext.device import threads
from lenext.errors import DataError, InterruptedRunError, LockedError, WeightsError
from lenext.experiment.resuming import resume
from lenext.experiment.session import Epoch
from lenext.training.loop import Step

from ..dying import before_change, die, pipe, run_child, start_child
from .pieces import (
    BATCHES,
    EPOCHS,
    SCHEDULES,
    SMALL,
    STEPS,
    begin,
    copy,
    damage_newest,
    finish,
    metrics,
    result,
    step_of,
)

Fresh = Callable[..., Path]
Whole = Callable[[Path], Path]

EVERY_STEP, NEVER = "training.save_seconds=0", "training.save_seconds=1e9"
SEEDED = sorted({BATCHES, *np.random.default_rng(0).integers(1, STEPS + 1, 2).tolist()})  # an epoch's last among them
AT_STEPS = [pytest.param(step, marks=pytest.mark.slow if step == 2 * BATCHES else []) for step in SEEDED]


# --- in one process -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule", [pytest.param(name, marks=pytest.mark.slow if name == "one_cycle" else []) for name in SCHEDULES]
)
def test_run_interrupted_after_every_single_step_ends_in_the_same_bits(
    fresh: Fresh, uninterrupted: Whole, tmp_path: Path, schedule: str
) -> None:
    base = fresh(schedule)
    run = copy(base, tmp_path / "run")
    for done in range(1, STEPS + 1):
        number = (signal.SIGINT, signal.SIGTERM)[done % 2]
        with pytest.raises(InterruptedRunError) as caught:
            for record in resume(run).records():
                if isinstance(record, Step):
                    os.kill(os.getpid(), number)
        assert caught.value.exit_code == 128 + number
        assert step_of(run) == done
    finish(resume(run))
    assert result(run) == result(uninterrupted(base))


def test_run_trained_at_once_equals_the_one_resumed_from_its_step_0(tmp_path: Path) -> None:
    session = begin(tmp_path / "run")
    copy(session.run, tmp_path / "copy")
    assert result(finish(session)) == result(finish(resume(tmp_path / "copy")))


@pytest.mark.parametrize("model", ["lenet5", "lenet5_relu"])
def test_other_networks_and_recipes_resume_to_the_same_bits(tmp_path: Path, model: str) -> None:
    """LeNet's own recipe (steps, its loss), and adamw with warm-up and cosine, in the other memory formats."""
    settings = [] if model == "lenet5" else ["training.optimizer.name=adamw", "training.optimizer.rate=1e-3",
        "training.schedule.name=cosine", "training.clip=0.5", "training.precision=bf16"]  # fmt: skip
    begin(tmp_path / "run", "data.limit=137", *settings, model=model)
    for name, channels_last in (("one", True), ("other", False)):
        base = copy(tmp_path / "run", tmp_path / f"{name}-base")
        pin(base, channels_last=channels_last)
        run = copy(base, tmp_path / name)
        for record in resume(run).records():
            if isinstance(record, Step) and record.step == 4:
                break
        with contextlib.suppress(InterruptedRunError):
            for record in resume(run).records():
                if isinstance(record, Step) and record.step == 6:
                    os.kill(os.getpid(), signal.SIGINT)
        assert step_of(run) == 6  # whoever stops listening loses nothing
        assert result(finish(resume(run))) == result(finish(resume(base)))


def pin(run: Path, **changes: object) -> None:
    """Change the speed plan that the run has pinned."""
    index = runs.load_run(run)
    index["speed_plan"].update(changes)
    runs.write_json(run / "run.json", index)


def test_interruption_says_what_is_kept_and_how_to_go_on(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    with pytest.raises(InterruptedRunError) as caught:
        for record in resume(run).records():
            if isinstance(record, Step) and record.step == 5:
                os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.why == f"signal SIGTERM after 5 of {STEPS} updates"
    assert str(run / "last") in caught.value.kept
    assert caught.value.advice == f"lenext train --resume {run}"
    assert runs.load_run(run)["status"] == "interrupted"


def test_session_goes_on_after_its_own_interruption(fresh: Fresh, uninterrupted: Whole, tmp_path: Path) -> None:
    """The same object, iterated again: nobody else has trained the run meanwhile."""
    base = fresh("plateau")
    session = resume(copy(base, tmp_path / "run"))
    for step in (3, BATCHES, BATCHES + 2):
        with pytest.raises(InterruptedRunError):
            for record in session.records():
                if isinstance(record, Step) and record.step == step:
                    os.kill(os.getpid(), signal.SIGINT)
    for record in session.records():
        if isinstance(record, Step) and record.step == BATCHES + 4:
            break
    finish(session)
    assert result(session.run) == result(uninterrupted(base))


def test_signal_after_an_epoch_interrupts_before_the_next(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    with pytest.raises(InterruptedRunError):
        for record in resume(run).records():
            if isinstance(record, Epoch):
                os.kill(os.getpid(), signal.SIGINT)
    assert step_of(run) == BATCHES
    assert len(metrics(run)) == 1


def test_consumer_that_stops_leaves_no_lock_no_handlers_and_the_callers_threads(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with threads(2):  # the caller's; the run has one of its own
        records = resume(run).records()
        next(records)
        assert torch.get_num_threads() == 1
        with pytest.raises(LockedError), runs.locked(run):
            raise AssertionError("entered")
        records.close()  # type: ignore[attr-defined]
        assert torch.get_num_threads() == 2
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with runs.locked(run):
        pass


# --- processes that are told to stop, and processes that are killed ---------------------------------------------------


def _signal_at(run: Path, step: int, number: int) -> None:
    for record in resume(run).records():
        if isinstance(record, Step) and record.step == step:
            os.kill(os.getpid(), number)


@pytest.mark.parametrize("step", AT_STEPS)
@pytest.mark.parametrize(("number", "schedule"), [(signal.SIGTERM, "plateau"), (signal.SIGINT, "one_cycle")])
def test_process_that_is_told_to_stop_saves_and_exits_with_the_shells_code(
    fresh: Fresh, uninterrupted: Whole, tmp_path: Path, number: signal.Signals, schedule: str, step: int
) -> None:
    base = fresh(schedule)
    run = copy(base, tmp_path / "run")
    assert run_child(_signal_at, run, step, number) == 128 + number
    assert step_of(run) == step
    finish(resume(run))
    assert result(run) == result(uninterrupted(base))


@pytest.mark.parametrize("step", AT_STEPS)
@pytest.mark.parametrize(("schedule", "saving"), [("one_cycle", EVERY_STEP), ("plateau", NEVER)])
def test_process_killed_at_a_step_goes_back_to_its_checkpoint_and_ends_in_the_same_bits(
    fresh: Fresh, uninterrupted: Whole, tmp_path: Path, schedule: str, saving: str, step: int
) -> None:
    base = fresh(schedule, saving)
    run = copy(base, tmp_path / "run")
    assert run_child(_signal_at, run, step, signal.SIGKILL) == -signal.SIGKILL
    assert step_of(run) == (step - 1 if saving == EVERY_STEP else (step - 1) // BATCHES * BATCHES)
    finish(resume(run))
    assert result(run) == result(uninterrupted(base))


def _train_and_die(run: Path, moment: int) -> None:
    before_change(moment, run, die)
    finish(resume(run))


@pytest.mark.parametrize("moment", [1, 97, 251])
def test_process_killed_at_a_change_of_a_file_ends_in_the_same_bits(
    fresh: Fresh, uninterrupted: Whole, tmp_path: Path, moment: int
) -> None:
    base = fresh("one_cycle", EVERY_STEP)
    run = copy(base, tmp_path / "run")
    assert run_child(_train_and_die, run, moment) == -signal.SIGKILL
    finish(resume(run))
    assert result(run) == result(uninterrupted(base))


@pytest.mark.slow
@pytest.mark.parametrize("saving", [EVERY_STEP, NEVER])
def test_process_killed_at_any_change_of_a_file_ends_in_the_same_bits(
    fresh: Fresh, uninterrupted: Whole, tmp_path: Path, saving: str
) -> None:
    base = fresh("plateau", saving)
    expected = result(uninterrupted(base))
    code, moment = -signal.SIGKILL, 0
    while code:
        moment += 1
        run = copy(base, tmp_path / "run")
        code = run_child(_train_and_die, run, moment)
        assert code in (0, -signal.SIGKILL)
        finish(resume(run))
        assert result(run) == expected, moment
        shutil.rmtree(run)
    assert moment > 60


def _train_and_signal(run: Path, moment: int, number: int) -> None:
    before_change(moment, run, functools.partial(os.kill, os.getpid(), number))
    lenext.train("digits", "resnet20", run, epochs=EPOCHS, settings=[*SMALL, *SCHEDULES["one_cycle"], EVERY_STEP])


@pytest.mark.parametrize(("number", "moment"), [(signal.SIGTERM, 60), (signal.SIGINT, 121), (signal.SIGKILL, 142)])
def test_lenext_train_stopped_in_the_middle_of_its_files_ends_in_the_same_bits(
    fresh: Fresh, uninterrupted: Whole, tmp_path: Path, number: signal.Signals, moment: int
) -> None:
    run = tmp_path / "run"
    code = run_child(_train_and_signal, run, moment, number)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    assert 0 < step_of(run) < STEPS
    base = fresh("one_cycle", EVERY_STEP)
    assert runs.load_run(run)["speed_plan"] == runs.load_run(base)["speed_plan"]
    assert result(finish(resume(run))) == result(uninterrupted(base))


def test_run_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """Killed at some changes of files while the run is made: nothing, or a run that trains."""
    seen = set()
    for moment in (1, 2, 9, 20, 33, 1000):
        run = tmp_path / str(moment) / "run"
        run.parent.mkdir()
        code = run_child(_make_and_die, run, moment)
        assert code == (0 if moment == 1000 else -signal.SIGKILL)
        seen.add(run.exists())
        if run.exists():
            assert result(run)["last"][3]["step"] == 0
            next(resume(run).records())
    assert seen == {True, False}


def _make_and_die(run: Path, moment: int) -> None:
    before_change(moment, run.parent, die)
    begin(run)


def _hold_at(run: Path, step: int, connection: object) -> None:
    for record in resume(run).records():
        if isinstance(record, Step) and record.step == step:
            connection.send(step)  # type: ignore[attr-defined]
            connection.recv()  # type: ignore[attr-defined]


def test_second_process_gets_exit_8_and_the_first_goes_on_undisturbed(
    fresh: Fresh, uninterrupted: Whole, tmp_path: Path
) -> None:
    base = fresh()
    run = copy(base, tmp_path / "run")
    ours, theirs = pipe()
    first = start_child(_hold_at, run, 4, theirs)
    assert ours.recv() == 4
    assert run_child(_signal_at, run, 1, signal.SIGTERM) == 8
    with pytest.raises(LockedError):
        lenext.evaluate(run)
    ours.send("go")
    first.join()
    assert first.exitcode == 0
    assert result(run) == result(uninterrupted(base))


def _train_on_a_full_disk(run: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    finish(resume(run))


@pytest.mark.parametrize("limit", [100, 500_000])
def test_full_disk_is_exit_6_and_with_space_again_the_same_bits(
    fresh: Fresh, uninterrupted: Whole, tmp_path: Path, limit: int
) -> None:
    """At 100 bytes nothing can be written; at 500,000 all but the tensors."""
    base = fresh()
    run = copy(base, tmp_path / "run")
    assert run_child(_train_on_a_full_disk, run, limit) == 6
    finish(resume(run))
    assert result(run) == result(uninterrupted(base))


def test_training_in_another_thread_goes_without_signals(fresh: Fresh, uninterrupted: Whole, tmp_path: Path) -> None:
    base = fresh()
    run = copy(base, tmp_path / "run")
    thread = threading.Thread(target=lambda: finish(resume(run)))
    thread.start()
    thread.join()
    assert result(run) == result(uninterrupted(base))


# --- damage ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped_after_an_epoch(fresh: Fresh, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run at step 0, and a copy that was interrupted in its second epoch; read only."""
    base = fresh("plateau", EVERY_STEP)
    run = copy(base, tmp_path_factory.mktemp("stopped") / "run")
    with pytest.raises(InterruptedRunError):
        _signal_at(run, BATCHES + 3, signal.SIGINT)
    assert step_of(run) == BATCHES + 3
    return base, run


@pytest.mark.parametrize("role", ["weights", "optimizer", "progress"])
def test_damaged_newest_generation_costs_steps_and_no_bits(
    stopped_after_an_epoch: tuple[Path, Path], uninterrupted: Whole, tmp_path: Path, role: str
) -> None:
    base, stopped = stopped_after_an_epoch
    run = copy(stopped, tmp_path / "run")
    damage_newest(run, role)
    assert step_of(run) == BATCHES + 2
    finish(resume(run))
    assert result(run) == result(uninterrupted(base))


def test_generation_that_was_resumed_is_kept_until_a_newer_one_is_whole(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh("plateau", EVERY_STEP), tmp_path / "run")
    with contextlib.suppress(InterruptedRunError):
        _signal_at(run, 3, signal.SIGINT)
    damage_newest(run)
    with contextlib.suppress(InterruptedRunError):
        _signal_at(run, 3, signal.SIGINT)
    damage_newest(run)
    assert step_of(run) == 2


def test_nothing_whole_is_exit_4_and_the_run_stays_as_it_is(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    damage_newest(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(WeightsError) as caught:
        resume(run)
    assert caught.value.exit_code == 4
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("lost", ["last", "last/manifest*.json"])
def test_missing_checkpoint_is_exit_4(fresh: Fresh, tmp_path: Path, lost: str) -> None:
    run = copy(fresh(), tmp_path / "run")
    for number, path in enumerate(run.glob(lost)):
        path.rename(tmp_path / f"lost-{number}")
    with pytest.raises(WeightsError, match=r"it has no manifest\.json"):
        resume(run)


def test_log_that_lost_lines_is_said(fresh: Fresh, uninterrupted: Whole, tmp_path: Path) -> None:
    run = copy(uninterrupted(fresh()), tmp_path / "run")
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(DataError, match=r"metrics\.jsonl has 0 bytes"):
        finish(resume(run))
