"""The loop. Oracle: torch's own loop written out, bit for bit; and what may not change."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from lenext.device import SpeedPlan
from lenext.errors import DivergedError
from lenext.rng import seed_network
from lenext.training.config import OptimizerConfig, ScheduleConfig, TrainingConfig
from lenext.training.loop import Progress, clip_gradients, train_epoch
from lenext.training.schedule import rate_factor

from .pieces import BF16, PLAN, Noisy, batches, make_state, resnet20, run_steps, same_bits, tensors

PLAIN = OptimizerConfig(rate=0.05, momentum=0.0)
WARM = TrainingConfig(optimizer=OptimizerConfig(rate=0.05), schedule=ScheduleConfig(name="one_cycle", warmup=0.5))


def test_three_steps_are_torchs_own_loop_to_the_bit() -> None:
    state = make_state()
    steps = run_steps(state, batches(3), WARM)

    peer = Noisy()
    peer.load_state_dict(make_state().objective.classifier.state_dict())
    optimizer = torch.optim.SGD(peer.parameters(), momentum=0.9)
    peer.train()
    losses = []
    for number, batch in enumerate(batches(3)):
        optimizer.param_groups[0]["lr"] = 0.05 * rate_factor(WARM.schedule, number, 20)
        seed_network(0, number)
        loss = F.cross_entropy(peer(batch.images), batch.targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert [step.loss for step in steps] == losses
    assert same_bits(state.objective.classifier.state_dict(), peer.state_dict())


def test_steps_come_in_order_and_say_what_was_done() -> None:
    state = make_state()
    state.progress = Progress(step=5, epoch=1)
    steps = run_steps(state, batches(4), WARM)
    assert [step.step for step in steps] == [6, 7, 8, 9]
    assert [step.rate for step in steps] == [0.05 * rate_factor(WARM.schedule, done, 20) for done in (5, 6, 7, 8)]
    assert [step.images for step in steps] == [16] * 4
    assert all(math.isfinite(step.loss) and step.gradient_norm > 0 for step in steps)


def test_a_step_is_done_when_it_is_asked_for_and_not_before() -> None:
    state = make_state()
    before = tensors(state)
    steps = train_epoch(state, batches(3), WARM, total=20, seed=0, plan=PLAN)
    assert same_bits(tensors(state), before)
    next(steps)
    assert state.progress.step == 1
    assert not same_bits(tensors(state), before)


def test_plateaus_factor_scales_the_rate() -> None:
    state = make_state()
    state.progress = Progress(rate_scale=0.125)
    assert run_steps(state, batches(1), TrainingConfig(optimizer=PLAIN))[0].rate == 0.05 * 0.125


def test_progress_sums_losses_and_hits_of_the_epoch() -> None:
    """Oracle: the scores of each step, from a copy of the network as it was before the step."""
    state, twin = make_state(), make_state()
    loss_sum, correct = 0.0, 0
    for number, batch in enumerate(batches(3)):
        twin.objective.load_state_dict(state.objective.state_dict())
        seed_network(0, number)
        scores = twin.objective.train()(batch.images, batch.targets).scores
        correct += int((scores.argmax(1) == batch.targets).sum())
        loss_sum += run_steps(state, [batch], WARM)[0].loss * 16
    progress = state.progress
    assert (progress.batch, progress.step, progress.epoch, progress.seen) == (3, 3, 0, 48)
    assert progress.correct == correct
    assert progress.loss_sum == pytest.approx(loss_sum, rel=1e-12)
    assert progress.seconds > 0


def test_time_of_whoever_iterates_is_not_training() -> None:
    """The clock stands between two steps: a caller that works much longer than a step takes adds nothing."""
    state = make_state()
    steps = train_epoch(state, batches(3), WARM, total=20, seed=0, plan=PLAN)
    next(steps)
    before, work = state.progress.seconds, torch.rand(700, 700)
    for _ in range(30):
        work = torch.tanh(work @ work)
    next(steps)
    first, second = before, state.progress.seconds - before
    assert second < 10 * max(first, 1e-3)


@pytest.mark.parametrize("limit", [0.0, 1e-3, 1e6])
def test_clipping_reports_the_norm_before_and_leaves_the_limit(limit: float) -> None:
    """Plain descent moves the weights by rate times the gradient, whose norm is then seen from outside."""
    config = TrainingConfig(optimizer=PLAIN, clip=limit)
    state = make_state()
    before = {name: value.detach().clone().double() for name, value in state.objective.named_parameters()}
    reported = run_steps(state, batches(1), config)[0].gradient_norm
    unclipped = run_steps(make_state(), batches(1), TrainingConfig(optimizer=PLAIN))[0].gradient_norm
    moved = sum(
        float((value.detach() - before[name]).square().sum()) for name, value in state.objective.named_parameters()
    )
    assert reported == unclipped > 1e-3
    expected = min(limit, unclipped) if limit else unclipped
    assert math.sqrt(moved) / 0.05 == pytest.approx(expected, rel=1e-3)


def test_clip_gradients_by_hand() -> None:
    """A gradient of (3, 4) has norm 5; at the limit 2.5 it becomes (1.5, 2)."""
    layer = torch.nn.Linear(1, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
    assert clip_gradients(layer, 0.0) == 5.0
    assert clip_gradients(layer, 2.5) == 5.0
    assert float(layer.weight.grad) == pytest.approx(1.5, rel=1e-5)
    assert float(layer.bias.grad) == pytest.approx(2.0, rel=1e-5)
    layer.weight.grad = None
    assert clip_gradients(layer, 0.0) == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize(("rate", "broken", "clip"), [(1e38, None, 0.0), (0.05, 3, 0.0), (0.05, 3, 1.0)])
def test_divergence_is_said_and_the_weights_are_those_before_the_step(
    rate: float, broken: int | None, clip: float
) -> None:
    """By a rate beyond all reason, and by a batch that is not a number."""
    config = TrainingConfig(optimizer=OptimizerConfig(rate=rate, momentum=0.0), clip=clip)
    state = make_state()
    data = batches(20)
    if broken is not None:
        data[broken] = dataclasses.replace(data[broken], images=data[broken].images * math.nan)
    before: dict[str, torch.Tensor] = {}
    done = 0
    with pytest.raises(DivergedError) as caught:
        for batch in data:
            before = {name: value.detach().clone() for name, value in state.objective.named_parameters()}
            done += len(run_steps(state, [batch], config))
    assert f"diverged at step {done + 1}" in caught.value.what
    assert caught.value.exit_code == 7
    assert done == (broken or done)
    assert state.progress.step == done
    assert all(torch.equal(value, before[name]) for name, value in state.objective.named_parameters())


def test_finite_loss_with_an_endless_gradient_is_divergence_too() -> None:
    """Weights of 1e30 behind a saturated softmax: the loss is a number, the norm of the gradient is not."""
    state = make_state()
    with torch.no_grad():
        for parameter in state.objective.classifier.head.parameters():
            parameter.mul_(1e30)
    with pytest.raises(DivergedError, match=r"gradient norm (inf|nan)"):
        run_steps(state, batches(1))


def test_training_is_in_training_mode_whatever_mode_the_caller_left() -> None:
    one, other = make_state(), make_state()
    other.objective.eval()
    run_steps(one, batches(2))
    run_steps(other, batches(2))
    assert other.objective.training
    assert same_bits(tensors(one), tensors(other))


def test_dropout_depends_on_seed_and_step_alone() -> None:
    """Two steps in one go, or by a state rebuilt in between after other draws from torch's generator: the same bits."""
    whole, first, second = make_state(), make_state(), make_state()
    data = batches(2)
    run_steps(whole, data)
    run_steps(first, data[:1])
    torch.manual_seed(123)
    torch.rand(1000)
    second.objective.load_state_dict(first.objective.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.progress = first.progress
    run_steps(second, data[1:])
    assert same_bits(tensors(whole), tensors(second))


@pytest.mark.parametrize("change", [{"seed": 1}, {"step": 1}])
def test_another_seed_or_step_drops_other_units(change: dict[str, int]) -> None:
    one, other = make_state(), make_state()
    other.progress = Progress(step=change.get("step", 0))
    losses = [run_steps(one, batches(1))[0].loss, run_steps(other, batches(1), seed=change.get("seed", 0))[0].loss]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("plan", [PLAN, BF16, dataclasses.replace(PLAN, channels_last=True)])
def test_every_precision_and_format_trains_float32_weights_to_nearly_the_same(plan: SpeedPlan) -> None:
    found = make_state(resnet20())
    expected = make_state(resnet20())
    steps, reference = run_steps(found, batches(3), plan=plan), run_steps(expected, batches(3))
    assert [step.loss for step in steps] == pytest.approx([step.loss for step in reference], rel=0.1)
    assert all(value.dtype == torch.float32 for value in found.objective.parameters())


def test_bf16_is_really_used() -> None:
    found, expected = make_state(resnet20()), make_state(resnet20())
    losses = [run_steps(found, batches(1), plan=BF16)[0].loss, run_steps(expected, batches(1))[0].loss]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=2**-5)


def test_a_network_learns_the_digits_it_is_shown() -> None:
    state = make_state(resnet20())
    data = batches(1, size=32) * 15
    config = TrainingConfig(optimizer=OptimizerConfig(rate=0.05))
    losses = [step.loss for step in run_steps(state, data, config)]
    assert losses[-1] < 0.1 * losses[0]
