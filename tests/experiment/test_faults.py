"""What goes wrong while a run is trained leaves a whole checkpoint, says what it was, and costs no bits.

Faults are real ones: limits of the system on memory and file size, rates beyond reason, readers that go away.
"""

import json
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.data.sources import find_source
from lenext.device import is_out_of_memory
from lenext.errors import DivergedError, LockedError, MachineError
from lenext.experiment.forecast import estimate
from lenext.experiment.opening import prepare
from lenext.experiment.resuming import resume

from ..dying import run_child
from .photos import Fresh, Whole
from .pieces import begin, copy, finish, result, step_of

AVERAGED = ["data.limit=137", "training.epochs=2", "training.batch_size=11", "training.accumulate=2",
    "training.average=0.9", "training.save_seconds=0"]  # fmt: skip
LARGE = "training.batch_size=337"
HEADROOM = 40 << 20  # bytes; 337 images of 16x16 keep three times as much for the backward pass


def limit_memory() -> None:
    """Let this process have little more address space than it has now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmSize:\s+(\d+) kB", status)
    assert found is not None
    limit = int(found[1]) * 1024 + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _train_in_little_memory(run: Path, report: Path) -> None:
    session = resume(run)
    limit_memory()
    try:
        finish(session)
    except MachineError as error:
        report.write_text(str(error), encoding="utf-8")
        raise


def test_a_batch_that_does_not_fit_into_memory_is_exit_6_with_a_smaller_one_as_advice(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", LARGE, "data.validation=0", "training.steps=1", size=16).run
    assert run_child(_train_in_little_memory, run, tmp_path / "report") == 6
    told = (tmp_path / "report").read_text(encoding="utf-8")
    assert "cannot train with batches of 337" in told
    assert "--set training.batch_size=168 --set training.accumulate=2" in told
    assert runs.load_run(run)["status"] == "failed"
    assert step_of(run) == 0
    next(iter(resume(run).records()))  # with memory enough it goes on


def _forecast_in_little_memory(run: Path) -> None:
    session = resume(run)
    beginning = prepare(session.experiment, find_source("digits"))
    limit_memory()
    estimate(beginning)


def test_a_forecast_of_what_does_not_fit_into_memory_is_exit_6(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", LARGE, size=16).run
    assert run_child(_forecast_in_little_memory, run) == 6


def test_errors_of_memory_are_known_by_torchs_own_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(MemoryError) as refused:
        bytearray(1 << 62)
    assert is_out_of_memory(refused.value)
    with pytest.raises(RuntimeError) as other:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert not is_out_of_memory(other.value)


def _train_on_a_full_disk(run: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    finish(resume(run))


def test_a_disk_that_fills_up_between_files_of_a_checkpoint_costs_no_bits(tmp_path: Path) -> None:
    """Of the averaged network 1.1 MB are weights, and twice as much is training state: the first file fits."""
    run = begin(tmp_path / "run", *AVERAGED).run
    sizes = sorted(path.stat().st_size for path in (run / "last").glob("*.safetensors"))
    assert sizes[0] < 1_500_000
    whole = finish(resume(copy(run, tmp_path / "whole")))
    assert run_child(_train_on_a_full_disk, run, 1_500_000) == 6
    assert step_of(run) == 0
    assert result(finish(resume(run))) == result(whole)


@pytest.mark.parametrize("rate", ["1e12", pytest.param("1e20", marks=pytest.mark.slow), "1e38"])
def test_divergence_leaves_the_finite_weights_from_before_it(tmp_path: Path, rate: str) -> None:
    run = begin(tmp_path / "run", *AVERAGED, f"training.optimizer.rate={rate}", "training.schedule.warmup=0").run
    with pytest.raises(DivergedError) as caught:
        finish(resume(run))
    assert caught.value.exit_code == 7
    assert runs.load_run(run)["status"] == "failed"
    loaded = checkpoints.load(run / "last")
    assert all(torch.isfinite(value).all() for value in loaded.weights.values())
    assert all(torch.isfinite(value).all() for value in loaded.optimizer.values())
    checkpoints.restore(checkpoints.load(run / "best"))
    with pytest.raises(DivergedError):
        finish(resume(run))


def test_a_run_in_use_is_exit_8_for_training_and_judging(fresh: Fresh, tmp_path: Path) -> None:
    run = copy(fresh(), tmp_path / "run")
    session = resume(run)
    with runs.locked(run):
        for use in (lambda: finish(session), lambda: lenext.evaluate(run)):
            with pytest.raises(LockedError) as caught:
                use()
            assert caught.value.exit_code == 8


# --- real processes on a real shell -----------------------------------------------------------------------------------

TRAIN = "train digits --model resnet20 --run run --epochs 3 --set training.batch_size=48 --set data.validation=100"
TRAIN += " --set data.limit=337 --set training.threads=1 --set training.precision=float32"
TRAIN += " --set training.optimizer.rate=0.05"
ONE_EPOCH = TRAIN.replace("--epochs 3", "--epochs 1")


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which LENEXT is the program."""
    line = command.replace("LENEXT", f"{sys.executable} -m lenext")
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_a_reader_of_the_log_that_goes_away_costs_no_bits(fresh: Fresh, uninterrupted: Whole, tmp_path: Path) -> None:
    """The reader takes the first epoch's line; the second cannot be told any more."""
    command = f"LENEXT {TRAIN} 2>&1 >/dev/null | grep -m 1 epoch; echo ${{PIPESTATUS[0]}}"
    done = shell(command, tmp_path)
    line, code = done.stdout.splitlines()
    assert (line.startswith("epoch 1/3"), code) == (True, "141"), done
    run = tmp_path / "run"
    assert runs.load_run(run)["status"] == "interrupted"
    assert 7 <= step_of(run) < 21
    finish(resume(run))
    found, expected = result(run), result(uninterrupted(fresh()))
    assert {**found, "config": b""} == {**expected, "config": b""}


def test_a_reader_of_the_results_that_has_gone_finds_the_run_finished(tmp_path: Path) -> None:
    done = shell(f"LENEXT {ONE_EPOCH} 2>log | true; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert done.stdout == "141\n"
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert "Traceback" not in log and "bug" not in log
    assert runs.load_run(tmp_path / "run")["status"] == "finished"
    assert checkpoints.load(tmp_path / "run" / "last").generation == 0
    assert list(resume(tmp_path / "run").records()) == []


def test_training_without_an_open_stderr_writes_nothing_where_it_does_not_belong(tmp_path: Path) -> None:
    """With 2>&- the next file that is opened would be what everybody takes for stderr."""
    done = shell(f"LENEXT {ONE_EPOCH} --json 2>&-", tmp_path)
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["status"] == "finished"
    assert checkpoints.load(tmp_path / "run" / "last").generation == 0


@pytest.mark.slow
def test_sigterm_saves_and_exits_143(fresh: Fresh, uninterrupted: Whole, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lenext", *TRAIN.split()]
    child = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    while not (seen := child.stderr.readline()).startswith("epoch 1/3"):
        assert seen
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (143, ""), err
    assert "lenext train --resume run" in err
    finish(resume(tmp_path / "run"))
    found, expected = result(tmp_path / "run"), result(uninterrupted(fresh()))
    assert {**found, "config": b""} == {**expected, "config": b""}
