"""Where the time of a pass goes. The clock is counted by hand; how fast this machine is, no test says."""

import itertools
import json
import os
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from lenext.costs.latency import Peaks, _bound, measure_latency, measure_peaks
from lenext.costs.operators import count_cost
from lenext.device import SpeedPlan, candidate_plans

from ..conftest import Lenext
from ..dying import own_core

PLAN = SpeedPlan(device="cpu", precision="float32", channels_last=True, threads=1)


class Nested(nn.Module):
    """Its own product before and after the one inside, which it calls twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inside(self.inside(x * 2) * 3)
        return y


def test_a_modules_time_is_without_those_inside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that shows one more each time it is read: twice at every change of the module at work."""
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    found = measure_latency(Nested(), torch.ones(2, 4), [PLAN], seconds=1)
    own = {layer.name: layer.median for layer in found.layers}
    assert own == {"": 3, "inside.0": 2, "inside.1": 2}  # before, between and after; once a call
    assert found.between == 2 * 3  # `inside` itself, before, between and after its two
    assert found.passes == 5
    assert found.median == 1  # the whole, from one reading to the next
    assert found.unexplained == 1 - 6 - 7


def test_what_ran_has_a_row_in_the_order_of_its_cost() -> None:
    model = Nested()
    found = measure_latency(model, torch.ones(2, 4), [PLAN], seconds=0)
    assert [layer.name for layer in found.layers] == [layer.name for layer in count_cost(model, (4,)).layers]
    assert all(0 < layer.low <= layer.median <= layer.high and layer.bound > 0 for layer in found.layers)
    assert found.batch == 2 and found.low <= found.median <= found.high
    assert model.training


def test_the_least_time_is_that_of_the_tightest_limit() -> None:
    peaks = Peaks(flops=100.0, bandwidths=((10, 50.0), (100, 20.0)), call=0.5)
    assert _bound(300, 10, 1, peaks) == (3.0, "arithmetic")
    assert _bound(0, 10, 0, peaks) == (0.2, "memory")
    assert _bound(0, 80, 1, peaks) == (4.0, "memory")
    assert _bound(0, 1000, 1, peaks) == (50.0, "memory")
    assert _bound(10, 10, 3, peaks) == (1.5, "overhead")


def test_peaks_of_every_plan_are_measured() -> None:
    for plan in candidate_plans():
        peaks = measure_peaks(plan)
        assert peaks.flops > 0 and peaks.call > 0 and all(rate > 0 for _, rate in peaks.bandwidths)


@pytest.fixture
def one_core() -> Iterator[None]:
    """Peaks of one number of threads, and none that waits for the other tests."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {own_core()})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("one_core")
def test_command_line(lenext: Lenext) -> None:
    words = ("cost", "lenet5_relu", "--latency", "--batch", "2")
    heading, *lines = (line.split("\t") for line in lenext(*words).out.splitlines())
    assert heading == ["name", "median", "low", "high", "bound", "bound_by"]
    assert [line[0] for line in lines][:2] == ["stages.c1.conv", "stages.c1.activation"]
    answer = json.loads(lenext(*words, "--json").out)
    assert {"median", "low", "high", "between", "unexplained", "passes", "plan", "peaks", "layers"} < set(answer)
    assert answer["batch"] == 2 and [layer["name"] for layer in answer["layers"]] == [line[0] for line in lines]
    tree = lenext(*words, "--depth", "1").out
    for word in ("stages", "head", "sum", "images a second", "not explained", "GFLOP/s"):
        assert word in tree
    assert "GB/s beyond" in lenext("doctor", "--bench").out
    assert {"plan", "peaks"} == set(json.loads(lenext("doctor", "--bench", "--json").out)[0])
