"""AlexNet. Oracles: Figure 2 and section 3 of Krizhevsky et al. 2012, Caffe's layer definitions, torch's own layers."""

import pytest
import torch
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.models.catalog import build, small_row
from lenext.models.classifier import Classifier

TWO_COLUMNS = ["alexnet", "bvlc_alexnet", "caffenet"]


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name).eval()


def kinds(module: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in module.children()]


def stage(model: nn.Module, number: int) -> nn.Module:
    return model.get_submodule(f"stages.conv{number}")


def neurons(model: Classifier) -> list[int]:
    """Outputs of each convolution and linear layer for one image."""
    counts: list[int] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda _module, _inputs, output: counts.append(output[0].numel()))
    size = model.config.input_size
    model(torch.empty(1, model.config.in_channels, size, size, device="meta"))
    return counts


@pytest.mark.parametrize("name", TWO_COLUMNS)
def test_neurons_are_those_of_figure_2(name: str) -> None:
    caption = [253_440, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
    found = neurons(on_meta(name))
    assert found[1:] == caption[1:]
    assert found[0] == 55 * 55 * 96  # the caption's first number is not the drawing's
    assert 650_000 <= sum(found) < 660_000  # the abstract's "650,000 neurons"


@pytest.mark.parametrize("name", TWO_COLUMNS)
def test_kernels_are_those_of_section_3_5(name: str) -> None:
    model = on_meta(name)
    shapes = [tuple(module.weight.shape) for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert shapes == [(96, 3, 11, 11), (256, 48, 5, 5), (384, 256, 3, 3), (384, 192, 3, 3), (256, 192, 3, 3)]


def test_a_column_sees_the_other_one_only_in_conv3() -> None:
    model = build("alexnet").eval()
    for number, channels in ((2, 96), (3, 256), (4, 384), (5, 384)):
        one = torch.zeros(1, channels, 13, 13)
        one[:, : channels // 2] = torch.randn(1, channels // 2, 13, 13)
        with torch.no_grad():
            moved = stage(model, number).conv(one) - stage(model, number).conv(torch.zeros_like(one))  # type: ignore[operator]
        assert moved[:, moved.shape[1] // 2 :].any() == (number == 3)


def test_224_pixels_leave_54_and_not_the_paper_s_55() -> None:
    conv = on_meta("alexnet").get_submodule("stages.conv1.conv")
    assert conv(torch.empty(1, 3, 224, 224, device="meta")).shape[-1] == 54
    assert conv(torch.empty(1, 3, 227, 227, device="meta")).shape[-1] == 55


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("alexnet", ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]),
        ("bvlc_alexnet", ["Conv2d", "ReLU", "LocalResponseNorm", "MaxPool2d"]),
        ("caffenet", ["Conv2d", "ReLU", "MaxPool2d", "LocalResponseNorm"]),
        ("alexnet_owt", ["Conv2d", "ReLU", "MaxPool2d"]),
        ("alexnet_d2l", ["Conv2d", "ReLU", "MaxPool2d"]),
    ],
)
def test_normalisation_has_its_place_in_the_first_two_stages_only(name: str, order: list[str]) -> None:
    model = on_meta(name)
    assert [kinds(stage(model, number)) for number in (1, 2)] == [order, order]
    rest = [kinds(stage(model, number)) for number in (3, 4, 5)]
    assert rest == [["Conv2d", "ReLU"], ["Conv2d", "ReLU"], ["Conv2d", "ReLU", "MaxPool2d"]]


def normalised(x: Tensor, k: float, alpha: float) -> Tensor:
    """The formula of section 3.3, one channel at a time."""
    channels = x.shape[1]
    sums = [x[:, max(i - 2, 0) : min(i + 3, channels)].square().sum(1) for i in range(channels)]
    return x / (k + alpha * torch.stack(sums, dim=1)) ** 0.75


@pytest.mark.parametrize(
    ("name", "k", "alpha"), [("alexnet", 2.0, 1e-4), ("bvlc_alexnet", 1.0, 2e-5), ("caffenet", 1.0, 2e-5)]
)
def test_normalisation_has_the_constants_of_the_release(name: str, k: float, alpha: float) -> None:
    x = 100 * torch.randn(2, 96, 3, 3, dtype=torch.float64)
    for number in (1, 2):
        norm = stage(on_meta(name), number).norm
        torch.testing.assert_close(norm(x), normalised(x, k, alpha))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "dropped"),
    [("alexnet", [4, 7]), ("caffenet", [4, 7]), ("alexnet_d2l", [4, 7]), ("alexnet_owt", [2, 5])],
)
def test_dropout_is_behind_fc6_and_fc7_or_in_torchvision_before_them(name: str, dropped: list[int]) -> None:
    with torch.device("meta"):
        head = build(name).head
    drops = {i: layer.p for i, layer in enumerate(head.children()) if isinstance(layer, nn.Dropout)}
    assert drops == dict.fromkeys(dropped, 0.5)


def test_fc6_reads_the_last_map_itself_at_the_published_size() -> None:
    for name, side in (("alexnet", 6), ("alexnet_owt", 6), ("alexnet_d2l", 5)):
        pool = on_meta(name).get_submodule("head.pool")
        last = torch.randn(1, 256, side, side)
        assert torch.equal(pool(last), last)


@pytest.mark.parametrize("name", [*TWO_COLUMNS, "alexnet_owt", "alexnet_d2l"])
def test_the_smallest_size_leaves_one_pixel_and_the_next_none(name: str) -> None:
    model = on_meta(name)
    channels, size = model.config.in_channels, model.config.min_size
    assert model.stages(torch.empty(1, channels, size, size, device="meta")).shape[2:] == (1, 1)
    smaller = torch.empty(1, channels, size - 1, size - 1, device="meta")
    with pytest.raises(RuntimeError, match="too small"):
        model.stages(smaller)
    with pytest.raises(UsageError, match=f"takes {size} x {size}"):
        model(smaller)


def test_the_small_form_takes_28_pixels_and_at_32_rounds_nothing() -> None:
    model = build("alexnet_small").eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(images)
        found = model.features(images[..., :28, :28], model.places()[:-1])
        for module in model.modules():
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = False
        assert torch.equal(model(images), expected)
    assert [x.shape[-1] for x in found.values()] == [4, 2, 2, 2, 1]
    assert small_row("alexnet") == "alexnet_small"


def test_other_than_five_widths_are_refused() -> None:
    with pytest.raises(UsageError, match="it has 5 convolutions"):
        build("alexnet", widths=(96, 256))
