"""First weights. Oracles: torch.nn.init's own gains and bounds, and the statistics that the papers state."""

import math

import pytest
import torch
from torch import nn

from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.init import METHODS, initialise


def weights(method: str, seed: int, name: str = "resnet20", **changes: int) -> dict[str, torch.Tensor]:
    model = build(name, **changes)
    initialise(model, method, seed)
    return model.state_dict()


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_alone_decides(method: str) -> None:
    torch.manual_seed(1)
    first = weights(method, 7)
    torch.manual_seed(2)
    again, other = weights(method, 7), weights(method, 8)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["stem.conv1.weight"], other["stem.conv1.weight"])


@pytest.mark.parametrize("method", METHODS)
def test_the_global_generator_is_neither_read_nor_moved(method: str) -> None:
    model = build("lenet5")
    before = torch.get_rng_state()
    initialise(model, method, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_draw_different_numbers() -> None:
    state = weights("he_normal", 0)
    assert not torch.equal(state["stages.conv2_x.0.conv1.weight"], state["stages.conv2_x.0.conv2.weight"])


def test_another_head_leaves_the_other_layers_first_weights_alone() -> None:
    ten, five = weights("he_normal", 0), weights("he_normal", 0, num_classes=5)
    assert all(torch.equal(ten[key], five[key]) for key in ten if not key.startswith("head"))


def test_the_same_weights_in_double_precision() -> None:
    single, double = build("lenet5"), build("lenet5").double()
    initialise(single, "lecun_uniform", 0)
    initialise(double, "lecun_uniform", 0)
    for one, other in zip(single.parameters(), double.parameters(), strict=True):
        assert torch.equal(one.double(), other)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["lenet5", "lenet5_dense_bn", "vgg11_small", "resnet20_b"])
def test_every_parameter_and_statistic_is_set(name: str, method: str) -> None:
    model = build(name)
    for value in [*model.parameters(), *(v for k, v in model.named_buffers() if "running" in k)]:
        torch.nn.init.constant_(value, math.nan)
    initialise(model, method, 0)
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


def test_biases_start_at_zero_and_norms_at_one() -> None:
    model = build("vgg11_small")
    for parameter in model.parameters():
        nn.init.constant_(parameter, 5.0)
    initialise(model, "he_normal", 0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert module.bias is not None and not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all()) and not module.bias.any()


def oracle(method: str, layer: nn.Conv2d | nn.Linear) -> float:
    """The standard deviation that torch's own initialiser of that name gives the layer."""
    torch.manual_seed(0)
    if method == "xavier_uniform":
        nn.init.xavier_uniform_(layer.weight)
    elif method == "he_normal":
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    elif method == "he_normal_fan_out":
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    else:
        layer.reset_parameters()
    return float(layer.weight.detach().std())


@pytest.mark.parametrize("method", ["xavier_uniform", "he_normal", "he_normal_fan_out", "torch"])
@pytest.mark.parametrize("layer", [nn.Conv2d(48, 96, 5), nn.Linear(400, 300)])
def test_spread_is_that_of_torch_under_the_same_name(method: str, layer: nn.Conv2d | nn.Linear) -> None:
    expected = oracle(method, layer)
    initialise(layer, method, 3)
    assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.02)
    assert abs(float(layer.weight.detach().mean())) < 0.02 * expected


def test_lecun_stays_within_the_1998_bound_and_reaches_it() -> None:
    model = build("lenet5")
    initialise(model, "lecun_uniform", 0)
    state = model.state_dict()
    fan_in = {
        "stages.c1.conv.weight": 25,
        "stages.s4.sum.coefficient": 4,
        "stages.c3.conv.by_fan.3.weight": 75,
        "stages.c3.conv.by_fan.4.weight": 100,
        "stages.c3.conv.by_fan.6.weight": 150,
        "stages.c5.conv.weight": 400,
        "head.f6.fc.weight": 120,
    }
    for key, inputs in fan_in.items():
        largest = float(state[key].abs().max())
        assert 0.8 * 2.4 / inputs < largest <= 2.4 / inputs, key


def test_vgg_normal_has_the_papers_variance_of_a_hundredth() -> None:
    layer = nn.Linear(300, 300)
    initialise(layer, "vgg_normal", 0)
    assert float(layer.weight.detach().var()) == pytest.approx(1e-2, rel=0.02)


def test_grouped_convolution_counts_the_inputs_it_sums() -> None:
    layer = nn.Conv2d(64, 640, 5, groups=16)
    initialise(layer, "he_normal", 0)
    assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / (4 * 25)), rel=0.02)


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'he_normal'\?"):
        initialise(nn.Linear(2, 2), "he_norm", 0)


def test_parameters_that_nobody_explains_are_a_bug() -> None:
    with pytest.raises(TypeError, match="PReLU has parameters"):
        initialise(nn.PReLU(), "he_normal", 0)


def test_convnext_has_a_deviation_of_two_hundredths_whatever_the_fans() -> None:
    values = weights("convnext", 0, name="resnet18_small")
    for name in ("stages.conv5_x.0.conv2.weight", "stages.conv2_x.0.conv1.weight"):
        assert float(values[name].std()) == pytest.approx(0.02, rel=0.01)


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(3))

    def first_values(self) -> dict[str, float]:
        return {"gamma": 1e-6}


def test_constants_are_set_whatever_the_method() -> None:
    scale = Scale()
    initialise(nn.Sequential(scale), "he_normal", 0)
    assert torch.equal(scale.gamma, torch.full((3,), 1e-6))
