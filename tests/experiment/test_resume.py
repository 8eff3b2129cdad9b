"""A run that was interrupted, killed or damaged ends in the same bits as one that was not.

Oracle: the run trained at one go from the same step 0. Signals and deaths are those of real processes.
"""

import contextlib
import functools
import json
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
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import to_toml
from lenext.data.sources import find_source
from lenext.device import threads
from lenext.errors import ConflictError, DataError, DivergedError, InterruptedRunError, LockedError, WeightsError
from lenext.experiment.opening import start
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
    write_digits,
)

Fresh = Callable[..., Path]
Whole = Callable[[Path], Path]

EVERY_STEP, NEVER = "training.save_seconds=0", "training.save_seconds=1e9"
SEEDED = sorted({BATCHES, *np.random.default_rng(0).integers(1, STEPS + 1, 2).tolist()})  # an epoch's last among them
AT_STEPS = [pytest.param(step, marks=pytest.mark.slow) if step == max(SEEDED) else step for step in SEEDED]


# --- in one process -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["plateau", pytest.param("one_cycle", marks=pytest.mark.slow)])
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


# --- what may not change ----------------------------------------------------------------------------------------------


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
    run = begin(tmp_path / "run", "training.optimizer.rate=1e38", EVERY_STEP).run
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
