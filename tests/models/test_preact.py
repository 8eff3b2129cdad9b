"""Pre-activation networks. Oracles: the appendix of He et al. 2016, timm's names, units and networks by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.preact import PreActConfig, PreActUnit
from lenext.weights import convert


def macs(name: str, **changes: str) -> int:
    """At the published input."""
    with torch.device("meta"):
        model = build(name, **changes).eval()
        size = model.config.input_size
        with FlopCounterMode(display=False) as flops:
            model(torch.zeros(1, 3, size, size))
    total: int = flops.get_total_flops() // 2
    return total


def normal(t: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Normalisation by running statistics, and ReLU."""
    mean, var = t[f"{name}.running_mean"], t[f"{name}.running_var"]
    return F.relu(F.batch_norm(x, mean, var, t[f"{name}.weight"], t[f"{name}.bias"]))


def timm_tensors(width: int, classes: int) -> dict[str, Tensor]:
    """A network of four stages of one bottleneck, as timm 1.0.31 names resnetv2_50's tensors."""
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}

    def conv(name: str, out: int, channels: int, kernel: int) -> None:
        weight = torch.randn(out, channels, kernel, kernel, generator=generator, dtype=torch.float64)
        tensors[f"{name}.weight"] = weight / (channels * kernel**2) ** 0.5

    def norm(name: str, channels: int) -> None:
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            values = torch.rand(channels, generator=generator, dtype=torch.float64)
            tensors[f"{name}.{tensor}"] = values - (0.5 if tensor in ("weight", "bias") else -0.5)  # some weights < 0

    conv("stem.conv", width, 3, 7)
    channels = width
    for stage in range(4):
        name, inner = f"stages.{stage}.blocks.0", width * 2**stage
        conv(f"{name}.downsample.conv", 4 * inner, channels, 1)
        for i, (out, kernel) in enumerate([(inner, 1), (inner, 3), (4 * inner, 1)], start=1):
            norm(f"{name}.norm{i}", channels)
            conv(f"{name}.conv{i}", out, channels, kernel)
            channels = out
    norm("norm", channels)
    conv("head.fc", classes, channels, 1)  # a 1x1 convolution there
    tensors["head.fc.bias"] = torch.randn(classes, generator=generator, dtype=torch.float64)
    return tensors


def test_timms_weights_give_the_scores_of_the_same_arithmetic() -> None:
    t = timm_tensors(width=4, classes=5)
    model = build("resnetv2_50", width=4, repeats=(1, 1, 1, 1), num_classes=5).double().eval()
    model.load_state_dict(convert(t, model, "timm"))
    images = torch.randn(2, 3, 65, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = F.max_pool2d(F.conv2d(images, t["stem.conv.weight"], stride=2, padding=3), 3, 2, 1)
    for stage in range(4):
        name, stride = f"stages.{stage}.blocks.0", 2 if stage else 1
        active = normal(t, f"{name}.norm1", x)
        y = F.conv2d(active, t[f"{name}.conv1.weight"])
        y = F.conv2d(normal(t, f"{name}.norm2", y), t[f"{name}.conv2.weight"], stride=stride, padding=1)
        y = F.conv2d(normal(t, f"{name}.norm3", y), t[f"{name}.conv3.weight"])
        x = y + F.conv2d(active, t[f"{name}.downsample.conv.weight"], stride=stride)
    x = normal(t, "norm", x).mean((2, 3))
    expected = F.linear(x, t["head.fc.weight"].flatten(1), t["head.fc.bias"])
    torch.testing.assert_close(model(images), expected)


def test_the_first_activation_of_the_paper_stands_before_the_first_unit_splits() -> None:
    model = build("preact_resnet20").eval()
    stem, unit = model.stem, model.get_submodule("stages.conv2_x.0")
    assert isinstance(stem, nn.Sequential) and isinstance(unit, PreActUnit)
    assert [type(module) for module in stem.modules()][1:] == [nn.Conv2d, nn.Sequential, nn.BatchNorm2d, nn.ReLU]
    x = stem(torch.randn(2, 3, 8, 8))
    assert x.min() == 0  # both paths read what is activated
    torch.testing.assert_close(unit(x), x + unit.branch(x))
    assert not [m for m in unit.preact.modules() if isinstance(m, nn.BatchNorm2d)]


def test_a_unit_adds_its_own_input_and_what_comes_out_is_not_activated() -> None:
    unit = PreActUnit(4, 4, 1, PreActConfig(), activated=False).double().eval()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    y = F.conv2d(F.relu(x / (1 + 1e-5) ** 0.5), unit.get_parameter("branch.conv1.weight"), padding=1)
    y = F.conv2d(F.relu(y / (1 + 1e-5) ** 0.5), unit.get_parameter("branch.conv2.weight"), padding=1)
    torch.testing.assert_close(unit(x), x + y)


def test_option_a_pads_the_input_itself_with_zeros() -> None:
    unit = PreActUnit(4, 8, 2, PreActConfig(shortcut="A"), activated=False).eval()
    for value in unit.branch.parameters():
        nn.init.zeros_(value)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(unit(x), torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 4, 3, 3)], dim=1))


def test_a_projection_reads_what_the_unit_has_activated() -> None:
    unit = PreActUnit(4, 8, 2, PreActConfig(shortcut="B"), activated=False).eval()
    for value in unit.branch.parameters():
        nn.init.zeros_(value)
    x = -torch.rand(2, 4, 6, 6)
    assert not unit(x).any()  # ReLU has left nothing of it


@pytest.mark.parametrize(
    ("name", "strides"),
    [("preact_resnet164", [2, 1, 1]), ("resnetv2_50", [1, 2, 1]), ("preact_resnet200_imagenet", [1, 2, 1])],
)
def test_stride_of_a_bottleneck(name: str, strides: list[int]) -> None:
    with torch.device("meta"):
        unit = build(name).get_submodule("stages.conv3_x.0.branch")
    assert [m.stride[0] for m in unit.modules() if isinstance(m, nn.Conv2d)] == strides


def test_stride_in_the_3x3_costs_3_million_macs_more_at_164_layers() -> None:
    extra = (32**2 - 16**2) * 64 * 32 + (16**2 - 8**2) * 128 * 64  # first 1x1 convolutions of conv3_x and conv4_x
    assert macs("preact_resnet164", stride_in="3x3") - macs("preact_resnet164") == extra == 3_145_728


@pytest.mark.parametrize(
    ("name", "layers"),
    [("preact_resnet110", 110), ("preact_resnet164", 164), ("preact_resnet1001", 1001), ("preact_resnet20", 20),
     ("preact_resnet200_imagenet", 200), ("resnetv2_152", 152)],
)  # fmt: skip
def test_depth_is_the_number_in_the_name(name: str, layers: int) -> None:
    with torch.device("meta"):
        model = build(name)
    on_the_path = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in path
    ]
    assert len(on_the_path) == layers


def test_the_small_form_is_the_popular_one_and_its_last_activation() -> None:
    """kuangliu/pytorch-cifar's PreActResNet18 has 11,171,146 parameters, no normalisation of the last 512 channels."""
    with torch.device("meta"):
        model = build("resnetv2_18_small")
    assert sum(value.numel() for value in model.parameters()) == 11_171_146 + 2 * 512


def test_the_last_stage_ends_activated_and_the_others_do_not() -> None:
    model = build("preact_resnet20").eval()
    found = model.features(torch.randn(2, 3, 28, 28), model.places()[:-1])
    lowest = {place: float(x.detach().min()) for place, x in found.items()}
    assert lowest.pop("stem") == lowest.pop("stages.conv4_x") == 0
    assert all(value < 0 for value in lowest.values())
    assert [x.shape[-1] for x in found.values()] == [28, 28, 14, 7]


def test_the_smallest_size_leaves_a_map_of_2x2() -> None:
    with torch.device("meta"):
        model = build("resnetv2_50", repeats=(1, 1, 1, 1)).eval()
    images = torch.zeros(1, 3, 64, 64, device="meta")
    assert model.features(images)["stages.conv5_x"].shape[2:] == (2, 2)
    with pytest.raises(UsageError, match="63 x 64"):
        model(images[:, :, 1:])
