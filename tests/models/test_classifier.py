"""The chain of places, and what a network says to images that it does not take. Oracles: the network's own forward."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lenext.costs.meta import without_data
from lenext.errors import UsageError
from lenext.models.catalog import build, family_of, get_config, list_models
from lenext.models.classifier import Classifier, NetworkConfig


class Unreachable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("computed behind the last tap")


def first_of_each_size() -> list[Any]:
    """Every network; those whose family has one of the same smallest size before them in `make slow`."""
    seen, found = set[tuple[str, int]](), []
    for name in list_models():
        kind = (family_of(name), get_config(name).min_size)
        found.append(pytest.param(name, marks=pytest.mark.slow if kind in seen else []))
        seen.add(kind)
    return found


@pytest.mark.parametrize("name", first_of_each_size())
def test_every_network_takes_its_smallest_size_in_any_classes_and_channels(name: str) -> None:
    """Its published size is asked in test_papers.py."""
    config = get_config(name)
    with without_data(), torch.inference_mode():
        model = build(name, num_classes=7, in_channels=2).eval()
        assert model(torch.zeros(3, 2, config.min_size, config.min_size)).shape == (3, 7)
        with pytest.raises(UsageError, match=rf"{config.min_size} x {config.min_size} pixels"):
            model(torch.zeros(3, 2, config.min_size - 1, config.min_size - 1))


def test_features_at_the_head_are_the_scores() -> None:
    model = build("resnet20").eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.features(images, ["head"])["head"], model(images))


def test_features_without_taps_are_the_last_stage() -> None:
    found = build("resnet20").features(torch.zeros(1, 3, 32, 32))
    assert list(found) == ["stages.conv4_x"]
    assert found["stages.conv4_x"].shape == (1, 64, 8, 8)


def test_features_continue_to_the_scores_from_any_place() -> None:
    model = build("vgg11_small").eval()
    images = torch.randn(1, 3, 32, 32)
    middle = model.features(images, ["stages.conv3"])["stages.conv3"]
    assert torch.equal(model.head(model.stages[3:](middle)), model(images))


def test_features_compute_nothing_behind_the_last_tap() -> None:
    model = build("resnet20")
    model.stages.conv3_x = Unreachable()
    found = model.features(torch.zeros(1, 3, 32, 32), ["stages.conv2_x", "stem"])
    assert set(found) == {"stem", "stages.conv2_x"}


def test_places_are_the_dotted_names_of_modules_in_order() -> None:
    model = build("resnet20")
    assert model.places() == ["stem", "stages.conv2_x", "stages.conv3_x", "stages.conv4_x", "head"]
    for place in model.places():
        model.get_submodule(place)


def test_an_empty_stem_is_no_place() -> None:
    model = build("lenet5")
    assert model.places()[0] == "stages.c1"
    with pytest.raises(UsageError, match="unknown place 'stem'"):
        model.features(torch.zeros(1, 1, 32, 32), ["stem"])


def test_unknown_tap_names_the_nearest_place() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'stages.conv4_x'\?"):
        build("resnet20").features(torch.zeros(1, 3, 32, 32), ["stages.conv4x"])


@pytest.mark.parametrize(("name", "side"), [("lenet5", 28), ("lenet5", 33), ("resnet18", 32), ("vgg16_small", 4)])
def test_images_of_a_size_that_does_not_fit_name_the_smallest_that_does(name: str, side: int) -> None:
    with torch.device("meta"):
        model = build(name)
        smallest = model.config.min_size
        with pytest.raises(UsageError, match=f"images of {side} x {side}(.|\n)*to {smallest} x {smallest}"):
            model(torch.zeros(1, model.config.in_channels, side, side))


def test_one_short_side_is_enough_to_refuse() -> None:
    model = build("resnet20")
    with pytest.raises(UsageError, match="images of 32 x 7 pixels"):
        model(torch.zeros(1, 3, 32, 7))


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (3, 32, 32)])
def test_images_of_other_channels_name_the_shape_that_is_taken(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"takes images as \(N, 3, height, width\)"):
        build("resnet20")(torch.zeros(shape))


@pytest.mark.parametrize("name", ["lenet5", "lenet5_dense", "vgg11_small", "resnet20"])
def test_a_network_compiles_into_one_graph(name: str) -> None:
    model = build(name).eval()
    images = torch.randn(1, model.config.in_channels, model.config.input_size, model.config.input_size)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.equal(compiled(images), model(images))


@pytest.mark.parametrize(
    "name", ["lenet5", "lenet5_dense_bn", "lenet5_relu", "resnet20", "resnet20_b", "plain20", "vgg11_small"]
)
def test_every_parameter_receives_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = build(name).eval()  # with running statistics, or the biases in front of them would be of no effect
    size = model.config.input_size
    model(torch.randn(4, model.config.in_channels, size, size)).square().sum().backward()
    without = [parameter for parameter, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert without == []


class PairCell(nn.Module):
    def forward(self, x: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        current = x if isinstance(x, Tensor) else x[0]
        return current + 1, current


class PairHead(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return (pair[0] - pair[1]).flatten(1)


def test_of_a_pair_that_stages_hand_on_features_give_the_current_one() -> None:
    network = Classifier(NetworkConfig(num_classes=4, in_channels=1, input_size=2, min_size=2))
    network.stem, network.head = nn.Identity(), PairHead()
    network.stages = nn.Sequential(PairCell(), PairCell())
    images = torch.zeros(1, 1, 2, 2)
    found = network.features(images, ["stages.0", "stages.1", "head"])
    assert float(found["stages.0"].max()) == 1 and float(found["stages.1"].max()) == 2
    assert torch.equal(found["head"], torch.ones(1, 4))
