"""MobileNet. Oracles: Tables 1, 2, 6 and 7 of Howard et al. 2017, and torch's own layers."""

import pytest
import torch
from torch import nn

from lenext.costs import count_cost
from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.convolutions import SameConv2d, skip_strides


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return build(name).eval()


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [
        ("mobilenet_v1_1_224", 569, 4.2),  # Table 6
        ("mobilenet_v1_075_224", 325, 2.6),
        ("mobilenet_v1_05_224", 149, 1.3),
        ("mobilenet_v1_025_224", 41, 0.5),
        ("mobilenet_v1_1_192", 418, 4.2),  # Table 7
        ("mobilenet_v1_1_160", 290, 4.2),
        ("mobilenet_v1_1_128", 186, 4.2),
    ],
)
def test_millions_of_tables_6_and_7(name: str, macs: int, params: float) -> None:
    with torch.device("meta"):
        model = build(name).eval()
    cost = count_cost(model, (3, model.config.input_size, model.config.input_size))
    assert abs(cost.macs / 1e6 - macs) < 1  # some rounded down
    assert round(cost.params / 1e6, 1) == params


def test_shares_of_table_2() -> None:
    """Percent of the parameters by kind of layer, as printed; biases and normalisation are not among them."""
    model = on_meta("mobilenet_v1_1_224")
    pointwise = sum(m.weight.numel() for m in convolutions(model) if m.kernel_size == (1, 1))
    depthwise = sum(m.weight.numel() for m in convolutions(model) if m.groups > 1)
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    total = pointwise + depthwise + linear + 3 * 9 * 32
    assert [round(100 * share / total, 2) for share in (pointwise, depthwise, 3 * 9 * 32, linear)] == [
        74.59,
        1.06,
        0.02,
        24.33,
    ]


def test_28_layers_and_the_strides_of_table_1() -> None:
    model = on_meta("mobilenet_v1_1_224")
    layers = convolutions(model)
    assert len(layers) + 1 == 28
    assert [m.stride[0] for m in layers if m.kernel_size == (3, 3)] == [2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    assert all(m.stride == (1, 1) for m in layers if m.kernel_size == (1, 1))


@pytest.mark.parametrize(
    ("name", "padded", "activation", "epsilon"),
    [
        ("mobilenet_v1_025_128", SameConv2d, nn.ReLU, 1e-3),
        ("mobilenetv1_100", nn.Conv2d, nn.ReLU6, 1e-5),
        ("mobilenetv1_100_small", nn.Conv2d, nn.ReLU6, 1e-5),
    ],
)
def test_rows_differ_in_padding_activation_and_epsilon(
    name: str, padded: type[nn.Conv2d], activation: type[nn.Module], epsilon: float
) -> None:
    model = on_meta(name)
    assert {type(m) for m in convolutions(model) if m.stride == (2, 2)} == {padded}
    assert {type(m) for m in model.modules() if isinstance(m, nn.ReLU | nn.ReLU6)} == {activation}
    assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {epsilon}


def test_a_paper_row_pads_below_and_right_only() -> None:
    """An even map and a first filter that reads only the pixel above and left of each second one."""
    stem = build("mobilenet_v1_025_224").eval().get_submodule("stem.conv")
    assert isinstance(stem, nn.Conv2d)
    nn.init.zeros_(stem.weight)
    stem.weight.data[0, 0, 0, 0] = 1
    image = torch.arange(64.0 * 64).view(1, 1, 64, 64).expand(1, 3, 64, 64)
    assert torch.equal(stem(image)[0, 0], image[0, 0, ::2, ::2])


def test_the_small_form_takes_28_pixels_and_32() -> None:
    with torch.device("meta"):
        model = build("mobilenetv1_100_small", in_channels=1).eval()
        found = model.features(torch.zeros(1, 1, 28, 28), model.places()[:-1])
    assert [x.shape[-1] for x in found.values()] == [28, 28, 14, 7, 4, 2]


def test_smallest_sizes() -> None:
    with torch.device("meta"):
        model = build("mobilenet_v1_025_128").eval()
    assert next(iter(model.features(torch.zeros(1, 3, 64, 64, device="meta")).values())).shape[2:] == (2, 2)
    with pytest.raises(UsageError, match="64 x 64 pixels and larger"):
        model(torch.zeros(1, 3, 63, 64, device="meta"))


def test_only_the_first_strides_are_skipped() -> None:
    assert skip_strides((2, 1, 2, 2, 1, 2), 2) == [1, 1, 1, 2, 1, 2]
    assert skip_strides((2, 1, 2), 0) == [2, 1, 2]
