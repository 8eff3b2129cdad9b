"""GoogLeNet. Oracles: Table 1, Figure 3 and section 5 of Szegedy et al. 2014, torch's own layers, hand arithmetic."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lenext.errors import UsageError
from lenext.models.catalog import build, small_row
from lenext.models.classifier import Classifier
from lenext.models.parts import LocalResponseNorm

# Table 1, columns "output size" and "ops" (in millions, rounded down or up)
OPERATIONS = {
    "conv2": (192, 56, 360),
    "3a": (256, 28, 128),
    "3b": (480, 28, 304),
    "4a": (512, 14, 73),
    "4b": (512, 14, 88),
    "4c": (512, 14, 100),
    "4d": (528, 14, 119),
    "4e": (832, 14, 170),
    "5b": (1024, 7, 71),
}


def on_meta(name: str) -> Classifier:
    with torch.device("meta"):
        return build(name).eval()


def side(x: Tensor) -> int:
    assert x.shape[2] == x.shape[3]
    return x.shape[2]


@pytest.fixture(scope="module")
def paper() -> Classifier:
    return on_meta("googlenet_paper")


@pytest.mark.parametrize(("name", "row"), OPERATIONS.items())
def test_modules_cost_the_operations_of_table_1(paper: Classifier, name: str, row: tuple[int, int, int]) -> None:
    width, pixels, millions = row
    stages = dict(paper.stages.named_children())
    before = list(stages)[list(stages).index(name) - 1]
    images = torch.empty(1, 3, 224, 224, device="meta")
    x = paper.features(images, [f"stages.{before}"])[f"stages.{before}"]
    with FlopCounterMode(display=False) as flops:
        y = stages[name](x)
    assert y.shape == (1, width, pixels, pixels)
    assert flops.get_total_flops() / 2e6 == pytest.approx(millions, abs=0.7)


def test_22_layers_with_parameters_lie_on_the_longest_way(paper: Classifier) -> None:
    in_modules = 2 * sum(name[0] in "345" for name, _ in paper.stages.named_children())
    assert 1 + 2 + in_modules + 1 == 22  # conv1, conv2, the modules, the linear layer
    convolutions = [module for module in paper.stages.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 3 + 6 * 9


def test_responses_are_normalised_on_both_sides_of_conv2(paper: Classifier) -> None:
    layers = [type(layer) for layer in paper.get_submodule("stages.conv2").children()]
    assert layers == [LocalResponseNorm, nn.Sequential, nn.Sequential, LocalResponseNorm]
    x = 100 * torch.randn(1, 1, 3, 3, dtype=torch.float64)
    for norm in (
        "norm1",
        "norm2",
    ):  # Caffe: k = 1, and alpha = 1e-4 for the mean of five squares, here of one channel's
        expected = x / (1 + 1e-4 * x.square() / 5) ** 0.75
        torch.testing.assert_close(paper.get_submodule(f"stages.conv2.{norm}")(x), expected)
    for name in ("googlenet", "googlenet_d2l", "googlenet_small"):
        assert not any(isinstance(module, LocalResponseNorm) for module in on_meta(name).modules())


def test_popular_code_has_3x3_where_the_paper_has_5x5_and_normalises_batches(paper: Classifier) -> None:
    branch = "stages.4d.branch5x5.conv.conv"
    theirs, ours = on_meta("googlenet").get_submodule(branch), paper.get_submodule(branch)
    assert isinstance(theirs, nn.Conv2d) and isinstance(ours, nn.Conv2d)
    assert (ours.kernel_size, theirs.kernel_size) == ((5, 5), (3, 3))
    assert ours.bias is not None and theirs.bias is None
    norms = [module for module in on_meta("googlenet").modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 57 + 2  # the auxiliary heads have one convolution each
    assert {norm.eps for norm in norms} == {1e-3}
    assert not any(isinstance(module, nn.BatchNorm2d) for module in paper.modules())


def test_four_branches_stand_in_the_order_of_table_1() -> None:
    module = build("googlenet_paper").get_submodule("stages.4d").eval()
    x = torch.rand(1, 512, 5, 5)
    with torch.no_grad():
        y = module(x)
        projected = torch.relu(module.branch_pool.proj.conv(nn.functional.max_pool2d(x, 3, 1, 1)))  # type: ignore[operator, union-attr]
        pointwise = torch.relu(module.branch1x1.conv(x))  # type: ignore[operator, union-attr]
    assert y.shape == (1, 112 + 288 + 64 + 64, 5, 5)
    torch.testing.assert_close(y[:, :112], pointwise)
    torch.testing.assert_close(y[:, -64:], projected)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [("googlenet_paper", [38, 19, 9, 4]), ("googlenet", [38, 19, 9, 5]), ("googlenet_d2l", [38, 19, 10, 5])],
)
def test_pools_round_up_or_are_padded(name: str, pixels: list[int]) -> None:
    """From 151 pixels, 76 behind conv1: windows of 3 that start within the map, of 2, or of 3 on a padded map."""
    model = on_meta(name)
    pools = [f"stages.pool{number}" for number in (1, 2, 3, 4)]
    found = model.features(torch.empty(1, model.config.in_channels, 151, 151, device="meta"), pools)
    assert [side(found[pool]) for pool in pools] == pixels


def test_pools_round_up_without_padding() -> None:
    pool = build("googlenet_paper").get_submodule("stages.pool1")
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    assert pool(ramp)[0, 0, 0].tolist() == [2, 4, 5]  # padded by one pixel it would be 1, 3, 5


def test_auxiliary_heads_read_4a_and_4d(paper: Classifier) -> None:
    for model in (paper, on_meta("googlenet")):
        counts = {name: sum(p.numel() for p in head.parameters()) for name, head in model.auxiliary.items()}
        extra = 0 if model is paper else 128  # a bias a channel, or two parameters of batch normalisation
        assert counts == {"4a": 3_188_840 + extra, "4d": 3_190_888 + extra}
        found = model.features(torch.empty(2, 3, 224, 224, device="meta"), ["stages.4a", "stages.4d"])
        scores = [head(found[f"stages.{name}"]) for name, head in model.auxiliary.items()]
        assert [tuple(score.shape) for score in scores] == [(2, 1000), (2, 1000)]
    assert not on_meta("googlenet_d2l").auxiliary and not on_meta("googlenet_small").auxiliary


def test_auxiliary_heads_pool_5x5_with_stride_3_or_to_4x4(paper: Classifier) -> None:
    map_ = torch.randn(1, 1, 14, 14)
    layers = dict(paper.auxiliary["4a"].named_children())
    pooled = layers["pool"](layers["average"](map_))
    torch.testing.assert_close(pooled[0, 0, 1, 3], map_[0, 0, 3:8, 9:14].mean())
    theirs = dict(on_meta("googlenet").auxiliary["4a"].named_children())
    torch.testing.assert_close(theirs["pool"](map_)[0, 0, 1, 3], map_[0, 0, 3:7, 10:14].mean())


def test_scores_do_not_depend_on_the_auxiliary_heads() -> None:
    model = build("googlenet", num_classes=3).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
        for parameter in model.auxiliary.parameters():
            parameter.fill_(float("nan"))
        assert torch.equal(model(images), expected)


@pytest.mark.parametrize(
    ("name", "rates"), [("googlenet_paper", [0.7, 0.7, 0.4]), ("googlenet", [0.7, 0.7, 0.2]), ("googlenet_d2l", [])]
)
def test_dropout_rates_are_those_of_section_5_or_of_the_release(name: str, rates: list[float]) -> None:
    found = [module.p for module in on_meta(name).modules() if isinstance(module, nn.Dropout)]
    assert sorted(found) == sorted(rates)


def test_below_79_pixels_the_paper_s_auxiliary_heads_have_nothing_to_pool(paper: Classifier) -> None:
    head, up_to_4a = paper.auxiliary["4a"], paper.stages[:8]
    fitting, smaller = (torch.empty(1, 3, size, size, device="meta") for size in (79, 78))
    assert head(up_to_4a(fitting)).shape == (1, 1000)
    with pytest.raises(RuntimeError, match="too small"):
        head(up_to_4a(smaller))
    with pytest.raises(UsageError, match="takes 79 x 79"):
        paper(smaller)


def test_the_small_form_takes_28_pixels() -> None:
    model = on_meta("googlenet_small")
    found = model.features(torch.empty(1, 3, 28, 28, device="meta"), model.places()[:-1])
    assert [side(found[f"stages.{name}"]) for name in ("conv1", "conv2", "3b", "4e", "5b")] == [28, 14, 7, 3, 2]
    assert small_row("googlenet") == "googlenet_small"
