"""Densely connected networks. Oracles: Huang et al. 2016, counts of others, torchvision's old and new names."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.errors import UsageError
from lenext.models.catalog import build, list_models
from lenext.models.densenet import DenseLayer, DenseNetConfig
from lenext.weights import convert


def on_meta(name: str, **changes: object) -> nn.Module:
    with torch.device("meta"):
        return build(name, **changes).eval()


def normal(t: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Normalisation by running statistics, and ReLU."""
    mean, var = t[f"{name}.running_mean"], t[f"{name}.running_var"]
    return F.relu(F.batch_norm(x, mean, var, t[f"{name}.weight"], t[f"{name}.bias"]))


def torchvision_tensors(dot: str) -> dict[str, Tensor]:
    """Four blocks of two layers with k = 4 and 5 classes, as densenet121's are named; `dot`: as norm.1, before 2018."""
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}

    def conv(name: str, out: int, channels: int, kernel: int) -> None:
        weight = torch.randn(out, channels, kernel, kernel, generator=generator, dtype=torch.float64)
        tensors[f"{name}.weight"] = weight / (channels * kernel**2) ** 0.5

    def norm(name: str, channels: int) -> None:
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{name}.{tensor}"] = torch.rand(channels, generator=generator, dtype=torch.float64) + 0.5

    conv("features.conv0", 8, 3, 7)
    norm("features.norm0", 8)
    channels = 8
    for block in range(1, 5):
        for layer in range(1, 3):
            name = f"features.denseblock{block}.denselayer{layer}"
            norm(f"{name}.norm{dot}1", channels)
            conv(f"{name}.conv{dot}1", 16, channels, 1)
            norm(f"{name}.norm{dot}2", 16)
            conv(f"{name}.conv{dot}2", 4, 16, 3)
            channels += 4
        if block < 4:
            norm(f"features.transition{block}.norm", channels)
            conv(f"features.transition{block}.conv", channels // 2, channels, 1)
            channels //= 2
    norm("features.norm5", channels)
    tensors["classifier.weight"] = torch.randn(5, channels, generator=generator, dtype=torch.float64)
    tensors["classifier.bias"] = torch.randn(5, generator=generator, dtype=torch.float64)
    return tensors


@pytest.mark.parametrize(("source", "dot"), [("torchvision", ""), ("torchvision", "."), ("timm", ""), ("timm", ".")])
def test_their_weights_under_old_and_new_names_give_the_scores_of_the_same_arithmetic(source: str, dot: str) -> None:
    t = torchvision_tensors(dot)
    model = build("densenet121", repeats=(2, 2, 2, 2), growth=4, stem_width=8, num_classes=5).double().eval()
    model.load_state_dict(convert(t, model, source))
    images = torch.randn(2, 3, 65, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = normal(t, "features.norm0", F.conv2d(images, t["features.conv0.weight"], stride=2, padding=3))
    x = F.max_pool2d(x, 3, 2, 1)
    for block in range(1, 5):
        for layer in range(1, 3):
            name = f"features.denseblock{block}.denselayer{layer}"
            y = F.conv2d(normal(t, f"{name}.norm{dot}1", x), t[f"{name}.conv{dot}1.weight"])
            y = F.conv2d(normal(t, f"{name}.norm{dot}2", y), t[f"{name}.conv{dot}2.weight"], padding=1)
            x = torch.cat([x, y], dim=1)
        if block < 4:
            name = f"features.transition{block}"
            x = F.avg_pool2d(F.conv2d(normal(t, f"{name}.norm", x), t[f"{name}.conv.weight"]), 2)
    x = normal(t, "features.norm5", x).mean((2, 3))
    torch.testing.assert_close(model(images), F.linear(x, t["classifier.weight"], t["classifier.bias"]))


@pytest.mark.parametrize("name", [name for name in list_models("densenet*") if name[-1].isdigit()])
def test_depth_is_the_number_in_the_name(name: str) -> None:
    layers = [m for m in on_meta(name).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    printed = name.split("_L")[-1].split("_k")[0] if "_L" in name else name[-3:]
    assert len(layers) == int(printed) + (name == "densenet_264")  # Table 1's column of that name has 265


@pytest.mark.parametrize(
    ("name", "params"),
    [("densenet_bc_cifar_L40_k12", 176_122), ("densenet121_small", 6_956_298)],
)
def test_parameters_of_the_forms_of_popular_code(name: str, params: int) -> None:
    """osmr/imgclsmob densenet40_k12_bc_cifar10, and kuangliu/pytorch-cifar DenseNet121."""
    assert sum(value.numel() for value in on_meta(name).parameters()) == params


def test_halved_transitions_lose_two_fifths_of_a_plain_network() -> None:
    """osmr/imgclsmob has 599,050 parameters at L = 40, k = 12: it compresses there too, and begins with 2k channels."""
    halved = on_meta("densenet_cifar_L40_k12", compression=0.5, stem_width=24)
    assert sum(value.numel() for value in halved.parameters()) == 599_050


def test_a_layer_appends_its_own_channels_and_leaves_the_others() -> None:
    layer = DenseLayer(6, DenseNetConfig(growth=3)).eval()
    x = torch.randn(2, 6, 5, 5)
    y = layer(x)
    assert y.shape == (2, 9, 5, 5)
    assert torch.equal(y[:, :6], x)


def test_dropout_stands_behind_every_convolution_but_the_first() -> None:
    model = on_meta("densenet_bc_cifar_L40_k12", dropout=0.2)
    order = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Dropout)]
    assert [type(m) for m in order] == [nn.Conv2d] + [nn.Conv2d, nn.Dropout] * 38
    assert {m.p for m in order if isinstance(m, nn.Dropout)} == {0.2}
    assert not [m for m in on_meta("densenet_bc_cifar_L40_k12").modules() if isinstance(m, nn.Dropout)]


def test_only_the_textbooks_convolutions_have_biases() -> None:
    for name in ("densenet121", "densenet_cifar_L40_k12", "densenet_d2l"):
        biases = [m.bias is not None for m in on_meta(name).modules() if isinstance(m, nn.Conv2d)]
        assert set(biases) == {name == "densenet_d2l"}


def test_odd_maps_lose_a_row_in_a_transition() -> None:
    model = build("densenet_bc_cifar_L40_k12", in_channels=1).eval()
    with torch.no_grad():
        found = model.features(torch.zeros(1, 1, 30, 28), model.places()[:-1])
    sizes = [tuple(x.shape[2:]) for x in found.values()]
    assert sizes == [(30, 28), (30, 28), (15, 14), (15, 14), (7, 7), (7, 7)]


@pytest.mark.parametrize(
    ("name", "blocks", "size"), [("densenet121", 4, 64), ("densenet_cifar_L40_k12", 3, 8), ("densenet121_small", 4, 16)]
)
def test_the_smallest_size_leaves_a_map_of_2x2(name: str, blocks: int, size: int) -> None:
    with torch.device("meta"):
        model = build(name, repeats=(1,) * blocks).eval()
    images = torch.zeros(1, 3, size, size, device="meta")
    assert model.features(images)[f"stages.block{blocks}"].shape[2:] == (2, 2)
    with pytest.raises(UsageError, match=f"{size - 1} x {size}"):
        model(images[:, :, 1:])


@pytest.mark.parametrize("compression", [0.0, 1.5])
def test_a_transition_that_keeps_nothing_or_adds_channels_is_refused(compression: float) -> None:
    with pytest.raises(UsageError, match=f"compression = {compression}"):
        build("densenet121", compression=compression)
