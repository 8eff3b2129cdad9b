"""Residual networks. Oracles: the rounded figures of He et al. 2015, counts derived layer by layer, blocks by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lenext.models.catalog import build
from lenext.models.resnet import VARIANTS, BasicBlock, Bottleneck, ResNetConfig


def count(name: str, **changes: str) -> tuple[int, int]:
    """Parameters and MACs at the published input."""
    with torch.device("meta"):
        model = build(name, **changes).eval()
        size = model.config.input_size
        with FlopCounterMode(display=False) as flops:
            model(torch.zeros(1, 3, size, size))
    return sum(value.numel() for value in model.parameters()), flops.get_total_flops() // 2


@pytest.mark.parametrize(
    ("name", "macs"),
    [("resnet18_a", 1.8e9), ("resnet34_a", 3.6e9), ("resnet50_v1", 3.8e9), ("resnet101_v1", 7.6e9), ("plain34", 3.6e9)],
)
def test_operations_of_table_1(name: str, macs: float) -> None:
    assert count(name)[1] == pytest.approx(macs, abs=0.06e9)  # printed to one digit, partly cut off


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet20", 0.27), ("resnet32", 0.46), ("resnet44", 0.66), ("resnet56", 0.85), ("resnet110", 1.7)],
)
def test_parameters_of_table_6(name: str, millions: float) -> None:
    digits = len(str(millions).split(".")[1])
    assert round(count(name)[0] / 1e6, digits) == millions


@pytest.mark.parametrize(
    ("name", "changes", "params", "macs"),
    [
        # torchvision's networks
        ("resnet18", {}, 11_689_512, 1_814_073_344),
        ("resnet50", {}, 25_557_032, 4_089_184_256),
        # option C, derived: a projection in each of the other five (eleven) blocks of basic networks
        ("resnet18", {"shortcut": "C"}, 12_043_816, 1_878_298_624),
        ("resnet34", {"shortcut": "C"}, 22_716_840, 3_830_747_136),
        # CIFAR with projections adds 16*32 + 2*32 + 32*64 + 2*64 = 2,752 parameters to the published 269,722
        ("resnet20_b", {}, 272_474, 40_813_184),
        ("resnet20", {"shortcut": "B"}, 272_474, 40_813_184),
    ],
)
def test_exact_counts_of_the_shortcut_options(name: str, changes: dict[str, str], params: int, macs: int) -> None:
    assert count(name, **changes) == (params, macs)


def test_a_plain_network_is_its_residual_network_without_the_shortcuts() -> None:
    plain, residual = build("plain20"), build("resnet20")
    assert plain.state_dict().keys() == residual.state_dict().keys()
    plain.load_state_dict(residual.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(plain.eval()(images), residual.eval()(images))


def test_basic_block_with_option_a_by_hand() -> None:
    config = ResNetConfig(shortcut="A")
    block = BasicBlock(4, 8, 2, config).double().eval()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    y = block.bn1(F.conv2d(x, block.conv1.weight, stride=2, padding=1)).clamp(min=0)
    y = block.bn2(F.conv2d(y, block.conv2.weight, padding=1))
    shortcut = torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 4, 3, 3, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(block(x), (y + shortcut).clamp(min=0))


@pytest.mark.parametrize(("stride_in", "strides"), [("1x1", [2, 1, 1]), ("3x3", [1, 2, 1])])
def test_bottleneck_takes_its_stride_where_the_row_says(stride_in: str, strides: list[int]) -> None:
    name = {"1x1": "resnet50_v1", "3x3": "resnet50"}[stride_in]
    with torch.device("meta"):
        block = build(name).get_submodule("stages.conv3_x.0")
    assert isinstance(block, Bottleneck)
    assert [conv.stride[0] for conv in (block.conv1, block.conv2, block.conv3)] == strides


def test_bottleneck_by_hand() -> None:
    block = Bottleneck(4, 4, 2, ResNetConfig(block="bottleneck")).double().eval()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    y = block.bn1(F.conv2d(x, block.conv1.weight)).clamp(min=0)
    y = block.bn2(F.conv2d(y, block.conv2.weight, stride=2, padding=1)).clamp(min=0)
    y = block.bn3(F.conv2d(y, block.conv3.weight))
    assert isinstance(block.shortcut, nn.Sequential)
    conv, bn = block.shortcut
    shortcut = bn(F.conv2d(x, conv.get_parameter("weight"), stride=2))
    torch.testing.assert_close(block(x), (y + shortcut).clamp(min=0))


def test_stages_have_the_sizes_of_table_1() -> None:
    with torch.device("meta"):
        model = build("resnet50").eval()
        found = model.features(torch.zeros(1, 3, 224, 224), model.places()[:-1])
    assert {place: tuple(x.shape[1:]) for place, x in found.items()} == {
        "stem": (64, 112, 112),
        "stages.conv2_x": (256, 56, 56),
        "stages.conv3_x": (512, 28, 28),
        "stages.conv4_x": (1024, 14, 14),
        "stages.conv5_x": (2048, 7, 7),
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_depth_is_the_number_in_the_name(name: str) -> None:
    blocks = VARIANTS[name].repeats
    assert str(2 + sum(blocks) * {"basic": 2, "bottleneck": 3}[VARIANTS[name].block]) in name
    with torch.device("meta"):
        model = build(name, repeats=tuple(min(n, 2) for n in blocks))  # the structure, at two blocks a stage
    on_the_path = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in path
    ]
    assert len(on_the_path) == 2 + 2 * len(blocks) * {"basic": 2, "bottleneck": 3}[VARIANTS[name].block]


def test_resnet200_has_sixteen_more_units_than_resnet152_all_on_the_28_map() -> None:
    """He et al. 2016 (arXiv 1603.05027), section 5; a unit there has 17 * 128**2 weights and 12 * 128 of norms."""
    with torch.device("meta"):
        deeper, published = build("resnet200"), build("resnet152_v1")
        stride = build("resnet200_v1_5").get_submodule("stages.conv3_x.0.conv2").stride
    own, theirs = (
        sum(value.numel() for value in model.get_submodule("stages.conv3_x").parameters())
        for model in (deeper, published)
    )
    assert own - theirs == 16 * (17 * 128**2 + 12 * 128)
    assert VARIANTS["resnet200"].repeats == (3, 8 + 16, 36, 3)
    assert stride == (2, 2)


def test_the_textbooks_resnet18_has_biases_and_projections_without_normalisation() -> None:
    with torch.device("meta"):
        model = build("resnet_18_d2l")
    convolutions = {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert all(conv.bias is not None for conv in convolutions.values())
    bare = [name for name, conv in convolutions.items() if conv.kernel_size == (1, 1)]
    assert bare == [f"stages.conv{stage}_x.0.shortcut" for stage in (3, 4, 5)]
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 17  # one of them in the stem
