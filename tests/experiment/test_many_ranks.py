"""Runs of many processes: the run of one process, stopped together, and ended where a rank is lost.

Ranks are real processes, which die, raise, exit and hang by themselves. Oracle: the same run on one process.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.data.config import DataConfig
from lenext.data.sources import find_source
from lenext.errors import DataError
from lenext.experiment.config import compose
from lenext.experiment.opening import create, prepare
from lenext.experiment.resuming import resume
from lenext.experiment.session import Epoch, Session
from lenext.training.distributed import Ranks

from ..ranks import Ended, results, run_ranks
from .pieces import EPOCHS, PASSING, SMALL, STEPS, copy, metrics, step_of

LIMIT = 5.0  # seconds that a rank may keep the others waiting
MIXED = ["augment.mixup=0.4", "training.average=0.9", "data.workers=2"]


def opened(run: Path, ranks: Ranks, *settings: str) -> Session:
    """Create a small run, on all ranks; LeNet has no norm and no dropout, so that hundreds of them cost seconds."""
    source = find_source("digits")
    told = [f"training.epochs={EPOCHS}", *SMALL, *settings]
    experiment, _ = compose(DataConfig(name="digits"), source, "lenet5_relu", recipe="resnet_cifar", settings=told)
    return create(prepare(experiment, source, ranks), run, command="lenext train")


def train_at_one_go(ranks: Ranks, run: Path, *settings: str) -> list[float | None]:
    losses = []
    for record in opened(run, ranks, *settings).records():
        if isinstance(record, Epoch):
            losses.append(record.validation_loss)
        else:
            assert record.images == 48  # of all ranks
    return losses


def resumed(ranks: Ranks, run: Path) -> int:
    """Go on with a run to its end; return the updates that were left."""
    session = resume(run, ranks=ranks)
    done = session.state.progress.step
    for _ in session.records():
        pass
    return session.state.progress.step - done


def same_run(run: Path, other: Path) -> None:
    """The two runs have the same log and weights, to the rounding of float32."""
    for line, expected in zip(metrics(run), metrics(other), strict=True):
        assert line.pop("kind") == expected.pop("kind")
        assert line == pytest.approx(expected, rel=1e-3)
    for part in ("best", "last"):
        one, two = (checkpoints.load(folder / part) for folder in (run, other))
        assert one.card == two.card
        for key in one.progress.keys() - PASSING:
            assert one.progress[key] == pytest.approx(two.progress[key], rel=1e-3), key
        for name, value in one.weights.items():
            np.testing.assert_allclose(value, two.weights[name], rtol=0, atol=2e-4, err_msg=name)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("single") / "run"
    train_at_one_go(Ranks(), run)
    return run


def test_three_ranks_train_the_run_of_one_and_know_the_same_validation(single: Path, tmp_path: Path) -> None:
    told = results(train_at_one_go, 3, tmp_path / "run")
    assert told[0] == told[1] == told[2]
    assert len(told[0]) == EPOCHS
    assert runs.load_run(tmp_path / "run")["status"] == "finished"
    same_run(tmp_path / "run", single)


def test_mixed_and_averaged_two_ranks_train_the_run_of_one(tmp_path: Path) -> None:
    train_at_one_go(Ranks(), tmp_path / "single", *MIXED)
    results(train_at_one_go, 2, tmp_path / "run", *MIXED)
    same_run(tmp_path / "run", tmp_path / "single")


# ---- stopped and taken up


def interrupt(ranks: Ranks, run: Path) -> None:
    """Rank 1 alone gets the signal, during update 10."""
    for record in opened(run, ranks).records():
        if ranks.rank == 1 and getattr(record, "step", 0) == 10:
            os.kill(os.getpid(), signal.SIGTERM)


def test_all_ranks_stop_at_one_update_and_another_number_of_them_goes_on_or_one_process(
    single: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    ended = run_ranks(interrupt, 2, run)
    assert [one.code for one in ended] == [143, 143]
    assert all("signal SIGTERM after 10 of" in one.error for one in ended)
    assert runs.load_run(run)["status"] == "interrupted"
    assert step_of(run) == 10
    other = copy(run, tmp_path / "other")
    assert results(resumed, 3, run) == [STEPS - 10] * 3
    same_run(run, single)
    assert resumed(Ranks(), other) == STEPS - 10
    same_run(other, single)


# ---- lost ranks


def _raise() -> None:
    raise DataError("cannot read photo.jpg", why="it ends early", advice="remove it")


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed, or exited without a word"),
    "exits": (lambda: os._exit(0), "killed, or exited without a word"),
    "raises": (_raise, "cannot read photo.jpg: it ends early"),
    "stopped": (lambda: os.kill(os.getpid(), signal.SIGSTOP), f"it was stopped, and the others waited {LIMIT:g} s"),
    "hangs": (lambda: threading.Event().wait(), f"the others waited {LIMIT:g} s for it"),
}


def fail(ranks: Ranks, run: Path, fault: str, culprit: int) -> None:
    """One rank meets its fault after update 5; every update is saved."""
    for record in opened(run, ranks, "training.save_seconds=0").records():
        if ranks.rank == culprit and getattr(record, "step", 0) == 5:
            FAULTS[fault][0]()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_rank_ends_the_others_within_the_limit_who_name_it_and_keep_a_good_checkpoint(
    fault: str, tmp_path: Path
) -> None:
    run, began = tmp_path / "run", time.monotonic()
    # who has ended is noticed at once, and its limit stays out of the way of a busy machine
    limit = LIMIT if fault in ("stopped", "hangs") else 60
    survivor, culprit, other = run_ranks(fail, 3, run, fault, 1, limit=limit)
    assert time.monotonic() - began < 50  # far from torch's own half hour, and below 60
    assert "rank 1 of 3 (pid" in survivor.error
    assert FAULTS[fault][1] in survivor.error
    assert f"try:  lenext train --resume {run}" in survivor.error
    assert other.error == survivor.error  # and not that the survivor has ended too
    assert survivor.code == other.code == (3 if fault == "raises" else 6)
    assert culprit.code == {"raises": 3, "exits": 0}.get(fault, -9)  # who keeps others waiting is ended by them
    assert runs.load_run(run)["status"] == "failed"
    assert step_of(run) == 4  # update 5 would be saved once all ranks have said that nobody stops them
    record = next(iter(resume(run).records()))
    assert record.step == 5


def test_rank_0_is_named_too_and_what_it_saved_is_good(tmp_path: Path) -> None:
    _, survivor = run_ranks(fail, 2, tmp_path / "run", "killed", 0)
    assert "rank 0 of 2 (pid" in survivor.error
    assert step_of(tmp_path / "run") == 4
    with runs.locked(tmp_path / "run"):  # it holds nothing any more
        pass
    assert next(iter(resume(tmp_path / "run").records())).step == 5


def fail_before(ranks: Ranks, run: Path) -> None:
    """Rank 0 cannot create the run, for which the others wait."""
    if ranks.leads:
        run.mkdir()
    train_at_one_go(ranks, run)


def test_an_error_before_the_first_update_ends_all_ranks_with_its_code(tmp_path: Path) -> None:
    leader, other = run_ranks(fail_before, 2, tmp_path / "run")
    assert leader.code == other.code == 3
    assert "it exists already" in leader.error
    assert "rank 0 of 2" in other.error
    assert "it exists already" in other.error


def differ(ranks: Ranks, run: Path) -> None:
    """The ranks do not see the same images."""
    settings = ["data.validation=1000"] if ranks.leads else []
    for _ in opened(run, ranks, *settings).records():
        pass


def test_ranks_that_see_other_images_are_refused(tmp_path: Path) -> None:
    ended: list[Ended] = run_ranks(differ, 2, tmp_path / "run")
    assert ended[1].code == 5
    assert "other images" in ended[1].error
    assert ended[0].code == 5
    assert "other images" in ended[0].error
