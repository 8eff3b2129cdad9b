"""Stochastic depth. Oracles: equations 4 and 5 of Huang et al. 2016, exact binomial bounds, MACs by hand."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.parts import DropPath
from lenext.models.resnet import BasicBlock, Bottleneck, ResidualBlock, ResNetConfig

BY_BATCH = ResNetConfig(drop_per="batch")


def rates(name: str, **changes: object) -> list[float]:
    """Of every block, in order; 0 where none is dropped."""
    with torch.device("meta"):
        blocks = [module for module in build(name, **changes).modules() if isinstance(module, ResidualBlock)]
    return [0.0 if block.drop_path is None else block.drop_path.rate for block in blocks]


@pytest.mark.parametrize(("layers", "blocks"), [(20, 9), (110, 54)])
def test_survival_decays_linearly_to_one_half_by_equation_4(layers: int, blocks: int) -> None:
    survival = [1 - rate for rate in rates(f"stochdepth_resnet_{layers}")]
    assert survival == pytest.approx([1 - i / blocks * (1 - 0.5) for i in range(1, blocks + 1)])
    assert sum(survival) == pytest.approx((3 * blocks - 1) / 4)  # the expected depth of section 3, 40.25 of 54


def test_a_network_is_not_dropped_unless_told() -> None:
    assert rates("resnet20") == [0.0] * 9
    assert rates("resnet20", drop_path=0.9)[:2] == pytest.approx([0.1, 0.2])


def within(count: int, draws: int, rate: float, doubt: float = 1e-6) -> bool:
    """Whether neither tail of the binomial distribution at `count` is as small as `doubt`."""
    terms = [math.comb(draws, k) * rate**k * (1 - rate) ** (draws - k) for k in range(draws + 1)]
    return min(math.fsum(terms[: count + 1]), math.fsum(terms[count:])) > doubt


@pytest.mark.parametrize("rate", [0.01, 0.25, 0.5])
def test_batches_are_dropped_as_often_as_the_rate_says(rate: float) -> None:
    torch.manual_seed(0)
    path = DropPath(rate, per="batch")
    dropped = [path.drops_batch() for _ in range(1000)]
    assert within(sum(dropped), 1000, rate)
    torch.manual_seed(0)
    assert [path.drops_batch() for _ in range(1000)] == dropped  # a resumed run draws the same


def test_nothing_is_drawn_when_evaluating_or_where_images_draw() -> None:
    before = torch.get_rng_state()
    assert not DropPath(0.99, per="batch").eval().drops_batch()
    assert not DropPath(0.99, per="image").drops_batch()
    assert torch.equal(torch.get_rng_state(), before)


def linear(block: BasicBlock | Bottleneck) -> None:
    """Make ReLU and normalisation pass what they get: of an input that is not negative, nothing is."""
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
        elif isinstance(module, nn.Conv2d):
            nn.init.uniform_(module.weight)


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
def test_training_gives_in_expectation_what_equation_5_evaluates(kind: type[BasicBlock] | type[Bottleneck]) -> None:
    """Theirs keeps a branch as it is and evaluates with p times it; p times our last normalisation is theirs."""
    survival, width = 0.75, 2
    block = kind(width * kind.expansion, width, 1, BY_BATCH, drop_path=1 - survival).double()
    linear(block)
    x = torch.rand(3, width * kind.expansion, 4, 4, dtype=torch.float64)
    their_branch = block.branch(x).detach() / survival
    torch.manual_seed(0)
    outcomes = [block(x).detach() for _ in range(40)]
    dropped = [torch.equal(outcome, x) for outcome in outcomes]
    assert 0 < sum(dropped) < 40
    kept = outcomes[dropped.index(False)]
    assert all(torch.equal(outcome, kept) for outcome, gone in zip(outcomes, dropped, strict=True) if not gone)
    torch.testing.assert_close(kept, x + their_branch, rtol=1e-12, atol=0)
    expected = x + survival * their_branch
    torch.testing.assert_close(survival * kept + (1 - survival) * x, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(block.eval()(x).detach(), expected, rtol=1e-12, atol=0)


def test_images_of_a_batch_are_dropped_alone_where_images_draw() -> None:
    torch.manual_seed(0)
    block = BasicBlock(2, 2, 1, ResNetConfig(), drop_path=0.5).double()
    linear(block)
    x = torch.rand(64, 2, 4, 4, dtype=torch.float64)
    kept = x + block.branch(x).detach() / 0.5
    outcome = block(x).detach()
    same, other = ((outcome == expected).flatten(1).all(1) for expected in (x, kept))
    assert torch.equal(same, ~other)
    assert within(int(same.sum()), 64, 0.5)


def test_a_dropped_block_is_its_activated_shortcut_and_leaves_its_statistics_alone() -> None:
    block = BasicBlock(2, 4, 2, ResNetConfig(shortcut="A", drop_per="batch"), drop_path=1 - 1e-9)
    before = {name: value.clone() for name, value in block.state_dict().items()}
    x = torch.randn(5, 2, 6, 6)
    assert torch.equal(block(x), torch.cat([x[:, :, ::2, ::2].relu(), torch.zeros(5, 2, 3, 3)], dim=1))
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())


def trained_macs(model: nn.Module, seed: int) -> int:
    torch.manual_seed(seed)
    with FlopCounterMode(display=False) as flops:
        model(torch.zeros(1, 3, 32, 32, device="meta"))
    total: int = flops.get_total_flops() // 2
    return total


def test_what_is_dropped_costs_no_macs() -> None:
    with torch.device("meta"):
        model = build("stochdepth_resnet_20").train()
    first, other = 32**2 * 9 * (16 * 16 + 16 * 16), 16**2 * 9 * (16 * 32 + 32 * 32)  # of stages that halve the map
    blocks = [first] * 3 + [other, first, first] * 2  # a block of twice the channels on half the map costs the same
    for seed in range(5):
        torch.manual_seed(seed)
        kept = [float(torch.rand(())) >= 0.5 * i / 9 for i in range(1, 10)]
        assert not all(kept)
        by_hand = sum(cost for cost, there in zip(blocks, kept, strict=True) if there)
        assert trained_macs(model, seed) == 32**2 * 9 * 3 * 16 + by_hand + 64 * 10
    assert trained_macs(model.eval(), 0) == 40_551_040


def test_weights_are_those_of_the_network_that_drops_nothing() -> None:
    plain, dropping = build("resnet20").eval(), build("stochdepth_resnet_20").eval()
    dropping.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(plain(images), dropping(images))


def test_a_plain_network_cannot_drop_its_only_path() -> None:
    with pytest.raises(UsageError, match="plain network"):
        build("plain20", drop_path=0.1)


@pytest.mark.parametrize("per", ["image", "batch"])
def test_evaluation_is_one_graph_and_is_exported(per: str) -> None:
    model, images = build("stochdepth_resnet_20", repeats=(1, 1), drop_per=per).eval(), torch.randn(4, 3, 8, 8)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))
    torch.testing.assert_close(torch.export.export(model, (images,)).module()(images), model(images))
    torch.compiler.reset()


def test_training_is_one_graph_where_images_draw_and_several_where_batches_do() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 2, 8, 8)
    by_image, by_batch = (BasicBlock(2, 2, 1, ResNetConfig(drop_per=per), drop_path=0.5) for per in ("image", "batch"))
    assert torch.compile(by_image, fullgraph=True, backend="aot_eager")(x).requires_grad
    with pytest.raises(Exception, match="data-dependent"):
        torch.compile(by_batch, fullgraph=True, backend="aot_eager")(x)
    torch.compiler.reset()
    compiled = torch.compile(by_batch, backend="aot_eager")
    learning = [compiled(x).requires_grad for _ in range(8)]
    assert set(learning) == {True, False}  # a dropped block has no weights to learn
    torch.compiler.reset()
