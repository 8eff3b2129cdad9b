"""A run being trained: created whole, iterated, saved, resumed."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import to_mapping
from lenext.data.batches import train_batches
from lenext.data.ordering import epoch_order
from lenext.data.split import split_digest
from lenext.data.store import Store, Subset
from lenext.device import SpeedPlan, is_out_of_memory, threads
from lenext.errors import (
    ConflictError,
    DataError,
    DivergedError,
    InterruptedRunError,
    LenextError,
    MachineError,
    UsageError,
)
from lenext.experiment.answers import predict_store
from lenext.experiment.config import Experiment
from lenext.experiment.material import Parts
from lenext.experiment.progression import adjust_network, parts_in
from lenext.judge.metrics import measure
from lenext.predictions import Predictions
from lenext.training.config import TrainingConfig
from lenext.training.loop import Progress, Step, TrainState, Validation, observe, train_epoch
from lenext.training.optim import optimizer_tensors
from lenext.training.planning import in_order
from lenext.training.schedule import learning_rate


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A finished epoch, as `metrics.jsonl` has it.

    train_accuracy: share of the images that were wholly right, as augmented, before each update. validation_score:
    top-1 accuracy, or mean average precision where an image may have several classes. validation_*: None where nothing
    is held out. All but the loss are None where no classes are learnt.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None
    validation_score: float | None
    seconds: float
    images_per_second: float


TRAINED = "trained"  # of an averaged run: the prefix of the weights that are being trained
DECODER = "decoder"  # of a run without labels: the prefix of what paints, which the network is kept without


class Session:
    """A run being trained: iterate `records()` to train it to its end."""

    def __init__(self, run: Path, experiment: Experiment, parts: Parts, state: TrainState, plan: SpeedPlan) -> None:
        self.run = run
        self.experiment = experiment
        self.parts = parts
        self.state = state
        self.plan = plan
        self.total_steps = total_steps(experiment.training, len(parts.train))
        self.loaded_from = b""  # the manifest of `last` that the state came from, or was saved by

    def records(self) -> Iterator[Step | Epoch]:
        """Train to the end, yielding each Step and each Epoch; Ctrl-C and SIGTERM save and raise InterruptedRunError.

        `last` is saved every `save_seconds` and after every epoch, `best` when validation accuracy rises.
        """
        with self._held(), threads(self.plan.threads), runs.deferred_signals() as received:
            with self._guarded():
                self._take_up()
            try:
                with self._guarded():
                    for record in self._train():
                        yield record
                        if number := self.state.ranks.highest(received[0] if received else 0):
                            raise self._interrupted(number)
            except GeneratorExit:  # whoever listened has gone, as a closed pipe has
                self.save("last")
                self._note(status="interrupted", train_seconds=self._seconds())
                raise
            except LenextError as error:
                if not isinstance(error, InterruptedRunError):
                    with contextlib.suppress(LenextError):  # the first error is the one to tell
                        self._note(status="failed", train_seconds=self._seconds())
                raise
            self._finish()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the run's folder, of many ranks on the one that writes."""
        with runs.locked(self.run) if self.state.ranks.leads else contextlib.nullcontext():
            yield

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn what torch raises where memory ends, or where another rank is lost, into an error that says so."""
        kept, advice = f"the checkpoints in {self.run}", f"lenext train --resume {self.run}"
        with (
            enough_memory(self.experiment.training, kept),
            self.state.ranks.watched(f"training of {self.run}", kept, advice),
        ):
            yield

    def _note(self, **changes: Any) -> None:
        if self.state.ranks.leads:
            runs.update_run(self.run, **changes)

    def _train(self) -> Iterator[Step | Epoch]:
        config, saved = self.experiment.training, time.monotonic()
        while not self.is_done():
            for step in self._steps():
                yield step
                if time.monotonic() - saved >= config.save_seconds:
                    self.save("last")
                    saved = time.monotonic()
            yield self._close_epoch()
            saved = time.monotonic()

    def is_done(self) -> bool:
        """Whether the run has had all its updates, or `patience` epochs without a better score."""
        progress, patience = self.state.progress, self.experiment.training.patience
        waits = patience > 0 and is_validated(self.experiment, self.parts)
        stale = waits and progress.epoch - progress.best_epoch >= patience
        return progress.batch == 0 and (progress.step >= self.total_steps or stale)

    def _take_up(self) -> None:
        """Make the folder agree with the state, before the first step and under the lock; all ranks have read it."""
        if self.state.ranks.world > 1:
            self._gather_ranks()
        if not self.state.ranks.leads:
            return
        if newest(self.run) != self.loaded_from:
            raise ConflictError(
                f"cannot go on with {self.run}",
                why="another process has trained it since this one read it",
                kept="the run, untouched",
                advice=f"lenext train --resume {self.run}",
            )
        checkpoints.mend(self.run / runs.LAST)
        self.loaded_from = newest(self.run)
        runs.cut_metrics(self.run, self.state.progress.metrics_bytes)
        if not self.is_done():
            runs.forget_answers(self.run)
        self._note(status="running")

    def _gather_ranks(self) -> None:
        """Make sure that all ranks begin at the same place, and wrap the objective."""
        progress = self.state.progress
        begins = [progress.epoch, progress.batch, progress.step, split_digest(self.parts.train.ids)]
        if self.state.ranks.agree("beginning", begins) != begins:
            raise ConflictError(
                f"cannot train {self.run} on these ranks",
                why="they have read other images, or another checkpoint of the run",
                kept="the run, untouched",
                advice="the same files on every machine",
            )
        self.state.wrapped = self.state.ranks.wrap(self.state.objective)

    def save(self, part: Literal["best", "last"]) -> None:
        """Save a generation of `last` (two are kept) or of `best` (one is); weights that are no numbers never.

        Of many ranks one saves, and asks the others for nothing.
        """
        if not self.state.ranks.leads:
            return
        for name, value in self.state.objective.trained().state_dict().items():
            if not value.isfinite().all():
                raise DivergedError(
                    f"training diverged by update {self.state.progress.step}",
                    why=f"{name} holds numbers that are not finite",
                    kept=f"the checkpoints in {self.run}, from before",
                    advice="a lower rate: --set training.optimizer.rate=...",
                )
        checkpoints.save(self.run / part, snapshot(self.experiment, self.parts, self.state), keep=_keep(part))
        self.loaded_from = newest(self.run)

    def _steps(self) -> Iterator[Step]:
        experiment, progress = self.experiment, self.state.progress
        config = experiment.training
        order = epoch_order(
            self.parts.train, seed=experiment.seed, epoch=progress.epoch, balanced=config.sampling == "balanced"
        )
        adjust_network(progress.epoch, experiment, self.state.objective.classifier)
        parts, ranks = parts_in(progress.epoch, experiment, self.parts), self.state.ranks
        order, size = order[progress.batch * config.batch_size :], config.batch_size
        mixed = bool(parts.variation.config.mixup or parts.variation.config.cutmix)  # partners come from all the batch
        batches = train_batches(
            parts.train,
            parts.preprocessing,
            parts.variation,
            order if mixed else ranks.share(order, size),
            seed=experiment.seed,
            epoch=progress.epoch,
            batch_size=size if mixed else size // ranks.world,
            workers=ranks.divide(parts.workers),
        )
        if mixed:
            batches = map(ranks.cut, batches)
        return train_epoch(self.state, batches, config, total=self.total_steps, seed=experiment.seed, plan=self.plan)

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
            train_accuracy=before.correct / before.seen if config.loss.uses_labels else None,
            validation_loss=validation.loss if validation else None,
            validation_score=validation.score if validation else None,
            seconds=round(seconds, 3),
            images_per_second=round(before.seen / seconds, 1),
        )
        line = {"kind": "epoch", **{key: value for key, value in vars(record).items() if value is not None}}
        if self.state.ranks.leads:
            written = runs.append_metrics(self.run, line)
            self.state.progress = dataclasses.replace(self.state.progress, metrics_bytes=written)
        if self.state.progress.best_epoch == record.epoch:
            self.save("best")
        self.save("last")
        return record

    def _validate(self) -> Validation | None:
        held_out = self.parts.validation
        if not is_validated(self.experiment, self.parts):
            return None
        card = card_of(self.experiment, self.parts, self.state.progress)
        try:
            metrics = measure(self._predict(held_out, card))
        except DataError as error:  # the scores are not finite: what is wrong is the training, not the data
            raise DivergedError(
                f"training diverged in epoch {self.state.progress.epoch + 1}",
                why=error.why,
                kept=f"the checkpoints in {self.run}, from before",
                advice="a lower rate: --set training.optimizer.rate=...",
            ) from error
        return Validation(loss=metrics.nll, score=metrics.score)

    def _predict(self, held_out: Store, card: checkpoints.Card) -> Predictions:
        """Score held-out images, of many ranks each its share; all of them know all scores."""
        ranks, network = self.state.ranks, in_order(self.state.network)
        if ranks.world == 1:
            return predict_store(network, held_out, card, "validation", self.parts.workers)
        own = Subset(held_out, ranks.rows(len(held_out)))
        told = predict_store(network, own, card, "validation", ranks.divide(self.parts.workers))
        ids = tuple(held_out.ids)
        return dataclasses.replace(
            told,
            ids=ids,
            labels=held_out.labels,
            scores=ranks.gather(told.scores, len(ids)),
            split_digest=split_digest(ids),
        )

    def _finish(self) -> None:
        chosen = "best" if is_validated(self.experiment, self.parts) else "last"
        stopped = {"stopped_early": True} if self.state.progress.step < self.total_steps else {}
        self._note(status="finished", chosen=chosen, train_seconds=self._seconds(), **stopped)

    def _seconds(self) -> float:
        return round(self.state.progress.seconds, 1)

    def _interrupted(self, number: int) -> InterruptedRunError:
        self.save("last")
        self._note(status="interrupted", train_seconds=self._seconds())
        self.state.ranks.highest(0)  # nobody leaves before the first has saved: torchrun then stops them all
        progress = self.state.progress
        return InterruptedRunError(
            f"training of {self.run} was interrupted",
            why=f"signal {signal.Signals(number).name} after {progress.step} of {self.total_steps} updates",
            kept=f"everything up to that update, in {self.run / runs.LAST}",
            advice=f"lenext train --resume {self.run}",
            signal=number,
        )


@contextlib.contextmanager
def enough_memory(config: TrainingConfig, kept: str = "nothing was written") -> Iterator[None]:
    """Turn what torch and Python raise where memory ends into a MachineError (exit 6) that tells what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        half, twice = max(config.batch_size // 2, 1), 2 * config.accumulate
        raise MachineError(
            f"cannot train with batches of {config.batch_size}",
            why="there is no memory for them",
            kept=kept,
            advice=f"a new run with --set training.batch_size={half} --set training.accumulate={twice}",
        ) from error


def is_validated(experiment: Experiment, parts: Parts) -> bool:
    """Whether held-out images choose the best epoch."""
    return experiment.training.loss.uses_labels and len(parts.validation) > 0


def changes(experiment: Experiment, parts: Parts) -> dict[str, Any]:
    """The fields of the catalog's row that the experiment changes and that the data decides."""
    return {**experiment.network, "num_classes": parts.task.num_classes, "in_channels": parts.preprocessing.channels}


def card_of(experiment: Experiment, parts: Parts, progress: Progress) -> checkpoints.Card:
    """What the network's weights are, for whoever builds and feeds it again."""
    return checkpoints.Card(
        model=experiment.model,
        changes=changes(experiment, parts),
        classes=parts.task.classes if experiment.training.loss.uses_labels else (),
        preprocessing=to_mapping(parts.preprocessing),
        data=experiment.data.name,
        epoch=progress.epoch,
        step=progress.step,
        multi_label=parts.task.multi_label,
    )


def snapshot(experiment: Experiment, parts: Parts, state: TrainState) -> checkpoints.Checkpoint:
    """Everything that a checkpoint of this state holds; beside an average, the trained weights are training state."""
    classifier = state.objective.classifier
    tensors = optimizer_tensors(state.optimizer, state.objective.trained())
    if state.objective.decoder is not None:
        tensors |= {f"{DECODER}/{name}": value for name, value in state.objective.decoder.state_dict().items()}
    if state.average is not None:
        tensors |= {f"{TRAINED}/{name}": value for name, value in classifier.state_dict().items()}
    return checkpoints.Checkpoint(
        card=card_of(experiment, parts, state.progress),
        weights=state.network.state_dict(),
        optimizer=tensors,
        progress=to_mapping(state.progress),
    )


def total_steps(config: TrainingConfig, images: int) -> int:
    """Updates of a run on so many training images: those asked for, or those that its epochs hold."""
    each = steps_of_an_epoch(config, images)
    return config.steps or each * config.epochs


def steps_of_an_epoch(config: TrainingConfig, images: int) -> int:
    """Updates of one epoch on so many training images; not even one is a UsageError."""
    each = images // config.batch_size // config.accumulate
    if each == 0:
        batch = "a batch" if config.accumulate == 1 else f"an update takes {config.accumulate} batches, and a batch"
        raise UsageError(
            f"cannot train on {images} images",
            why=f"{batch} takes {config.batch_size}",
            advice=f"--set training.batch_size={max(images // config.accumulate, 1)}",
        )
    return each


def newest(run: Path) -> bytes:
    """What identifies the newest checkpoint of a run; nothing where there is none."""
    manifest = run / runs.LAST / checkpoints.MANIFEST
    return manifest.read_bytes() if manifest.is_file() else b""


def _keep(part: Literal["best", "last"]) -> int:
    return 2 if part == "last" else 1
