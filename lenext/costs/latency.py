"""Where the time of a forward pass goes on this machine, layer by layer, beside what its peaks allow (the roofline).

A layer can take no less time than its operations at the machine's highest rate, nor than its bytes at the highest
bandwidth (Williams et al. 2009); calling it costs something, too. Peaks are measured, not read off a data sheet.
"""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lenext.costs.meta import follow
from lenext.costs.operators import Cost, count_cost
from lenext.device import SpeedPlan, fastest_plan, keep_memory, threads

Bound = Literal["arithmetic", "memory", "overhead"]

SIDES = (1024, 2048, 4096, 8192)  # of the matrices that are multiplied for the peak; the first that is long enough
STREAMS = (1 << 20, 8 << 20, 64 << 20)  # bytes read and written; the last is in few caches
LONG = 1e-3  # seconds that a measurement takes at least: launching and waiting are no part of a peak
WARM_SECONDS, LEAST_PASSES, MOST_PASSES = 0.3, 5, 200


@dataclass(frozen=True)
class Peaks:
    """What this machine does at best under a plan.

    flops: floating-point operations a second, of a product of two square matrices in the plan's precision. bandwidths:
    bytes read and written a second, by the bytes that one addition goes over. call: seconds that a module of one number
    takes.
    """

    flops: float
    bandwidths: tuple[tuple[int, float], ...]
    call: float

    def bandwidth(self, traffic: int) -> float:
        """Bytes a second of an operator that moves `traffic` bytes: what is small stays in a cache."""
        return next((rate for size, rate in self.bandwidths if traffic <= size), self.bandwidths[-1][1])


@dataclass(frozen=True)
class LayerTime:
    """Seconds of one module itself, without the modules inside it: the median of the passes, and the quartiles.

    bound: the least that the peaks allow. bound_by: what sets it. The rest, `median - bound`, is not explained.
    """

    name: str
    median: float
    low: float
    high: float
    bound: float
    bound_by: Bound


@dataclass(frozen=True)
class Latency:
    """A forward pass of `batch` images: seconds of the whole (median and quartiles), measured without looking inside.

    layers: as in `Cost.layers`, those that ran. between: what the modules that hold others take themselves.
    """

    batch: int
    passes: int
    plan: SpeedPlan
    peaks: Peaks
    median: float
    low: float
    high: float
    between: float
    layers: tuple[LayerTime, ...]

    @property
    def unexplained(self) -> float:
        """Seconds of the whole that the layers and what is between them do not sum to; negative where looking costs."""
        return self.median - self.between - sum(layer.median for layer in self.layers)


def measure_latency(
    model: nn.Module, images: Tensor, plans: list[SpeedPlan], *, seconds: float = 3.0, cost: Cost | None = None
) -> Latency:
    """Run a copy in evaluation mode under the fastest plan until `seconds` are over, five passes at least.

    Every second pass is timed as a whole, every other module by module. images: (N, C, *sides). cost: of these images,
    where it is known.
    """
    keep_memory()
    device, memory = plans[0].device, torch.channels_last if plans[0].channels_last else torch.contiguous_format
    twin = copy.deepcopy(model).eval().to(device)  # all plans are for one device: they differ in threads
    images = images.to(device, memory_format=memory if images.ndim == 4 else torch.contiguous_format)
    plan = fastest_plan(plans, lambda one: _pass(twin, images, one))
    clock = _Clock(dict(twin.named_modules()), plan)
    watched = copy.deepcopy(twin)
    follow(dict(watched.named_modules()), clock.enter, clock.leave)
    cost = cost or count_cost(model, images.shape[1:], batch=len(images))
    with threads(plan.threads):
        peaks = measure_peaks(plan)

        def warm() -> None:
            _pass(twin, images, plan)
            _pass(watched, images, plan)

        _repeat(warm, WARM_SECONDS)
        clock.begin()
        whole: list[float] = []

        def both() -> None:
            whole.append(_seconds(lambda: _pass(twin, images, plan)))
            _pass(watched, images, plan)
            clock.next_pass()

        passes = _repeat(both, seconds)
    own = clock.passes
    types = {tensor.dtype for tensor in model.parameters()}
    halved = plan.precision == "bf16" and torch.float32 in types  # traffic is counted in the weights' own type
    rows = []
    for layer in cost.layers:
        if not layer.calls:
            continue
        moved = layer.traffic_bytes // (2 if halved else 1)
        bound, bound_by = _bound(layer.flops, moved, layer.calls, peaks)
        rows.append(LayerTime(layer.name, *_quartiles(own.pop(layer.name)), bound, bound_by))
    between = statistics.median(map(sum, zip(*own.values(), strict=True))) if own else 0.0
    return Latency(len(images), passes, plan, peaks, *_quartiles(whole), between, tuple(rows))


def measure_peaks(plan: SpeedPlan) -> Peaks:
    """The highest rates of this machine under a plan, each the best of several: about a second."""
    kind = torch.bfloat16 if plan.precision == "bf16" else torch.float32
    with threads(plan.threads), torch.inference_mode():
        flops = 0.0
        for side in SIDES:
            a, b = (torch.rand(side, side, dtype=kind, device=plan.device) for _ in range(2))
            product = torch.empty_like(a)
            seconds = _best(lambda a=a, b=b, product=product: torch.mm(a, b, out=product), plan)  # type: ignore[misc]
            flops = max(flops, 2 * side**3 / seconds)
            if seconds > LONG:
                break
        bandwidths = []
        for size in STREAMS:
            x = torch.rand(size // 8, device=plan.device)  # half is read, half is written
            y = torch.empty_like(x)
            bandwidths.append((size, size / _best(lambda x=x, y=y: torch.add(x, 1, out=y), plan)))  # type: ignore[misc]
        little, number = nn.ReLU(), torch.rand(1, device=plan.device)
        call = _best(lambda: little(number), plan)
    return Peaks(flops, tuple(bandwidths), call)


def _bound(flops: int, traffic: int, calls: int, peaks: Peaks) -> tuple[float, Bound]:
    limits: dict[Bound, float] = {
        "arithmetic": flops / peaks.flops,
        "memory": traffic / peaks.bandwidth(traffic // max(calls, 1)),
        "overhead": calls * peaks.call,
    }
    by = max(limits, key=lambda name: limits[name])
    return limits[by], by


class _Clock:
    """Own seconds of every module of the pass under way: while a module inside works, the outer one's clock stands."""

    def __init__(self, modules: dict[str, nn.Module], plan: SpeedPlan) -> None:
        self.passes: dict[str, list[float]] = {name: [] for name in modules}
        self._sums = dict.fromkeys(modules, 0.0)
        self._working: list[str] = []
        self._since = 0.0
        self._device = plan.device

    def enter(self, name: str) -> None:
        self._charge()
        self._working.append(name)

    def leave(self, _: Any, __: Any) -> None:
        self._charge()
        self._working.pop()

    def begin(self) -> None:
        """Forget the passes that warmed up."""
        self._sums = dict.fromkeys(self._sums, 0.0)

    def next_pass(self) -> None:
        for name, own in self._sums.items():
            self.passes[name].append(own)
            self._sums[name] = 0.0

    def _charge(self) -> None:
        """To the innermost module at work goes what has passed since the last change."""
        _wait(self._device)
        now = time.perf_counter()
        if self._working:
            self._sums[self._working[-1]] += now - self._since
        self._since = time.perf_counter()


def _pass(model: nn.Module, images: Tensor, plan: SpeedPlan) -> None:
    with torch.inference_mode(), torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16"):
        model(images)
    _wait(plan.device)


def _wait(device: str) -> None:
    """Until an accelerator has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def _repeat(work: Callable[[], object], seconds: float) -> int:
    """Do it until the time is over, at least LEAST_PASSES and at most MOST_PASSES times; return how often."""
    start, done = time.perf_counter(), 0
    while done < LEAST_PASSES or (time.perf_counter() - start < seconds and done < MOST_PASSES):
        work()
        done += 1
    return done


def _best(work: Callable[[], object], plan: SpeedPlan) -> float:
    """Seconds of one call: the best of ten measurements, each of as many calls as take LONG."""

    def several(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            work()
        _wait(plan.device)
        return (time.perf_counter() - start) / count

    several(1)
    count = max(1, round(LONG / max(several(10), 1e-9)))
    return min(several(count) for _ in range(10))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return median, low, high
