"""The loop: forward, backward, update, on one screen. Whoever iterates it logs, saves or breaks."""

import copy
import dataclasses
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lenext.data.batches import Batch
from lenext.device import SpeedPlan, fastest_plan
from lenext.errors import DivergedError
from lenext.rng import seed_network
from lenext.training.config import TrainingConfig
from lenext.training.objective import Objective, Outcome
from lenext.training.optim import set_rate
from lenext.training.schedule import learning_rate


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands, in plain values: all that a resumed run needs beside the tensors.

    epoch: epochs finished. batch: batches done of the epoch under way. step: updates done. loss_sum, correct, seen:
    totals of the epoch under way. rate_scale, stale: plateau's factor so far and epochs without gain. best_loss,
    best_top1, best_epoch: of validation. seconds: spent in training, epoch_start: and when this
    epoch began. metrics_bytes: length of the log.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    rate_scale: float = 1.0
    stale: int = 0
    best_loss: float | None = None
    best_top1: float | None = None
    best_epoch: int = 0
    seconds: float = 0.0
    epoch_start: float = 0.0
    metrics_bytes: int = 0


@dataclass
class TrainState:
    """What training changes: the objective's tensors, the optimiser's, and the progress."""

    objective: Objective
    optimizer: torch.optim.Optimizer
    progress: Progress = Progress()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One update: `step` counts from 1, loss is the batch's mean before the update, gradient_norm before clipping."""

    step: int
    rate: float
    loss: float
    gradient_norm: float
    images: int


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What validation showed after an epoch: mean loss and top-1 accuracy as a fraction."""

    loss: float
    top1: float


def train_epoch(
    state: TrainState, batches: Iterable[Batch], config: TrainingConfig, *, total: int, seed: int, plan: SpeedPlan
) -> Iterator[Step]:
    """Train on the batches, one update each, and yield a Step after each; `total` is the updates of the whole run."""
    objective, optimizer = state.objective.train(), state.optimizer
    clock = time.perf_counter()
    for batch in batches:
        progress = state.progress
        rate = learning_rate(config, progress.rate_scale, progress.step, total)
        set_rate(optimizer, rate)
        seed_network(seed, progress.step)
        outcome, targets = forward(objective, batch, plan)
        optimizer.zero_grad(set_to_none=True)
        outcome.loss.backward()
        norm = clip_gradients(objective, config.clip)
        loss = float(outcome.loss.detach())
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise _diverged(progress.step + 1, loss, norm, rate)
        optimizer.step()
        state.progress = dataclasses.replace(
            progress,
            batch=progress.batch + 1,
            step=progress.step + 1,
            loss_sum=progress.loss_sum + loss * len(targets),
            correct=progress.correct + int((outcome.scores.argmax(1) == targets).sum()),
            seen=progress.seen + len(targets),
            seconds=progress.seconds + time.perf_counter() - clock,
        )
        yield Step(step=progress.step + 1, rate=rate, loss=loss, gradient_norm=norm, images=len(targets))
        clock = time.perf_counter()


def forward(objective: Objective, batch: Batch, plan: SpeedPlan) -> tuple[Outcome, Tensor]:
    """Run the objective on the plan's device, precision and memory format; return its outcome and the targets there."""
    memory = torch.channels_last if plan.channels_last else torch.contiguous_format
    images = batch.images.to(plan.device, memory_format=memory)
    targets = batch.targets.to(plan.device)
    with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16"):
        return objective(images, targets), targets


def choose_plan(objective: Objective, batch: Batch, plans: list[SpeedPlan]) -> SpeedPlan:
    """Time forward and backward on a copy of the objective and return the fastest plan; nothing else changes."""

    def step(plan: SpeedPlan) -> None:
        twin = copies.get(plan.device) or copies.setdefault(plan.device, copy.deepcopy(objective).to(plan.device))
        forward(twin.train(), batch, plan)[0].loss.backward()

    copies: dict[str, Objective] = {}
    with torch.random.fork_rng():
        return fastest_plan(plans, step)


def observe(state: TrainState, validation: Validation | None, config: TrainingConfig) -> TrainState:
    """Close the epoch: the only way in for validation results (best, plateau)."""
    progress = dataclasses.replace(
        state.progress,
        epoch=state.progress.epoch + 1,
        epoch_start=state.progress.seconds,
        batch=0,
        loss_sum=0.0,
        correct=0,
        seen=0,
    )
    if validation is not None:
        progress = _judged(progress, validation, config)
    return TrainState(state.objective, state.optimizer, progress)


def clip_gradients(module: nn.Module, limit: float) -> float:
    """Scale the gradients down to the norm `limit` where they exceed it (0: never); return the norm before."""
    gradients: list[Tensor] = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if limit > 0:
        torch.nn.utils.clip_grads_with_norm_(module.parameters(), limit, norm)
    return float(norm)


def _judged(progress: Progress, validation: Validation, config: TrainingConfig) -> Progress:
    schedule = config.schedule
    gained = progress.best_loss is None or validation.loss < progress.best_loss * (1 - schedule.threshold)
    stale = 0 if gained else progress.stale + 1
    cut = schedule.name == "plateau" and stale > schedule.patience
    better = progress.best_top1 is None or validation.top1 > progress.best_top1
    return dataclasses.replace(
        progress,
        best_loss=validation.loss if gained else progress.best_loss,
        stale=0 if cut else stale,
        rate_scale=progress.rate_scale * (schedule.factor if cut else 1.0),
        best_top1=validation.top1 if better else progress.best_top1,
        best_epoch=progress.epoch if better else progress.best_epoch,
    )


def _diverged(step: int, loss: float, norm: float, rate: float) -> DivergedError:
    return DivergedError(
        f"training diverged at step {step}",
        why=f"loss {loss}, gradient norm {norm}, learning rate {rate:g}",
        kept="the last checkpoint, from before this step",
        advice="a lower rate: --set training.optimizer.rate=..., or --set training.clip=1",
    )
