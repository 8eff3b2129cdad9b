"""What choosing a speed plan costs and misses: the plan that was chosen beside the best of all that could be.

python -m benchmarks.speed_plan [NETWORK ...]

Claim: the chosen plan takes at most 5 % longer than the best of every combination (the regret: median and quartiles),
compiling left aside.
"""

import copy
import dataclasses
import itertools
import statistics
import sys
import time

import numpy as np
import torch

from benchmarks.cost_networks import image_of
from lenext.cli.output import table
from lenext.data.batches import Batch
from lenext.device import SpeedPlan, candidate_plans, cores, threads
from lenext.models.catalog import build
from lenext.training.config import LossConfig, TrainingConfig
from lenext.training.loop import forward, pieces
from lenext.training.objective import Objective
from lenext.training.planning import choose_plan, follow_plan, uses_batch_statistics

NETWORKS = {"lenet5_relu": 128, "alexnet": 16, "resnet20": 64, "resnet18": 4, "mobilenetv2_100": 8, "convnext_tiny": 8}
TURNS = 2  # of every plan, to find the best; which then runs in turn with the chosen one, as the least of many is lucky
PAIRS = 7
UPDATES = 10_000


def seconds(objectives: dict[bool, Objective], batch: Batch, plan: SpeedPlan) -> float:
    """Of forward and backward, with the copy whose filters lie as the plan has them."""
    objective = objectives[plan.channels_last]
    with threads(plan.threads):
        start = time.perf_counter()
        for piece in pieces(batch, plan.micro_batch):
            forward(objective, piece, plan)[0].loss.backward()
        return time.perf_counter() - start


def every_plan(objective: Objective, images: int) -> list[SpeedPlan]:
    parts = [0] if uses_batch_statistics(objective) else [0, *(images // n for n in (2, 4, 8) if images // n >= 4)]
    return [
        dataclasses.replace(plan, channels_last=last, micro_batch=part)
        for plan, last, part in itertools.product(candidate_plans(), (True, False), parts)
    ]


def main() -> None:
    rows: list[tuple[str, ...]] = [("network", "chosen", "in", "tried", "best of all", "regret")]
    for name in sys.argv[1:] or NETWORKS:
        torch.manual_seed(0)
        count = NETWORKS.get(name, 8)
        batch = Batch(torch.rand(count, *image_of(name)), torch.randint(0, 10, (count,)), np.arange(count))
        objective = Objective(build(name), LossConfig())
        objective.train()
        choice = choose_plan(objective, batch, TrainingConfig(batch_size=count, compile="never"), UPDATES)
        plans, copies = every_plan(objective, count), dict[bool, Objective]()
        for plan in plans:
            if plan.channels_last not in copies:
                copies[plan.channels_last] = copy.deepcopy(objective)
                follow_plan(copies[plan.channels_last], plan)
        turns = [[seconds(copies, batch, plan) for plan in plans] for _ in range(TURNS + 1)][1:]
        median = {plan: statistics.median(times) for plan, times in zip(plans, zip(*turns, strict=True), strict=True)}
        best = min(median, key=lambda plan: median[plan])
        pairs = [(seconds(copies, batch, choice.plan), seconds(copies, batch, best)) for _ in range(PAIRS)]
        low, middle, high = statistics.quantiles([chosen / least - 1 for chosen, least in pairs], method="inclusive")
        regret = f"{100 * middle:.1f} % [{100 * low:.1f}, {100 * high:.1f}]" if best != choice.plan else "none"
        rows.append((name, str(choice.plan), f"{choice.spent:.1f} s", str(len(choice.tried)), str(best), regret))
        print(rows[-1], file=sys.stderr)
    print(f"torch {torch.__version__}, {cores()} cores, {TURNS} turns\n{table(rows, right=(2, 3, 5))}")


if __name__ == "__main__":
    main()
