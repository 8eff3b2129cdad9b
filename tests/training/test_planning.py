"""The speed plan: what is tried, what is taken, and that nothing else changes."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lenext.config import from_mapping, override
from lenext.data.batches import Batch
from lenext.device import SpeedPlan, candidate_plans, cores
from lenext.errors import UsageError
from lenext.experiment.config import plan_settings
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.training import planning
from lenext.training.config import OptimizerConfig, TrainingConfig
from lenext.training.planning import choose_plan, follow_plan, uses_batch_statistics

from .pieces import PLAN, Noisy, batches, make_state, run_steps, same_bits, tensors

FLOAT32 = TrainingConfig(precision="float32", batch_size=16)
ENDLESS = 10**9  # updates: a run that gains from everything


class Working(Noisy):
    """A network that takes longer wherever `slow` says so of its images."""

    def __init__(self, slow: Callable[[Tensor], bool]) -> None:
        super().__init__()
        self._slow, self._load = slow, torch.rand(200, 200)

    def forward(self, images: Tensor) -> Tensor:
        for _ in range(100 if self._slow(images) else 0):
            torch.mm(self._load, self._load)
        return super().forward(images)


def lenet() -> Classifier:
    """Without normalisation: no image changes another's result."""
    return build("lenet5_relu", num_classes=10, in_channels=1).double()


def on_28_pixels() -> list[Batch]:
    """Digits, enlarged to what LeNet takes."""
    return [
        dataclasses.replace(batch, images=torch.nn.functional.interpolate(batch.images, size=28).double())
        for batch in batches(3)
    ]


def test_choosing_a_plan_leaves_weights_buffers_gradients_modes_and_random_numbers_alone() -> None:
    state = make_state()
    run_steps(state, batches(1))
    state.objective.classifier.stem.eval()
    before, gradients = tensors(state), [value.grad.clone() for value in state.objective.parameters()]  # type: ignore[union-attr]
    modes = [module.training for module in state.objective.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    choice = choose_plan(state.objective, batches(1)[0], FLOAT32, updates=10)
    assert choice.plan in dict(choice.tried)
    assert torch.equal(torch.rand(3), expected)
    assert same_bits(tensors(state), before)
    after = [value.grad for value in state.objective.parameters()]
    assert all(b is not None and torch.equal(a, b) for a, b in zip(gradients, after, strict=True))
    assert [module.training for module in state.objective.modules()] == modes


def test_plan_is_timed_on_the_network_itself_in_training_mode() -> None:
    class Failing(Noisy):
        def forward(self, images: Tensor) -> Tensor:
            if self.training:
                raise ArithmeticError("trained")
            return super().forward(images)

    objective = make_state(Failing()).objective.eval()
    with pytest.raises(ArithmeticError, match="trained"):
        choose_plan(objective, batches(1)[0], FLOAT32, updates=10)
    told = dataclasses.replace(FLOAT32, threads=1)
    usual = SpeedPlan(device="cpu", precision="float32", channels_last=True, threads=1)
    assert choose_plan(objective, batches(1)[0], told, updates=10).plan == usual  # nothing is timed


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time enough to try everything, however busy the machine is."""
    monkeypatch.setattr(planning, "LEAST_SECONDS", 600.0)
    monkeypatch.setattr(planning, "MOST", 1e9)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("first", [True, False], ids=["channels first", "channels last"])
def test_faster_memory_format_is_taken(first: bool) -> None:
    def slow(images: Tensor) -> bool:
        return images.permute(0, 2, 3, 1).is_contiguous() is first

    network = Working(slow)
    network.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3, bias=False))
    colour = [dataclasses.replace(batch, images=batch.images.expand(-1, 3, -1, -1).clone()) for batch in batches(1)]
    choice = choose_plan(make_state(network).objective, colour[0], FLOAT32, updates=10)
    assert choice.plan.channels_last is not first


@pytest.mark.usefixtures("patient")
def test_faster_number_of_threads_is_taken() -> None:
    for slow in {1, cores()}:
        network = Working(lambda _, slow=slow: torch.get_num_threads() == slow)  # type: ignore[misc]
        choice = choose_plan(make_state(network).objective, batches(1)[0], FLOAT32, updates=10)
        assert choice.plan.threads != slow or cores() == 1


@pytest.mark.usefixtures("patient")
def test_passes_of_fewer_images_are_tried_only_where_no_image_changes_anothers_result() -> None:
    found = {}
    for name, network in (("norm", Noisy()), ("none", lenet().float())):
        batch = batches(1)[0] if name == "norm" else dataclasses.replace(on_28_pixels()[0])
        batch = dataclasses.replace(batch, images=batch.images.float())
        choice = choose_plan(make_state(network).objective, batch, FLOAT32, updates=10)
        found[name] = {plan.micro_batch for plan, _ in choice.tried}
    assert found == {"norm": {0}, "none": {0, 8, 4}}


def test_update_in_passes_of_fewer_images_is_the_update_of_the_whole_batch() -> None:
    whole, parts = make_state(lenet()), make_state(lenet())
    data = [dataclasses.replace(batch, images=batch.images) for batch in on_28_pixels()]
    config = TrainingConfig(optimizer=OptimizerConfig(rate=0.05), accumulate=1)
    expected = run_steps(whole, data, config)
    found = run_steps(parts, data, config, plan=dataclasses.replace(PLAN, micro_batch=5))  # 5, 5, 5 and 1
    assert [one.loss for one in found] == pytest.approx([one.loss for one in expected], rel=1e-6)
    assert whole.progress.correct == parts.progress.correct
    for name, value in tensors(whole).items():
        torch.testing.assert_close(tensors(parts)[name], value, rtol=0, atol=1e-6)


def test_passes_of_fewer_images_than_a_norm_needs_are_refused() -> None:
    config = dataclasses.replace(FLOAT32, threads=1, micro_batch=4)
    with pytest.raises(UsageError, match="4 images at a time"):
        choose_plan(make_state().objective, batches(1)[0], config, updates=10)
    frozen = dataclasses.replace(config, freeze=("stem",))  # its norm looks at no batch
    assert choose_plan(make_state().objective, batches(1)[0], frozen, updates=10).plan.micro_batch == 4
    whole = dataclasses.replace(config, micro_batch=16)
    assert choose_plan(make_state().objective, batches(1)[0], whole, updates=10).plan.micro_batch == 0
    assert uses_batch_statistics(Noisy()) and not uses_batch_statistics(Noisy().eval())


def test_short_runs_try_little_and_compile_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, batch = make_state().objective, batches(1)[0]
    assert not any(plan.compiled for plan, _ in choose_plan(objective, batch, FLOAT32, updates=10).tried)
    assert len(choose_plan(objective, batch, FLOAT32, updates=1).tried) == 1  # a quarter of one update
    monkeypatch.setattr(planning, "LEAST_SECONDS", 0.0)
    assert len(choose_plan(objective, batch, FLOAT32, updates=10).tried) == 1


@pytest.mark.slow
def test_where_the_compiler_is_broken_nothing_is_compiled() -> None:
    torch._dynamo.reset()
    with torch._inductor.config.patch({"cpp.cxx": ("/bin/false",), "force_disable_caches": True}):
        choice = choose_plan(make_state().objective, batches(1)[0], FLOAT32, updates=ENDLESS)
    assert not choice.plan.compiled
    assert [seconds for plan, seconds in choice.tried if plan.compiled] == [float("inf")]


def test_what_changes_from_step_to_step_and_what_may_not_be_is_not_compiled() -> None:
    rising = dataclasses.replace(FLOAT32, drop_path="rising")
    for config in (rising, dataclasses.replace(FLOAT32, compile="never")):
        tried = choose_plan(make_state().objective, batches(1)[0], config, updates=ENDLESS).tried
        assert not any(plan.compiled for plan, _ in tried)


def test_settings_of_a_plan_give_the_plan_again() -> None:
    for base in candidate_plans("float32"):
        for changes in ({}, {"channels_last": False}, {"micro_batch": 4}, {"compiled": True}):
            plan = dataclasses.replace(base, **changes)
            settings = [f"{key}={value}" for key, value in plan_settings(vars(plan)).items()]
            other = {"memory_format": "contiguous", "micro_batch": 8, "compile": "always"}
            told = override({"training": {"precision": "float32", "freeze": ["stem"], **other}}, settings)["training"]
            config = from_mapping(TrainingConfig, told)
            assert choose_plan(make_state().objective, batches(1)[0], config, updates=ENDLESS).plan == plan


@pytest.mark.slow
def test_compiled_updates_are_the_same_every_time_and_those_of_the_network_to_rounding() -> None:
    losses = []
    for compiled in (False, True, True):
        torch._dynamo.reset()
        network = Noisy()
        network.stages = torch.nn.Sequential()  # a compiled network draws its noise otherwise
        state = make_state(network)
        plan = dataclasses.replace(PLAN, compiled=compiled)
        follow_plan(state.objective, plan)
        losses.append([step.loss for step in run_steps(state, batches(10), plan=plan)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[1] == losses[2]
