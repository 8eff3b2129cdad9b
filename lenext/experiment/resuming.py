"""How a run goes on: where its newest checkpoint stands, or as another run with more epochs."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import differing_keys, digest, from_mapping, override, read_toml
from lenext.data.preprocessing import Preprocessing
from lenext.data.sources import Source, find_source
from lenext.device import SpeedPlan, cores, require_device
from lenext.errors import ConflictError, UsageError
from lenext.experiment.config import Experiment
from lenext.experiment.material import data_facts, make_parts, recorded_division, require_task
from lenext.experiment.opening import Beginning, begin_average, create, fresh_state
from lenext.experiment.session import DECODER, TRAINED, Session, newest, steps_of_an_epoch
from lenext.training.distributed import ALONE, Ranks
from lenext.training.loop import Progress
from lenext.training.optim import load_optimizer_tensors
from lenext.training.planning import follow_plan

# what changes no bit of the result, and so may differ
MACHINE = ("data.workers", "data.cache", "data.disk_cache", "data.home", "training.save_seconds")


def resume(
    run: Path | str,
    settings: Sequence[str] = (),
    *,
    root: str = "",
    source: Source | None = None,
    ranks: Ranks = ALONE,
) -> Session:
    """Take a run up where its newest whole checkpoint stands; a changed configuration is a ConflictError (exit 5).

    settings: such as change no bit of the result (MACHINE). root: where the data lies now, if it has moved. source: the
    data itself, where it came as arrays. ranks: the processes that go on with it, as many as one likes.
    """
    run = Path(run)
    index = runs.load_run(run)
    stored = read_toml(run / runs.CONFIG_TOML)
    asked = override(stored, settings)
    changed = [key for key in differing_keys(stored, asked) if key not in MACHINE]
    if changed or digest(stored) != index["config_digest"]:
        raise ConflictError(
            f"cannot resume {run} with another configuration",
            why=f"differs: {', '.join(changed) or runs.CONFIG_TOML + ' was edited'}",
            kept="the run, untouched",
            advice="resume without --set, or start a new run",
        )
    manifest = newest(run)
    beginning = _take_up(run, from_mapping(Experiment, asked), root, source, ranks)
    session = Session(run, beginning.experiment, beginning.parts, beginning.state, beginning.plan)
    session.loaded_from = manifest
    return session


def extend(
    run: Path | str,
    epochs: int,
    to: Path,
    *,
    root: str = "",
    source: Source | None = None,
    ranks: Ranks = ALONE,
) -> Session:
    """Begin another run, `to`, where this one stands, with `epochs` epochs in all; the first run stays as it is.

    The schedule is that of a run of `epochs` epochs from here on: a rate that had fallen to its end rises again to
    where the longer schedule has it.
    """
    run = Path(run)
    runs.verify(run, runs.CONFIG_TOML)
    experiment = from_mapping(Experiment, read_toml(run / runs.CONFIG_TOML))
    loaded = checkpoints.load(run / runs.LAST)
    done = loaded.progress["epoch"]
    if epochs <= done:
        raise UsageError(f"cannot extend {run} to {epochs} epochs", why=f"it has {done}", advice=f"--epochs {2 * done}")
    training = dataclasses.replace(experiment.training, epochs=epochs, steps=0)
    beginning = _take_up(run, dataclasses.replace(experiment, training=training), root, source, ranks)
    beginning = _counted_on(beginning, epochs)
    beginning = dataclasses.replace(beginning, facts=data_facts(beginning.source, beginning.stores))
    history = (run / runs.METRICS_JSONL).read_bytes()[: beginning.state.progress.metrics_bytes]
    best, opened = checkpoints.load(run / runs.BEST), int(runs.load_run(run)["test_opened"])
    command = shlex.join(["lenext", "train", "--extend", str(run), "--epochs", str(epochs)])
    known = {"extended_from": str(run), "test_opened": opened}
    return create(beginning, to, command=command, known=known, history=history, best=best)


def _counted_on(beginning: Beginning, epochs: int) -> Beginning:
    """Count updates from where the run stands, which may have ended its last epoch early; patience begins anew."""
    experiment, progress = beginning.experiment, beginning.state.progress
    each = steps_of_an_epoch(experiment.training, len(beginning.parts.train))
    beginning.state.progress = dataclasses.replace(progress, best_epoch=progress.epoch)
    under_way = progress.batch // experiment.training.accumulate
    if progress.step == progress.epoch * each + under_way:
        return beginning
    steps = progress.step - under_way + (epochs - progress.epoch) * each
    training = dataclasses.replace(experiment.training, steps=steps)
    return dataclasses.replace(beginning, experiment=dataclasses.replace(experiment, training=training))


def environment_changes(run: Path) -> list[str]:
    """What differs between the machine that began the run and this one, a sentence each."""
    before, now = runs.read_json(run / runs.ENVIRONMENT_JSON), runs.environment()
    told = []
    for key in differing_keys(before, now):
        one, other = (_looked_up(place, key) for place in (before, now))
        told.append(f"{key} was {one}, and is {other}: the bits may differ from those of an uninterrupted run")
    return told


def _take_up(run: Path, experiment: Experiment, root: str, source: Source | None, ranks: Ranks) -> Beginning:
    """Read data, weights, optimiser and progress back, as the newest whole checkpoint has them."""
    ranks.require_shares(experiment.training.batch_size)
    if root:
        experiment = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, root=root))
    name = experiment.data.name
    source = source or find_source(root if root and "/" in name else name, experiment.data.root)
    loaded = checkpoints.load(run / runs.LAST)
    require_task(run, source, loaded.card)
    preprocessing = from_mapping(Preprocessing, loaded.card.preprocessing)
    stores = recorded_division(run, source, experiment.data, experiment.size, preprocessing.channels)
    parts = make_parts(experiment, source, stores, preprocessing)
    state = fresh_state(experiment, parts, ranks)
    index = runs.load_run(run)
    plan = SpeedPlan(**index["speed_plan"])
    if ranks.world != index.get("ranks", 1) and not experiment.training.threads:  # other processes share the cores
        plan = dataclasses.replace(plan, threads=ranks.thread_count or cores())
    if ranks.world > 1:
        plan = dataclasses.replace(plan, compiled=False)
    require_device(plan)
    moments = dict(loaded.optimizer)
    trained, decoder = _taken(moments, TRAINED), _taken(moments, DECODER)
    checkpoints.load_weights(state.objective.classifier, trained or loaded.weights)
    if state.objective.decoder is not None:
        state.objective.decoder.load_state_dict(decoder)
    follow_plan(state.objective, plan)
    begin_average(state, experiment.training)
    if state.average is not None:
        checkpoints.load_weights(state.average, loaded.weights)
    load_optimizer_tensors(state.optimizer, state.objective.trained(), moments)
    state.progress = from_mapping(Progress, loaded.progress)
    return Beginning(experiment, source, stores, parts, state, plan, facts={})


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take out what is named "prefix/NAME", and return it by its NAME."""
    names = [name for name in tensors if name.startswith(f"{prefix}/")]
    return {name.removeprefix(f"{prefix}/"): tensors.pop(name) for name in names}


def _looked_up(tree: dict[str, object], dotted: str) -> object:
    value: object = tree
    for key in dotted.split("."):
        value = value.get(key, "unknown") if isinstance(value, dict) else "unknown"
    return value
