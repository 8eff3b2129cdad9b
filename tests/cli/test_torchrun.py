"""`torchrun -m lenext train`: who this process is, and what a person sees of several of them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

from lenext import run as runs
from lenext.cli import main
from lenext.cli.ranks import read_place
from lenext.errors import UsageError
from lenext.experiment.resuming import resume
from lenext.training.distributed import Place

from ..conftest import Lenext
from ..dying import start_child

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
TRAIN = ["lenext", "train", "digits", "--model", "lenet5_relu", "--epochs", "1", "--run", "run"]


def test_torchruns_variables_say_where_a_process_stands() -> None:
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "node0",
        "MASTER_PORT": "29400", "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "2"}  # fmt: skip
    expected = Place(rank=5, world=8, local_rank=1, local_world=4, address="node0", port=29400, kept=True, attempt=2)
    assert read_place(told) == expected
    assert read_place({}).world == 1
    with pytest.raises(UsageError, match="WORLD_SIZE is 'many'"):
        read_place({"WORLD_SIZE": "many"})


def command(folder: Path, rank: int, port: int, words: list[str]) -> None:
    """Run the command as one of two ranks, in a folder, with its words to a person in files."""
    os.chdir(folder)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2", MASTER_PORT=str(port))
    os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_USE_AGENT_STORE="True", LENEXT_HOME=str(folder / "home"))
    with (
        (folder / f"out{rank}").open("w") as out,
        (folder / f"err{rank}").open("w") as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        main(words)


def two_ranks(folder: Path, *words: str) -> tuple[list[int], list[str], list[str]]:
    """Exit codes, results and words of a command on two ranks."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    children = [start_child(command, folder, rank, store.port, list(words)) for rank in range(2)]
    for child in children:
        child.join(60)
    told = [[(folder / f"{kind}{rank}").read_text() for rank in range(2)] for kind in ("out", "err")]
    return [child.exitcode for child in children], told[0], told[1]


def test_the_first_rank_speaks_and_the_run_records_how_to_make_it_again(tmp_path: Path, lenext: Lenext) -> None:
    codes, results, words = two_ranks(tmp_path, *TRAIN[1:], "--set", "training.batch_size=50", "--json")
    assert codes == [0, 0], words
    assert "2 ranks of" in words[0]
    assert "epoch 1/1" in words[0]
    assert (results[1], words[1]) == ("", "")
    assert json.loads(results[0])["status"] == "finished"
    index = runs.load_run(tmp_path / "run")
    assert index["command"].startswith("torchrun --standalone --nproc-per-node 2 -m -- lenext train digits --model")
    assert lenext("eval", "run").code == 0


@pytest.mark.slow
def test_the_first_rank_judges_and_a_longer_run_begins_from_a_run(tmp_path: Path) -> None:
    codes, results, words = two_ranks(tmp_path, *TRAIN[1:], "--report")
    assert codes == [0, 0], words
    assert "test, n = 360" in results[0]
    assert results[1] == ""
    assert runs.load_run(tmp_path / "run")["test_opened"] == 1
    assert (tmp_path / "run" / "report.html").is_file()
    codes, _, words = two_ranks(tmp_path, "train", "--extend", "run", "--epochs", "2", "--run", "longer")
    assert codes == [0, 0], words
    assert len(runs.read_metrics(tmp_path / "longer")) == 2


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (["--set", "training.batch_size=51"], 2, "cannot divide a batch of 51 among 2 ranks"),
        (["--seeds", "2"], 2, "cannot do this with several processes"),
        (["--rank-limit", "0"], 2, "cannot wait 0 s for a rank"),
        (["--set", "training.optimizer.rate=1e30"], 7, r"rank [01] of 2 \(pid \d+\) training diverged"),
    ],
)
def test_an_error_of_all_ranks_is_told_once(tmp_path: Path, options: list[str], code: int, expected: str) -> None:
    codes, _, words = two_ranks(tmp_path, *TRAIN[1:], *options)
    assert codes == [code, code]
    if options[0] != "--rank-limit":  # without a limit the ranks do not meet
        assert "".join(words).count("lenext: ") == 1
    assert re.search(expected, "".join(words))


@pytest.mark.slow
def test_torchrun_itself_trains_and_a_killed_rank_ends_it_with_a_good_checkpoint(
    tmp_path: Path, lenext: Lenext
) -> None:
    home = {**os.environ, "LENEXT_HOME": str(tmp_path / "home")}
    whole = subprocess.run([*TORCHRUN, *TRAIN], cwd=tmp_path, env=home, capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.splitlines()[1:] == ["run", "next: lenext eval run"]
    assert lenext("eval", "run").code == 0

    longer = [*TRAIN[:-3], "5000", "--run", "killed", "--rank-limit", "5", "--set", "training.save_seconds=0"]
    with subprocess.Popen([*TORCHRUN, *longer], cwd=tmp_path, env=home, stderr=subprocess.PIPE, text=True) as job:
        assert job.stderr is not None
        told = ""
        while not re.search(r"epoch +2/", told):
            told += (line := job.stderr.readline())
            assert line, told
        pid = int(re.findall(r"pid (\d+)", (tmp_path / "killed" / ".lock").read_text())[0])
        os.kill(pid, signal.SIGKILL)
        told += job.stderr.read()
    assert job.returncode != 0
    assert f"rank 0 of 2 (pid {pid} on" in told
    assert "it was killed, or exited without a word" in told
    session = resume(tmp_path / "killed")
    done = session.state.progress.step
    assert done >= 16  # two epochs of 8
    assert next(iter(session.records())).step == done + 1
