"""MobileNetV2. Oracles: Tables 2 and 4 and section 4 of Sandler et al. 2018, and torch's own layers."""

import pytest
import torch
from torch import nn

from lenext.costs import count_cost
from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.models.convolutions import InvertedResidual


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name).eval()


def blocks(model: Classifier) -> list[InvertedResidual]:
    return [module for module in model.modules() if isinstance(module, InvertedResidual)]


def test_sequences_of_table_2_and_their_shortcuts() -> None:
    model = on_meta("mobilenetv2_100")
    repeats = [len([*stage.children()]) for stage in model.stages][:7]
    assert repeats == [1, 2, 3, 4, 3, 3, 1]
    shortcuts = [[block.residual for block in stage] for stage in [*model.stages][:7]]
    assert shortcuts == [[False] + [True] * (n - 1) for n in repeats]  # the first changes channels


def test_a_block_expands_six_times_and_the_first_not_at_all() -> None:
    depthwise = [m for m in on_meta("mobilenetv2_100").modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    widths = [16, *[24] * 2, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3]
    assert [m.groups for m in depthwise] == [32, *(6 * width for width in widths)]


def test_everything_is_relu6_but_the_projections() -> None:
    model = on_meta("mobilenetv2_100")
    kinds = [type(m) for m in model.modules() if isinstance(m, nn.Conv2d | nn.ReLU | nn.ReLU6)]
    assert kinds.count(nn.Conv2d) == 52  # with the linear layer 53
    assert kinds.count(nn.ReLU6) == 52 - 17
    assert nn.ReLU not in kinds
    for block in blocks(model):
        assert isinstance([*block.get_submodule("layers.project").modules()][-1], nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("name", "features"),
    [("mobilenetv2_035", 1280), ("mobilenetv2_050", 1280), ("mobilenetv2_100", 1280), ("mobilenetv2_140", 1792)],
)
def test_the_last_convolution_grows_with_the_width_and_does_not_shrink(name: str, features: int) -> None:
    last = on_meta(name).get_submodule("stages.8.conv")
    assert isinstance(last, nn.Conv2d) and last.out_channels == features


@pytest.mark.parametrize(("name", "macs"), [("mobilenetv2_100", 300e6), ("mobilenetv2_140", 585e6)])
def test_multiply_adds_of_table_4(name: str, macs: float) -> None:
    assert count_cost(on_meta(name), (3, 224, 224)).macs == pytest.approx(macs, rel=0.006)


def test_the_small_form_takes_28_pixels() -> None:
    with torch.device("meta"):
        model = build("mobilenetv2_100_small", in_channels=1).eval()
        found = model.features(torch.zeros(1, 1, 28, 28), model.places()[:-1])
    assert [x.shape[-1] for x in found.values()] == [28, 28, 28, 14, 7, 7, 4, 4, 4]


def test_smallest_sizes() -> None:
    model = on_meta("mobilenetv2_035")
    assert next(iter(model.features(torch.zeros(1, 3, 64, 64, device="meta")).values())).shape[2:] == (2, 2)
    with pytest.raises(UsageError, match="64 x 64 pixels and larger"):
        model(torch.zeros(1, 3, 64, 63, device="meta"))


def test_dropout_stands_before_the_linear_layer() -> None:
    with torch.device("meta"):
        head = build("mobilenetv2_100", dropout=0.3).head
    names = [name for name, _ in head.named_children()]
    assert names == ["pool", "flatten", "dropout", "fc"]
    assert [m.p for m in head.modules() if isinstance(m, nn.Dropout)] == [0.3]
