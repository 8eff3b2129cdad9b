"""Wide residual networks. Oracles: Zagoruyko & Komodakis 2016, counts added up by hand, a block written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lenext.errors import UsageError
from lenext.models.catalog import build, list_models
from lenext.models.preact import PreActConfig, PreActUnit


def count(name: str, size: int, **changes: int) -> tuple[int, int]:
    """Parameters and MACs."""
    with torch.device("meta"):
        model = build(name, **changes).eval()
        with FlopCounterMode(display=False) as flops:
            model(torch.zeros(1, model.config.in_channels, size, size))
    return sum(value.numel() for value in model.parameters()), flops.get_total_flops() // 2


@pytest.mark.parametrize("name", list_models("wrn_*"))
def test_depth_is_the_first_number_in_the_name(name: str) -> None:
    with torch.device("meta"):
        convolutions = [module for module in build(name).modules() if isinstance(module, nn.Conv2d)]
    needless = name == "wrn_40_1"  # 16 channels stay 16, and yet the paper's 6n + 4 counts three shortcuts
    assert len(convolutions) + needless == int(name.split("_")[1])


def test_counts_for_other_data_by_hand() -> None:
    published, grey = 36_479_194, 2 * 9 * 16  # two of the first convolution's three input channels go
    assert count("wrn_28_10", 32, num_classes=100)[0] == published + 90 * 641
    groups = 28**2 * (10 * 16 * 160 + 63 * 160**2), 14**2 * (10 * 160 * 320 + 63 * 320**2)
    last = 7**2 * (10 * 320 * 640 + 63 * 640**2)
    macs = 28**2 * 9 * 16 + sum(groups) + last + 640 * 10
    assert count("wrn_28_10", 28, in_channels=1) == (published - grey, macs)


@pytest.mark.parametrize(("channels", "stride"), [(8, 1), (4, 2)])
def test_block_by_hand(channels: int, stride: int) -> None:
    block = PreActUnit(channels, 8, stride, PreActConfig(), activated=False).double().eval()
    first, second = (block.get_submodule(name) for name in ("preact.bn", "branch.act2.bn"))
    for norm in (first, second):
        nn.init.normal_(norm.get_parameter("bias"))
    x = torch.randn(2, channels, 6, 6, dtype=torch.float64)
    active = first(x).clamp(min=0)
    y = F.conv2d(active, block.get_parameter("branch.conv1.weight"), stride=stride, padding=1)
    y = F.conv2d(second(y).clamp(min=0), block.get_parameter("branch.conv2.weight"), padding=1)
    shortcut = x if channels == 8 else F.conv2d(active, block.get_parameter("shortcut.weight"), stride=stride)
    torch.testing.assert_close(block(x), y + shortcut)


def test_dropout_lies_between_the_convolutions_of_a_block() -> None:
    block = PreActUnit(4, 64, 1, PreActConfig(dropout=0.3), activated=False)
    nn.init.constant_(block.get_parameter("preact.bn.bias"), 10.0)  # no activation is 0 by itself
    nn.init.constant_(block.get_parameter("branch.act2.bn.bias"), 1000.0)
    zeros: list[float] = []
    for conv in ("branch.conv1", "branch.conv2"):
        block.get_submodule(conv).register_forward_pre_hook(
            lambda _, inputs: zeros.append((inputs[0] == 0).float().mean().item())
        )
    block(torch.randn(8, 4, 8, 8))
    assert zeros == [0.0, pytest.approx(0.3, abs=0.02)]
    block.eval()(torch.randn(8, 4, 8, 8))
    assert zeros[2:] == [0.0, 0.0]


def test_the_stem_stays_as_narrow_as_a_resnets_and_the_first_block_activates_it() -> None:
    model = build("wrn_16_4").eval()
    x = model.features(torch.randn(1, 3, 32, 32), ["stem"])["stem"]
    assert x.shape == (1, 16, 32, 32)
    assert x.min() < 0
    unit = model.get_submodule("stages.conv2_x.0")
    assert isinstance(unit, PreActUnit) and isinstance(unit.preact, nn.Sequential)


def test_the_last_stage_ends_normalised_and_activated() -> None:
    last = build("wrn_16_4").eval().features(torch.randn(1, 3, 32, 32))["stages.conv4_x"]
    assert last.shape == (1, 256, 8, 8)
    assert last.min() == 0


@pytest.mark.parametrize("depth", [50, 101])
def test_wide_bottlenecks_are_twice_as_wide_inside_and_the_same_outside(depth: int) -> None:
    with torch.device("meta"):
        wide, narrow = build(f"wide_resnet{depth}_2").state_dict(), build(f"resnet{depth}").state_dict()
    assert wide.keys() == narrow.keys()
    differing = {key.split(".")[-2] for key in wide if wide[key].shape != narrow[key].shape}
    assert differing == {"conv1", "bn1", "conv2", "bn2", "conv3"}
    assert wide["stages.conv5_x.2.conv2.weight"].shape == (1024, 1024, 3, 3)
    assert wide["stages.conv5_x.2.conv3.weight"].shape == (2048, 1024, 1, 1)


def test_smallest_size_leaves_four_pixels() -> None:
    with torch.device("meta"):
        model = build("wrn_16_4").eval()
        assert model.features(torch.zeros(1, 3, 8, 8))["stages.conv4_x"].shape[2:] == (2, 2)
        with pytest.raises(UsageError, match="7 x 7"):
            model(torch.zeros(1, 3, 7, 7))
