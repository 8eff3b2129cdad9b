"""Recipes: each is a resolved experiment, says where it comes from, and trains."""

import math
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lenext.config import from_mapping, override
from lenext.data.batches import Variation, train_batches
from lenext.data.colour import colour_components
from lenext.data.preprocessing import Preprocessing, statistics
from lenext.data.published import open_published
from lenext.device import SpeedPlan
from lenext.errors import UsageError
from lenext.experiment.config import Experiment
from lenext.experiment.progression import adjust_network
from lenext.models.catalog import VARIANTS, build
from lenext.models.init import initialise
from lenext.recipes import FALLBACK, default_recipe, list_recipes, read_recipe
from lenext.training.loop import Step, TrainState, train_epoch
from lenext.training.objective import Objective
from lenext.training.optim import make_optimizer
from lenext.training.schedule import learning_rate

# A network that the recipe suits and that is quick, at a size that it takes; of some papers a relative of it.
# fmt: off
SUITS = {
    "adamw":            ("lenet5_relu", 28),
    "alexnet":          ("alexnet_small", 28),
    "amoebanet":        ("amoebanet_a_cifar_n2_f8", 8),
    "amoebanet_cifar":  ("amoebanet_a_cifar_n2_f8", 8),
    "bninception":      ("bninception_small", 16),
    "caffenet":         ("alexnet_small", 28),
    "cifar_stem":       ("resnet20", 8),
    "convnext":         ("convnextv2_atto_small", 16),
    "convnext_short":   ("convnextv2_atto_small", 16),
    "convnextv2":       ("convnextv2_atto_small", 16),
    "d2l":              ("lenet5_dense", 28),
    "densenet":         ("densenet_cifar_L40_k12", 8),
    "densenet_cifar":   ("densenet_cifar_L40_k12", 8),
    "efficientnet":     ("efficientnet_b0_small", 8),
    "efficientnet_lite": ("efficientnet_b0_small", 8),
    "efficientnetv2":   ("tf_efficientnetv2_b0_small", 16),
    "enas":             ("enas_micro_n2_f8", 8),
    "fcmae":            ("convnextv2_atto_small", 32),
    "fine_tuning":      ("resnet20", 8),
    "googlenet":        ("googlenet_small", 28),
    "inceptionv3":      ("inception_v3_small", 32),
    "inceptionv4":      ("inception_resnet_v1_small", 32),
    "lenet":            ("lenet5", 32),
    "mobilenetv1":      ("mobilenetv1_100_small", 16),
    "mobilenetv2":      ("mobilenetv2_100_small", 8),
    "mobilenetv3":      ("mobilenetv3_small_100_small", 8),
    "nasnet":           ("nasnet_a_cifar_2_192", 8),
    "nasnet_cifar":     ("nasnet_a_cifar_2_192", 8),
    "nin":              ("nin_mnist", 28),
    "one_cycle":        ("resnet20", 8),
    "photographs":      ("resnet20", 8),
    "preact":           ("preact_resnet20", 8),
    "preact_cifar":     ("preact_resnet20", 8),
    "resnet":           ("resnet20", 8),
    "resnet_cifar":     ("resnet20", 8),
    "resnext":          ("resnext_29_8x4d", 8),
    "resnext_cifar":    ("resnext_29_8x4d", 8),
    "senet":            ("seresnet20", 8),
    "stochdepth":       ("resnet20", 8),
    "torchvision":      ("resnet20", 8),
    "vgg":              ("vgg11_small", 28),
    "wrn":              ("wrn_16_4", 8),
    "wrn_imagenet":     ("wrn_16_4", 8),
    "zfnet":            ("zfnet_small", 28),
}
# fmt: on
RECIPES = list_recipes()

OURS = {"adamw", "convnext_short", "fine_tuning", "one_cycle", "photographs"}
PAPERS = [name for name in RECIPES if name not in OURS]


def experiment(recipe: str, model: str = "resnet20", size: int = 8) -> Experiment:
    _, tables = read_recipe(recipe)
    mapping = {"model": model, "size": size, "recipe": recipe, "data": {"name": "digits"}, **tables}
    return from_mapping(Experiment, mapping)


def test_every_recipe_has_a_network_here_to_be_tried_on() -> None:
    assert sorted(SUITS) == RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_is_a_whole_experiment_and_names_neither_network_nor_data(recipe: str) -> None:
    _, tables = read_recipe(recipe)
    assert set(tables) <= {"training", "augment"}
    loaded = experiment(recipe)
    assert loaded.training.epochs == tables["training"]["epochs"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_has_a_source_and_names_networks_that_exist(recipe: str) -> None:
    about, _ = read_recipe(recipe)
    assert any(year.isdigit() and 1980 < int(year) < 2100 for year in about.source.replace(",", " ").split()) or (
        "arXiv:" in about.source
    )
    assert set(about.published_for) | set(about.default_for) <= set(VARIANTS)


def test_every_recipe_of_a_paper_says_how_it_departs() -> None:
    assert len(PAPERS) == 39
    assert [name for name in PAPERS if not read_recipe(name)[0].departures] == []


# Rates after so many updates, by hand from what the papers print; in the order of the files.
# fmt: off
PUBLISHED_RATES: list[tuple[str, int, dict[int, float]]] = [
    ("caffenet",     450_000, {0: 0.01, 99_999: 0.01, 100_000: 1e-3, 399_999: 1e-5, 449_999: 1e-6}),
    ("convnext",     6000,    {0: 1e-5, 399: 4e-3, 400: 4e-3, 3200: (4e-3 + 1e-6) / 2}),  # 20 updates an epoch
    ("densenet",     900,     {299: 0.1, 300: 0.01, 600: 1e-3}),
    ("efficientnet", 3500,    {0: 0.256 / 50, 49: 0.256, 50: 0.256 * 0.97**2, 72: 0.256 * 0.97**3}),
    ("enas",         6300,    {0: 0.05, 50: (0.05 + 1e-4) / 2, 100: 0.05, 300: 0.05, 700: 0.05, 3100: 0.05}),
    ("inceptionv3",  1000,    {19: 0.045, 20: 0.045 * 0.94, 999: 0.045 * 0.94**49}),
    ("mobilenetv2",  3000,    {9: 0.045, 10: 0.045 * 0.98, 2999: 0.045 * 0.98**299}),
    ("nasnet_cifar", 6000,    {0: 0.025, 3000: 0.0125}),
    ("preact_cifar", 64_000,  {0: 0.01, 399: 0.01, 400: 0.1, 32_000: 0.01, 48_000: 1e-3}),
    ("resnet_cifar", 64_000,  {0: 0.1, 32_000: 0.01, 48_000: 1e-3}),
    ("senet",        1000,    {0: 0.6, 300: 0.06, 999: 6e-4}),
    ("wrn",          2000,    {599: 0.1, 600: 0.02, 1200: 0.004, 1600: 8e-4}),
]
# fmt: on


@pytest.mark.parametrize(("recipe", "total", "rates"), PUBLISHED_RATES, ids=lambda value: str(value)[:12])
def test_rate_is_the_papers_after_so_many_updates(recipe: str, total: int, rates: dict[int, float]) -> None:
    training = experiment(recipe).training
    assert {step: learning_rate(training, 1.0, step, total) for step in rates} == pytest.approx(rates, rel=1e-9)


def test_page_of_recipes_is_freshly_made() -> None:
    """`make docs` writes it."""
    docs = Path(__file__).parent.parent / "docs"
    made = runpy.run_path(str(docs / "make_recipe_page.py"))["page"]()
    assert (docs / "recipes.md").read_text(encoding="utf-8") == made


def test_no_network_has_two_recipes_of_its_own() -> None:
    owned = [name for recipe in RECIPES for name in read_recipe(recipe)[0].default_for]
    assert len(owned) == len(set(owned))


def test_default_recipe_is_the_networks_own_or_the_fallback() -> None:
    assert default_recipe("lenet5", 32) == "lenet"
    assert default_recipe("vgg16", 32) == default_recipe("alexnet_small", 32) == "adamw"
    assert default_recipe("convnextv2_atto_small", 28) == "convnext_short"
    assert default_recipe("resnet20", 32) == default_recipe("resnet18_small", 32) == FALLBACK == "one_cycle"
    assert FALLBACK in RECIPES


def two_steps(recipe: str) -> tuple[list[Step], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    model, size = SUITS[recipe]
    told = experiment(recipe, model, size)
    training = replace(told.training, batch_size=16, accumulate=min(told.training.accumulate, 2))
    store = open_published("digits").open("test")
    mean, std = statistics([list(store.images)])
    preprocessing = Preprocessing(size=(size, size), channels=1, mean=mean, std=std)
    classifier = build(model, num_classes=10, in_channels=1)
    objective = Objective(classifier, training.loss)
    trained = objective.trained()
    initialise(trained, training.init, told.seed)
    before = {name: value.detach().clone() for name, value in trained.named_parameters()}
    state = TrainState(objective, make_optimizer(trained, training.optimizer))
    adjust_network(0, told, classifier)
    batches = train_batches(
        store,
        preprocessing,
        Variation(told.augment, 10, colour_components([list(store.images)])),
        np.arange(len(store)),
        seed=0,
        epoch=0,
        batch_size=training.batch_size,
    )
    plan = SpeedPlan(device="cpu", precision="float32", channels_last=False, threads=1)
    steps = []
    for step in train_epoch(state, batches, training, total=100, seed=0, plan=plan):
        steps.append(step)
        if len(steps) == 2:
            break
    return steps, before, dict(trained.named_parameters())


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_takes_two_steps_that_change_every_weight(recipe: str) -> None:
    steps, before, after = two_steps(recipe)
    assert [step.step for step in steps] == [1, 2]
    assert all(math.isfinite(step.loss) and step.rate > 0 for step in steps)
    assert all(torch.isfinite(value).all() for value in after.values())
    still = [name for name in before if torch.equal(before[name], after[name])]
    rests = "" if experiment(recipe).training.loss.uses_labels else "head."  # nobody asks it for classes
    assert [name for name in still if steepest(after[name]) > 1e-5 and not (rests and name.startswith(rests))] == []


def steepest(parameter: torch.Tensor) -> float:
    """The largest gradient; that of a norm whose scale the next norm undoes is rounding, and may move nothing."""
    return math.inf if parameter.grad is None else float(parameter.grad.abs().max())


# --- recipes of one's own -------------------------------------------------------------------------------------------

OWN = '[about]\nsource = "mine, 2026"\n[training]\nepochs = 3\n'


def test_file_of_ones_own_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(OWN)
    about, tables = read_recipe(str(tmp_path / "mine.toml"))
    assert (about.source, tables) == ("mine, 2026", {"training": {"epochs": 3}})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[training]\nepochs = 3\n", "source"),
        ('[about]\nsource = "x"\nauthor = "y"\n', r"unknown key 'about\.author'"),
        ("[about\n", "not TOML"),
        ('model = "lenet5"\n' + OWN, "names 'model'"),
        (OWN + '[data]\nname = "digits"\n', "names 'data'"),
    ],
)
def test_recipe_that_is_none_is_refused(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=match):
        read_recipe(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("name", ["resnet-cifar", "resnet_cifar10"])
def test_unknown_recipe_names_the_nearest(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_recipe(name)
    assert caught.value.advice == "did you mean 'resnet_cifar'?"


def test_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"unknown recipe 'nowhere/mine\.toml'"):
        read_recipe("nowhere/mine.toml")


def test_settings_apply_to_a_recipe() -> None:
    _, tables = read_recipe("resnet_cifar")
    changed: dict[str, Any] = override(tables, ["training.epochs=2", "augment.pad=1"])
    assert changed["training"]["epochs"] == 2
    assert changed["augment"] == {"pad": 1, "flip": True}
    assert read_recipe("resnet_cifar")[1]["training"]["epochs"] == 182
