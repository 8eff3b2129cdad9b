"""Schedules stepped beside torch's own, and against the rates that the papers print."""

import math

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from lenext.recipes import read_recipe
from lenext.training.config import ProgressionConfig, ScheduleConfig, TrainingConfig
from lenext.training.loop import Progress, TrainState, Validation, observe
from lenext.training.objective import Objective
from lenext.training.schedule import rate_factor, stage_value

from .pieces import make_state


def ours(config: ScheduleConfig, total: int) -> list[float]:
    return [rate_factor(config, step, total) for step in range(total)]


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def theirs(scheduler: lr_scheduler.LRScheduler, total: int) -> list[float]:
    """The rate at each of `total` updates, the scheduler being stepped after each."""
    rates = []
    for _ in range(total):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return [float(rate) for rate in rates]


def assert_same(one: list[float], other: list[float]) -> None:
    assert len(one) == len(other)
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 1e-12


TOTALS = (1, 2, 7, 34, 250)


@pytest.mark.parametrize("total", TOTALS)
def test_constant_is_the_peak(total: int) -> None:
    assert ours(ScheduleConfig(), total) == [1.0] * total


@pytest.mark.parametrize(("total", "warmup"), [(34, 0.25), (40, 0.25), (250, 0.3), (100, 0.5), (7, 0.4), (20, 0.1)])
def test_one_cycle_is_torchs_where_its_end_is(total: int, warmup: float) -> None:
    """torch ends at start / 1e4; ours ends at `end`, which is 0 unless told otherwise."""
    config = ScheduleConfig(name="one_cycle", warmup=warmup, start=0.04, end=0.04 / 1e4)
    peer = lr_scheduler.OneCycleLR(
        optimizer(), max_lr=1.0, total_steps=total, pct_start=warmup, anneal_strategy="cos", cycle_momentum=False,
        div_factor=25, final_div_factor=1e4,
    )  # fmt: skip
    assert_same(ours(config, total), [*theirs(peer, total - 1), float(peer.get_last_lr()[0])])


@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.1])
def test_one_cycle_begins_on_its_peak_where_the_ascent_has_no_step(warmup: float) -> None:
    """torch would begin behind the peak, which no step then sees, or divide by the zero length of the ascent."""
    factors = ours(ScheduleConfig(name="one_cycle", warmup=warmup), 10)
    assert factors[0] == 1.0
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == 0.0


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("end", [0.0, 0.1])
def test_cosine_is_torchs(total: int, end: float) -> None:
    config = ScheduleConfig(name="cosine", end=end)
    assert_same(ours(config, total), theirs(lr_scheduler.CosineAnnealingLR(optimizer(), total, eta_min=end), total))


@pytest.mark.parametrize(("total", "warm"), [(50, 5), (34, 1), (200, 60)])
def test_cosine_after_warmup_is_torchs_linear_then_cosine(total: int, warm: int) -> None:
    config = ScheduleConfig(name="cosine", warmup=warm / total, end=0.02)
    ascent = lr_scheduler.LinearLR(optimizer(), start_factor=1 / warm, total_iters=max(warm - 1, 1))
    descent = lr_scheduler.CosineAnnealingLR(optimizer(), total - warm, eta_min=0.02)
    assert_same(ours(config, total)[:warm], theirs(ascent, warm))
    assert_same(ours(config, total)[warm:], theirs(descent, total - warm))


def test_warmup_by_hand() -> None:
    """10 steps, 40 % of them: quarters up to the peak."""
    assert ours(ScheduleConfig(warmup=0.4), 10) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["constant", "step", "exponential", "plateau", "cosine", "polynomial", "one_cycle"])
def test_no_warmup_of_any_length_goes_past_the_peak(name: str) -> None:
    """Lengths that are no whole number of steps, by design (2.5) or by rounding (0.07 * 100 > 7), among them."""
    for total in (3, 10, 25, 100):
        for percent in range(100):
            config = ScheduleConfig(name=name, warmup=percent / 100)  # type: ignore[arg-type]
            factors = ours(config, total)
            assert min(factors) >= 0
            assert max(factors) <= 1
            rise = factors[: math.floor(percent / 100 * total)]
            assert rise == sorted(rise)


@pytest.mark.parametrize("total", TOTALS)
def test_step_is_torchs_multi_step(total: int) -> None:
    config = ScheduleConfig(name="step", milestones=(0.5, 0.75), factors=(0.1,))
    milestones = [round(0.5 * total), round(0.75 * total)]
    assert_same(ours(config, total), theirs(lr_scheduler.MultiStepLR(optimizer(), milestones, gamma=0.1), total))


@pytest.mark.parametrize("total", [30, 175, 700])
def test_exponential_is_torchs_step_or_its_smooth_form(total: int) -> None:
    """Every fifth epoch of 35, where a fifth epoch is a whole number of updates only in two of three."""
    config = ScheduleConfig(name="exponential", length=35, every=5, factor=0.9)
    peer = lr_scheduler.LambdaLR(optimizer(), lambda step: 0.9 ** (step * 7 // total))
    assert_same(ours(config, total), theirs(peer, total))
    if total % 7 == 0:
        assert_same(ours(config, total), theirs(lr_scheduler.StepLR(optimizer(), total // 7, gamma=0.9), total))
    smooth = ScheduleConfig(name="exponential", length=35, every=5, factor=0.9, smooth=True)
    assert_same(ours(smooth, total), theirs(lr_scheduler.ExponentialLR(optimizer(), 0.9 ** (7 / total)), total))


def test_exponential_counts_from_the_first_update_and_warm_up_comes_before_it() -> None:
    """EfficientNet's release: 0.97 every 2.4 epochs, the first five of 350 rising from 0; 10 updates an epoch."""
    config = ScheduleConfig(name="exponential", length=350, warmup=5, every=2.4, factor=0.97)
    factors = ours(config, 3500)
    assert factors[:50] == pytest.approx([(step + 1) / 50 for step in range(50)], rel=1e-12)
    assert factors[50:72] == pytest.approx([0.97**2] * 22, rel=1e-12)
    assert factors[72] == pytest.approx(0.97**3, rel=1e-12)
    assert factors[-1] == pytest.approx(0.97**145, rel=1e-9)  # 350 / 2.4 = 145.8


@pytest.mark.parametrize(("total", "first", "growth"), [(70, 10, 2), (50, 10, 1), (630, 10, 2), (45, 5, 3)])
def test_cosine_with_restarts_is_torchs(total: int, first: int, growth: int) -> None:
    config = ScheduleConfig(name="cosine", length=total, cycle=first, growth=growth, end=0.002)
    peer = lr_scheduler.CosineAnnealingWarmRestarts(optimizer(), T_0=first, T_mult=growth, eta_min=0.002)
    assert_same(ours(config, total), theirs(peer, total))


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("total", TOTALS)
def test_polynomial_is_torchs(total: int, power: float) -> None:
    config = ScheduleConfig(name="polynomial", power=power)
    assert_same(ours(config, total), theirs(lr_scheduler.PolynomialLR(optimizer(), total, power=power), total))
    ends = ScheduleConfig(name="polynomial", power=power, end=0.1)
    assert ours(ends, total) == pytest.approx([0.1 + 0.9 * factor for factor in ours(config, total)], rel=1e-12)


def test_length_is_the_unit_and_a_shorter_run_keeps_the_shape() -> None:
    epochs = ScheduleConfig(name="step", length=90, warmup=9, milestones=(30, 60))
    parts = ScheduleConfig(name="step", warmup=0.1, milestones=(1 / 3, 2 / 3))
    for total in (9, 90, 900):
        assert ours(epochs, total) == pytest.approx(ours(parts, total), rel=1e-12)


# --- stages: Tan & Le 2021, algorithm 1 and Table 6 -------------------------------------------------------------------


def test_stages_are_the_papers() -> None:
    """Four stages of M: sizes from 128 to 380, dropout from 0.1 to 0.4, each S_0 + (S_e - S_0) i / (M - 1)."""
    config = ProgressionConfig(stages=4)
    sizes = [round(stage_value(config, (128, 380), epoch, 348)) for epoch in range(348)]
    assert [(size, sizes.count(size)) for size in sorted(set(sizes))] == [(128, 87), (212, 87), (296, 87), (380, 87)]
    assert sizes == sorted(sizes)
    rates = [stage_value(config, (0.1, 0.4), epoch, 348) for epoch in (0, 87, 174, 261, 347)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 350])
def test_every_run_ends_in_the_last_stage(epochs: int) -> None:
    values = [stage_value(ProgressionConfig(stages=4), (1.0, 2.0), epoch, epochs) for epoch in range(epochs)]
    assert values[-1] == 2.0
    assert values[0] == (1.0 if epochs > 1 else 2.0)


def test_resnet_recipe_divides_by_ten_after_half_and_three_quarters() -> None:
    """He et al. 2015, section 4.2: 64,000 updates, divided by 10 at 32,000 and 48,000."""
    schedule = ScheduleConfig(name="step", milestones=(0.5, 0.75), factors=(0.1,))
    factors = [rate_factor(schedule, step, 64_000) for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01], rel=1e-12)


def test_lenet_recipe_falls_as_the_paper_prints() -> None:
    """LeCun et al. 1998, section III-B: 5e-4 for two passes, 2e-4 for three, 1e-4 for three, 5e-5 for four, 1e-5."""
    tables = read_recipe("lenet")[1]["training"]
    assert tables["epochs"] == 20
    schedule = ScheduleConfig(
        name=tables["schedule"]["name"],
        milestones=tuple(tables["schedule"]["milestones"]),
        factors=tuple(tables["schedule"]["factors"]),
    )
    paper = [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8
    for updates in (1, 1875):  # of a pass
        begins = [rate_factor(schedule, epoch * updates, 20 * updates) for epoch in range(20)]
        ends = [rate_factor(schedule, (epoch + 1) * updates - 1, 20 * updates) for epoch in range(20)]
        assert begins == pytest.approx([rate / 5e-4 for rate in paper], rel=1e-12)
        assert ends == begins


@pytest.mark.parametrize(("patience", "factor", "threshold"), [(0, 0.5, 1e-4), (2, 0.1, 1e-4), (3, 0.5, 0.05)])
def test_plateau_is_torchs_through_observe(patience: int, factor: float, threshold: float) -> None:
    """eps=0: torch stops cutting below a difference of 1e-8, ours does not."""
    schedule = ScheduleConfig(name="plateau", patience=patience, factor=factor, threshold=threshold)
    config = TrainingConfig(schedule=schedule)
    peer = optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(peer, factor=factor, patience=patience, threshold=threshold, eps=0)
    state = make_state()
    generator = np.random.default_rng(0)
    cuts = 0
    for epoch in range(80):
        loss = math.exp(-epoch / 30) * generator.uniform(0.9, 1.1)
        before = state.progress.rate_scale
        state = observe(state, Validation(loss=loss, score=0.5), config)
        scheduler.step(loss)
        cuts += state.progress.rate_scale < before
        assert state.progress.rate_scale == pytest.approx(peer.param_groups[0]["lr"], rel=1e-12, abs=0)
    assert cuts > 2
    assert rate_factor(schedule, 3, 10) == 1.0


def test_only_plateau_cuts_the_rate_on_what_validation_shows() -> None:
    config = TrainingConfig(schedule=ScheduleConfig(patience=0))
    state = make_state()
    for _ in range(5):
        state = observe(state, Validation(loss=1.0, score=0.5), config)
    assert state.progress.rate_scale == 1.0


# --- observe --------------------------------------------------------------------------------------------------------


def under_way() -> TrainState:
    state = make_state()
    state.progress = Progress(epoch=2, batch=9, step=29, loss_sum=3.0, correct=5, seen=18, seconds=7.5, epoch_start=4.0)
    return state


def test_observe_closes_the_epoch_and_keeps_the_tensors() -> None:
    before = under_way()
    after = observe(before, None, TrainingConfig())
    assert after.progress == Progress(epoch=3, batch=0, step=29, seconds=7.5, epoch_start=7.5)
    assert isinstance(after.objective, Objective)
    assert after.objective is before.objective
    assert after.optimizer is before.optimizer


def test_best_epoch_is_the_first_of_the_highest_accuracy_and_least_loss() -> None:
    state = make_state()
    seen = []
    for top1, loss in ((0.2, 1.0), (0.5, 1.0), (0.4, 0.1), (0.5, 1.0), (0.5, 0.9), (0.5, 0.95), (0.6, 2.0)):
        state = observe(state, Validation(loss=loss, score=top1), TrainingConfig())
        seen.append((state.progress.best_epoch, state.progress.best_score, state.progress.best_epoch_loss))
    best = [(1, 0.2, 1.0), (2, 0.5, 1.0), (2, 0.5, 1.0), (2, 0.5, 1.0), (5, 0.5, 0.9), (5, 0.5, 0.9), (7, 0.6, 2.0)]
    assert seen == best


def test_a_run_of_before_keeps_the_first_of_equal_accuracy() -> None:
    state = make_state()
    state.progress = Progress(epoch=3, best_score=0.5, best_epoch=2)
    state = observe(state, Validation(loss=0.1, score=0.5), TrainingConfig())
    assert state.progress.best_epoch == 2


def test_accuracy_of_zero_is_a_best_of_its_own() -> None:
    """Else an epoch 0 would stay the best of a network that learnt nothing."""
    state = observe(make_state(), Validation(loss=9.0, score=0.0), TrainingConfig())
    assert (state.progress.best_epoch, state.progress.best_score) == (1, 0.0)


def test_sizes_that_fall_are_refused() -> None:
    with pytest.raises(TypeError, match="sizes do not fall"):
        ProgressionConfig(stages=2, size=(1.0, 0.5))
