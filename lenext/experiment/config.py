"""What decides a run's result, and how names, recipe and settings resolve into it. Imports no torch until composed."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lenext.config import from_mapping, override, to_mapping
from lenext.data.config import AugmentConfig, DataConfig
from lenext.data.sources import describe
from lenext.data.split import validation_count
from lenext.errors import UsageError
from lenext.models.sizing import choose_row
from lenext.recipes import default_recipe, read_recipe
from lenext.training.config import TrainingConfig


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that decides a run's result, resolved: the content of `config.toml`.

    model: a row of the catalog. size: height and width of the images that it sees. seed: of the weights, the order,
    the augmentation and the network's own noise.
    """

    model: str
    size: int
    recipe: str
    seed: int = 0
    data: DataConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def compose(
    data: DataConfig,
    model: str,
    *,
    recipe: str = "",
    size: int = 0,
    epochs: int | None = None,
    seed: int = 0,
    settings: Sequence[str] = (),
) -> tuple[Experiment, list[str]]:
    """Resolve names, recipe and `a.b=value` settings into an Experiment, and say in sentences what was decided.

    recipe, size, epochs: without them the network's own recipe, the size of the written rule (`lenext.models.sizing`)
    and the recipe's epochs. Settings come last and win over everything.
    """
    _refuse_names(settings)
    info = describe(data.name, data.root)
    row, pixels, sentence = choose_row(model, max(info.native_size), size)
    recipe = recipe or default_recipe(row)
    _, tables = read_recipe(recipe)
    decided = [f"{info.description} ({info.found})", sentence, f"recipe {recipe}"]
    if tables.get("augment", {}).get("flip") and not info.mirror:
        tables = override(tables, ["augment.flip=false"])
        decided[-1] += f", without its flip: {data.name} has no mirrored images"
    if epochs is not None:
        tables = override(tables, [f"training.epochs={epochs}"])
    mapping = {"model": row, "size": pixels, "recipe": recipe, "seed": seed, "data": to_mapping(data), **tables}
    experiment = from_mapping(Experiment, override(mapping, settings))
    count = validation_count(experiment.data.validation, info.train)
    if experiment.training.schedule.name == "plateau" and count == 0:
        raise UsageError(
            "cannot wait for a plateau without validation",
            why="the schedule 'plateau' watches the loss on held-out images",
            advice="--set data.validation=5000, or --set training.schedule.name=cosine",
        )
    return replace(experiment, data=replace(experiment.data, validation=count)), decided


def command_line(experiment: Experiment, settings: Sequence[str], thread_count: int) -> str:
    """The command that makes the run again, into a folder of its own choice, to the same bits on the same machine."""
    words = ["lenext", "train", experiment.data.name, "--model", experiment.model, "--recipe", experiment.recipe]
    words += ["--size", str(experiment.size), "--epochs", str(experiment.training.epochs)]
    words += ["--seed", str(experiment.seed)]
    kept = [s for s in settings if s.partition("=")[0].strip() not in ("training.threads", "training.epochs", "seed")]
    for setting in (*kept, f"training.threads={thread_count}"):
        words += ["--set", setting]
    return shlex.join(words)


def _refuse_names(settings: Sequence[str]) -> None:
    """Names decide much else when they are resolved; a setting would change the name and nothing behind it."""
    for setting in settings:
        key = setting.partition("=")[0].strip()
        if key in ("model", "recipe", "size", "data.name"):
            option = "the data's name" if key == "data.name" else f"--{key}"
            raise UsageError(f"cannot set {key!r}", why="much else follows from it", advice=f"use {option}")
