"""Inception-v4 and Inception-ResNet. Oracles: Szegedy et al. 2016, counts added up by hand, torch's own layers."""

import pytest
import torch
from torch import nn

from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.models.inception_resnet import ScaledSum
from lenext.weights.keymaps import key_map


def on_meta(name: str, **changes: object) -> Classifier:
    with torch.device("meta"):
        return build(name, **changes).eval()


def convolutions(module: nn.Module) -> list[tuple[int, ...]]:
    return [conv.kernel_size for conv in module.modules() if isinstance(conv, nn.Conv2d)]


def parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def test_stem_is_figure_3() -> None:
    x, shapes = torch.empty(1, 3, 299, 299, device="meta"), []
    for layer in on_meta("inception_v4").stem.children():
        x = layer(x)
        shapes.append(tuple(x.shape[1:3]))
    assert shapes == [(32, 149), (32, 147), (64, 147), (160, 73), (192, 71), (384, 35)]


def test_stem_of_v1_is_figure_14() -> None:
    x, shapes = torch.empty(1, 3, 299, 299, device="meta"), []
    for layer in on_meta("inception_resnet_v1").stem.children():
        x = layer(x)
        shapes.append(tuple(x.shape[1:3]))
    assert shapes == [(32, 149), (32, 147), (64, 147), (64, 73), (80, 73), (192, 71), (256, 35)]


@pytest.mark.parametrize(
    ("name", "modules"),
    [("inception_v4", [4, 7, 3]), ("inception_resnet_v1", [5, 10, 5]), ("inception_resnet_v2", [10, 20, 10])],
)
def test_modules_of_figures_9_and_15(name: str, modules: list[int]) -> None:
    stages = dict(on_meta(name).stages.named_children())
    found = [len(list(stage.children())) for key, stage in stages.items() if key.startswith("inception")]
    assert found == modules


@pytest.mark.parametrize(
    ("name", "klmn"),
    [
        ("inception_v4", (192, 224, 256, 384)),
        ("inception_resnet_v1", (192, 192, 256, 384)),
        ("inception_resnet_v2", (256, 256, 384, 384)),
    ],
)
def test_reduction_a_has_the_widths_of_table_1(name: str, klmn: tuple[int, ...]) -> None:
    reduction = on_meta(name).stages.get_submodule("reduction_a")
    widths = [conv.out_channels for conv in reduction.modules() if isinstance(conv, nn.Conv2d)]
    assert widths == [klmn[3], *klmn[:3]]


def test_filters_of_the_modules_of_v4() -> None:
    stages = on_meta("inception_v4").stages
    assert {*convolutions(stages.get_submodule("inception_a"))} == {(1, 1), (3, 3)}
    assert {*convolutions(stages.get_submodule("inception_b"))} == {(1, 1), (1, 7), (7, 1)}
    assert {*convolutions(stages.get_submodule("inception_c"))} == {(1, 1), (1, 3), (3, 1)}


def test_inception_resnet_v2_has_the_figures_of_nasnet() -> None:
    """Zoph et al. 2017, Table 2: 55.8 million."""
    assert round(parameters(on_meta("inception_resnet_v2")) / 1e6, 1) == 55.8


def test_v1_with_a_sixth_module_and_a_narrow_head_is_the_port_of_facenet() -> None:
    """osmr/imgclsmob counts 23,995,624; its head is 1792 to 512, batch normalisation, 512 to 1000."""
    ours = parameters(on_meta("inception_resnet_v1", repeats=(5, 10, 6)))
    assert ours - 1793 * 1000 + (1792 * 512 + 2 * 512 + 513 * 1000) == 23_995_624


def test_branches_are_scaled_and_added() -> None:
    block = build("inception_resnet_v1_small").eval().stages.get_submodule("inception_resnet_a.0")
    assert isinstance(block, ScaledSum)
    x = torch.randn(2, 128, 6, 6)
    branches = torch.cat([branch(x) for branch in block.branches.children()], dim=1)
    weight, bias = block.linear.weight, block.linear.bias
    assert bias is not None
    expected = (x + 0.17 * nn.functional.conv2d(branches, weight, bias)).clamp(min=0)
    assert torch.allclose(block(x), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "last"), [("inception_resnet_v1", (0.2, True)), ("inception_resnet_v2", (1.0, False))]
)
def test_only_the_last_module_of_v2_is_whole(name: str, last: tuple[float, bool]) -> None:
    network = on_meta(name)
    blocks = [module for module in network.modules() if isinstance(module, ScaledSum)]
    a, b, c = (len(network.stages.get_submodule(f"inception_resnet_{letter}")) for letter in "abc")  # type: ignore[arg-type]
    expected = [(0.17, True)] * a + [(0.1, True)] * b + [(0.2, True)] * (c - 1) + [last]
    assert [(block.scale, block.activated) for block in blocks] == expected


@pytest.mark.parametrize("name", ["inception_v4", "inception_resnet_v1", "inception_resnet_v2"])
def test_dropout_keeps_four_fifths(name: str) -> None:
    assert [module.p for module in on_meta(name).modules() if isinstance(module, nn.Dropout)] == [0.2]


@pytest.mark.parametrize(
    ("network", "theirs", "ours"),
    [
        ("inception_v4", "features.0.conv.weight", "stem.1a.conv.weight"),
        ("inception_v4", "features.4.branch1.3.bn.bias", "stem.4a.7x7.3.bn.bias"),
        ("inception_v4", "features.5.conv.bn.bias", "stem.5a.3x3.0.bn.bias"),
        ("inception_v4", "features.9.branch3.1.conv.weight", "stages.inception_a.3.pool.1.conv.weight"),
        ("inception_v4", "features.17.branch2.4.conv.weight", "stages.inception_b.6.double7x7.4.conv.weight"),
        ("inception_v4", "features.18.branch1.2.conv.weight", "stages.reduction_b.7x7_3x3.2.conv.weight"),
        ("inception_v4", "features.21.branch2_3b.conv.weight", "stages.inception_c.2.double3x3.3.3x1.0.conv.weight"),
        ("inception_resnet_v2", "mixed_5b.branch3.1.bn.bias", "stem.5b.pool.1.bn.bias"),
        ("inception_resnet_v2", "repeat.9.conv2d.bias", "stages.inception_resnet_a.9.linear.bias"),
        (
            "inception_resnet_v2",
            "repeat_1.19.branch1.2.conv.weight",
            "stages.inception_resnet_b.19.branches.7x7.2.conv.weight",
        ),
        ("inception_resnet_v2", "mixed_7a.branch2.2.conv.weight", "stages.reduction_b.double3x3.2.conv.weight"),
        (
            "inception_resnet_v2",
            "block8.branch0.conv.weight",
            "stages.inception_resnet_c.9.branches.1x1.0.conv.weight",
        ),
        ("inception_resnet_v2", "conv2d_7b.bn.bias", "stages.7b.bn.bias"),
        ("inception_resnet_v2", "classif.weight", "head.fc.weight"),
    ],
)
def test_names_of_timm(network: str, theirs: str, ours: str) -> None:
    own = on_meta(network).state_dict()
    assert ours in own
    family = "inceptionv4" if network == "inception_v4" else "inception_resnet"
    assert key_map(family, "timm").translate([theirs], own) == {theirs: ours}
