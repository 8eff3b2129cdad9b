"""How names, recipe and settings resolve. Oracle: the written rule, by hand."""

import pytest

from lenext.data.config import DataConfig
from lenext.data.sources import find_source
from lenext.errors import DataError, UsageError
from lenext.experiment.config import compose, with_epochs

DIGITS = DataConfig(name="digits")
SOURCE = find_source("digits")


def test_names_resolve_to_row_size_and_the_networks_own_recipe() -> None:
    experiment, said = compose(DIGITS, SOURCE, "lenet5")
    assert (experiment.model, experiment.size, experiment.recipe) == ("lenet5", 32, "lenet")
    assert experiment.training.loss.name == "lenet_map"
    assert experiment.training.epochs == 20
    assert said[0].startswith("Digits: ") and said[0].endswith("(inside lenext)")
    assert said[1:] == ["lenet5 at 32x32, because it takes 32 x 32 pixels exactly", "recipe lenet"]


def test_small_row_is_taken_and_its_recipe() -> None:
    experiment, said = compose(DIGITS, SOURCE, "resnet18")
    assert (experiment.model, experiment.size, experiment.recipe) == ("resnet18_small", 8, "one_cycle")
    assert "because resnet18 takes 64 x 64 pixels and larger" in said[1]


def test_what_is_asked_for_wins_in_order_of_settings_epochs_recipe() -> None:
    asked = {"recipe": "resnet_cifar", "size": 16, "seed": 5}
    experiment, _ = compose(DIGITS, SOURCE, "resnet20", **asked)  # type: ignore[arg-type]
    assert (experiment.recipe, experiment.size, experiment.seed, experiment.training.epochs) == (
        "resnet_cifar", 16, 5, 182,
    )  # fmt: skip
    experiment, _ = compose(DIGITS, SOURCE, "resnet20", **asked, settings=with_epochs(2))  # type: ignore[arg-type]
    assert experiment.training.epochs == 2
    settings = ["training.epochs=4", "seed=6", "training.optimizer.name=adamw", "data.split_seed=9"]
    experiment, _ = compose(DIGITS, SOURCE, "resnet20", **asked, settings=[*with_epochs(2), *settings])  # type: ignore[arg-type]
    assert (experiment.training.epochs, experiment.seed, experiment.data.split_seed) == (4, 6, 9)
    assert experiment.training.optimizer.name == "adamw"
    assert experiment.training.optimizer.decay == 1e-4  # the recipe's, where no setting says otherwise


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        find_source("digit")
    with pytest.raises(UsageError, match="did you mean 'lenet5'"):
        compose(DIGITS, SOURCE, "lenet_5")
    with pytest.raises(UsageError, match="did you mean 'lenet'"):
        compose(DIGITS, SOURCE, "lenet5", recipe="lenett")
    with pytest.raises(DataError, match="cannot find mnist"):
        find_source("mnist", "/nowhere")
    with pytest.raises(UsageError, match="unknown key 'trainig'"):
        compose(DIGITS, SOURCE, "lenet5", settings=["trainig.epochs=1"])
