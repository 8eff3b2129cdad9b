"""The loop: forward, backward, update, on one screen. Whoever iterates it logs, saves or breaks."""

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from lenext.data.batches import Batch
from lenext.device import SpeedPlan
from lenext.errors import DivergedError
from lenext.models.classifier import Classifier
from lenext.training.config import TrainingConfig
from lenext.training.distributed import ALONE, Ranks
from lenext.training.dropping import scale_drop_path
from lenext.training.finetune import set_training_mode
from lenext.training.objective import Objective, Outcome
from lenext.training.optim import set_rate
from lenext.training.schedule import learning_rate


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands, in plain values: all that a resumed run needs beside the tensors.

    epoch: epochs finished. batch: batches done of the epoch under way. step: updates done. loss_sum, correct, seen:
    totals of the epoch under way. rate_scale, stale: plateau's factor so far and epochs without gain. best_loss: the
    lowest of validation. best_score, best_epoch: the highest score and its epoch, best_epoch_loss: the loss there.
    seconds: spent in training, epoch_start: and when this epoch began. metrics_bytes: length of the log.
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
    best_score: float | None = None
    best_epoch: int = 0
    best_epoch_loss: float | None = None
    seconds: float = 0.0
    epoch_start: float = 0.0
    metrics_bytes: int = 0


@dataclass
class TrainState:
    """What training changes: the objective's tensors, the optimiser's, the average of the weights, and the progress.

    ranks: the processes that train it together. wrapped: what is run in place of the objective, where they are many.
    """

    objective: Objective
    optimizer: torch.optim.Optimizer
    progress: Progress = Progress()
    average: Classifier | None = None
    ranks: Ranks = ALONE
    wrapped: nn.Module | None = None

    @property
    def network(self) -> Classifier:
        """The network that is judged and kept: the average of the weights, where there is one."""
        return self.average or self.objective.classifier


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
    """What validation showed after an epoch: mean loss, and the score by which the best epoch is chosen."""

    loss: float
    score: float


def train_epoch(
    state: TrainState, batches: Iterable[Batch], config: TrainingConfig, *, total: int, seed: int, plan: SpeedPlan
) -> Iterator[Step]:
    """Train on the batches, an update for every `accumulate` of them, and yield a Step after each update.

    total: updates of the whole run, after which training ends. Batches that fill no update sit out.
    """
    set_training_mode(state.objective, state.objective.classifier, config.freeze)
    batches, clock = iter(batches), time.perf_counter()
    while state.progress.step < total and len(group := list(islice(batches, config.accumulate))) == config.accumulate:
        progress = state.progress
        rate = learning_rate(config, progress.rate_scale, progress.step, total)
        scale_drop_path(state.objective, config, progress.step, total)
        loss, correct, norm = update(state, group, config, rate, seed=seed, plan=plan)
        if state.average is not None:
            follow(state.average, state.objective.classifier, config.average, progress.step)
        images = sum(len(batch.targets) for batch in group) * state.ranks.world
        state.progress = dataclasses.replace(
            progress,
            batch=progress.batch + len(group),
            step=progress.step + 1,
            loss_sum=progress.loss_sum + loss * images,
            correct=progress.correct + correct,
            seen=progress.seen + images,
            seconds=progress.seconds + time.perf_counter() - clock,
        )
        yield Step(step=progress.step + 1, rate=rate, loss=loss, gradient_norm=norm, images=images)
        clock = time.perf_counter()


def update(
    state: TrainState, group: Sequence[Batch], config: TrainingConfig, rate: float, *, seed: int, plan: SpeedPlan
) -> tuple[float, int, float]:
    """Make one update; return the loss, the images that were right and the gradient's norm, all before it."""
    objective, optimizer, step = state.objective, state.optimizer, state.progress.step
    ranks, run = state.ranks, state.wrapped or state.objective
    looks: list[tuple[float, int, float]] = []
    parts = [piece for batch in group for piece in pieces(batch, plan.micro_batch)]
    images = sum(len(piece.targets) for piece in parts)

    def look() -> float:
        """Forward and backward: once, or wherever a line search (L-BFGS) asks, on the same batches and noise."""
        optimizer.zero_grad(set_to_none=True)
        loss, correct = 0.0, 0
        for micro_step, piece in enumerate(parts):
            ranks.seed(seed, step, micro_step)
            with ranks.reduced(run, last=micro_step == len(parts) - 1):
                outcome, targets = forward(run, piece, plan)
                share = len(targets) / images
                (outcome.loss * share).backward()
            loss += float(outcome.loss.detach()) * share
            correct += objective.hits(outcome.scores, targets)
        loss, correct = ranks.totals(loss, correct)
        norm = clip_gradients(objective, config.clip)
        if not looks and not (math.isfinite(loss) and math.isfinite(norm)):
            raise _diverged(step + 1, loss, norm, rate)
        looks.append((loss, correct, norm))
        return loss

    set_rate(optimizer, rate)
    optimizer.step(look)
    return looks[0]


def forward(objective: nn.Module, batch: Batch, plan: SpeedPlan) -> tuple[Outcome, Tensor]:
    """Run the objective, or what wraps it, on the plan's device, precision and memory format.

    Returns its outcome, and the targets on that device.
    """
    memory = torch.channels_last if plan.channels_last else torch.contiguous_format
    images = batch.images.to(plan.device, memory_format=memory)
    targets = batch.targets.to(plan.device)
    with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16"):
        return objective(images, targets), targets


def pieces(batch: Batch, images: int) -> Iterator[Batch]:
    """The batch in parts of so many images, what is left over being the last; 0 for the whole."""
    step = images or len(batch.targets)
    for start in range(0, len(batch.targets), step):
        part = slice(start, start + step)
        yield Batch(batch.images[part], batch.targets[part], batch.samples[part])


@torch.no_grad()
def follow(average: nn.Module, trained: nn.Module, decay: float, step: int) -> None:
    """Move the running average of weights and float buffers towards the trained ones; other buffers are copied.

    The decay of update `step` (from 0) is min(decay, (1 + step) / (10 + step)), so that the first weights are forgotten
    soon, as tf.train.ExponentialMovingAverage does with its `num_updates`.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    for value, other in zip(average.state_dict().values(), trained.state_dict().values(), strict=True):  # in place
        if value.is_floating_point():
            value.lerp_(other, share)
        else:
            value.copy_(other)


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
    return dataclasses.replace(state, progress=progress)


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
    # a few held-out images tie often, and the first of equal scores is the least trained
    calmer = progress.best_epoch_loss is not None and validation.loss < progress.best_epoch_loss
    level = validation.score == progress.best_score
    better = progress.best_score is None or validation.score > progress.best_score or (level and calmer)
    return dataclasses.replace(
        progress,
        best_loss=validation.loss if gained else progress.best_loss,
        stale=0 if cut else stale,
        rate_scale=progress.rate_scale * (schedule.factor if cut else 1.0),
        best_score=validation.score if better else progress.best_score,
        best_epoch=progress.epoch if better else progress.best_epoch,
        best_epoch_loss=validation.loss if better else progress.best_epoch_loss,
    )


def _diverged(step: int, loss: float, norm: float, rate: float) -> DivergedError:
    return DivergedError(
        f"training diverged at step {step}",
        why=f"loss {loss}, gradient norm {norm}, learning rate {rate:g}",
        kept="the last checkpoint, from before this step",
        advice="a lower rate: --set training.optimizer.rate=..., or --set training.clip=1",
    )
