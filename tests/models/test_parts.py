"""Shared blocks. Oracles: the papers' formulas, written out with torch's elementary operators."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lenext.models.convolutions import (
    ConvStyle,
    InvertedResidual,
    SameConv2d,
    conv_norm,
    make_divisible,
    pad_same,
    same_padding,
)
from lenext.models.parts import (
    Branches,
    DropPath,
    LayerNorm2d,
    LocalResponseNorm,
    PadShortcut,
    SqueezeExcite,
    linear_rates,
    local_response_norm,
    pooled_linear,
)


def test_local_response_norm_is_the_papers_sum_over_neighbours() -> None:
    x = torch.randn(2, 7, 3, 4, dtype=torch.float64) * 30
    expected = torch.empty_like(x)
    for i in range(7):
        energy = x[:, max(0, i - 2) : min(6, i + 2) + 1].square().sum(1)
        expected[:, i] = x[:, i] / (2 + 1e-4 * energy) ** 0.75
    torch.testing.assert_close(local_response_norm(x, 5, 1e-4, 0.75, 2.0), expected, rtol=1e-12, atol=0)


def test_local_response_norm_is_torchs_with_alpha_times_n() -> None:
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64) * 30
    theirs = torch.nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    torch.testing.assert_close(LocalResponseNorm()(x), theirs(x), rtol=1e-12, atol=0)


def test_option_a_keeps_every_second_pixel_and_appends_zero_maps() -> None:
    x = torch.randn(2, 3, 7, 6)
    by_hand = torch.cat([x[:, :, ::2, ::2], torch.zeros(2, 5, 4, 3)], dim=1)
    assert torch.equal(PadShortcut(8, 2)(x), by_hand)


def test_option_a_keeps_the_identity_where_the_shape_stays() -> None:
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(PadShortcut(4, 1)(x), x)


def test_pooled_linear_is_the_mean_over_places_then_linear() -> None:
    head = pooled_linear(4, 3)
    x = torch.randn(2, 4, 5, 6)
    weight, bias = head.parameters()
    torch.testing.assert_close(head(x), x.mean((2, 3)) @ weight.T + bias)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "before_and_after"),
    [
        (224, 3, 2, 1, (0, 1)),  # 112 outputs: the last begins at 222 and reads up to 224, one behind the end
        (225, 3, 2, 1, (1, 1)),
        (112, 5, 2, 1, (1, 2)),
        (113, 5, 2, 1, (2, 2)),
        (7, 3, 1, 1, (1, 1)),
        (8, 1, 2, 1, (0, 0)),  # the last pixel is not read, and nothing is cut off for that
        (56, 3, 2, 2, (1, 2)),  # five pixels wide with the holes
    ],
)
def test_same_padding_by_hand(
    size: int, kernel: int, stride: int, dilation: int, before_and_after: tuple[int, int]
) -> None:
    assert same_padding(size, kernel, stride, dilation) == before_and_after


def test_same_padding_is_tensorflows_published_rule() -> None:
    """tf.nn: the filter less the stride, or less the rest of the division where there is one; the odd pixel behind."""
    for size in range(1, 40):
        for kernel in (1, 2, 3, 5, 7):
            for stride in (1, 2, 3, 4):
                total = max(kernel - (stride if size % stride == 0 else size % stride), 0)
                assert same_padding(size, kernel, stride) == (total // 2, total - total // 2)


def test_same_convolution_is_the_convolution_of_the_padded_map() -> None:
    conv = SameConv2d(3, 4, 3, 2)
    x = torch.randn(2, 3, 8, 7)
    padded = F.pad(x, (1, 1, 0, 1))  # odd width on both sides, even height below
    assert torch.equal(conv(x), F.conv2d(padded, conv.weight, conv.bias, stride=2))


def test_a_map_that_needs_no_padding_is_not_copied() -> None:
    x = torch.randn(1, 2, 8, 8)
    assert pad_same(x, 2, 2) is x


def test_padding_may_have_a_value() -> None:
    assert pad_same(torch.zeros(1, 1, 2, 2), 3, 2, value=-math.inf)[0, 0].tolist() == [
        [0, 0, -math.inf],
        [0, 0, -math.inf],
        [-math.inf, -math.inf, -math.inf],
    ]


@pytest.mark.parametrize(
    ("value", "channels"),
    [
        (1.4 * 16, 24),  # MobileNetV2 at 1.4: 24, 32, 48, 88, 136, 224, 448 and 1792
        (1.4 * 24, 32),
        (1.4 * 64, 88),
        (1.4 * 1280, 1792),
        (0.35 * 16, 8),
        (0.35 * 32, 16),  # 8 would be more than a tenth down from 11.2
        (0.75 * 24, 24),  # 16 from 18
        (72 / 4, 24),  # MobileNetV3's gates: 24, 64, 40
        (240 / 4, 64),
        (144 / 4, 40),
        (1.1 * 16, 16),  # EfficientNet-B2: 16 and 120
        (1.1 * 112, 120),
    ],
)
def test_channels_are_rounded_as_in_the_published_networks(value: float, channels: int) -> None:
    assert make_divisible(value) == channels


def test_convolution_keeps_the_size_unless_it_is_valid() -> None:
    x = torch.randn(1, 2, 9, 8)
    shapes = {
        padding: tuple(conv_norm(2, 4, 5, 2, style=ConvStyle(padding=padding))(x).shape[2:])
        for padding in ("symmetric", "same", "valid")
    }
    assert shapes == {"symmetric": (5, 4), "same": (5, 4), "valid": (3, 2)}
    assert conv_norm(2, 4, (1, 7), style=ConvStyle())(x).shape == (1, 4, 9, 8)


def test_style_reaches_the_layers() -> None:
    layers = conv_norm(2, 4, 3, style=ConvStyle(activation="relu6", eps=1e-3, momentum=0.01))
    conv, norm, act = layers
    assert isinstance(conv, nn.Conv2d) and conv.bias is None
    assert isinstance(norm, nn.BatchNorm2d) and (norm.eps, norm.momentum) == (1e-3, 0.01)
    assert isinstance(act, nn.ReLU6)
    assert [name for name, _ in conv_norm(2, 4, 3, style=ConvStyle(), activation="none").named_children()] == [
        "conv",
        "bn",
    ]


@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
def test_gate_is_two_fully_connected_layers_on_the_means(gate: str) -> None:
    layer = SqueezeExcite(6, 3, gate=gate).double()
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64) * 5
    w1, b1, w2, b2 = layer.parameters()
    squeezed = (x.mean((2, 3)) @ w1.view(3, 6).T + b1).clamp(min=0)
    s = squeezed @ w2.view(6, 3).T + b2
    scale = 1 / (1 + (-s).exp()) if gate == "sigmoid" else ((s + 3) / 6).clamp(0, 1)
    torch.testing.assert_close(layer(x), x * scale[:, :, None, None], rtol=1e-12, atol=1e-14)


def test_drop_path_drops_whole_images_and_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    rate, images = 0.3, 20_000
    x = torch.randn(images, 2, 1, 3)
    y = DropPath(rate).train()(x)
    dropped = (y == 0).flatten(1).all(1)
    assert torch.equal(y[~dropped], x[~dropped] / (1 - rate))
    assert abs(int(dropped.sum()) - rate * images) < 4 * math.sqrt(images * rate * (1 - rate))


def test_drop_path_drops_at_its_rate_in_bfloat16() -> None:
    torch.manual_seed(0)
    rate, images = 0.01, 200_000
    y = DropPath(rate).train()(torch.ones(images, 1, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
    assert abs(int((y == 0).sum()) - rate * images) < 4 * math.sqrt(images * rate * (1 - rate))


def test_drop_path_is_nothing_when_evaluating() -> None:
    x = torch.randn(4, 2, 3, 3)
    assert DropPath(0.5).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_drop_rates_rise_linearly_from_nothing() -> None:
    assert linear_rates(0.5, 54) == pytest.approx([0.5 * i / 53 for i in range(54)])
    assert linear_rates(0.2, 3) == [0.0, 0.1, 0.2]
    assert linear_rates(0.2, 1) == [0.0]


@pytest.mark.parametrize(("width", "stride", "adds"), [(8, 1, True), (8, 2, False), (16, 1, False), (16, 2, False)])
def test_inverted_residual_adds_its_input_where_the_shape_stays(width: int, stride: int, adds: bool) -> None:
    block = InvertedResidual(8, width, 24, 3, stride, style=ConvStyle()).eval()
    projection = block.get_submodule("layers.project.bn")
    assert isinstance(projection, nn.BatchNorm2d)
    nn.init.zeros_(projection.weight)
    x = torch.randn(2, 8, 6, 6)
    expected = x if adds else torch.zeros(2, width, 6 // stride, 6 // stride)
    assert torch.equal(block(x), expected)


def test_inverted_residual_is_expansion_filter_gate_and_linear_projection() -> None:
    """Figure 4 of Howard et al. 2019, written out; normalisation that changes nothing but by its epsilon."""
    block = InvertedResidual(4, 6, 12, 5, 2, style=ConvStyle(activation="hard_swish", eps=0.0), squeeze=Halve())
    block = block.double().eval()
    x = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    expand, depthwise, project = (m.weight for m in block.modules() if isinstance(m, nn.Conv2d))
    y = F.hardswish(torch.einsum("oc,nchw->nohw", expand[:, :, 0, 0], x))
    y = F.hardswish(F.conv2d(y, depthwise, stride=2, padding=2, groups=12)) / 2
    torch.testing.assert_close(block(x), torch.einsum("oc,nchw->nohw", project[:, :, 0, 0], y), rtol=1e-12, atol=1e-14)


class Halve(nn.Module):
    """Stands for a gate."""

    def forward(self, x: Tensor) -> Tensor:
        """x / 2."""
        return x / 2


def test_a_block_that_does_not_expand_has_two_convolutions() -> None:
    block = InvertedResidual(8, 8, 8, 3, 1, style=ConvStyle(), drop_path=0.1)
    assert [name for name, _ in block.get_submodule("layers").named_children()] == ["depthwise", "project", "drop_path"]


def test_a_path_without_shortcut_is_never_dropped() -> None:
    block = InvertedResidual(8, 8, 24, 3, 2, style=ConvStyle(), drop_path=0.1)
    assert not any(isinstance(module, DropPath) for module in block.modules())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layer_norm_of_a_map_is_torchs_of_each_pixel(layout: torch.memory_format) -> None:
    norm, theirs = LayerNorm2d(5, eps=1e-6), nn.LayerNorm(5, eps=1e-6)
    for ours, other in zip(norm.parameters(), theirs.parameters(), strict=True):
        nn.init.normal_(ours)
        other.data.copy_(ours.data)
    x = torch.randn(2, 5, 3, 4).contiguous(memory_format=layout)
    y = norm(x)
    for row in range(3):
        for column in range(4):
            torch.testing.assert_close(y[:, :, row, column], theirs(x[:, :, row, column]))


def test_branches_stand_behind_each_other_in_their_order() -> None:
    x = torch.randn(1, 2, 3, 3)
    assert torch.equal(Branches([("b", nn.Identity()), ("a", Halve())])(x), torch.cat([x, x / 2], dim=1))
