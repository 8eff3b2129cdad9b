"""NiN. Oracles: equation 2, sections 3.1, 3.2 and 4.1 of Lin et al. 2013, the authors' release, torch's own layers."""

import pytest
import torch
from torch import nn

from lenext.errors import UsageError
from lenext.models.catalog import build, get_config, list_models
from lenext.models.classifier import Classifier

NAMES = list_models("nin_*")


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name).eval()


@pytest.mark.parametrize("name", NAMES)
def test_no_layer_is_fully_connected_and_a_map_of_each_class_is_averaged(name: str) -> None:
    model = build(name)
    assert not any(isinstance(module, nn.Linear) for module in model.modules())
    scores, relu = model.head.get_submodule("scores"), model.head.get_submodule("relu")
    assert isinstance(scores, nn.Conv2d)
    x = torch.randn(2, scores.in_channels, 5, 5)
    maps = relu(scores(x))
    assert maps.shape == (2, model.config.num_classes, 5, 5)
    torch.testing.assert_close(model.head(x), maps.mean((2, 3)))


def test_an_mlp_convolution_is_a_perceptron_on_each_patch() -> None:
    """Equation 2 for one pixel: the patch of 5x5 around it, three layers, each rectified."""
    model = build("nin_mnist").double()
    block = model.get_submodule("stages.mlpconv1")
    image = torch.randn(1, 1, 9, 9, dtype=torch.float64)
    values = image[:, :, 2:7, 3:8].flatten(1)  # around the pixel (4, 5)
    for layer in block.children():
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            values = torch.clamp(values @ layer.weight.flatten(1).T + layer.bias, min=0)
    assert values.shape == (1, 48)
    torch.testing.assert_close(block(image)[:, :, 4, 5], values)


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("nin_cifar10", ["pool1", "pool2"]),  # section 4.1: all but the last MLP convolution's outputs
        ("nin_mnist", ["pool1", "pool2"]),
        ("nin_imagenet", ["pool3"]),
        ("nin_d2l", ["pool3"]),
    ],
)
def test_dropout_stands_behind_the_pools_of_the_release(name: str, dropped: list[str]) -> None:
    found = {place: module for place, module in on_meta(name).named_modules() if isinstance(module, nn.Dropout)}
    assert {place: module.p for place, module in found.items()} == {f"stages.{pool}.drop": 0.5 for pool in dropped}


def test_both_pools_are_maxima_that_round_up() -> None:
    model = on_meta("nin_cifar10")
    x = torch.randn(1, 3, 6, 6)
    for pool in ("pool1", "pool2"):
        y = model.get_submodule(f"stages.{pool}")(x)
        assert y.shape[2:] == (3, 3)  # cut off, two
        assert torch.equal(y[:, :, 2, 2], x[:, :, 4:, 4:].amax((2, 3)))


def test_the_last_relu_is_in_the_published_forms_and_not_in_those_for_use() -> None:
    rectified = [name for name in NAMES if isinstance(on_meta(name).get_submodule("head.relu"), nn.ReLU)]
    assert rectified == ["nin_cifar10_paper", "nin_imagenet", "nin_d2l"]


def test_the_published_head_leaves_a_class_without_gradient_whose_map_is_negative() -> None:
    for name, lost in (("nin_cifar10_paper", True), ("nin_cifar10", False)):
        head = build(name).head
        scores = head.get_submodule("scores")
        assert isinstance(scores, nn.Conv2d)
        assert scores.bias is not None
        nn.init.constant_(scores.bias, -100.0)
        head(torch.rand(4, 192, 8, 8))[:, 0].sum().backward()
        assert scores.weight.grad is not None
        assert bool((scores.weight.grad == 0).all()) == lost


def test_other_classes_change_the_scores_only() -> None:
    with torch.device("meta"):
        book, other = build("nin_d2l").state_dict(), build("nin_d2l", num_classes=3).state_dict()
    changed = {name for name in book if book[name].shape != other[name].shape}
    assert changed == {"head.scores.weight", "head.scores.bias"}


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_size_leaves_one_pixel_and_the_next_none(name: str) -> None:
    model = on_meta(name)
    channels, size = model.config.in_channels, get_config(name).min_size
    assert model.stages(torch.empty(1, channels, size, size, device="meta")).shape[2:] == (1, 1)
    with pytest.raises(RuntimeError, match="too small"):
        model.stages(torch.empty(1, channels, size - 1, size - 1, device="meta"))


@pytest.mark.parametrize("widths", [((192, 160),), ((192, 160), ())])
def test_widths_without_a_kernel_and_empty_ones_are_refused(widths: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(UsageError, match="a kernel, and a width for each of its layers"):
        build("nin_cifar10", kernels=(5, 3), widths=widths)
