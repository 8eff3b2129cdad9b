"""What a training will take, measured on a copy before anything is written: time, memory, updates within a limit."""

import copy
import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from lenext.costs.operators import count_cost
from lenext.data.batches import Batch, train_batches
from lenext.data.ordering import epoch_order
from lenext.data.store import Subset
from lenext.device import SpeedPlan, threads
from lenext.errors import UsageError
from lenext.experiment.answers import predict_store
from lenext.experiment.opening import Beginning
from lenext.experiment.progression import mean_area
from lenext.experiment.session import card_of, enough_memory, is_validated, steps_of_an_epoch, total_steps
from lenext.models.parts import DropPath
from lenext.training.loop import TrainState, forward, pieces, train_epoch
from lenext.training.optim import state_copies
from lenext.training.planning import follow_plan

TRIAL_SECONDS = 3.0  # of training steps, cold and warm each
TRIAL_STEPS = 20  # at most
RESERVE = 0.95  # of a time limit is planned for: other programs take their share
_JUDGED = 64  # validation images that are timed


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds that were measured: of an update whose images are read for the first time, of a later one, and of
    judging all validation images once.
    """

    first: float
    later: float
    validation: float


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run will take; bytes are those of tensors in training, seconds include validation."""

    train_images: int
    validation_images: int
    params: int
    macs: int
    bytes: int
    images_per_second: float
    epochs: int
    steps: int
    seconds: float


def estimate(beginning: Beginning) -> Forecast:
    """Measure a few updates on a copy and say what the whole run will take; nothing is written or changed."""
    experiment, parts = beginning.experiment, beginning.parts
    config = experiment.training
    steps, each = total_steps(config, len(parts.train)), steps_of_an_epoch(config, len(parts.train))
    with enough_memory(config):
        pace, needed = measure_pace(beginning), training_bytes(beginning)
    pixels = (parts.preprocessing.channels, *parts.preprocessing.size)
    cost = count_cost(beginning.state.objective.classifier, pixels)
    return Forecast(
        train_images=len(parts.train),
        validation_images=len(parts.validation),
        params=cost.params,
        macs=cost.macs,
        bytes=needed,
        images_per_second=config.batch_size * config.accumulate / pace.later,
        epochs=-(-steps // each),
        steps=steps,
        seconds=seconds_of(pace, steps, each),
    )


def within(beginning: Beginning, seconds: float) -> Beginning:
    """Turn a limit of time into updates, once: the same experiment with `training.steps` and `epochs` pinned."""
    each = steps_of_an_epoch(beginning.experiment.training, len(beginning.parts.train))
    with enough_memory(beginning.experiment.training):
        pace = measure_pace(beginning)
    steps = steps_within(pace, seconds * RESERVE, each)
    if steps == 0:
        raise UsageError(
            f"cannot train within {seconds:.0f} s",
            why=f"the first update and one validation take {seconds_of(pace, 1, each):.1f} s",
            advice="more time, a smaller --size, or a smaller network",
        )
    training = dataclasses.replace(beginning.experiment.training, steps=steps, epochs=-(-steps // each))
    return dataclasses.replace(beginning, experiment=dataclasses.replace(beginning.experiment, training=training))


def steps_within(pace: Pace, seconds: float, each: int) -> int:
    """The most updates that fit into `seconds`, validation after every `each` of them and at the end included."""
    low, high = 0, max(int(seconds / min(pace.first, pace.later)) + 1, 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if seconds_of(pace, middle, each) <= seconds else (low, middle - 1)
    return low


def seconds_of(pace: Pace, steps: int, each: int) -> float:
    """Seconds of so many updates, `each` of them an epoch: the first epoch reads its images, later ones may not."""
    new = min(steps, each)
    return new * pace.first + (steps - new) * pace.later + -(-steps // each) * pace.validation


def measure_pace(beginning: Beginning) -> Pace:
    """Time a few updates on a copy of the state, twice on the same images, and the judging of some validation images.

    The second time the images are in the cache, if they fit there: then later epochs are as fast, else as the first.
    Where images grow, the time of an update is taken to follow their area.
    """
    with threads(beginning.plan.threads):
        state = copy.deepcopy(beginning.state)
        follow_plan(state.objective, beginning.plan)  # a copy is not compiled
        first = _seconds_a_step(beginning, state)
        later = _seconds_a_step(beginning, state)
        data = beginning.experiment.data
        fits = _train_bytes(beginning) <= max(data.cache, data.disk_cache) << 20
        share = mean_area(beginning.experiment)
        later = later if fits else first
        return Pace(first=first * share, later=later * share, validation=_validation_seconds(beginning, state))


def training_bytes(beginning: Beginning) -> int:
    """Bytes of weights, gradients, optimiser state, average, a batch, and what a forward pass keeps for backward."""
    state, config = copy.deepcopy(beginning.state), beginning.experiment.training
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would be part of a cycle, and live on

    for module in state.objective.modules():
        if isinstance(module, DropPath):
            module.rate = 0.0  # a batch that drops few branches needs most
    batch = next(_batches(beginning))
    own = [*state.objective.parameters(), *state.objective.buffers()]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        piece = next(pieces(batch, beginning.plan.micro_batch))
        outcome, _ = forward(state.objective.train(), piece, beginning.plan)
    for tensor in own:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    del outcome
    trained = sum(p.numel() * p.element_size() for p in state.objective.parameters() if p.requires_grad)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in own)
    steps = total_steps(config, len(beginning.parts.train))
    averaged = sum(tensor.nbytes for tensor in state.average.state_dict().values()) if state.average else 0
    copies = weights + averaged + trained * (1 + state_copies(config.optimizer, steps))
    return copies + batch.images.numel() * 4 + sum(kept.values())


def _seconds_a_step(beginning: Beginning, state: TrainState) -> float:
    config = beginning.experiment.training
    step_batches = islice(_batches(beginning), (TRIAL_STEPS + 1) * config.accumulate)
    times = [time.perf_counter()]
    for _ in train_epoch(state, step_batches, config, total=10**9, seed=0, plan=beginning.plan):
        _wait(beginning.plan)
        times.append(time.perf_counter())
        if times[-1] - times[0] > TRIAL_SECONDS and len(times) > 2:
            break
    if len(times) > 2:
        times = times[1:]  # the first update waits for its data and warms up
    return (times[-1] - times[0]) / (len(times) - 1)


def _validation_seconds(beginning: Beginning, state: TrainState) -> float:
    held_out = beginning.parts.validation
    if not is_validated(beginning.experiment, beginning.parts):
        return 0.0
    some = Subset(held_out, np.arange(min(len(held_out), _JUDGED)))
    card = card_of(beginning.experiment, beginning.parts, state.progress)
    start = time.perf_counter()
    predict_store(state.objective.classifier, some, card, "validation", beginning.parts.workers)
    return (time.perf_counter() - start) * len(held_out) / len(some)


def _batches(beginning: Beginning) -> Iterator[Batch]:
    experiment, parts = beginning.experiment, beginning.parts
    return train_batches(
        parts.train,
        parts.preprocessing,
        parts.variation,
        epoch_order(parts.train, seed=experiment.seed, epoch=0),
        seed=experiment.seed,
        epoch=0,
        batch_size=experiment.training.batch_size,
        workers=parts.workers,
    )


def _train_bytes(beginning: Beginning) -> int:
    """About how many bytes the decoded training images take, by a few of them."""
    train = beginning.parts.train
    some = train.read(np.linspace(0, len(train) - 1, min(len(train), 16)).astype(np.int64))
    return len(train) * sum(image.numel() for image in some) // len(some)


def _wait(plan: SpeedPlan) -> None:
    if plan.device == "cuda":
        torch.cuda.synchronize()
