"""What decides a run's result, and how names, recipe and settings resolve into it. Imports no torch until composed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lenext.config import from_mapping, override, to_mapping
from lenext.data.config import AugmentConfig, DataConfig
from lenext.data.sources import describe
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
    epochs: int = 0,
    seed: int = 0,
    settings: Sequence[str] = (),
) -> tuple[Experiment, list[str]]:
    """Resolve names, recipe and `a.b=value` settings into an Experiment, and say in sentences what was decided."""
    info = describe(data.name, data.root)
    row, pixels, sentence = choose_row(model, max(info.native_size), size)
    recipe = recipe or default_recipe(row)
    _, tables = read_recipe(recipe)
    if epochs:
        tables = override(tables, [f"training.epochs={epochs}"])
    mapping = {"model": row, "size": pixels, "recipe": recipe, "seed": seed, "data": to_mapping(data), **tables}
    experiment = from_mapping(Experiment, override(mapping, settings))
    return experiment, [f"{info.description} ({info.found})", sentence, f"recipe {recipe}"]
