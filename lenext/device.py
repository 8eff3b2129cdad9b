"""The machine: which device, how many threads, which precision and memory format a run uses."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class SpeedPlan:
    """How a run uses its machine; decided before step 1, stored in the run, repeated on resume.

    device: "cpu", "cuda" or "mps". precision: "float32" or "bf16" (autocast; weights stay float32).
    channels_last: memory format of images and convolution weights. threads: of torch on the CPU.
    """

    device: str
    precision: Literal["float32", "bf16"]
    channels_last: bool
    threads: int


def plan_speed(precision: Precision = "auto", device: str = "auto") -> SpeedPlan:
    """Choose by rule on the hardware, never by timing: bf16 where the hardware multiplies it, else float32."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    fast_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if device == "cuda" else _cpu_multiplies_bf16()
    chosen: Literal["float32", "bf16"] = (
        ("bf16" if fast_bf16 and device != "mps" else "float32") if precision == "auto" else precision
    )
    return SpeedPlan(device=device, precision=chosen, channels_last=device != "mps", threads=cores())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Use `count` torch threads inside the block, and the caller's number again after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cpu_multiplies_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
