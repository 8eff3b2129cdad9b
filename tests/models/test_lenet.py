"""LeNet-5. Oracles: the paper's counts per layer and Table I, and torch's dense operators in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lenext.models.catalog import build
from lenext.models.lenet import (
    C3_LINKS,
    RadialBasis,
    SparseConv2d,
    Subsampling,
    codewords,
    scaled_tanh,
)


def test_trainable_parameters_of_each_layer_are_the_papers() -> None:
    model = build("lenet5")
    published = {
        "stages.c1": 156,
        "stages.s2": 12,
        "stages.c3": 1_516,
        "stages.s4": 32,
        "stages.c5": 48_120,
        "head.f6": 10_164,
        "head.output": 0,
    }
    counted = {place: sum(p.numel() for p in model.get_submodule(place).parameters()) for place in published}
    assert counted == published
    assert sum(p.numel() for p in model.parameters()) == 60_000


def test_connections_of_each_layer_are_the_papers() -> None:
    model = build("lenet5").eval()
    with FlopCounterMode(display=False) as flops:
        model(torch.zeros(1, 1, 32, 32))
    counts = flops.get_flop_counts()
    units = {"stages.c1": 6 * 28 * 28, "stages.c3": 16 * 10 * 10, "stages.c5": 120, "head.f6": 84}
    connections = {place: sum(counts[f"LeNet5.{place}"].values()) // 2 + n for place, n in units.items()}  # + biases
    assert connections == {"stages.c1": 122_304, "stages.c3": 151_600, "stages.c5": 48_120, "head.f6": 10_164}
    assert flops.get_total_flops() == 2 * 325_680  # the radial basis function multiplies no matrices


def test_table_i_has_sixty_links_and_no_two_maps_with_the_same() -> None:
    assert [len(link) for link in C3_LINKS] == [3] * 6 + [4] * 9 + [6]
    assert sum(len(link) for link in C3_LINKS) == 60
    assert len({frozenset(link) for link in C3_LINKS}) == 16
    readers = [sum(source in link for link in C3_LINKS) for source in range(6)]
    assert readers == [10] * 6  # every row of the table has ten crosses


def test_sparse_c3_equals_the_dense_convolution_with_the_missing_links_at_zero() -> None:
    sparse = SparseConv2d(C3_LINKS, 5).double()
    weight = torch.zeros(16, 6, 5, 5, dtype=torch.float64)
    bias = torch.zeros(16, dtype=torch.float64)
    state = sparse.state_dict()
    rows = dict.fromkeys((3, 4, 6), 0)
    for i, link in enumerate(C3_LINKS):
        fan = len(link)
        weight[i, list(link)] = state[f"by_fan.{fan}.weight"][rows[fan]]
        bias[i] = state[f"by_fan.{fan}.bias"][rows[fan]]
        rows[fan] += 1
    x = torch.randn(3, 6, 14, 14, dtype=torch.float64)
    torch.testing.assert_close(sparse(x), F.conv2d(x, weight, bias), rtol=1e-12, atol=1e-12)


def test_subsampling_sums_each_square() -> None:
    layer = Subsampling(3).double()
    nn.init.normal_(layer.coefficient)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    total = x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]
    expected = total * layer.coefficient.view(3, 1, 1) + layer.bias.view(3, 1, 1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(F.avg_pool2d(x, 2) * 4, total)


def test_scaled_tanh_keeps_the_targets_and_saturates_at_its_amplitude() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0, 100.0], dtype=torch.float64)
    expected = torch.tensor([-1.0, 0.0, 1.0, 1.7159], dtype=torch.float64)
    torch.testing.assert_close(scaled_tanh(x), expected, rtol=0, atol=1e-4)


def test_scores_are_minus_the_squared_distance() -> None:
    codes = codewords(10).double()
    x = torch.randn(5, 84, dtype=torch.float64)
    torch.testing.assert_close(RadialBasis(codes)(x), -(torch.cdist(x, codes) ** 2))


def test_a_picture_as_input_of_the_output_layer_is_its_own_class_at_distance_zero() -> None:
    scores = RadialBasis(codewords(10))(codewords(10))
    assert torch.equal(scores.diagonal(), torch.zeros(10))
    assert scores.argmax(1).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (Subsampling(2).double(), (2, 2, 4, 4)),
        (SparseConv2d([(0, 1), (1, 2), (0, 1, 2)], 3).double(), (1, 3, 4, 4)),
        (RadialBasis(codewords(3).double()), (2, 84)),
        (scaled_tanh, (3, 4)),
    ],
)
def test_gradients_agree_with_finite_differences(function: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x,))


def test_codewords_are_pictures_of_ink_and_paper_seven_wide_and_twelve_high() -> None:
    pictures = codewords(10).view(10, 12, 7)
    assert set(pictures.flatten().tolist()) == {-1.0, 1.0}
    assert torch.equal(pictures[7, 1], torch.ones(7))  # the bar of the seven
    assert pictures[1, 5].tolist() == [-1, -1, -1, 1, -1, -1, -1]  # the stem of the one
    assert torch.equal(pictures[0], pictures[0].flip(0)) and torch.equal(pictures[0], pictures[0].flip(1))


def test_further_codewords_keep_their_distance_and_do_not_depend_on_how_many_follow() -> None:
    codes = codewords(600)  # so many that a plain draw would come closer
    distance = (codes[:, None] != codes).sum(2).fill_diagonal_(84)
    assert int(distance[10:].min()) >= 24
    assert int(distance.min()) > 0
    assert torch.equal(codewords(30), codes[:30])
    assert torch.equal(codewords(4), codes[:4])


def test_more_classes_need_no_more_parameters() -> None:
    model = build("lenet5", num_classes=26)
    assert sum(p.numel() for p in model.parameters()) == 60_000
    assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 26)


@pytest.mark.parametrize(("name", "params"), [("lenet5_dense", 61_706), ("lenet5_dense_bn", 44_878)])
def test_parameters_of_the_textbook_forms(name: str, params: int) -> None:
    assert sum(p.numel() for p in build(name).parameters()) == params


def test_the_dense_form_is_the_textbooks_sequence() -> None:
    model = build("lenet5_dense").eval()
    textbook = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10)),
    )
    textbook.load_state_dict(dict(zip(textbook.state_dict(), model.state_dict().values(), strict=True)))
    images = torch.randn(2, 1, 28, 28)
    torch.testing.assert_close(model(images), textbook(images))


def test_the_relu_form_has_rectifiers_and_largest_values_only() -> None:
    kinds = {type(module) for module in build("lenet5_relu").modules()}
    assert {nn.ReLU, nn.MaxPool2d} < kinds
    assert not {nn.Sigmoid, nn.Tanh, nn.AvgPool2d} & kinds


@pytest.mark.parametrize("window", [1, 3, 5, 7, 9])
def test_the_textbook_form_takes_windows_channels_and_units(window: int) -> None:
    """By hand: (w^2 + 1) 4 + (4 w^2 + 1) 8 weights of convolutions, c5 reads 8 maps of what windows and pools leave."""
    model = build("lenet5_dense", window=window, channels=(4, 8), hidden=(20, 12))
    side = {1: 8, 3: 6, 5: 5, 7: 3, 9: 2}[window]
    convolutions = (window**2 + 1) * 4 + (4 * window**2 + 1) * 8
    assert sum(p.numel() for p in model.parameters()) == convolutions + (8 * side**2 + 1) * 20 + 21 * 12 + 13 * 10
    assert model(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("pooling", ["average", "max"])
def test_the_textbook_form_takes_every_pooling_and_activation(pooling: str, activation: str) -> None:
    model = build("lenet5_dense", pooling=pooling, activation=activation)
    assert model(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
