"""Speed plans: which are offered, which is taken, and that the process is left as it was."""

import os
import platform
import sys
from pathlib import Path

import pytest
import torch

from lenext import device
from lenext.device import SpeedPlan, candidate_plans, cores, fastest_plan, keep_memory, require_device, threads
from lenext.errors import MachineError

from .dying import run_child

SLOW = SpeedPlan(device="cpu", precision="float32", channels_last=True, threads=1)
FAST = SpeedPlan(device="cpu", precision="float32", channels_last=False, threads=1)


def plans(count: int, precision: str = "float32") -> list[SpeedPlan]:
    return candidate_plans(precision, thread_count=count, device="cpu")  # type: ignore[arg-type]


def test_threads_asked_for_are_the_only_ones_offered() -> None:
    assert plans(3) == [SpeedPlan(device="cpu", precision="float32", channels_last=True, threads=3)]


def test_every_core_and_one_thread_are_offered_unless_asked_for() -> None:
    assert [plan.threads for plan in plans(0)] == sorted({cores(), 1}, reverse=True)


def test_a_step_of_a_second_is_not_timed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that takes minutes to time gains from every core, which is the first plan."""
    monkeypatch.setattr(device, "_LONG_STEP", 0.0)
    seen: list[SpeedPlan] = []
    assert fastest_plan([SLOW, FAST], seen.append) == SLOW
    assert seen == [SLOW]


def test_a_run_planned_for_a_device_that_is_not_here_is_refused() -> None:
    require_device(SLOW)
    with pytest.raises(MachineError, match="this machine has no hyperdrive"):
        require_device(SpeedPlan(device="hyperdrive", precision="bf16", channels_last=True, threads=1))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_precision_asked_for_is_the_precision_of_every_plan(precision: str) -> None:
    assert {plan.precision for plan in plans(1, precision)} == {precision}


def test_automatic_precision_is_a_rule_on_the_processor() -> None:
    """Oracle: the flags that Linux prints for the processor."""
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    expected = "bf16" if {"avx512_bf16", "amx_bf16"} & flags else "float32"
    assert {plan.precision for plan in plans(1, "auto")} == {expected}


def test_plan_of_the_least_time_is_taken() -> None:
    matrix = torch.rand(200, 200)

    def step(plan: SpeedPlan) -> None:
        for _ in range(40 if plan == SLOW else 1):
            torch.mm(matrix, matrix)

    assert fastest_plan([SLOW, FAST], step) == FAST
    assert fastest_plan([FAST, SLOW], step) == FAST


def test_plan_is_judged_after_its_first_step_which_warms_up() -> None:
    matrix = torch.rand(200, 200)
    seen: list[SpeedPlan] = []

    def step(plan: SpeedPlan) -> None:
        first = plan not in seen
        seen.append(plan)
        for _ in range(200 if plan == FAST and first else 40 if plan == SLOW else 1):
            torch.mm(matrix, matrix)

    assert fastest_plan([SLOW, FAST], step) == FAST


def test_plan_runs_on_its_own_threads() -> None:
    counts = set()
    fastest_plan([*plans(1), *plans(2)], lambda plan: counts.add((plan.threads, torch.get_num_threads())))
    assert counts == {(1, 1), (2, 2)}
    assert torch.get_num_threads() == 1


def test_only_plan_is_not_timed() -> None:
    def step(plan: SpeedPlan) -> None:
        raise AssertionError(plan)

    assert fastest_plan([SLOW], step) == SLOW


def test_threads_come_back_after_an_error() -> None:
    with pytest.raises(ArithmeticError), threads(2):
        assert torch.get_num_threads() == 2
        raise ArithmeticError
    assert torch.get_num_threads() == 1


def test_cores_are_those_that_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)


def test_what_was_freed_is_kept_for_the_next_pass() -> None:
    assert run_child(_hold_and_free, False) == 0
    assert run_child(_hold_and_free, True) == (platform.libc_ver()[0] == "glibc")


def _hold_and_free(keep: bool) -> None:
    """Exit with 1 where the process still has the 400 MB that it freed."""
    if keep:
        keep_memory()
    before = _resident()
    torch.ones(100_000_000)
    sys.exit(int(_resident() - before > 200 << 20))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
