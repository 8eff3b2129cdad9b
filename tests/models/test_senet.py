"""Squeeze and excitation. Oracles: Hu et al. 2017, blocks written out, the names of tensors in published files."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lenext.models.catalog import build, canonical_name, list_models, small_row
from lenext.models.classifier import Classifier
from lenext.models.parts import SqueezeExcite
from lenext.models.resnet import Bottleneck, ResNetConfig
from lenext.weights.keymaps import key_map


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name).eval()


def test_block_by_hand() -> None:
    """Figure 3: the gate scales the branch, and the shortcut passes it by."""
    block = Bottleneck(64, 16, 1, ResNetConfig(block="bottleneck", squeeze=16)).double().eval()
    x = torch.randn(2, 64, 5, 5, dtype=torch.float64)
    y = block.bn1(F.conv2d(x, block.conv1.weight)).clamp(min=0)
    y = block.bn2(F.conv2d(y, block.conv2.weight, padding=1)).clamp(min=0)
    y = block.bn3(F.conv2d(y, block.conv3.weight))
    assert block.se is not None
    squeezed = y.mean((2, 3)) @ block.se.fc1.weight.flatten(1).T + block.se.fc1.bias
    assert squeezed.shape == (2, 4)
    gate = torch.sigmoid(squeezed.clamp(min=0) @ block.se.fc2.weight.flatten(1).T + block.se.fc2.bias)
    torch.testing.assert_close(block(x), (x + y * gate[:, :, None, None]).clamp(min=0))


def test_gates_add_two_and_a_half_million_weights_to_resnet50() -> None:
    """Section 4, equation 5: 2 / r times the sum of each stage's blocks times its squared channels."""
    weights = 2 * (3 * 256**2 + 4 * 512**2 + 6 * 1024**2 + 3 * 2048**2) // 16
    assert round(weights / 1e6, 1) == 2.5
    gates = [module for module in on_meta("seresnet50").modules() if isinstance(module, SqueezeExcite)]
    assert len(gates) == 3 + 4 + 6 + 3
    assert sum(gate.fc1.weight.numel() + gate.fc2.weight.numel() for gate in gates) == weights


@pytest.mark.parametrize("name", [name for name in list_models("se*") if name != "seresnet20"])
def test_every_block_is_gated_with_a_sixteenth_of_its_channels(name: str) -> None:
    blocks = [module for module in on_meta(name).modules() if isinstance(module, Bottleneck)]
    for block in blocks:
        assert block.se is not None
        assert block.se.fc1.out_channels * 16 == block.se.fc1.in_channels == block.conv3.out_channels


def test_cifar_gates_have_one_two_and_four_channels() -> None:
    gates = [module for module in on_meta("seresnet20").modules() if isinstance(module, SqueezeExcite)]
    assert [gate.fc1.out_channels for gate in gates] == [1, 1, 1, 2, 2, 2, 4, 4, 4]


@pytest.mark.parametrize(
    ("name", "strides", "padding"),
    [
        ("seresnet50", [2, 1], 0),
        ("seresnet50_v1_5", [1, 2], 1),
        ("seresnext50_32x4d", [1, 2], 0),
        ("seresnext50_32x4d_padded_pool", [1, 2], 1),
        ("senet154", [1, 2], 0),
        ("senet154_padded_pool", [1, 2], 1),
    ],
)
def test_strides_and_pools_of_the_two_forms(name: str, strides: list[int], padding: int) -> None:
    model = on_meta(name)
    block, pool = model.get_submodule("stages.conv3_x.0"), model.get_submodule("stages.conv2_x.pool")
    assert isinstance(block, Bottleneck)
    assert isinstance(pool, nn.MaxPool2d)
    assert [block.conv1.stride[0], block.conv2.stride[0]] == strides
    assert (pool.padding, pool.ceil_mode) == (padding, not padding)
    assert pool(torch.zeros(1, 1, 112, 112)).shape[2:] == (56, 56)


def test_a_pool_without_padding_starts_at_the_first_pixel() -> None:
    with torch.device("cpu"):
        caffe, padded = (build(name).get_submodule("stages.conv2_x.pool") for name in ("seresnet50", "resnet50"))
    ramp = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 1, 6, 6)
    assert caffe(ramp)[0, 0, 0].tolist() == [2, 4, 5]
    assert padded(ramp)[0, 0, 0].tolist() == [1, 3, 5]


def test_senet154_differs_from_a_seresnext152_as_the_appendix_says() -> None:
    model = on_meta("senet154")
    stem = [module for module in model.stem.children() if isinstance(module, nn.Conv2d)]
    assert [(conv.out_channels, conv.kernel_size[0], conv.stride[0]) for conv in stem] == [
        (64, 3, 2),
        (64, 3, 1),
        (128, 3, 1),
    ]
    first, projections = [], []
    for stage in ("conv2_x", "conv3_x", "conv4_x", "conv5_x"):
        block = model.get_submodule(f"stages.{stage}.0")
        assert isinstance(block, Bottleneck)
        assert isinstance(block.shortcut, nn.Sequential)
        projection = block.shortcut[0]
        assert isinstance(projection, nn.Conv2d)
        first.append((block.conv1.out_channels, block.conv2.out_channels, block.conv2.groups))
        projections.append((projection.kernel_size[0], projection.stride[0]))
    assert first == [(128, 256, 64), (256, 512, 64), (512, 1024, 64), (1024, 2048, 64)]
    assert projections == [(1, 1), (3, 2), (3, 2), (3, 2)]
    rates = {name: [m.p for m in on_meta(name).modules() if isinstance(m, nn.Dropout)] for name in list_models("se*")}
    assert {name: found for name, found in rates.items() if found} == {
        "senet154": [0.2],
        "senet154_padded_pool": [0.2],
    }


def test_timm_calls_the_published_form_legacy() -> None:
    published = [name for name in list_models("se*") if name.split("_")[-1] not in ("5", "pool", "small")]
    published.remove("seresnet20")
    assert [canonical_name(f"legacy_{name}") for name in published] == published


def test_small_images_have_their_own_form() -> None:
    assert small_row("seresnet50") == "seresnet50_small"
    images = torch.randn(2, 1, 28, 28)
    assert build("seresnet20", in_channels=1).eval().features(images)["stages.conv4_x"].shape == (2, 64, 7, 7)


DEEP = {  # timm's senet154, in the order in which a file sorts its names
    "bn1.weight": "stem.bn3.weight",
    "conv1.0.weight": "stem.conv1.weight",
    "conv1.1.weight": "stem.bn1.weight",
    "conv1.3.weight": "stem.conv2.weight",
    "conv1.4.weight": "stem.bn2.weight",
    "conv1.6.weight": "stem.conv3.weight",
    "layer1.0.downsample.0.weight": "stages.conv2_x.0.shortcut.conv.weight",
    "layer1.0.se.fc1.bias": "stages.conv2_x.0.se.fc1.bias",
    "fc.weight": "head.fc.weight",
}
LEGACY_DEEP = {
    "last_linear.weight": "head.fc.weight",
    "layer0.bn1.weight": "stem.bn1.weight",
    "layer0.bn2.running_mean": "stem.bn2.running_mean",
    "layer0.bn3.weight": "stem.bn3.weight",
    "layer0.conv1.weight": "stem.conv1.weight",
    "layer0.conv2.weight": "stem.conv2.weight",
    "layer0.conv3.weight": "stem.conv3.weight",
    "layer4.2.se_module.fc2.weight": "stages.conv5_x.2.se.fc2.weight",
}
SINGLE = {"bn1.bias": "stem.bn1.bias", "conv1.weight": "stem.conv1.weight", "fc.bias": "head.fc.bias"}
LEGACY_SINGLE = {"layer0.bn1.bias": "stem.bn1.bias", "layer0.conv1.weight": "stem.conv1.weight"}


@pytest.mark.parametrize(
    ("name", "names"),
    [("senet154", DEEP), ("senet154", LEGACY_DEEP), ("seresnet50", SINGLE), ("seresnet50", LEGACY_SINGLE)],
)
def test_names_in_the_files_of_timm(name: str, names: dict[str, str]) -> None:
    ours = on_meta(name).state_dict()
    assert set(names.values()) <= set(ours)
    assert key_map("resnet", "timm").translate(names, ours) == names
