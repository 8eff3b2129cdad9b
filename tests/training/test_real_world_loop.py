"""Accumulation, averages, weighted and several-class losses, mixing. Oracle: torch's own operators, and arithmetic."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lenext.data.batches import Batch
from lenext.data.mixing import mixup
from lenext.models.classifier import Classifier
from lenext.training.config import LossConfig, OptimizerConfig, TrainingConfig
from lenext.training.loop import TrainState, follow, train_epoch
from lenext.training.objective import Objective, class_weights
from lenext.training.optim import make_optimizer

from .pieces import PLAN, NoisyConfig, batches, make_state, resnet20, run_steps

PLAIN = OptimizerConfig(rate=0.1, momentum=0.0)


class Still(Classifier):
    """Convolution and linear layer: nothing that depends on the batch, or on chance."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(NoisyConfig(num_classes=num_classes))
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
        self.stages = nn.Sequential()
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(216, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.stages(self.stem(images)))
        return scores


def parameters(state: TrainState) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.objective.classifier.named_parameters()}


# --- accumulation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "accumulate"), [(24, 2), (16, 3), (12, 4)])
def test_batches_accumulated_are_one_batch_of_all_of_them(size: int, accumulate: int) -> None:
    one, many = make_state(Still(), PLAIN), make_state(Still(), PLAIN)
    (whole,) = run_steps(one, batches(1, size=48))
    (step,) = run_steps(many, batches(accumulate, size=size), TrainingConfig(accumulate=accumulate))
    assert (step.images, step.step) == (whole.images, whole.step) == (48, 1)
    assert step.loss == pytest.approx(whole.loss, rel=1e-6)
    assert step.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-5)
    assert many.progress.correct == one.progress.correct
    assert (many.progress.batch, many.progress.seen) == (accumulate, 48)
    for name, value in parameters(many).items():
        torch.testing.assert_close(value, parameters(one)[name], atol=1e-6, rtol=1e-5)


def test_accumulation_in_double_precision_is_equal_to_rounding() -> None:
    """Four updates of one network in batches of 48 and of 24: only the objective's own scores are float32."""
    states = [make_state(Still().double(), PLAIN) for _ in range(2)]
    for state, size, accumulate in zip(states, (48, 24), (1, 2), strict=True):
        doubled = [dataclasses.replace(b, images=b.images.double()) for b in batches(4 * accumulate, size=size)]
        for start in range(0, len(doubled), accumulate):
            config = TrainingConfig(accumulate=accumulate)
            train_in_double(state, doubled[start : start + accumulate], config)
    for one, other in zip(parameters(states[0]).values(), parameters(states[1]).values(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)  # the loss itself is float32


def train_in_double(state: TrainState, data: list[Batch], config: TrainingConfig) -> None:
    for _ in train_epoch(state, data, config, total=20, seed=0, plan=PLAN):
        pass


def test_batches_that_fill_no_update_sit_out() -> None:
    state = make_state(Still(), PLAIN)
    steps = run_steps(state, batches(7), TrainingConfig(accumulate=3))
    assert [step.step for step in steps] == [1, 2]
    assert (state.progress.batch, state.progress.seen) == (6, 96)


def test_training_ends_at_its_last_update() -> None:
    state = make_state(Still(), PLAIN)
    assert [step.step for step in run_steps(state, batches(7), total=4)] == [1, 2, 3, 4]
    assert run_steps(state, batches(3), total=4) == []


def test_each_batch_of_an_update_drops_other_units() -> None:
    """The same batch twice in one update: with the same noise the loss would be that of the batch alone."""
    data = batches(1)
    alone = run_steps(make_state(), data)[0].loss
    twice = run_steps(make_state(), data * 2, TrainingConfig(accumulate=2))[0].loss
    assert alone != twice


# --- the average ------------------------------------------------------------------------------------------------------


def test_average_of_three_updates_is_the_sum_by_hand_to_the_last_bits() -> None:
    """w -> d w + (1 - d) w', d = min(0.15, (1 + t) / (10 + t)): 0.1, 0.15, 0.15; norms' statistics alike."""
    state = make_state(resnet20(), OptimizerConfig(rate=0.05))
    state.average = copy.deepcopy(state.objective.classifier).requires_grad_(False).eval()
    expected = {name: value.double() for name, value in state.average.state_dict().items()}
    for number, batch in enumerate(batches(3)):
        run_steps(state, [batch], TrainingConfig(average=0.15))
        decay = (0.1, 0.15, 0.15)[number]
        for name, value in state.objective.classifier.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    for name, value in state.average.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert int(value) == 3
        else:
            torch.testing.assert_close(value.double(), expected[name], atol=1e-6, rtol=1e-5, msg=name)
    assert state.network is state.average
    assert not state.average.training


def test_average_does_not_touch_what_is_trained() -> None:
    with_average, without = make_state(resnet20()), make_state(resnet20())
    with_average.average = copy.deepcopy(with_average.objective.classifier)
    run_steps(with_average, batches(3), TrainingConfig(average=0.9))
    run_steps(without, batches(3))
    assert all(torch.equal(one, parameters(without)[name]) for name, one in parameters(with_average).items())
    assert without.network is without.objective.classifier


def test_decay_rises_to_its_limit() -> None:
    """Trained weights of one against an average of zero: the average is one minus the product of the decays."""
    average, trained, product = nn.Linear(1, 1), nn.Linear(1, 1), 1.0
    nn.init.zeros_(average.weight)
    nn.init.ones_(trained.weight)
    for step in range(40):
        follow(average, trained, 0.5, step)
        product *= min(0.5, (1 + step) / (10 + step))
        assert average.weight.item() == pytest.approx(1 - product, rel=1e-5)


# --- losses -----------------------------------------------------------------------------------------------------------


def scores_of(objective: Objective, images: Tensor) -> Tensor:
    with torch.no_grad():
        scores: Tensor = objective.classifier(images)
    return scores


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.random.default_rng(0).choice(4, 100, p=[0.7, 0.2, 0.05, 0.05])
    found = class_weights(labels, LossConfig(class_weights="balanced"), 4)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    assert found is not None
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    assert class_weights(labels, LossConfig(), 4) is None


def test_weights_of_several_classes_are_the_odds_of_their_absence() -> None:
    """Of eight images, 2, 4 and none have the class: 6/2, 4/4, and 1 where nothing is known."""
    labels = np.zeros((8, 3), np.float32)
    labels[:2, 0] = labels[:4, 1] = 1
    found = class_weights(labels, LossConfig(class_weights="balanced"), 3)
    assert found is not None
    assert found.tolist() == [3.0, 1.0, 1.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_loss_is_torchs_own_of_each_image_and_their_mean(smoothing: float) -> None:
    weights = torch.linspace(0.2, 3.0, 10)
    batch = batches(1, size=40)[0]
    objective = Objective(Still(), LossConfig(label_smoothing=smoothing), weights=weights)
    found = objective(batch.images, batch.targets).loss.detach()
    own = nn.CrossEntropyLoss(weight=weights, label_smoothing=smoothing, reduction="none")
    assert float(found) == float(own(scores_of(objective, batch.images), batch.targets).mean())


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_of_several_classes_is_torchs_binary_cross_entropy(weighted: bool) -> None:
    weights = torch.tensor([0.5, 2.0, 7.0]) if weighted else None
    batch = batches(1, size=40)[0]
    targets = torch.stack([batch.targets % 2 == 0, batch.targets > 4, batch.targets == 3], dim=1).float()
    objective = Objective(Still(3), LossConfig(), multi_label=True, weights=weights)
    scores = scores_of(objective, batch.images)
    found = objective(batch.images, targets).loss.item()
    assert found == float(nn.BCEWithLogitsLoss(pos_weight=weights)(scores, targets))
    factor = torch.ones(3) if weights is None else weights
    p = scores.double().sigmoid()
    by_hand = -(factor * targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert found == pytest.approx(float(by_hand), rel=1e-5)


def test_smoothing_of_several_classes_moves_each_towards_one_half() -> None:
    batch = batches(1, size=40)[0]
    targets = F.one_hot(batch.targets, 10).float()
    objective = Objective(Still(), LossConfig(label_smoothing=0.2), multi_label=True)
    scores = scores_of(objective, batch.images)
    expected = F.binary_cross_entropy_with_logits(scores, torch.where(targets > 0, 0.9, 0.1))
    assert objective(batch.images, targets).loss.item() == pytest.approx(float(expected), rel=1e-6)


def test_smoothing_of_mixed_targets_is_the_mixture_of_the_smoothed_losses() -> None:
    """Cross-entropy is linear in its targets: w loss(own) + (1 - w) loss(partner's), on the mixed images."""
    batch = batches(1, size=40)[0]
    partner = torch.arange(39, -1, -1)
    mixed = mixup(batch, torch.tensor([0.3]), partner, 10)
    objective = Objective(Still(), LossConfig(label_smoothing=0.1))
    scores = scores_of(objective, mixed.images)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    expected = 0.3 * loss(scores, batch.targets) + 0.7 * loss(scores, batch.targets[partner])
    assert objective(mixed.images, mixed.targets).loss.item() == pytest.approx(float(expected), rel=1e-5)


def test_hits_are_images_that_are_wholly_right() -> None:
    scores = torch.tensor([[2.0, -1.0, 0.5], [-1.0, 3.0, -2.0], [0.1, 0.2, 0.3]])
    single = Objective(Still(3), LossConfig())
    assert single.hits(scores, torch.tensor([0, 1, 0])) == 2
    assert single.hits(scores, torch.tensor([[0.6, 0.4, 0], [0.4, 0.0, 0.6], [0.0, 0.3, 0.7]])) == 2
    several = Objective(Still(3), LossConfig(), multi_label=True)
    assert several.hits(scores, torch.tensor([[1.0, 0, 1], [0, 1, 1], [1, 1, 1]])) == 2
    assert several.hits(scores, torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]])) == 0
    assert several.hits(torch.tensor([[-1.0, -2.0, -0.1]]), torch.zeros(1, 3)) == 1


def test_weights_of_the_loss_are_no_part_of_the_network() -> None:
    objective = Objective(Still(), LossConfig(), weights=torch.ones(10))
    assert all(name.startswith("classifier.") for name in objective.state_dict())
    assert make_optimizer(objective.classifier, PLAIN).param_groups
