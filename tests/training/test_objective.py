"""Losses. Oracles: the papers' equations written out in numpy, and finite differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lenext.models.catalog import build
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import named_chain
from lenext.training.config import LossConfig
from lenext.training.objective import Objective, lenet_map_loss

from .pieces import DIGITS, batches, make_state, resnet20

TARGETS = torch.tensor([0, 3, 2, 2, 1])


def draw_scores(k: int = 4, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(len(TARGETS), k, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def smoothed_by_hand(scores: torch.Tensor, targets: torch.Tensor, epsilon: float) -> float:
    """Szegedy et al. 2015, section 7: the target is (1 - epsilon) on the label and epsilon / K on every class."""
    z = scores.numpy().astype(np.float64)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    k = z.shape[1]
    q = np.full_like(z, epsilon / k)
    q[np.arange(len(z)), targets.numpy()] += 1 - epsilon
    return float(-(q * log_p).sum(axis=1).mean())


def equation_9(scores: torch.Tensor, targets: torch.Tensor, j: float) -> float:
    """LeCun et al. 1998: 1/P sum over samples of y_D + log(exp(-j) + sum_i exp(-y_i)), y the penalties."""
    y = -scores.numpy().astype(np.float64)
    own = y[np.arange(len(y)), targets.numpy()]
    return float(np.mean(own + np.log(np.exp(-j) + np.exp(-y).sum(axis=1))))


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_label_smoothing_by_hand(epsilon: float) -> None:
    state = make_state(loss=LossConfig(label_smoothing=epsilon))
    batch = batches(1)[0]
    outcome = state.objective.eval()(batch.images, batch.targets)
    expected = smoothed_by_hand(outcome.scores.detach(), batch.targets, epsilon)
    assert outcome.loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rubbish", [0.5, 1.0, 20.0])
def test_lenet_loss_is_equation_9(rubbish: float) -> None:
    scores = -draw_scores().abs()  # minus penalties
    assert float(lenet_map_loss(scores, TARGETS, rubbish)) == pytest.approx(
        equation_9(scores, TARGETS, rubbish), rel=1e-12
    )


def test_lenet_objective_takes_its_constant_from_the_configuration() -> None:
    """Distances of an untrained network are near 84, and a constant near them shows in the loss."""
    objective = Objective(build("lenet5"), LossConfig(name="lenet_map", rubbish=60.0))
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([1, 2, 9])
    outcome = objective(images, targets)
    found = outcome.loss.item()
    assert found == pytest.approx(equation_9(outcome.scores.detach(), targets, 60.0), rel=1e-5)
    assert found != pytest.approx(equation_9(outcome.scores.detach(), targets, 1.0), rel=1e-3)


def test_lenet_loss_stops_pushing_wrong_classes_that_are_far_away() -> None:
    """What the constant is for: with it the gradient at a far class vanishes, without it only the ratio counts."""
    scores = torch.tensor([[-30.0, -31.0]], dtype=torch.float64, requires_grad=True)
    (with_constant,) = torch.autograd.grad(lenet_map_loss(scores, torch.tensor([0]), 1.0), scores)
    (without,) = torch.autograd.grad(lenet_map_loss(scores, torch.tensor([0]), 1000.0), scores)
    assert 0 < float(with_constant[0, 1]) < 1e-12
    assert float(without[0, 1]) == pytest.approx(1 / (1 + np.e), rel=1e-9)


def test_lenet_loss_does_not_overflow_on_distances_of_thousands() -> None:
    scores = torch.tensor([[-5000.0, -9000.0]])
    assert float(lenet_map_loss(scores, torch.tensor([1]), 1.0)) == pytest.approx(8999.0)


def test_lenet_loss_has_the_gradient_of_finite_differences() -> None:
    scores = (-draw_scores().abs()).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: lenet_map_loss(s, TARGETS, 1.0), (scores,))


@pytest.mark.parametrize("config", [LossConfig(), LossConfig(label_smoothing=0.2)])
def test_loss_has_the_gradient_of_finite_differences_in_the_weights(config: LossConfig) -> None:
    """Central differences on sampled weights; the objective works in float32, so 1e-2 of the gradient's size."""
    state = make_state(resnet20(), loss=config)
    objective, batch = state.objective.eval(), batches(1)[0]
    objective(batch.images, batch.targets).loss.backward()
    weight = next(value for value in objective.classifier.head.parameters() if value.ndim == 2)
    assert weight.grad is not None
    for place in [(0, 0), (3, 5), (9, 60)]:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * 0.01
                values.append(float(objective(batch.images, batch.targets).loss))
                weight[place] -= sign * 0.01
        difference = (values[0] - values[1]) / 0.02
        assert difference == pytest.approx(float(weight.grad[place]), rel=1e-2, abs=1e-4)


def test_scores_are_float32_whatever_the_autocast() -> None:
    state = make_state(resnet20())
    batch = batches(1)[0]
    with torch.autocast("cpu", torch.bfloat16):
        outcome = state.objective(batch.images, batch.targets)
    assert outcome.scores.dtype == outcome.loss.dtype == torch.float32
    assert outcome.scores.shape == (len(batch.targets), len(set(DIGITS.labels)))


class TwoHeads(Classifier):
    """A head behind the last stage, and an auxiliary one behind the first."""

    def __init__(self) -> None:
        super().__init__(NetworkConfig(num_classes=4, in_channels=1, input_size=8, min_size=8))
        self.stem = nn.Identity()
        self.stages = named_chain([("a", nn.Conv2d(1, 2, 3)), ("b", nn.Conv2d(2, 3, 3))])
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 4))
        self.auxiliary["a"] = nn.Sequential(nn.Flatten(), nn.Linear(2 * 6 * 6, 4))


@pytest.mark.parametrize("weight", [0.3, 1.0, 0.0])
def test_auxiliary_heads_add_their_weighted_losses_while_training(weight: float) -> None:
    """Szegedy et al. 2014, section 5: the total loss is the main one and 0.3 times each auxiliary one."""
    torch.manual_seed(0)
    network, images = TwoHeads(), torch.randn(5, 1, 8, 8)
    objective = Objective(network, LossConfig(auxiliary=weight))
    middle = network.stages[0](images)
    main = F.cross_entropy(network.head(network.stages[1](middle)), TARGETS)
    other = F.cross_entropy(network.auxiliary["a"](middle), TARGETS)
    outcome = objective.train()(images, TARGETS)
    assert outcome.loss.item() == pytest.approx(float((main + weight * other).detach()), rel=1e-6)
    assert torch.equal(outcome.scores, network(images))
    assert objective.eval()(images, TARGETS).loss.item() == pytest.approx(float(main.detach()), rel=1e-6)


def test_forward_never_runs_the_auxiliary_heads() -> None:
    network = TwoHeads().train()
    network.auxiliary["a"] = nn.Linear(1, 1)  # would fail on what stage a gives
    assert network(torch.zeros(5, 1, 8, 8)).shape == (5, 4)


def test_negative_weight_of_auxiliary_heads_is_refused() -> None:
    with pytest.raises(TypeError, match="auxiliary is finite and not negative"):
        LossConfig(auxiliary=-1.0)
