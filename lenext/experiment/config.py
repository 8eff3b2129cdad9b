"""What decides a run's result, and how names, recipe and settings resolve into it. Imports no torch until composed."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lenext import checkpoint as checkpoints
from lenext.config import from_mapping, override, to_mapping
from lenext.data.config import AugmentConfig, DataConfig
from lenext.data.sources import Source
from lenext.data.split import validation_count
from lenext.errors import UsageError
from lenext.models.catalog import canonical_name
from lenext.models.sizing import choose_row
from lenext.recipes import FINE_TUNING, default_recipe, read_recipe
from lenext.training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that decides a run's result, resolved: the content of `config.toml`.

    model: a row of the catalog. network: fields of the row that are changed. size: height and width of the images that
    it sees. weights: a checkpoint that training begins from. seed: of the weights, the order, the augmentation and the
    network's own noise.
    """

    model: str
    network: Mapping[str, Any] = field(default_factory=dict)
    size: int
    recipe: str
    weights: str = ""
    seed: int = 0
    data: DataConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def compose(
    data: DataConfig,
    source: Source,
    model: str,
    *,
    weights: str = "",
    recipe: str = "",
    size: int = 0,
    seed: int = 0,
    settings: Sequence[str] = (),
) -> tuple[Experiment, list[str]]:
    """Resolve names, recipe and `a.b=value` settings into an Experiment, and say in sentences what was decided.

    weights: a run or a checkpoint folder to begin from, whose network and size are taken over; `model` may then be "".
    recipe, size: without them the network's own recipe and the size of the written rule (`lenext.models.sizing`).
    Settings come last and win over everything, the later over the earlier.
    """
    settings = [own_key(setting) for setting in settings]
    _refuse_names(settings)
    row, pixels, network, sentence = _choose_network(source, model, weights, size)
    recipe = recipe or (FINE_TUNING if weights else default_recipe(row, max(source.native_size or (0,))))
    _, tables = read_recipe(recipe)
    decided = [f"{source.description} ({source.found})", *source.ignored, sentence, f"recipe {recipe}"]
    if tables.get("augment", {}).get("flip") and not source.mirror:
        tables = override(tables, ["augment.flip=false"])
        decided[-1] += f", without its flip: {data.name} has no mirrored images"
    mapping = {
        "model": row, "network": network, "size": pixels, "recipe": recipe, "weights": weights, "seed": seed,
        "data": {**to_mapping(data), "name": source.name, "root": "" if "/" in source.name else data.root}, **tables,
    }  # fmt: skip
    experiment = from_mapping(Experiment, override(mapping, settings))
    count = experiment.data.validation
    if "train" in source.counts and "validation" not in source.counts:
        count = validation_count(count, source.counts["train"])
    held_out = count > 0 or "validation" in source.counts
    if not experiment.training.loss.uses_labels:
        _refuse_waiting(experiment.training, "no classes are learnt", "")
    elif not held_out:
        _refuse_waiting(experiment.training, "none are held out", "--set data.validation=5000, or ")
    return replace(experiment, data=replace(experiment.data, validation=count)), decided


def _refuse_waiting(training: TrainingConfig, reason: str, advice: str) -> None:
    """Without validation there is nothing to wait for."""
    for what, asked in (("a plateau", training.schedule.name == "plateau"), ("patience to end", training.patience > 0)):
        if asked:
            raise UsageError(
                f"cannot wait for {what} without validation",
                why=f"it watches held-out images, and {reason}",
                advice=f"{advice}--set training.schedule.name=cosine and training.patience=0",
            )


def _choose_network(source: Source, model: str, weights: str, size: int) -> tuple[str, int, dict[str, Any], str]:
    """Return the row, the size, the row's changed fields, and a sentence on them."""
    if not weights:
        row, pixels, sentence = choose_row(model, max(source.native_size or (0,)), size)
        return row, pixels, {}, sentence
    card = checkpoints.load(checkpoints.find_folder(Path(weights))).card
    if model and canonical_name(model) != card.model:
        raise UsageError(
            f"cannot train {model} from {weights}", why=f"its network is {card.model}", advice="leave --model out"
        )
    row, pixels, _ = choose_row(card.model, 0, size or int(card.preprocessing["size"][0]))
    network = {key: value for key, value in card.changes.items() if key not in ("num_classes", "in_channels")}
    return row, pixels, network, f"{row} at {pixels}x{pixels}, from the weights in {weights} (trained on {card.data})"


def with_epochs(epochs: int | None) -> list[str]:
    """The setting for a number of epochs, or none where the recipe's holds."""
    return [] if epochs is None else [f"training.epochs={epochs}"]


def own_key(setting: str) -> str:
    """The setting under the key of `config.toml`: `model.pooling=max` is another spelling of `network.pooling=max`."""
    return f"network.{setting.removeprefix('model.')}" if setting.startswith("model.") else setting


def plan_settings(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The settings under which a run follows the plan of a `run.json`: with the threads told, nothing is timed."""
    return {
        "training.threads": plan["threads"],
        "training.memory_format": "channels_last" if plan["channels_last"] else "contiguous",
        "training.micro_batch": plan.get("micro_batch", 0),
        "training.compile": "always" if plan.get("compiled", False) else "never",
    }


# What a plan is where the threads are told and nothing else.
_USUAL = {"training.memory_format": "channels_last", "training.micro_batch": 0, "training.compile": "never"}


def command_line(experiment: Experiment, settings: Sequence[str], plan: Mapping[str, Any], ranks: int = 1) -> str:
    """The command that makes the run again, into a folder of its own choice, to the same bits on the same machine."""
    words = ["torchrun", "--standalone", "--nproc-per-node", str(ranks), "-m", "--"] if ranks > 1 else []
    words += ["lenext", "train", experiment.data.name, "--model", experiment.model, "--recipe", experiment.recipe]
    words += ["--weights", experiment.weights] if experiment.weights else []
    words += ["--root", experiment.data.root] if experiment.data.root else []
    words += ["--size", str(experiment.size), "--epochs", str(experiment.training.epochs)]
    words += ["--seed", str(experiment.seed)]
    pinned = _pinned(experiment.training, plan)
    if experiment.training.steps:
        pinned["training.steps"] = experiment.training.steps
    kept = [s for s in settings if s.partition("=")[0].strip() not in (*pinned, "training.epochs", "seed")]
    for setting in (*kept, *(f"{key}={value}" for key, value in pinned.items())):
        words += ["--set", setting]
    return shlex.join(words)


def _pinned(training: TrainingConfig, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What was told of the plan, and of what was measured all that is not usual."""
    pinned = {}
    for key, value in plan_settings(plan).items():
        name = key.removeprefix("training.")
        told = getattr(training, name)
        if told != getattr(TrainingConfig(), name):
            pinned[key] = told
        elif _USUAL.get(key) != value:
            pinned[key] = value
    return pinned


def _refuse_names(settings: Sequence[str]) -> None:
    """Names decide much else when they are resolved; a setting would change the name and nothing behind it."""
    for setting in settings:
        key = setting.partition("=")[0].strip()
        if key in ("model", "recipe", "size", "weights", "data.name"):
            option = "the data's name" if key == "data.name" else f"--{key}"
            raise UsageError(f"cannot set {key!r}", why="much else follows from it", advice=f"use {option}")
