"""Where the time of an update and of a pass forward goes, by kind of operator: python -m benchmarks.where_time_goes.

Torch's profiler on an update of `lenext train` under the usual plan (every core, channels last), and on a batch of the
engine eager; shares of the time of all operators, and how near the whole comes to the machine's product of matrices.
What is of no kind is "other".
"""

import argparse
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.cost_networks import image_of
from lenext.cli.output import table
from lenext.costs.latency import measure_peaks
from lenext.costs.operators import count_cost
from lenext.data.batches import Batch
from lenext.device import SpeedPlan, candidate_plans, cores
from lenext.evaluation.choosing import open_engine
from lenext.evaluation.engines import EngineConfig
from lenext.models.catalog import build
from lenext.training.config import LossConfig, OptimizerConfig, TrainingConfig
from lenext.training.loop import TrainState, update
from lenext.training.objective import Objective
from lenext.training.optim import make_optimizer
from lenext.training.planning import follow_plan

NETWORKS = ["resnet20", "resnet18", "resnet50", "mobilenetv2_100", "efficientnet_b0", "densenet121", "convnext_tiny"]
KINDS = {  # the first whose words are in an operator's name
    "convolution": ("conv",),
    "linear": ("addmm", "linear", "::mm"),
    "normalisation": ("norm",),
    "activation": ("relu", "clamp", "threshold", "silu", "gelu", "hardswish", "sigmoid", "hardtanh"),
    "update": ("foreach", "sgd", "zero_"),
    "sum, copy": ("add", "copy", "cat", "mul", "fill", "sum", "mean"),
}
RATE = 0.01


def shares(step: Callable[[], object], times: int) -> tuple[dict[str, float], float]:
    """Part of the time by kind, and the seconds of a step."""
    step(), step()
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        for _ in range(times):
            step()
    spent = Counter[str]()
    for event in watched.key_averages():
        kind = next((kind for kind, words in KINDS.items() if any(word in event.key for word in words)), "other")
        spent[kind] += event.self_cpu_time_total
    whole = spent.total()
    return {kind: spent[kind] / whole for kind in (*KINDS, "other")}, whole / 1e6 / times


def measured(name: str, plan: SpeedPlan, peak: float, times: int) -> list[tuple[str, ...]]:
    """A row for an update, and one for a pass forward."""
    size = image_of(name)
    count = 64 if size[1] < 64 else 8
    images, targets = torch.rand(count, *size), torch.randint(0, 10, (count,))
    batch = Batch(images, targets, np.arange(count))
    config = TrainingConfig(batch_size=count, optimizer=OptimizerConfig(rate=RATE))
    objective = Objective(build(name), LossConfig())
    engine = open_engine(objective.classifier, size, EngineConfig(name="eager", batch_size=count))
    objective.train()
    follow_plan(objective, plan)
    state = TrainState(objective, make_optimizer(objective.trained(), config.optimizer))
    cost = count_cost(build(name), size, train=True)
    steps: list[tuple[str, Callable[[], object], int]] = [
        ("update", lambda: update(state, [batch], config, RATE, seed=0, plan=plan), cost.training_macs or 0),
        ("forward", lambda: engine(images), cost.macs),
    ]
    rows: list[tuple[str, ...]] = []
    for what, step, macs in steps:
        parts, seconds = shares(step, times)
        near = 2 * macs * count / seconds / peak
        percent = [f"{100 * part:.0f} %" for part in parts.values()]
        rows.append((name, str(count), what, *percent, f"{1000 * seconds:.0f}", f"{100 * near:.0f} %"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--times", type=int, default=3)
    told = parser.parse_args()
    plan = candidate_plans()[0]
    torch.set_num_threads(plan.threads)
    torch.manual_seed(0)
    peak = max(measure_peaks(plan).flops for _ in range(3))
    rows: list[tuple[str, ...]] = [("network", "images", "of", *KINDS, "other", "ms", "of peak")]
    for name in told.networks:
        rows += measured(name, plan, peak, told.times)
    print(f"torch {torch.__version__}, {cores()} cores, peak {peak / 1e9:.0f} GFLOP/s")
    print(table(rows, right=range(3, 12)))


if __name__ == "__main__":
    main()
