"""Inception-v3. Oracles: Szegedy et al. 2015, counts added up by hand, torch's own layers."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.weights.keymaps import key_map


def on_meta(name: str, **changes: object) -> Classifier:
    with torch.device("meta"):
        return build(name, **changes).eval()


def kernels(stage: nn.Module) -> set[tuple[int, ...]]:
    return {module.kernel_size for module in stage.modules() if isinstance(module, nn.Conv2d)}


def test_parameters_are_those_that_the_paper_and_nasnet_print() -> None:
    """The abstract: less than 25 million; Zoph et al. 2017, Table 2: 23.8 million."""
    network = on_meta("inception_v3_noaux")
    assert round(sum(value.numel() for value in network.parameters()) / 1e6, 1) == 23.8


def test_auxiliary_head_has_the_layers_of_the_release() -> None:
    head = on_meta("inception_v3").auxiliary["6e"]
    by_hand = 768 * 128 + 2 * 128 + 25 * 128 * 768 + 2 * 768 + 769 * 1000
    assert sum(value.numel() for value in head.parameters()) == by_hand == 27_161_264 - 23_834_568
    assert not on_meta("inception_v3_noaux").auxiliary


def test_stem_shrinks_as_in_table_1() -> None:
    x, sides = torch.empty(1, 3, 299, 299, device="meta"), []
    for layer in on_meta("inception_v3").stem.children():
        x = layer(x)
        sides.append(x.shape[-1])
    assert sides == [149, 147, 147, 73, 73, 71, 35]


def test_large_filters_are_factorised_where_the_figures_say() -> None:
    stages = dict(on_meta("inception_v3").stages.named_children())
    assert [name for name, stage in stages.items() if (5, 5) in kernels(stage)] == ["5b", "5c", "5d"]
    assert [name for name, stage in stages.items() if {(1, 7), (7, 1)} <= kernels(stage)] == [
        "6b", "6c", "6d", "6e", "7a",
    ]  # fmt: skip
    assert [name for name, stage in stages.items() if {(1, 3), (3, 1)} <= kernels(stage)] == ["7b", "7c"]
    assert not any((7, 7) in kernels(stage) for stage in stages.values())


def test_ends_of_figure_7_read_the_same_maps() -> None:
    fork = on_meta("inception_v3").stages.get_submodule("7c.double3x3.2")
    convs = {module.kernel_size: module for module in fork.modules() if isinstance(module, nn.Conv2d)}
    assert [convs[1, 3].in_channels, convs[3, 1].in_channels] == [384, 384]
    assert [convs[1, 3].padding, convs[3, 1].padding] == [(0, 1), (1, 0)]


@pytest.mark.parametrize(("name", "corner"), [("inception_v3", 4 / 9), ("inception_v4", 1.0)])
def test_average_pools_of_the_ports_count_the_padding_in_v3_only(name: str, corner: float) -> None:
    pools = [module for module in on_meta(name).modules() if isinstance(module, nn.AvgPool2d)]
    assert len(pools) == (9 if name == "inception_v3" else 14)
    for pool in pools:
        assert pool(torch.ones(1, 1, 5, 5))[0, 0, 0, 0] == pytest.approx(corner)


@pytest.mark.parametrize("name", ["inception_v3", "inception_v4", "inception_resnet_v1", "inception_resnet_v2"])
def test_75_pixels_leave_one_and_74_none(name: str) -> None:
    network = on_meta(name)
    last = network.features(torch.empty(1, 3, 75, 75, device="meta"))
    assert [tuple(x.shape[2:]) for x in last.values()] == [(1, 1)]
    too_small = torch.empty(1, 3, 74, 75, device="meta")
    with pytest.raises(UsageError, match="75 x 75 pixels and larger"):
        network(too_small)
    with pytest.raises(RuntimeError):
        network.stages(network.stem(too_small))


def auxiliary_head() -> nn.Module:
    """Of a network with 96 instead of 768 channels behind 6e."""
    return build("inception_v3", width=0.125, num_classes=5).eval().auxiliary["6e"]


@pytest.mark.parametrize("side", [17, 20])  # of images of 299 and 347 pixels
def test_auxiliary_head_is_the_release_s_from_299_on(side: int) -> None:
    head, x = auxiliary_head(), torch.rand(2, 96, side, side)
    pooled: Tensor = F.avg_pool2d(x, 5, stride=3)
    assert head.conv1(head.conv0(pooled)).shape[-1] == (side - 5) // 3 - 3  # type: ignore[operator]
    expected = head.fc(head.conv1(head.conv0(pooled)).mean((2, 3)))  # type: ignore[operator]
    assert torch.allclose(head(x), expected, atol=1e-6)


def test_auxiliary_head_sees_a_small_map_as_a_stretched_one() -> None:
    head, values = auxiliary_head(), torch.rand(2, 96, 1, 1)
    assert torch.allclose(head(values.expand(-1, -1, 3, 4)), head(values.expand(-1, -1, 17, 17)), atol=1e-6)


@pytest.mark.parametrize("name", ["inception_v3", "inception_v4", "inception_resnet_v1", "inception_resnet_v2"])
def test_small_form_keeps_the_map_up_to_three_strides(name: str) -> None:
    network = on_meta(f"{name}_small", in_channels=1)
    found = network.features(torch.empty(1, 1, 28, 28, device="meta"), network.places()[:-1])
    assert sorted({x.shape[-1] for x in found.values()}, reverse=True) == [14, 7, 4]
    large = dict(on_meta(name).named_parameters())
    norms = {key: value for key, value in network.named_parameters() if key.endswith("bn.weight")}
    assert norms and all(2 * len(value) == len(large[key]) for key, value in norms.items())


def test_no_layer_has_less_than_16_channels() -> None:
    network = on_meta("inception_v3", width=0.01)
    assert {module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d)} == {16}


def test_dropout_is_of_the_release() -> None:
    rates = [module.p for module in on_meta("inception_v3").head.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.2]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Conv2d_2b_3x3.bn.running_var", "stem.2b.bn.running_var"),
        ("Mixed_5b.branch1x1.conv.weight", "stages.5b.1x1.0.conv.weight"),
        ("Mixed_5d.branch_pool.bn.bias", "stages.5d.pool.1.bn.bias"),
        ("Mixed_6a.branch3x3.conv.weight", "stages.6a.3x3.0.conv.weight"),
        ("Mixed_6e.branch7x7dbl_5.conv.weight", "stages.6e.double7x7.4.conv.weight"),
        ("Mixed_7a.branch7x7x3_4.conv.weight", "stages.7a.7x7_3x3.3.conv.weight"),
        ("Mixed_7b.branch3x3_2a.conv.weight", "stages.7b.3x3.1.1x3.0.conv.weight"),
        ("Mixed_7b.branch3x3dbl_3b.conv.weight", "stages.7b.double3x3.2.3x1.0.conv.weight"),
        ("AuxLogits.conv1.conv.weight", "auxiliary.6e.conv1.conv.weight"),
        ("fc.bias", "head.fc.bias"),
    ],
)
def test_names_of_both_libraries(theirs: str, ours: str) -> None:
    own = on_meta("inception_v3").state_dict()
    assert ours in own
    for source in ("torchvision", "timm"):
        assert key_map("inceptionv3", source).translate([theirs], own) == {theirs: ours}


@pytest.mark.parametrize(("skipped", "strides"), [(0, [2, 2, 2]), (1, [1, 2, 2]), (2, [1, 1, 2])])
def test_the_first_strides_of_the_stem_are_skipped(skipped: int, strides: list[int]) -> None:
    with torch.device("meta"):
        stem = build("inception_v3", skipped_strides=skipped).stem
    places = [module for module in stem.modules() if isinstance(module, nn.Conv2d | nn.MaxPool2d)]
    found = [module.stride if isinstance(module.stride, int) else module.stride[0] for module in places]
    assert [found[0], found[3], found[6]] == strides
