"""What it wins that glibc keeps freed memory (lenext.device.keep_memory): python -m benchmarks.allocator [NETWORK ...]

Processes with it and without take turns, each making the same updates on all cores under the usual plan, or with
--predict the same passes forward. Told: the time without over the time with it, median and quartiles of the turns, and
the peak of resident memory of both.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from benchmarks.cost_networks import image_of
from lenext.cli.output import table
from lenext.data.batches import Batch
from lenext.device import candidate_plans, keep_memory, threads
from lenext.models.catalog import build
from lenext.training.config import LossConfig, OptimizerConfig, TrainingConfig
from lenext.training.loop import TrainState, forward, update
from lenext.training.objective import Objective
from lenext.training.optim import make_optimizer

NETWORKS = ["resnet20", "resnet18", "mobilenetv2_100", "convnext_tiny"]
UPDATES = 4  # timed, after two


def measure(name: str, keep: bool, predict: bool) -> tuple[float, float]:
    """Seconds of an update or a pass, the median, and the peak of resident memory in MB, of this process."""
    if keep:
        keep_memory()
    torch.manual_seed(0)
    image = image_of(name)
    count = 128 if image[1] < 64 else 8
    batch = Batch(torch.rand(count, *image), torch.randint(0, 10, (count,)), np.arange(count))
    config = TrainingConfig(batch_size=count, optimizer=OptimizerConfig(rate=0.01))
    objective, plan = Objective(build(name), LossConfig()), candidate_plans()[0]
    objective.train(not predict).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state, took = TrainState(objective, make_optimizer(objective.trained(), config.optimizer)), []
    with threads(plan.threads):
        for _ in range(UPDATES + 2):
            start = time.perf_counter()
            if predict:
                with torch.inference_mode():
                    forward(objective, batch, plan)
            else:
                update(state, [batch], config, 0.01, seed=0, plan=plan)
            took.append(time.perf_counter() - start)
    return statistics.median(took[2:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def in_a_process(name: str, keep: str, predict: bool) -> tuple[float, float]:
    words = [sys.executable, "-m", "benchmarks.allocator", name, "--one", keep, *["--predict"] * predict]
    seconds, peak = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--one", choices=["with", "without"], help="measure in this process, and tell it as JSON")
    told = parser.parse_args()
    if told.one:
        print(json.dumps(measure(told.networks[0], told.one == "with", told.predict)))
        return
    rows = [("network", "without", "with", "times as fast", "peak without", "peak with")]
    for name in told.networks:
        arms = ("without", "with")
        turns = [[in_a_process(name, arm, told.predict) for arm in arms] for _ in range(told.runs)]
        low, middle, high = statistics.quantiles([a[0] / b[0] for a, b in turns], method="inclusive")
        seconds = [f"{statistics.median(turn[i][0] for turn in turns):.2f} s" for i in (0, 1)]
        peaks = [f"{statistics.median(turn[i][1] for turn in turns):,.0f} MB" for i in (0, 1)]
        rows.append((name, *seconds, f"{middle:.3f} [{low:.3f}, {high:.3f}]", *peaks))
        print(rows[-1], file=sys.stderr)
    print(f"torch {torch.__version__}, {told.runs} turns\n{table(rows, right=range(1, 6))}")


if __name__ == "__main__":
    main()
