"""The machine: which device, precision, memory format and number of threads a run uses."""

import contextlib
import ctypes
import functools
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from lenext.errors import MachineError

Precision = Literal["auto", "float32", "bf16"]

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h
_TRIALS = 3  # timed steps of each candidate, after one to warm up
_LONG_STEP = 1.0  # seconds; a step this long gains from every core, and timing it would take minutes


@dataclass(frozen=True, kw_only=True)
class SpeedPlan:
    """How a run uses its machine; decided before step 1, stored in the run, repeated on resume.

    device: "cpu", "cuda" or "mps". precision: "float32" or "bf16" (autocast; weights stay float32).
    channels_last: memory format of images, which torch's convolutions are fastest in. threads: of torch on the CPU.
    micro_batch: images of one forward and backward pass, 0 for all of a batch. compiled: by torch's compiler.
    """

    device: str
    precision: Literal["float32", "bf16"]
    channels_last: bool
    threads: int
    micro_batch: int = 0
    compiled: bool = False

    def __str__(self) -> str:
        parts = [self.precision, f"{self.threads} thread{'s' * (self.threads > 1)}"]
        parts += [] if self.channels_last else ["channels first"]
        parts += [f"{self.micro_batch} images a pass"] if self.micro_batch else []
        return ", ".join(parts + ["compiled"] * self.compiled)


def candidate_plans(precision: Precision = "auto", thread_count: int = 0, device: str = "auto") -> list[SpeedPlan]:
    """The plans worth timing on this machine; precision is a rule on the hardware, never a timing.

    auto precision is bf16 where the hardware multiplies it, else float32. thread_count: 0 offers one thread, which
    small networks want, and every core.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    fast_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if device == "cuda" else _cpu_multiplies_bf16()
    chosen: Literal["float32", "bf16"] = (
        ("bf16" if fast_bf16 and device != "mps" else "float32") if precision == "auto" else precision
    )
    counts = [thread_count] if thread_count else sorted({cores(), 1} if device == "cpu" else {cores()}, reverse=True)
    return [
        SpeedPlan(device=device, precision=chosen, channels_last=device != "mps", threads=count) for count in counts
    ]


def fastest_plan(plans: list[SpeedPlan], step: Callable[[SpeedPlan], object]) -> SpeedPlan:
    """Time `step` under each plan and return the plan of the least median; the first, where its step takes a second."""
    if len(plans) == 1 or _seconds(plans[0], step) > _LONG_STEP:
        return plans[0]
    return min(plans, key=lambda plan: _median_seconds(plan, step))


def require_device(plan: SpeedPlan) -> None:
    """A run that was planned for what this machine lacks cannot go on to the same bits (MachineError, exit 6)."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(plan.device, False):
        raise MachineError(
            f"cannot go on with a run that was trained on {plan.device}",
            why=f"this machine has no {plan.device}",
            kept="the run, untouched",
            advice="resume it on such a machine, or train a new run here",
        )
    if plan.compiled and plan.device == "cpu" and not has_compiler():
        raise MachineError(
            "cannot train a compiled network",
            why="there is no C++ compiler",
            kept="what was there, untouched",
            advice="install g++, or train a new run with --set training.compile=never",
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the accelerator, or this machine, has no memory for a tensor."""
    told = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return told or isinstance(error, MemoryError | torch.OutOfMemoryError)


def has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler here, by the rule of its own: $CXX, else clang++ on a Mac or g++."""
    return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")) is not None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def keep_memory() -> None:
    """Have glibc keep what this process frees, for a network asks for the same again at every update or batch.

    Otherwise large tensors go back to the system, which makes their pages anew, zeroed, one by one: on a virtual
    machine that is up to half the time of a pass (benchmarks/allocator.py). Without glibc nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, -1)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Use `count` torch threads inside the block, and the caller's number again after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _median_seconds(plan: SpeedPlan, step: Callable[[SpeedPlan], object]) -> float:
    _seconds(plan, step)
    return statistics.median(_seconds(plan, step) for _ in range(_TRIALS))


def _seconds(plan: SpeedPlan, step: Callable[[SpeedPlan], object]) -> float:
    with threads(plan.threads):
        start = time.perf_counter()
        step(plan)
        if plan.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start


def _cpu_multiplies_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
