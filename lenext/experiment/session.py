"""A run being trained: created whole, iterated, saved, resumed."""

import contextlib
import dataclasses
import datetime
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import differing_keys, digest, from_mapping, override, read_toml, to_mapping, to_toml
from lenext.costs.operators import count_cost
from lenext.data.batches import train_batches
from lenext.data.config import DataConfig
from lenext.data.preprocessing import Preprocessing, statistics
from lenext.data.sources import describe, open_split
from lenext.data.split import hold_out, validation_count, write_split
from lenext.data.store import Store, Subset
from lenext.data.task import Task
from lenext.device import SpeedPlan, candidate_plans, require_device, threads
from lenext.errors import ConflictError, DataError, DivergedError, InterruptedRunError, LenextError, UsageError
from lenext.experiment.answers import predict_store, split_rows
from lenext.experiment.config import Experiment, command_line, compose
from lenext.judge.metrics import measure
from lenext.models.catalog import build
from lenext.models.init import initialise
from lenext.training.loop import Progress, Step, TrainState, Validation, choose_plan, observe, train_epoch
from lenext.training.objective import Objective
from lenext.training.optim import load_optimizer_tensors, make_optimizer, optimizer_tensors
from lenext.training.schedule import learning_rate

PAD_LIMIT = 8  # pixels: an even gap up to this is framed, as LeNet-5's from 28 to 32 was; another one is resampled


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A finished epoch, as `metrics.jsonl` has it. validation_*: None where nothing is held out."""

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_top1: float
    validation_loss: float | None
    validation_top1: float | None
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Parts:
    """The data of a run: what is trained on, what is held out (possibly nothing), what becomes of an image."""

    task: Task
    train: Store
    validation: Store
    preprocessing: Preprocessing


class Session:
    """A run being trained: iterate `records()` to train it to its end."""

    def __init__(self, run: Path, experiment: Experiment, parts: Parts, state: TrainState, plan: SpeedPlan) -> None:
        self.run = run
        self.experiment = experiment
        self.parts = parts
        self.state = state
        self.plan = plan
        self.batches_per_epoch = len(parts.train) // experiment.training.batch_size
        self.total_steps = self.batches_per_epoch * experiment.training.epochs
        self.loaded_from = b""  # the manifest of `last` that the state came from, or was saved by
        if self.batches_per_epoch == 0:
            raise UsageError(
                f"cannot train on {len(parts.train)} images",
                why=f"a batch takes {experiment.training.batch_size}",
                advice="--set training.batch_size=...",
            )

    def records(self) -> Iterator[Step | Epoch]:
        """Train to the end, yielding each Step and each Epoch; Ctrl-C and SIGTERM save and raise InterruptedRunError.

        `last` is saved every `save_seconds` and after every epoch, `best` when validation accuracy rises.
        """
        with runs.locked(self.run), threads(self.plan.threads), runs.deferred_signals() as received:
            self._take_up()
            try:
                for record in self._train():
                    yield record
                    if received:
                        raise self._interrupted(received[0])
            except LenextError as error:
                if not isinstance(error, InterruptedRunError):
                    with contextlib.suppress(LenextError):  # the first error is the one to tell
                        runs.update_run(self.run, status="failed", train_seconds=self._seconds())
                raise
            self._finish()

    def _train(self) -> Iterator[Step | Epoch]:
        config, saved = self.experiment.training, time.monotonic()
        while self.state.progress.epoch < config.epochs:
            for step in self._steps():
                yield step
                if time.monotonic() - saved >= config.save_seconds:
                    self.save("last")
                    saved = time.monotonic()
            yield self._close_epoch()
            saved = time.monotonic()

    def _take_up(self) -> None:
        """Make the folder agree with the state, before the first step and under the lock."""
        if _newest(self.run) != self.loaded_from:
            raise ConflictError(
                f"cannot go on with {self.run}",
                why="another process has trained it since this one read it",
                kept="the run, untouched",
                advice=f"lenext train --resume {self.run}",
            )
        checkpoints.mend(self.run / runs.LAST)
        self.loaded_from = _newest(self.run)
        runs.cut_metrics(self.run, self.state.progress.metrics_bytes)
        if self.state.progress.epoch < self.experiment.training.epochs:
            runs.forget_answers(self.run)
        runs.update_run(self.run, status="running")

    def save(self, part: Literal["best", "last"]) -> None:
        """Save a generation of `last` (two are kept) or of `best` (one is)."""
        checkpoints.save(self.run / part, _snapshot(self.experiment, self.parts, self.state), keep=_keep(part))
        self.loaded_from = _newest(self.run)

    def _steps(self) -> Iterator[Step]:
        experiment, progress = self.experiment, self.state.progress
        batches = train_batches(
            self.parts.train,
            self.parts.preprocessing,
            experiment.augment,
            seed=experiment.seed,
            epoch=progress.epoch,
            batch_size=experiment.training.batch_size,
            start=progress.batch,
        )
        return train_epoch(
            self.state, batches, experiment.training, total=self.total_steps, seed=experiment.seed, plan=self.plan
        )

    def _close_epoch(self) -> Epoch:
        config, before = self.experiment.training, self.state.progress
        validation = self._validate()
        self.state = observe(self.state, validation, config)
        seconds = before.seconds - before.epoch_start
        record = Epoch(
            epoch=before.epoch + 1,
            step=before.step,
            lr=learning_rate(config, before.rate_scale, before.step - 1, self.total_steps),
            train_loss=before.loss_sum / before.seen,
            train_top1=before.correct / before.seen,
            validation_loss=validation.loss if validation else None,
            validation_top1=validation.top1 if validation else None,
            seconds=round(seconds, 3),
            images_per_second=round(before.seen / seconds, 1),
        )
        line = {"kind": "epoch", **{key: value for key, value in vars(record).items() if value is not None}}
        self.state.progress = dataclasses.replace(
            self.state.progress, metrics_bytes=runs.append_metrics(self.run, line)
        )
        if self.state.progress.best_epoch == record.epoch:
            self.save("best")
        self.save("last")
        return record

    def _validate(self) -> Validation | None:
        held_out = self.parts.validation
        if len(held_out) == 0:
            return None
        card = _card(self.experiment, self.parts, self.state.progress)
        try:
            metrics = measure(predict_store(self.state.objective.classifier, held_out, card, "validation"))
        except DataError as error:  # the scores are not finite: what is wrong is the training, not the data
            raise DivergedError(
                f"training diverged in epoch {self.state.progress.epoch + 1}",
                why=error.why,
                kept=f"the checkpoints in {self.run}, from before",
                advice="a lower rate: --set training.optimizer.rate=...",
            ) from error
        return Validation(loss=metrics.nll, top1=metrics.top1)

    def _finish(self) -> None:
        chosen = "best" if len(self.parts.validation) else "last"
        runs.update_run(self.run, status="finished", chosen=chosen, train_seconds=self._seconds())

    def _seconds(self) -> float:
        return round(self.state.progress.seconds, 1)

    def _interrupted(self, number: int) -> InterruptedRunError:
        self.save("last")
        runs.update_run(self.run, status="interrupted", train_seconds=self._seconds())
        progress = self.state.progress
        return InterruptedRunError(
            f"training of {self.run} was interrupted",
            why=f"signal {signal.Signals(number).name} after {progress.step} of {self.total_steps} updates",
            kept=f"everything up to that update, in {self.run / runs.LAST}",
            advice=f"lenext train --resume {self.run}",
            signal=number,
        )


def start(experiment: Experiment, run: Path, *, settings: Sequence[str] = ()) -> Session:
    """Create the run folder, whole and with step 0 saved, and return its Session.

    settings: those that went into the experiment, for the command that the run records.
    """
    info = describe(experiment.data.name, experiment.data.root)
    store = open_split(experiment.data.name, "train", experiment.data.root)
    count = validation_count(experiment.data.validation, len(store))
    train_rows, validation_rows = hold_out(store.labels, count, experiment.data.split_seed)
    parts = _parts(experiment, info.task, store, train_rows, validation_rows)
    state = _fresh_state(experiment, parts)
    initialise(state.objective.classifier, experiment.training.init, experiment.seed)
    plan = _plan(experiment, parts, state)
    state.objective.to(plan.device)
    pixels = (info.channels, experiment.size, experiment.size)
    cost = count_cost(state.objective.classifier, pixels)
    session = Session(run, experiment, parts, state, plan)
    with runs.staged(run) as staging:
        config = to_mapping(experiment)
        runs.write_durably(staging / runs.CONFIG_TOML, to_toml(config).encode())
        rows = {"train": train_rows, "validation": validation_rows}
        write_split(staging / runs.SPLIT_CSV, store.ids, rows)
        runs.write_json(staging / runs.ENVIRONMENT_JSON, runs.environment())
        (staging / runs.METRICS_JSONL).touch()
        for part in ("best", "last"):
            checkpoints.save(staging / part, _snapshot(experiment, parts, state))
        runs.update_run(
            staging,
            lenext=lenext.__version__,
            name=run.name,
            status="created",
            command=command_line(experiment, settings, plan.threads),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            model=experiment.model,
            data=experiment.data.name,
            params=cost.params,
            macs=cost.macs,
            train_images=len(train_rows),
            validation_images=len(validation_rows),
            train_seconds=0.0,
            test_opened=0,
            chosen="best" if count else "last",
            config_digest=digest(config),
            speed_plan=dataclasses.asdict(plan),
        )
    session.loaded_from = _newest(run)
    return session


def resume(run: Path | str, settings: Sequence[str] = (), *, root: str = "") -> Session:
    """Take a run up where its newest whole checkpoint stands; a changed configuration is a ConflictError (exit 5).

    root: a folder to look for the data in, where it has moved.
    """
    run = Path(run)
    index = runs.load_run(run)
    stored = read_toml(run / runs.CONFIG_TOML)
    changed = differing_keys(stored, override(stored, settings))
    if changed or digest(stored) != index["config_digest"]:
        raise ConflictError(
            f"cannot resume {run} with another configuration",
            why=f"differs: {', '.join(changed) or runs.CONFIG_TOML + ' was edited'}",
            kept="the run, untouched",
            advice="resume without --set, or start a new run",
        )
    experiment = from_mapping(Experiment, stored)
    if root:
        experiment = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, root=root))
    info = describe(experiment.data.name, experiment.data.root)
    store = open_split(experiment.data.name, "train", experiment.data.root)
    rows = split_rows(run, store)
    parts = _parts(experiment, info.task, store, rows["train"], rows["validation"])
    state = _fresh_state(experiment, parts)
    plan = SpeedPlan(**index["speed_plan"])
    require_device(plan)
    manifest = _newest(run)
    loaded = checkpoints.load(run / runs.LAST)
    checkpoints.load_weights(state.objective.classifier, loaded.weights)
    state.objective.to(plan.device)
    load_optimizer_tensors(state.optimizer, state.objective.classifier, loaded.optimizer)
    state.progress = from_mapping(Progress, loaded.progress)
    session = Session(run, experiment, parts, state, plan)
    session.loaded_from = manifest
    return session


def _parts(
    experiment: Experiment, task: Task, store: Store, train: npt.NDArray[np.int64], validation: npt.NDArray[np.int64]
) -> Parts:
    part = Subset(store, train)
    images = part.read(np.arange(len(part)))
    mean, std = statistics(images)
    gap = experiment.size - max(images.shape[-2:])
    preprocessing = Preprocessing(
        size=(experiment.size, experiment.size),
        channels=images.shape[1],
        mean=mean,
        std=std,
        border=gap // 2 if 0 < gap <= PAD_LIMIT and gap % 2 == 0 else 0,
    )
    return Parts(task, part, Subset(store, validation), preprocessing)


def _plan(experiment: Experiment, parts: Parts, state: TrainState) -> SpeedPlan:
    config = experiment.training
    count = min(config.batch_size, len(parts.train))
    first = train_batches(parts.train, parts.preprocessing, experiment.augment, seed=0, epoch=0, batch_size=count)
    return choose_plan(state.objective, next(first), candidate_plans(config.precision, config.threads))


def _changes(parts: Parts) -> dict[str, int]:
    return {"num_classes": parts.task.num_classes, "in_channels": parts.preprocessing.channels}


def _fresh_state(experiment: Experiment, parts: Parts) -> TrainState:
    classifier = build(experiment.model, **_changes(parts))
    objective = Objective(classifier, experiment.training.loss)
    return TrainState(objective, make_optimizer(classifier, experiment.training.optimizer))


def _card(experiment: Experiment, parts: Parts, progress: Progress) -> checkpoints.Card:
    return checkpoints.Card(
        model=experiment.model,
        changes=_changes(parts),
        classes=parts.task.classes,
        preprocessing=to_mapping(parts.preprocessing),
        data=experiment.data.name,
        epoch=progress.epoch,
        step=progress.step,
    )


def _snapshot(experiment: Experiment, parts: Parts, state: TrainState) -> checkpoints.Checkpoint:
    classifier = state.objective.classifier
    return checkpoints.Checkpoint(
        card=_card(experiment, parts, state.progress),
        weights=classifier.state_dict(),
        optimizer=optimizer_tensors(state.optimizer, classifier),
        progress=to_mapping(state.progress),
    )


def _newest(run: Path) -> bytes:
    """What identifies the newest checkpoint of a run; nothing where there is none."""
    manifest = run / runs.LAST / checkpoints.MANIFEST
    return manifest.read_bytes() if manifest.is_file() else b""


def _keep(part: Literal["best", "last"]) -> int:
    return 2 if part == "last" else 1


def train(
    data: str,
    model: str,
    run: Path | str,
    *,
    recipe: str = "",
    epochs: int | None = None,
    seed: int = 0,
    root: str = "",
    settings: Sequence[str] = (),
) -> Path:
    """Train a network on a data set from its first step to its last, and return the run folder.

    data, model, recipe: names (`lenext data`, `lenext models`; no recipe: the network's own). epochs: the recipe's
    number unless given. root: a folder to look for the data in. settings: "training.batch_size=64" and the like.
    """
    experiment, _ = compose(
        DataConfig(name=data, root=root), model, recipe=recipe, epochs=epochs, seed=seed, settings=settings
    )
    for _ in start(experiment, Path(run), settings=settings).records():
        pass
    return Path(run)
