"""The ledger of ranks: entries of real processes in a store of torch, in one process."""

import os
import platform
import signal
import subprocess
import sys

import pytest
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from lenext.errors import DataError
from lenext.training.ledger import Ledger, Loss, SilenceError, _process


def ledgers(world: int, patience: float = 10.0) -> list[Ledger]:
    """Ledgers of ranks that share a store; nobody has entered."""
    store: Store = dist.HashStore()  # type: ignore[attr-defined]
    return [Ledger(store, rank, world, 0.2, patience) for rank in range(world)]


def enter_as(ledger: Ledger, pid: int, born: str = "1") -> None:
    """Write the rank down as another process of this machine."""
    ledger.store.set(f"rank/{ledger.rank}", f'{{"host": "{platform.node()}", "pid": {pid}, "born": "{born}"}}')


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_ranks_agree_on_the_first_ones_value() -> None:
    first, second = ledgers(2)
    assert first.agree("plan", {"threads": 3}) == {"threads": 3}
    assert second.agree("plan", {"threads": 8}) == {"threads": 3}


def test_nobody_waits_for_a_rank_that_has_ended_or_does_not_come() -> None:
    first, second = ledgers(2)
    first.write_end(DataError("cannot read a.png", why="it is empty", advice="remove it"))
    with pytest.raises(SilenceError):
        second.agree("plan", 1)
    lost = second.find_lost()
    assert (lost.why, lost.code) == ("cannot read a.png: it is empty", 3)
    with pytest.raises(SilenceError):
        ledgers(2, patience=0.1)[0].enter()


def test_survivors_name_the_same_rank_and_not_each_other() -> None:
    survivor, culprit, other = ledgers(3)
    for one in (survivor, culprit):
        enter_as(one, ended_process())
    found = survivor.find_lost()
    assert found.who.startswith("rank 1 of 3 (pid ")
    assert other.find_lost() == found  # though the first survivor has ended by now


def test_who_finds_the_stuck_rank_ended_by_another_says_what_that_one_says() -> None:
    survivor, culprit, other = ledgers(3)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        enter_as(culprit, process.pid, _process(process.pid)[1])
        found = survivor.find_lost()
        assert process.wait() == -signal.SIGKILL
    assert found.why == "the others waited 0.2 s for it"
    late = other._ended()
    assert late is not None and late.why == "it was killed, or exited without a word"
    assert other._agreed(late) == found


def test_a_process_that_was_born_at_another_time_is_not_the_rank() -> None:
    first, second = ledgers(2)
    enter_as(second, os.getpid())  # this process, which would be killed if it were taken for a rank that hangs
    assert first.find_lost() == Loss(f"rank 1 of 2 (pid {os.getpid()} on {platform.node()})",
        "it was killed, or exited without a word")  # fmt: skip


def test_a_rank_of_another_machine_is_not_looked_for_on_this_one() -> None:
    first, second = ledgers(2)
    second.store.set("rank/1", f'{{"host": "elsewhere", "pid": {os.getpid()}, "born": "1"}}')
    assert first.find_lost() == Loss(f"rank 1 of 2 (pid {os.getpid()} on elsewhere)", "it no longer answers")


def test_one_of_several_tells() -> None:
    assert [one.tells() for one in ledgers(3)] == [True, False, False]
