"""Packed convolutions on real images. Oracle: torch's own convolution and activation, which they replace."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.evaluation.choosing import open_engine
from lenext.evaluation.engines import EngineConfig, TorchEngine
from lenext.evaluation.packing import _ACTIVATIONS, PackedConvolution, pack_convolutions
from lenext.evaluation.scoring import score_images
from lenext.exporting.fold import fold_norms
from lenext.models.catalog import build
from lenext.papers import FAMILIES
from lenext.predictions import softmax

from ..models.test_every_family import awake, digits


def packed(model: nn.Module, images: Tensor) -> nn.Module:
    """The folded network, packed: folded, for else a norm stands between a convolution and its activation."""
    twin = fold_norms(model, tuple(images.shape[1:])).model
    twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pack_convolutions(twin, tuple(images.shape))
    return twin


def largest_difference(family: str, for_images: int = 2) -> float:
    """Of scores, of 1 + the largest score; of as many images as it was packed for, and of other numbers."""
    model = awake(family).eval()
    images, _ = digits(model)
    twin = packed(model, images[:for_images])
    assert any(isinstance(module, PackedConvolution) for module in twin.modules())
    with torch.inference_mode():
        expected = model(images)
        found = [twin(images[:count].to(memory_format=torch.channels_last)) for count in (1, 2, len(images))]
    apart = max(float((one - expected[: len(one)]).abs().max()) for one in found)
    return apart / (1 + float(expected.abs().max()))


@pytest.mark.parametrize("act", [kind() for kind in _ACTIVATIONS], ids=lambda act: type(act).__name__)
def test_a_joined_activation_is_torchs_own(act: nn.Module) -> None:
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), act), 20 * torch.randn(3, 3, 9, 8)
    twin = packed(model, images)
    assert isinstance(twin, nn.Sequential)
    assert [type(module) for module in twin] == [PackedConvolution, nn.Identity]
    with torch.inference_mode():
        torch.testing.assert_close(twin(images), model(images))


@pytest.mark.parametrize("family", ["resnet", "mobilenetv2", "mobilenetv3", "efficientnet", "wrn", "convnext"])
def test_the_packed_network_is_the_same_function(family: str) -> None:
    assert largest_difference(family) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_packed_network_is_the_same_function_in_every_family(family: str) -> None:
    assert largest_difference(family) < 1e-5
    assert largest_difference(family, for_images=8) < 1e-5


@pytest.mark.parametrize(("family", "blocked"), [("mobilenetv1", True), ("mobilenetv2", True), ("efficientnet", False)])
def test_maps_of_depthwise_networks_are_blocked_where_every_operator_can_read_them(family: str, blocked: bool) -> None:
    """EfficientNet's squeeze takes means, for which there is no such operator: it stays as it was, whole."""
    assert largest_difference(family, for_images=8) < 1e-5
    model = awake(family).eval()
    images, _ = digits(model)
    for count, wanted in ((3, False), (4, blocked)):
        twin = packed(model, images[:1].expand(count, -1, -1, -1))
        layers = [module for module in twin.modules() if isinstance(module, PackedConvolution)]
        assert [layer.enters or layer.leaves for layer in layers].count(True) == 2 * wanted


def test_an_image_alone_gets_what_it_gets_among_others_where_maps_are_blocked() -> None:
    model = awake("mobilenetv2").eval()
    images, _ = digits(model)
    with open_engine(model, images.shape[1:], EngineConfig(name="eager", batch_size=8)) as engine:
        assert isinstance(engine, TorchEngine) and engine.blocked
        alone, among = softmax(engine(images[:1])), softmax(engine(images[:8]))
    assert abs(alone - among[:1]).max() < 1e-6
    assert abs(among - softmax(score_images(model, images[:8]))).max() < 1e-5


def test_a_network_without_convolutions_stays_as_it_was() -> None:
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU()).eval(), torch.randn(8, 3, 2, 2)
    twin = packed(model, images)
    with torch.inference_mode():
        torch.testing.assert_close(twin(images), model(images))


class Layouts(nn.Module):
    """A depthwise network that asks how its maps lie: blocked ones it would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise, self.point = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.stem(x))
        if x.layout != torch.strided:
            raise ValueError("these maps are in no order that is known here")
        return self.point(x)  # type: ignore[no-any-return]


def test_a_network_that_refuses_blocked_maps_stays_as_it_was() -> None:
    torch.manual_seed(0)
    model, images = Layouts().eval(), torch.randn(8, 3, 12, 12)
    twin = packed(model, images)
    with torch.inference_mode():
        torch.testing.assert_close(twin(images), model(images))


class Odd(nn.Module):
    """Convolutions that take their activation in, or must not, each for a reason of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.simple, self.relu1 = nn.Conv2d(3, 4, 3, stride=2, padding=1, groups=1, bias=False), nn.ReLU()
        self.read_twice, self.relu2 = nn.Conv2d(4, 4, 1), nn.ReLU()
        self.run_twice = nn.Conv2d(4, 4, 3, padding=1)
        self.reflecting, self.relu3 = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU()
        self.same, self.relu4 = nn.Conv2d(4, 4, 3, padding="same"), nn.ReLU()
        self.shared_act, self.act = nn.Conv2d(4, 8, 3, dilation=2, padding=2, groups=2), nn.SiLU()
        self.project, self.exact = nn.Conv2d(8, 8, 1), nn.GELU()
        self.expand, self.near = nn.Conv2d(8, 8, 1), nn.GELU("tanh")
        self.functional, self.relu5 = nn.Conv2d(8, 8, 1), nn.ReLU()
        self.one = self.other = nn.Conv2d(8, 8, 3)
        self.relu6 = self.last = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.simple(x))
        y = self.read_twice(x)
        x = self.relu2(y) + y
        x = self.run_twice(F.relu(self.run_twice(x)))
        x = self.relu4(self.same(self.relu3(self.reflecting(x))))
        x = self.exact(self.project(self.act(self.act(self.shared_act(x)))))
        x = self.near(self.expand(x))
        x = self.relu5(F.conv2d(x, self.functional.weight, self.functional.bias))
        out: Tensor = self.last(self.other(F.pad(x, (self.other.kernel_size[0] // 2,) * 4)))
        return out


def test_an_activation_stays_where_its_convolution_is_read_twice_or_it_is_shared() -> None:
    torch.manual_seed(0)
    model, images = Odd().eval(), torch.randn(2, 3, 9, 9)
    twin = packed(model, images)
    of_kind = {name: type(module) for name, module in twin.named_modules() if name}
    ready = {"simple", "read_twice", "shared_act", "project", "expand", "one"}
    assert {name for name, kind in of_kind.items() if kind is PackedConvolution} == ready
    assert {name for name, kind in of_kind.items() if kind is nn.Identity} == {"relu1", "exact", "relu6"}
    assert twin.one is twin.other
    with torch.inference_mode():
        torch.testing.assert_close(twin(images), model(images))


def test_mobilenet_v2s_convolutions_take_all_its_activations_in() -> None:
    # Sandler et al. 2018, table 2: of 52 convolutions those that project, one of each of 17 blocks, are linear
    model = fold_norms(build("mobilenetv2_100"), (3, 64, 64)).model
    pack_convolutions(model, (1, 3, 64, 64))
    kinds = [type(module) for module in model.modules()]
    assert (kinds.count(PackedConvolution), kinds.count(nn.Conv2d), kinds.count(nn.ReLU6)) == (52, 0, 0)
