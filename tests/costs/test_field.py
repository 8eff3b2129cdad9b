"""Receptive fields against published ones, the support of the input's gradient, and arithmetic by hand."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lenext.costs.field import LayerField, receptive_fields
from lenext.models.catalog import FAMILIES, build
from lenext.papers import load_papers

# Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks", Distill: the last layer
# before the head. Their 483 is that of resnet50_v1; in resnet50 the first 3x3 of a stage still sees the former jump.
PUBLISHED = [
    ("alexnet", "stages.conv5", 195),
    ("vgg16", "stages.conv5", 212),
    ("resnet50_v1", "stages.conv5_x", 483),
    ("resnet101_v1", "stages.conv5_x", 1027),
    ("inception_v3", "stages.7c", 1311),
    ("inception_v4", "stages.inception_c", 2071),
    ("inception_resnet_v2", "stages.7b", 3039),
    ("mobilenetv1_100", "stages.5", 315),
    ("resnet50", "stages.conv5_x", 11 + 24 + (8 + 48) + (16 + 160) + (32 + 128)),
    ("vgg16", "head", 212 + 6 * 32),  # the first fully connected layer sees 7 x 7 places
]


def fields_of(network: nn.Module, *size: int) -> dict[str, LayerField]:
    return {field.name: field for field in receptive_fields(network, size)}


def fields_of_row(name: str) -> dict[str, LayerField]:
    with torch.device("meta"):
        network = build(name)
    return fields_of(network, *load_papers()[name].input_size)


@pytest.mark.parametrize(("name", "place", "size"), PUBLISHED)
def test_network_sees_what_is_published(name: str, place: str, size: int) -> None:
    assert fields_of_row(name)[place].size == (size, size)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_operator_of_the_catalog_has_a_rule(family: str) -> None:
    name = min((row for row in load_papers().values() if row.family == family), key=lambda row: row.macs).name
    fields = fields_of_row(name)
    assert [field for field in fields.values() if field.unknown] == []
    assert fields["head"].jump == (0, 0)  # it has joined all places
    assert min(fields["head"].size) >= min(load_papers()[name].input_size[1:])


class Call(nn.Module):
    """A network whose forward is any function of its input."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Residual(nn.Module):
    def __init__(self, branch: nn.Module, join: str) -> None:
        super().__init__()
        self.branch, self.join = branch, join

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.branch(x)
        return x + y if self.join == "add" else torch.cat([x, y], 1)


class Branches(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class ChannelsLast(nn.Module):
    """A linear layer at each place, through permute, flatten and their inverses."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.mix(x.flatten(2).transpose(1, 2))
        out: Tensor = y.transpose(1, 2).unflatten(2, x.shape[2:])
        return out


PARTS = ["conv", "grouped", "pool", "average", "residual", "dense", "inception", "linear", "pad", "crop", "subsample"]


class RandomGraph(nn.Sequential):
    """Some layers, shortcuts and branches in a row, the same for a seed; `peak` takes maxima, else averages."""

    def __init__(self, seed: int, *, peak: bool) -> None:
        self.random, self.peak, self.channels = random.Random(seed), peak, 2
        parts = [self.part() for _ in range(self.random.randint(2, 4))]
        super().__init__(*parts)

    def window(self) -> dict[str, Any]:
        draw = self.random
        kernel = (draw.randint(1, 4), draw.randint(1, 4))
        return {
            "kernel_size": kernel,
            "stride": (draw.choice([1, 2]), draw.choice([1, 2])),
            "padding": tuple(draw.randint(0, k // 2) for k in kernel),
        }

    def keeping(self) -> nn.Module:
        """A convolution that keeps the size."""
        kernel = self.random.choice([1, 3, 5])
        dilation = self.random.choice([1, 2])
        return nn.Conv2d(self.channels, self.channels, kernel, padding=kernel // 2 * dilation, dilation=dilation)

    def part(self) -> nn.Module:
        kind = self.random.choice(PARTS)
        c, draw = self.channels, self.random
        if kind in ("conv", "grouped"):
            return nn.Conv2d(c, c, groups=c if kind == "grouped" else 1, dilation=draw.choice([1, 2]), **self.window())
        if kind in ("pool", "average"):
            return (nn.MaxPool2d if self.peak and kind == "pool" else nn.AvgPool2d)(**self.window())
        if kind == "residual":
            return Residual(nn.Sequential(self.keeping(), self.keeping()), "add")
        if kind == "dense":
            part = Residual(self.keeping(), "cat")
            self.channels *= 2
            return part
        if kind == "inception":
            stride = draw.choice([1, 2])
            pool = (nn.MaxPool2d if self.peak else nn.AvgPool2d)(3, stride, 1)
            convs = [nn.Conv2d(c, 1, k, stride, k // 2) for k in (1, 3, 5)]
            self.channels = c + 3
            return Branches(*convs, pool)
        if kind == "linear":
            return ChannelsLast(c)
        sides = [draw.randint(0, 2) for _ in range(4)]
        if kind == "pad":
            return Call(lambda x: F.pad(x, sides))
        if kind == "crop":
            return Call(lambda x: F.relu_(x[:, :, sides[0] : -1, sides[1] :].contiguous()))
        return Call(lambda x: x[..., sides[2] :: 2])


def support(network: nn.Module, image: Tensor, place: tuple[int, ...]) -> list[tuple[int, int]]:
    """First and last pixel along each side that the outputs at a place depend on, by the gradient."""
    image.requires_grad_()
    network(image)[(0, slice(None), *place)].sum().backward()
    assert image.grad is not None
    seen = image.grad[0].ne(0).any(0).nonzero()
    return list(zip(seen.amin(0).tolist(), seen.amax(0).tolist(), strict=True))


def make_positive(network: nn.Module) -> nn.Module:
    """Weights from 0.5 to 1 in float64: nothing cancels out, and the gradient is zero only where nothing is seen."""
    for parameter in network.double().parameters():
        nn.init.uniform_(parameter, 0.5, 1.0, torch.Generator().manual_seed(0))
    return network


@pytest.mark.parametrize("seed", range(40))
def test_receptive_field_equals_support_of_input_gradient(seed: int) -> None:
    size = (2, 120, 116)
    field = fields_of(RandomGraph(seed, peak=True), *size)[""]
    network = make_positive(RandomGraph(seed, peak=False))
    image = torch.ones(1, *size, dtype=torch.float64)
    middle = tuple(length // 2 for length in network(image).shape[2:])
    found = support(network, image, middle)
    for side, (low, high) in enumerate(found):
        first = field.start[side] + field.jump[side] * middle[side]
        assert low == max(first, 0)
        assert high == min(first + field.size[side], size[side + 1]) - 1


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.squeeze(x)
        return out


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        places = x.flatten(2).mT
        return ((places @ places.mT).softmax(-1) @ places).mT.reshape(x.shape)


class DotProductAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        places = x.flatten(2).mT
        return F.scaled_dot_product_attention(places, places, places).mT.reshape(x.shape)


class ResponseNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        energy = x.norm(dim=(2, 3), keepdim=True)
        out: Tensor = x + x * energy / energy.mean(1, keepdim=True)
        return out


GATES: list[tuple[str, nn.Module]] = [
    ("squeeze and excitation", SqueezeExcite()),
    ("attention", Attention()),
    ("dot product attention", DotProductAttention()),
    ("global response normalisation", ResponseNorm()),
    ("group normalisation", nn.GroupNorm(1, 2)),
    ("instance normalisation", nn.InstanceNorm2d(2)),
    ("softmax over places", Call(lambda x: x.flatten(2).softmax(-1).reshape(x.shape))),
    ("pooled, then repeated", Call(lambda x: x + F.avg_pool2d(x, 12))),
]  # fmt: skip


@pytest.mark.parametrize("gate", [pytest.param(gate, id=name) for name, gate in GATES])
def test_global_operator_is_a_gate_and_leaves_the_local_field(gate: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), gate, nn.Conv2d(2, 2, 3, padding=1))
    fields = fields_of(network, 2, 12, 12)
    assert fields["0"].gates == ()
    assert fields["2"].gates == ("1",)
    assert (fields["2"].size, fields["2"].jump, fields["2"].unknown) == ((5, 5), (1, 1), ())
    image = torch.rand(1, 2, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert support(make_positive(network), image, (6, 6)) == [(0, 11), (0, 11)]  # what the gate lets through


def test_matrix_product_over_places_sees_them_all() -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Flatten(2), nn.Linear(100, 7), nn.Flatten(), nn.Linear(14, 3))
    fields = fields_of(network, 2, 12, 12)
    assert (fields["1"].size, fields["1"].jump) == ((3, 3), (1, 1))
    assert (fields["2"].size, fields["2"].jump, fields["2"].start) == ((12, 12), (0, 0), (0, 0))
    assert fields["4"].size == (12, 12)


LAYERS: list[tuple[str, nn.Module, int, int, int]] = [
    # name, layer, size, jump, start along each side
    ("convolution", nn.Conv2d(2, 2, 3), 3, 1, 0),
    ("dilated", nn.Conv2d(2, 2, 3, padding=2, dilation=2), 5, 1, -2),
    ("strided", nn.Conv2d(2, 2, 5, stride=3, padding=2), 5, 3, -2),
    ("grouped", nn.Conv2d(2, 2, 7, groups=2, padding=3), 7, 1, -3),
    ("maximum", nn.MaxPool2d(3, 2, 1, dilation=1), 3, 2, -1),
    ("maximum rounded up", nn.MaxPool2d(3, 2, ceil_mode=True), 3, 2, 0),
    ("average", nn.AvgPool2d(2), 2, 2, 0),
    ("adaptive", nn.AdaptiveAvgPool2d(4), 3, 3, 0),
    ("one place", nn.AdaptiveMaxPool2d(1), 12, 12, 0),
    ("batch normalisation", nn.BatchNorm2d(2), 1, 1, 0),
    ("layer normalisation", Call(lambda x: F.layer_norm(x.movedim(1, 3), (2,)).movedim(3, 1)), 1, 1, 0),
    ("cropped", Call(lambda x: x[:, :, 2:, 2:]), 1, 1, 2),
    ("padded", Call(lambda x: F.pad(x, (1, 2, 1, 2), mode="reflect")), 1, 1, -1),
    ("every second", Call(lambda x: x[:, :, 1::2, 1::2]), 1, 2, 1),
    ("shuffled channels", nn.ChannelShuffle(2), 1, 1, 0),
    ("split and joined", Call(lambda x: torch.cat([x.chunk(2, 1)[0], F.avg_pool2d(x, 3, 1, 1)], 1)), 3, 1, -1),
    ("stacked and summed", Call(lambda x: torch.stack([x, F.avg_pool2d(x, 5, 1, 2)]).sum(0)), 5, 1, -2),
    ("einsum of channels", Call(lambda x: torch.einsum("nchw,nchw->nhw", x, x).unsqueeze(1)), 1, 1, 0),
    ("written into", Call(lambda x: F.avg_pool2d(x, 3, 1, 1).add_(F.avg_pool2d(x, 5, 1, 2))), 5, 1, -2),
    ("viewed, written into, viewed", Call(lambda x: F.avg_pool2d(x[:], 3, 1, 1).add_(x)[:].sqrt() + x), 3, 1, -1),
    ("without a batch's dimension", Call(lambda x: F.max_pool2d(x[0], 3).unsqueeze(0)), 3, 3, 0),
    ("dropout", nn.Dropout(0.5), 1, 1, 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "size", "jump", "start"), [pytest.param(*case, id=name) for name, *case in LAYERS]
)  # fmt: skip
def test_layer_sees_its_window(layer: nn.Module, size: int, jump: int, start: int) -> None:
    field = fields_of(layer, 2, 12, 12)[""]
    assert (field.unknown, field.gates) == ((), ())
    assert field.size == (size, size)
    assert field.jump in ((jump, jump), (0, 0))
    assert field.start == (start, start)


def test_sides_are_told_apart_and_there_may_be_one_or_three() -> None:
    oblong = fields_of(nn.Sequential(nn.Conv2d(2, 2, (1, 7), padding=(0, 3)), nn.AvgPool2d((2, 1))), 2, 12, 12)["1"]
    assert (oblong.size, oblong.jump, oblong.start) == ((2, 7), (2, 1), (0, -3))
    line = fields_of(nn.Sequential(nn.Conv1d(2, 2, 3, 2), nn.Conv1d(2, 2, 3)), 2, 30)["1"]
    assert (line.size, line.jump) == ((7,), (2,))
    block = fields_of(nn.Sequential(nn.Conv3d(2, 2, 3), nn.MaxPool3d(2)), 2, 9, 9, 9)["1"]
    assert (block.size, block.jump) == ((4, 4, 4), (2, 2, 2))


UNKNOWN: list[tuple[str, nn.Module, str]] = [
    ("transposed convolution", nn.ConvTranspose2d(2, 2, 2, 2), "convolution"),
    ("upsampling", nn.Upsample(scale_factor=2), "upsample_nearest2d"),
    ("windows of several sizes", nn.AdaptiveAvgPool2d(5), "adaptive_avg_pool2d"),
    ("places into channels", nn.PixelUnshuffle(2), "pixel_unshuffle"),
    ("mirrored", Call(lambda x: x.flip(3)), "flip"),
    ("sides exchanged and added", Call(lambda x: x + x.mT), "add"),
    ("different jumps", Call(lambda x: x[..., ::2, ::2] + x[..., :6, :6]), "add"),
    ("concatenated along a side", Call(lambda x: torch.cat([x, x], 2)), "cat"),
]


@pytest.mark.parametrize(("layer", "operator"), [pytest.param(*case, id=name) for name, *case in UNKNOWN])
def test_what_has_no_rule_is_said_to_be_unknown(layer: nn.Module, operator: str) -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), layer, nn.ReLU())
    fields = fields_of(network, 2, 12, 12)
    assert fields["0"].size == (3, 3)
    for name in ("1", "2", ""):
        assert fields[name].unknown == (operator,)
        assert (fields[name].size, fields[name].jump, fields[name].start) == ((), (), ())


@pytest.mark.parametrize("start", [torch.clone, torch.zeros_like])
def test_writing_into_a_part_is_not_followed(start: Callable[[Tensor], Tensor]) -> None:
    def write(x: Tensor) -> Tensor:
        out = start(x)
        out[:, :, :6] += F.avg_pool2d(x, 3, 1, 1)[:, :, :6]
        return out + 0

    assert fields_of(Call(write), 2, 12, 12)[""].unknown == ("writing into a view",)


def test_layer_that_runs_twice_is_told_of_its_last_time() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1)
    fields = receptive_fields(nn.Sequential(layer, nn.ReLU(), layer), (2, 12, 12))
    assert [(field.name, field.size) for field in fields] == [("1", (3, 3)), ("0", (5, 5)), ("", (5, 5))]
