"""How a run begins: data, network and plan are prepared, then the run folder is created whole."""

import copy
import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import digest, from_mapping, to_mapping, to_toml
from lenext.costs.operators import count_cost
from lenext.data.batches import train_batches
from lenext.data.config import DataConfig
from lenext.data.ordering import epoch_order
from lenext.data.preprocessing import Preprocessing
from lenext.data.sources import Source, find_source
from lenext.data.store import Store
from lenext.data.task import Task
from lenext.device import SpeedPlan, require_device
from lenext.errors import UsageError
from lenext.experiment.config import Experiment, command_line, compose, with_epochs
from lenext.experiment.material import Parts, data_facts, divide, make_parts, record_division, settle_preprocessing
from lenext.experiment.progression import require_progression
from lenext.experiment.session import (
    Session,
    changes,
    enough_memory,
    is_validated,
    newest,
    snapshot,
    steps_of_an_epoch,
    total_steps,
)
from lenext.models.catalog import build
from lenext.models.init import initialise
from lenext.training.config import TrainingConfig
from lenext.training.distributed import ALONE, Ranks
from lenext.training.finetune import adopt, freeze
from lenext.training.loop import TrainState
from lenext.training.objective import Objective, class_weights
from lenext.training.optim import follow_parameters, make_optimizer
from lenext.training.planning import Choice, choose_plan, follow_plan


@dataclass(frozen=True)
class Beginning:
    """All that a run begins with; nothing of it is on disk yet.

    facts: what is known of the data, for `data.json`. said: what was found and decided on the way, a sentence each.
    """

    experiment: Experiment
    source: Source
    stores: Mapping[str, Store]
    parts: Parts
    state: TrainState
    plan: SpeedPlan
    facts: Mapping[str, Any]
    said: tuple[str, ...] = ()


def prepare(experiment: Experiment, source: Source, ranks: Ranks = ALONE) -> Beginning:
    """Divide the data, build the network, give it its first weights and time the plans; nothing is written.

    ranks: the processes that train it together; each prepares the same, and all follow the plan of the first.
    """
    ranks.require_shares(experiment.training.batch_size)
    start_from = checkpoints.load(checkpoints.find_folder(Path(experiment.weights))) if experiment.weights else None
    channels = int(start_from.card.preprocessing["channels"]) if start_from else source.channels
    stores = divide(source, experiment.data, experiment.size, channels)
    if start_from is None:
        preprocessing = settle_preprocessing(experiment, source, stores["train"])
    else:  # the network knows images as its first training showed them
        size = (experiment.size, experiment.size)
        known = from_mapping(Preprocessing, start_from.card.preprocessing)
        fit = known.fit if experiment.data.fit == "auto" else experiment.data.fit
        fraction = known.crop_fraction if fit == "crop" else 1.0
        preprocessing = dataclasses.replace(known, size=size, fit=fit, crop_fraction=fraction)
    parts = make_parts(experiment, source, stores, preprocessing)
    experiment = _with_epochs_of_steps(experiment, len(parts.train))
    state = fresh_state(experiment, parts, ranks)
    classifier = state.objective.classifier
    require_progression(experiment, classifier)
    facts = data_facts(source, stores)
    said = [f"data: {one['kind']}, {one['count']:,} found: {one['text']}" for one in facts["findings"]]
    initialise(state.objective.trained(), experiment.training.init, experiment.seed)
    if start_from is not None:
        same = Task(start_from.card.classes, start_from.card.multi_label) == parts.task
        fresh = adopt(classifier, start_from.weights, keep_head=same)
        count = len(start_from.weights)
        head = f"head {len(start_from.card.classes)} -> {parts.task.num_classes} made new" if fresh else "head kept"
        said.append(f"{count - len(fresh)} of {count} tensors from {experiment.weights}; {head}")
    with enough_memory(experiment.training):
        choice = _choose(experiment, parts, state)
        plan = SpeedPlan(**ranks.agree("speed plan", vars(choice.plan)))
        require_device(plan)
        follow_plan(state.objective, plan)
        follow_parameters(state.optimizer)
        begin_average(state, experiment.training)
    if choice.tried:
        said.append(f"plan: {plan}; the fastest of {len(choice.tried)} that were timed in {choice.spent:.1f} s")
    return Beginning(experiment, source, stores, parts, state, plan, facts, tuple(said))


def create(
    beginning: Beginning,
    run: Path,
    *,
    command: str,
    known: Mapping[str, Any] | None = None,
    history: bytes = b"",
    best: checkpoints.Checkpoint | None = None,
) -> Session:
    """Create the run folder, whole and with its first checkpoint saved, and return its Session.

    Of many ranks the first creates it.

    command: what makes the run again. known, history, best: what the run that this one goes on from hands on, in the
    index, in the log, and as its best network.
    """
    experiment, parts, state, plan = beginning.experiment, beginning.parts, beginning.state, beginning.plan
    session = Session(run, experiment, parts, state, plan)
    if not state.ranks.leads:
        return session
    cost = count_cost(state.objective.classifier, (parts.preprocessing.channels, *parts.preprocessing.size))
    with runs.staged(run) as staging:
        config = to_mapping(experiment)
        runs.write_durably(staging / runs.CONFIG_TOML, to_toml(config).encode())
        record_division(staging / runs.SPLIT_CSV, parts.task, beginning.stores)
        runs.write_json(staging / runs.DATA_JSON, beginning.facts)
        runs.write_json(staging / runs.ENVIRONMENT_JSON, runs.environment())
        runs.write_durably(staging / runs.METRICS_JSONL, history)
        checkpoints.save(staging / runs.BEST, best or snapshot(experiment, parts, state))
        checkpoints.save(staging / runs.LAST, snapshot(experiment, parts, state))
        about: dict[str, Any] = {
            "lenext": lenext.__version__,
            "name": run.name,
            "status": "created",
            "command": command,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "model": experiment.model,
            "data": Path(experiment.data.name).name,
            "params": cost.params,
            "macs": cost.macs,
            "train_images": len(parts.train),
            "validation_images": len(parts.validation),
            "train_seconds": state.progress.seconds,
            "test_opened": 0,
            "chosen": "best" if is_validated(experiment, parts) else "last",
            "labels": experiment.training.loss.uses_labels,
            "score_name": "mAP" if parts.task.multi_label else "top-1",
            "config_digest": digest(config),
            "speed_plan": dataclasses.asdict(plan),
            "ranks": state.ranks.world,
        }
        runs.update_run(staging, **{**about, **(known or {})})
    session.loaded_from = newest(run)
    return session


def start(experiment: Experiment, source: Source, run: Path, *, settings: Sequence[str] = ()) -> Session:
    """Prepare a run and create its folder."""
    runs.refuse_existing(run)
    beginning = prepare(experiment, source)
    return create(beginning, run, command=command_line(experiment, settings, vars(beginning.plan)))


def train(  # noqa: PLR0913  # an option of the command line each
    data: str | Source,
    model: str,
    run: Path | str,
    *,
    weights: str = "",
    recipe: str = "",
    epochs: int | None = None,
    seed: int = 0,
    root: str = "",
    settings: Sequence[str] = (),
) -> Path:
    """Train a network on data from its first step to its last, and return the run folder.

    data: a name of `lenext data`, the path of a folder or an archive, or what `from_arrays` made. model, recipe: names
    (`lenext models`; no recipe: the network's own). weights: a run or checkpoint to begin from; model may then be "".
    epochs: the recipe's number unless given. root: a folder to look for the data in. settings:
    "training.batch_size=64" and the like.
    """
    source = find_source(data, root) if isinstance(data, str) else data
    told = DataConfig(name=source.name, root=root, home=root)
    settings = [*with_epochs(epochs), *settings]
    experiment, _ = compose(told, source, model, weights=weights, recipe=recipe, seed=seed, settings=settings)
    for _ in start(experiment, source, Path(run), settings=settings).records():
        pass
    return Path(run)


def _with_epochs_of_steps(experiment: Experiment, images: int) -> Experiment:
    """Where the updates are given, the epochs are as many as hold them."""
    config = experiment.training
    if not config.steps:
        return experiment
    training = dataclasses.replace(config, epochs=-(-config.steps // steps_of_an_epoch(config, images)))
    return dataclasses.replace(experiment, training=training)


def fresh_state(experiment: Experiment, parts: Parts, ranks: Ranks = ALONE) -> TrainState:
    """Build network, objective and optimiser, with torch's own first weights."""
    config = experiment.training
    classifier = build(experiment.model, **changes(experiment, parts))
    freeze(classifier, config.freeze)
    weights = class_weights(parts.train.labels, config.loss, parts.task.num_classes)
    objective = Objective(classifier, config.loss, multi_label=parts.task.multi_label, weights=weights)
    return TrainState(objective, make_optimizer(objective.trained(), config.optimizer), ranks=ranks)


def begin_average(state: TrainState, config: TrainingConfig) -> None:
    """Where an average is kept, it begins as the weights of this moment."""
    if config.average:
        state.average = copy.deepcopy(state.objective.classifier).requires_grad_(False).eval()


def _choose(experiment: Experiment, parts: Parts, state: TrainState) -> Choice:
    config = experiment.training
    count = min(config.batch_size, len(parts.train))
    order = epoch_order(parts.train, seed=0, epoch=0, balanced=config.sampling == "balanced")[:count]
    first = train_batches(parts.train, parts.preprocessing, parts.variation, order, seed=0, epoch=0, batch_size=count)
    if state.ranks.world > 1:  # processes that share a machine would time each other
        if config.compile == "always":
            why, advice = "its norms and gradients wait for the other ranks", "leave training.compile out"
            raise UsageError("cannot compile for several processes", why=why, advice=advice)
        config = dataclasses.replace(config, threads=config.threads or state.ranks.thread_count)
    passes = config.accumulate * total_steps(config, len(parts.train))
    return choose_plan(state.objective, next(first), config, passes)
