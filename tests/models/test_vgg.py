"""VGG. Oracles: Table 2 of Simonyan & Zisserman 2014, counts added up by hand, torch's own layers."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lenext.errors import UsageError
from lenext.models.catalog import build, list_models
from lenext.models.parts import LocalResponseNorm

CONFIGURATIONS = {"vgg11": 133, "vgg_a_lrn": 133, "vgg13": 133, "vgg_c": 134, "vgg16": 138, "vgg19": 144}


def convolutions(name: str) -> list[nn.Conv2d]:
    with torch.device("meta"):
        return [module for module in build(name).modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize(("name", "millions"), CONFIGURATIONS.items())
def test_parameters_of_table_2(name: str, millions: int) -> None:
    with torch.device("meta"):
        assert round(sum(value.numel() for value in build(name).parameters()) / 1e6) == millions


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        # 3x3 weights + biases + two of normalisation a channel + 512 * 10 + 10; MACs: the 224 network's over 7 * 7
        ("vgg11_small", 9_217_728 + 2_752 + 2 * 2_752 + 5_130, 7_485_456_384 // 49 + 5_120),
        ("vgg16_small", 14_710_464 + 4_224 + 2 * 4_224 + 5_130, 15_346_630_656 // 49 + 5_120),
    ],
)
def test_counts_of_the_small_forms(name: str, params: int, macs: int) -> None:
    with torch.device("meta"):
        model = build(name).eval()
        with FlopCounterMode(display=False) as flops:
            model(torch.zeros(1, 3, 32, 32))
    assert sum(value.numel() for value in model.parameters()) == params
    assert flops.get_total_flops() == 2 * macs


@pytest.mark.parametrize("name", [name for name in list_models("vgg*") if name[-1].isdigit()])
def test_depth_is_the_number_in_the_name(name: str) -> None:
    assert len(convolutions(name)) + 3 == int(name.removeprefix("vgg"))


def test_configuration_c_has_a_1x1_convolution_at_the_end_of_the_last_three_groups() -> None:
    with torch.device("meta"):
        model = build("vgg_c")
    pointwise = [
        path for path, module in model.named_modules() if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    ]
    assert pointwise == ["stages.conv3.conv3_3", "stages.conv4.conv4_3", "stages.conv5.conv5_3"]


def test_only_a_lrn_normalises_responses_and_only_once() -> None:
    found = {}
    for name in list_models("vgg*"):
        with torch.device("meta"):
            found[name] = [path for path, m in build(name).named_modules() if isinstance(m, LocalResponseNorm)]
    assert found.pop("vgg_a_lrn") == ["stages.conv1.lrn1"]
    assert not any(found.values())


def test_each_stage_ends_behind_its_pool() -> None:
    with torch.device("meta"):
        model = build("vgg16").eval()
        found = model.features(torch.zeros(1, 3, 224, 224), model.places()[:-1])
    shapes = [tuple(x.shape[1:]) for x in found.values()]
    assert shapes == [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]


def test_the_head_sees_the_last_map_itself_at_224() -> None:
    with torch.device("meta"):
        pool = build("vgg11").get_submodule("head.pool")
    last = torch.randn(1, 512, 7, 7)
    assert torch.equal(pool(last), last)


def test_rounding_up_is_nothing_at_32() -> None:
    model = build("vgg11_small").eval()
    images = torch.randn(2, 3, 32, 32)
    expected = model(images)
    for module in model.modules():
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = False
    assert torch.equal(model(images), expected)


def test_28_pixels_reach_the_head_as_one() -> None:
    with torch.device("meta"):
        model = build("vgg16_small", in_channels=1).eval()
        found = model.features(torch.zeros(1, 1, 28, 28), model.places()[:-1])
    assert [x.shape[-1] for x in found.values()] == [14, 7, 4, 2, 1]


def test_dropout_is_off_when_evaluating_and_on_when_training() -> None:
    head = build("vgg11_small").head
    assert not any(isinstance(module, nn.Dropout) for module in head.modules())
    with torch.device("meta"):
        rates = [module.p for module in build("vgg11").head.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.5, 0.5]


def test_other_than_five_groups_are_refused() -> None:
    with pytest.raises(UsageError, match="it has 5 groups"):
        build("vgg11", repeats=(1, 1))


def test_the_textbooks_vgg11_has_a_quarter_of_the_widths() -> None:
    book, paper = convolutions("vgg11_d2l"), convolutions("vgg11")
    assert [4 * conv.out_channels for conv in book] == [conv.out_channels for conv in paper]
    with pytest.raises(UsageError, match="widths"):
        build("vgg11", widths=(16, 32))
