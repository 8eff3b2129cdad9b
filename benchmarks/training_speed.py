"""Training steps a second: the plain loop, timm's network at its documented best, and lenext's plan, in turn.

Every arm (benchmarks/arms.py) makes the same update of the same images (forward, cross-entropy, backward, SGD with
momentum) on all cores; beside its speed stands the peak of its resident memory.
Plain: float32, images in order, nothing compiled. timm: channels last, bf16 where the processor multiplies it, compiled
with --compiled. lenext: what the speed plan chose. The ratio of two arms is that of neighbouring turns; its interval is
the bootstrap's 95 % of the median. Peak: of the matrix products of this machine, in the plan's precision.

In the environment of `make parity`, which has timm (.venv-parity):
python -m benchmarks.training_speed [NETWORK ...] [--runs 7] [--compiled] [--batch 16]
"""

import argparse
import statistics
import sys
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.arms import Arm, Step
from benchmarks.cost_networks import image_of
from lenext.cli.output import table
from lenext.costs.latency import measure_peaks
from lenext.costs.operators import count_cost
from lenext.data.batches import Batch
from lenext.device import candidate_plans, cores, threads
from lenext.models.catalog import build
from lenext.papers import load_papers
from lenext.training.config import LossConfig, OptimizerConfig, TrainingConfig
from lenext.training.loop import TrainState, update
from lenext.training.objective import Objective
from lenext.training.optim import make_optimizer
from lenext.training.planning import choose_plan, follow_plan
from parity.peers import make_peer

NETWORKS = ["resnet18", "resnet50", "vgg16", "densenet121", "mobilenetv2_100", "efficientnet_b0", "convnext_tiny",
            "resnet20", "wrn_16_8"]  # fmt: skip
ENDLESS = 10**6  # updates: long enough for compiling to be tried
RATE = 0.01

ARMS = ("plain", "timm", "lenext")


def torch_step(network: nn.Module, batch: Batch, *, last: bool, half: bool, compiled: bool) -> Step:
    """The loop that torch's tutorials write."""
    memory = torch.channels_last if last else torch.contiguous_format
    network = network.train().to(memory_format=memory)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9)
    forward: Callable[[Tensor], Tensor] = torch.compile(network) if compiled else network

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = F.cross_entropy(forward(batch.images.to(memory_format=memory)).float(), batch.targets)
        loss.backward()
        optimizer.step()

    return step


def lenext_step(name: str, batch: Batch, *, compiled: bool) -> tuple[Step, tuple[str, float]]:
    """An update as `lenext train` makes it, the plan in words, and the plan's peak in operations a second."""
    config = TrainingConfig(
        batch_size=len(batch.targets),
        optimizer=OptimizerConfig(rate=RATE),
        compile="auto" if compiled else "never",
    )
    objective = Objective(build(name), LossConfig())
    objective.train()
    choice = choose_plan(objective, batch, config, ENDLESS)
    follow_plan(objective, choice.plan)
    state = TrainState(objective, make_optimizer(objective.trained(), config.optimizer))

    def step() -> None:
        with threads(choice.plan.threads):
            update(state, [batch], config, RATE, seed=0, plan=choice.plan)

    peak = max(measure_peaks(choice.plan).flops for _ in range(3))  # of a machine that others use, too
    return step, (str(choice.plan), peak)


def make_step(arm: str, name: str, batch_size: int, compiled: bool) -> tuple[Step, tuple[str, float]]:
    """The step of one arm, and of lenext's its plan in words and that plan's peak."""
    images, targets = torch.rand(batch_size, *image_of(name)), torch.randint(0, 10, (batch_size,))
    batch = Batch(images, targets, np.arange(batch_size))
    if arm == "lenext":
        return lenext_step(name, batch, compiled=compiled)
    if arm == "plain":
        return torch_step(build(name), batch, last=False, half=False, compiled=False), ("", 0.0)
    half = candidate_plans()[0].precision == "bf16"
    peer = make_peer("timm", load_papers()[name].timm or "")
    return torch_step(peer, batch, last=True, half=half, compiled=compiled), ("", 0.0)


def interval(ratios: list[float]) -> str:
    """Median and the bootstrap's 95 % of it."""
    drawn = np.random.default_rng(0).choice(ratios, (10_000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return f"{statistics.median(ratios):.2f} [{low:.2f}, {high:.2f}]"


def measured(name: str, batch_size: int, runs: int, *, compiled: bool) -> tuple[str, ...]:
    asked = ("plain", "timm", "lenext") if load_papers()[name].timm else ("plain", "lenext")
    arms = {arm: Arm(make_step, arm, name, batch_size, compiled) for arm in asked}
    turns = [{arm: step()[0] for arm, step in arms.items()} for _ in range(runs + 2)][2:]
    speed = {arm: batch_size / statistics.median(turn[arm] for turn in turns) for arm in arms}
    macs = count_cost(build(name), image_of(name), train=True).training_macs or 0
    plan, peak = arms["lenext"].about
    cells = [f"{speed[arm]:.1f} ({arms[arm].peak:.1f})" if arm in arms else "-" for arm in ARMS]
    ratios = [interval([turn[a] / turn["lenext"] for turn in turns]) if a in arms else "-" for a in ARMS[:2]]
    for arm in arms.values():
        arm.close()
    return name, str(batch_size), *cells, *ratios, f"{100 * 2 * macs * speed['lenext'] / peak:.0f} %", plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--batch", type=int, default=0, help="16 images of 224 pixels, 128 of 32 unless told")
    parser.add_argument("--compiled", action="store_true")
    told = parser.parse_args()
    rows: list[tuple[str, ...]] = [
        ("network", "batch", "plain", "timm", "lenext", "times plain", "times timm", "of peak", "plan")
    ]
    for name in told.networks:
        batch = told.batch or (128 if image_of(name)[1] < 64 else 16)
        rows.append(measured(name, batch, told.runs, compiled=told.compiled))
        print(rows[-1], file=sys.stderr)
    print(f"torch {torch.__version__}, {cores()} cores, {told.runs} turns, images/s (peak GB); ratios: median [95 %]")
    print(table(rows, right=range(1, 8)))


if __name__ == "__main__":
    main()
