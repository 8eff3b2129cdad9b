"""MobileNetV3. Oracles: Tables 1 and 2 of Howard et al. 2019, hand arithmetic, and torch's own layers."""

import pytest
import torch
from torch import nn

from lenext.errors import UsageError
from lenext.models.catalog import build, list_models
from lenext.models.classifier import Classifier
from lenext.models.convolutions import InvertedResidual, SameConv2d
from lenext.models.parts import SqueezeExcite


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name).eval()


def blocks(name: str) -> list[InvertedResidual]:
    return [module for module in on_meta(name).modules() if isinstance(module, InvertedResidual)]


def expanded(name: str) -> list[int]:
    return [m.groups for block in blocks(name) for m in block.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]


@pytest.mark.parametrize(
    ("name", "relu", "gates"),
    [
        # a quarter of 72, 120, 480, 672 and 960; of 18, 30 and 60 the multiples of 8 that are no tenth less
        ("mobilenetv3_large_100", 6, {3: 24, 4: 32, 5: 32, 10: 120, 11: 168, 12: 168, 13: 240, 14: 240}),
        ("mobilenetv3_small_100", 3, {0: 8, 3: 24, 4: 64, 5: 64, 6: 32, 7: 40, 8: 72, 9: 144, 10: 144}),
    ],
)
def test_nonlinearities_and_gates_of_the_tables(name: str, relu: int, gates: dict[int, int]) -> None:
    found: dict[int, int] = {}
    for i, block in enumerate(blocks(name)):
        for gate in (m for m in block.modules() if isinstance(m, SqueezeExcite)):
            found[i] = gate.fc1.out_channels
            assert isinstance(gate.act, nn.ReLU) and isinstance(gate.gate, nn.Hardsigmoid)
        activation = block.get_submodule("layers.depthwise.act")
        assert isinstance(activation, nn.ReLU if i < relu else nn.Hardswish)
    assert found == gates


def test_expansions_of_the_tables() -> None:
    large = [16, 64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960]
    small = [16, 72, 88, 96, 240, 240, 120, 144, 288, 576, 576]
    assert expanded("mobilenetv3_large_100") == large
    assert expanded("mobilenetv3_small_100") == small


def test_at_another_width_expansions_follow_the_input() -> None:
    """By ratio: four times the 16 channels that 12 are rounded up to is 64; 0.75 * 64 would be 48."""
    assert expanded("mobilenetv3_large_075")[:4] == [16, 64, 72, 72]


def test_the_first_block_does_not_expand() -> None:
    for name in ("mobilenetv3_large_100", "mobilenetv3_small_100", "mobilenetv3_small_050"):
        first = blocks(name)[0]
        assert not any(path == "layers.expand" for path, _ in first.named_modules())


def test_behind_the_pool_nothing_is_normalised() -> None:
    head = on_meta("mobilenetv3_small_100").head
    assert [type(m) for m in head.children()] == [
        nn.AdaptiveAvgPool2d,
        nn.Flatten,
        nn.Linear,
        nn.Hardswish,
        nn.Dropout,
        nn.Linear,
    ]


@pytest.mark.parametrize(
    ("pattern", "same", "epsilon", "networks"),
    [
        ("mobilenetv3_*", False, 1e-5, 7),
        ("mobilenet_v3_*", False, 1e-3, 2),
        ("tf_mobilenetv3_*", True, 1e-3, 6),
    ],
)
def test_three_codes_differ_in_padding_and_epsilon(pattern: str, same: bool, epsilon: float, networks: int) -> None:
    names = list_models(pattern)
    assert len(names) == networks
    for name in names:
        modules = [*on_meta(name).modules()]
        strided = [m for m in modules if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
        assert strided and all(isinstance(m, SameConv2d) == same for m in strided)
        assert {m.eps for m in modules if isinstance(m, nn.BatchNorm2d)} == {epsilon}


@pytest.mark.parametrize("name", ["tf_mobilenetv3_large_minimal_100", "tf_mobilenetv3_small_minimal_100"])
def test_minimal_forms_have_neither_gates_nor_wide_filters_nor_hard_functions(name: str) -> None:
    modules = [*on_meta(name).modules()]
    assert not any(isinstance(m, SqueezeExcite | nn.Hardswish | nn.Hardsigmoid) for m in modules)
    assert max(m.kernel_size[0] for m in modules if isinstance(m, nn.Conv2d)) == 3


def test_a_stem_has_16_channels_at_every_published_width() -> None:
    image = torch.zeros(1, 3, 64, 64, device="meta")
    widths = {on_meta(name).stem(image).shape[1] for name in list_models("mobilenetv3_small*")}
    assert widths == {16}  # 12 is rounded up; at half the width timm keeps it
    with torch.device("meta"):
        assert build("mobilenetv3_small_050", fixed_stem=False).stem(image).shape[1] == 8


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("mobilenetv3_large_100_small", [28, 28, 28, 14, 7, 7, 4, 4]),
        ("mobilenetv3_small_100_small", [28, 28, 14, 7, 7, 4, 4]),
    ],
)
def test_small_forms_take_28_pixels(name: str, sides: list[int]) -> None:
    with torch.device("meta"):
        model = build(name, in_channels=1).eval()
        found = model.features(torch.zeros(1, 1, 28, 28), model.places()[:-1])
    assert [x.shape[-1] for x in found.values()] == sides


def test_smallest_sizes() -> None:
    model = on_meta("tf_mobilenetv3_small_100")
    assert next(iter(model.features(torch.zeros(1, 3, 64, 64, device="meta")).values())).shape[2:] == (2, 2)
    with pytest.raises(UsageError, match="64 x 64 pixels and larger"):
        model(torch.zeros(1, 3, 63, 63, device="meta"))
