"""Write docs/recipes.md: a line for each recipe, read from its file.

python docs/make_recipe_page.py
"""

import re
from pathlib import Path

from lenext.config import from_mapping
from lenext.recipes import About, list_recipes, read_recipe
from lenext.training.config import OptimizerConfig, ScheduleConfig, TrainingConfig

OURS = ("adamw", "convnext_short", "fine_tuning", "one_cycle", "photographs")
PAGE = Path(__file__).parent / "recipes.md"
INTRODUCTION = """\
# Recipes

`lenext train DATA --model M --recipe NAME` trains as a paper did. A recipe is one file, `lenext/recipes/NAME.toml`: its
source, the networks it was published for, every departure from the source with its reason, and all that training is
told. It names neither network nor data, so that any network may try any of them. Without `--recipe` a network is
trained by a short one of our own (the last table), as the papers' take weeks on ImageNet; LeNet-5 by its paper's.

Lengths keep their proportions: `--epochs 9` of a recipe of 90 epochs cuts the rate after 3 and 6 where it says 30 and
60. An update of many images is made of several batches (`training.accumulate`), as no machine holds them at once.

What the words mean is in `lenext/training/config.py` and `lenext/data/config.py`; those that not every library has:

- `rmsprop_tf`: TensorFlow's RMSProp, with epsilon inside the root and a mean of squares that begins at 1. The papers
  from Google print an epsilon of 1, 0.1 or 0.001, which is another number in torch's `rmsprop`.
- `lbfgs`, `bfgs`: `training.optimizer.iterations` steps with a line search on the images of one update, which should be
  all of them or many (`training.accumulate`). No paper here has it; `--set training.optimizer.name=lbfgs` does.
- `training.drop_path = "rising"`: paths are dropped ever more often, up to the network's own rates (NASNet).
- `training.loss.name = "fcmae"`: no labels; a ConvNeXt paints patches that are hidden from it. The images' sides hold
  whole patches: 32 pixels for the ImageNet rows, 16 for `convnextv2_atto_small`, 8 with `--set network.patch=1`. Then
  `lenext train DATA --weights RUN` teaches it classes.
- `[training.progression]`: sizes, dropout, RandAugment and mixup grow in stages (EfficientNetV2). Sizes are parts of
  `--size`, at which validation stays.
- `augment.short_side`: windows of an image whose shorter side was scaled, as papers cut them from 2012 to 2015.

"""


def page() -> str:
    """The whole page."""
    names = list_recipes()
    papers, own = [n for n in names if n not in OURS], [n for n in names if n in OURS]
    return f"{INTRODUCTION}## Of papers\n\n{table(papers)}\n## Of our own\n\n{table(own)}"


def table(names: list[str]) -> str:
    """Name, source, optimiser, rate over the run, epochs and images of an update; a line each."""
    lines = ["| recipe | source | optimiser | rate | epochs | images an update |", "|---|---|---|---|---|---|"]
    for name in names:
        about, tables = read_recipe(name)
        config = from_mapping(TrainingConfig, tables["training"])
        images = config.batch_size * config.accumulate
        rate = f"{config.optimizer.rate:g}, {describe_schedule(config.schedule, config.epochs)}"
        cells = (f"`{name}`", source(about), describe_optimizer(config.optimizer), rate, config.epochs, images)
        lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def source(about: About) -> str:
    """The source, its papers as links."""
    return re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", about.source)


def describe_optimizer(config: OptimizerConfig) -> str:
    """The update rule and its constants, in a few words."""
    decay = f", decay {config.decay:g}" if config.decay else ""
    if config.name == "sgd":
        kind = "Nesterov " if config.nesterov else ""
        return f"sgd, {kind}momentum {config.momentum:g}{decay}" if config.momentum else f"sgd{decay}"
    if config.name.startswith("rmsprop"):
        return f"{config.name}, alpha {config.alpha:g}, eps {config.eps:g}, momentum {config.momentum:g}{decay}"
    return f"{config.name}{decay}"


def describe_schedule(config: ScheduleConfig, epochs: int) -> str:
    """What becomes of the rate, in a few words; lengths are in epochs unless something else is said."""
    unit = {1: " of the run", epochs: ""}.get(config.length, " updates")
    warm = f", {config.warmup:g}{unit} of warm-up" if config.warmup and config.name != "one_cycle" else ""
    if config.name == "step":
        factors = ", ".join(f"{factor:g}" for factor in config.factors)
        return f"times {factors} at {', '.join(f'{m:g}' for m in config.milestones)}{unit}{warm}"
    if config.name == "exponential":
        return f"times {config.factor:g} every {config.every:g}{unit}{warm}"
    if config.name == "plateau":
        return f"times {config.factor:g} after {config.patience} epochs without gain{warm}"
    if config.name == "cosine" and config.cycle:
        return f"cosine of {config.cycle:g}, again after {config.growth:g} times as many{warm}"
    return config.name.replace("_", " ") + warm


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
