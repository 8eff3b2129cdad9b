"""Many processes compute what one does, with the whole batch, in float64; the oracle is torch on one process."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lenext.data.batches import Batch
from lenext.errors import UsageError
from lenext.models.catalog import build
from lenext.models.classifier import Classifier
from lenext.training.batchnorm import synchronise_norms
from lenext.training.config import LossConfig, OptimizerConfig, TrainingConfig
from lenext.training.distributed import Place, Ranks
from lenext.training.loop import TrainState, train_epoch
from lenext.training.objective import Objective

from ..ranks import alone, results
from .pieces import PLAN, NoisyConfig, batches, make_state, tensors

Arrays = dict[str, Any]
STEPS = 20


class Headed(Classifier):
    """A network with a batch norm and an auxiliary head that has one too."""

    def __init__(self) -> None:
        super().__init__(NoisyConfig())
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.stages = nn.Sequential()
        self.stages.add_module("a", nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU()))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(128, 10))
        self.auxiliary["a"] = nn.Sequential(nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 10))


def lenet() -> Classifier:
    return build("lenet5_relu", num_classes=10, input_size=28)


def small_resnet(**changes: Any) -> Classifier:
    return build("resnet20", num_classes=10, in_channels=1, input_size=8, **changes)


CASES: dict[str, tuple[Any, TrainingConfig]] = {
    "lenet5_relu": (lenet, TrainingConfig()),
    "resnet20": (small_resnet, TrainingConfig()),
    "auxiliary": (Headed, TrainingConfig(accumulate=2, clip=0.5, average=0.9)),
    "auxiliary at rest": (Headed, TrainingConfig(loss=LossConfig(auxiliary=0.0))),
    "line search": (Headed, TrainingConfig(optimizer=OptimizerConfig(name="lbfgs", rate=0.5, iterations=3))),
}


def wide_batches(count: int, pixels: int) -> list[Batch]:
    """Digits in float64, resized for LeNet by repeating pixels."""
    found = []
    for batch in batches(count):
        images = batch.images.double()
        if pixels != 8:
            images = nn.functional.interpolate(images, (pixels, pixels))
        found.append(dataclasses.replace(batch, images=images))
    return found


def train_case(ranks: Ranks, name: str, count: int = STEPS) -> Arrays:
    """Train a case on this rank's part of the batches; return every tensor, and what the steps told."""
    make, config = CASES[name]
    data = wide_batches(count, 28 if make is lenet else 8)
    model = make()
    state = make_state(model, config.optimizer, config.loss)
    state.objective.double()
    if config.average:
        state.average = copy.deepcopy(state.objective.classifier)
    state.ranks = ranks
    if ranks.world > 1:
        state.wrapped = ranks.wrap(state.objective)
        data = [ranks.cut(batch) for batch in data]
    steps = list(train_epoch(state, data, config, total=count, seed=0, plan=PLAN))
    told = {name: value.numpy() for name, value in tensors(state).items()}
    if state.average is not None:
        told |= {f"average {name}": value.numpy() for name, value in state.average.state_dict().items()}
    told["losses"] = np.array([step.loss for step in steps])
    told["norms"] = np.array([step.gradient_norm for step in steps])
    told["images"] = np.array([step.images for step in steps])
    told["correct"] = np.array(state.progress.correct)
    return told


def train_all(ranks: Ranks) -> dict[str, Arrays]:
    return {name: train_case(ranks, name) for name in CASES}


def distance(one: Arrays, other: Arrays) -> float:
    """The largest difference of any number; names and counts must agree."""
    assert one.keys() == other.keys()
    return max(float(np.abs(np.subtract(one[name], other[name], dtype=np.float64)).max()) for name in one)


@pytest.fixture(scope="module")
def trained() -> tuple[dict[str, Arrays], list[dict[str, Arrays]]]:
    return alone(train_all), results(train_all, 2)


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_differ_from_one_by_less_than_1e_9_after_20_steps(
    trained: tuple[dict[str, Arrays], list[dict[str, Arrays]]], name: str
) -> None:
    single, several = trained
    assert single[name]["losses"][-1] < single[name]["losses"][0]  # it has learnt something
    assert distance(single[name], several[0][name]) < 1e-9
    assert distance(several[0][name], several[1][name]) == 0  # the ranks have the same bits


def test_the_gradients_of_auxiliary_heads_are_those_of_the_whole_batch(
    trained: tuple[dict[str, Arrays], list[dict[str, Arrays]]],
) -> None:
    single, several = trained
    head = [name for name in single["auxiliary"] if name.startswith("classifier.auxiliary") and "weight" in name]
    assert head
    begun = {name: value.numpy() for name, value in tensors(_begun()).items()}
    for name in head:
        assert np.abs(single["auxiliary"][name] - begun[name]).max() > 1e-3  # it moved
        for rank in several:
            np.testing.assert_allclose(rank["auxiliary"][name], single["auxiliary"][name], rtol=0, atol=1e-9)


def _begun() -> TrainState:
    state = make_state(Headed())
    state.objective.double()
    return state


# ---- batch normalisation


IMAGES = 9  # five on one rank, four on the other
SHAPES = {"maps": (IMAGES, 3, 4, 5), "vectors": (IMAGES, 3)}


def make_norm(kind: str, momentum: float | None) -> nn.Module:
    make = nn.BatchNorm2d if kind == "maps" else nn.BatchNorm1d
    norm = make(3, eps=1e-3, momentum=momentum).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -2.0, 1.5]))
        norm.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    return norm


def normalise_rows(ranks: Ranks) -> dict[str, Tensor]:
    """Two batches through a norm, this rank with its rows of them: outputs, gradients, running statistics."""
    found: dict[str, Any] = {}
    for kind, shape in SHAPES.items():
        for momentum in (0.1, None):
            norm = nn.Sequential(make_norm(kind, momentum))
            names = list(norm.state_dict())
            if ranks.world > 1:
                synchronise_norms(norm)
            assert list(norm.state_dict()) == names
            generator = torch.Generator().manual_seed(5)
            rows = torch.from_numpy(ranks.rows(IMAGES))
            for number in range(2):
                whole = 100 + torch.randn(shape, generator=generator, dtype=torch.float64)
                weights = torch.randn(shape, generator=generator, dtype=torch.float64)
                x = whole[rows].requires_grad_()
                (norm(x).tanh() * weights[rows]).sum().backward()
                found[f"{kind} {momentum} {number}"] = norm(x.detach()).detach().numpy()
                found[f"{kind} {momentum} {number} gradient"] = x.grad.numpy() if x.grad is not None else None
            key = f"{kind} {momentum}"
            found[f"{key} sums"] = [
                parameter.grad.numpy() for parameter in norm.parameters() if parameter.grad is not None
            ]
            found[f"{key} state"] = {name: value.numpy() for name, value in norm.state_dict().items()}
            found[f"{key} judged"] = norm.eval()(whole[rows]).detach().numpy()
    return found


def test_the_norm_and_its_gradients_are_torchs_on_the_whole_batch() -> None:
    single, several = alone(normalise_rows), results(normalise_rows, 2)
    for name, value in single.items():
        parts = [rank[name] for rank in several]
        if name.endswith("state"):
            for tensor, expected in value.items():
                for part in parts:
                    np.testing.assert_allclose(part[tensor], expected, rtol=1e-12, atol=1e-12)
        elif name.endswith("sums"):  # of the layer's own parameters each rank has its part
            for one, other, expected in zip(*parts, value, strict=True):
                np.testing.assert_allclose(one + other, expected, rtol=1e-11, atol=1e-11)
        else:
            np.testing.assert_allclose(np.concatenate(parts), value, rtol=1e-11, atol=1e-11)


def normalise_coarse(ranks: Ranks) -> dict[str, Any]:
    """A large mean in float32, and the same rounded to bf16 under float32 parameters."""
    rows = torch.from_numpy(ranks.rows(IMAGES))
    whole = 1000 + torch.randn(SHAPES["maps"], generator=torch.Generator().manual_seed(6))
    found = {}
    for name, images in (("float32", whole), ("bf16", (whole - 1000).bfloat16())):
        norm = nn.Sequential(make_norm("maps", 0.1).float())
        if ranks.world > 1:
            synchronise_norms(norm)
        x = images[rows].requires_grad_()
        y = norm(x)
        (y.float().tanh() * torch.arange(3.0).view(1, 3, 1, 1)).sum().backward()
        assert y.dtype == x.dtype
        assert x.grad is not None
        found[name] = y.detach().float().numpy()
        found[f"{name} gradient"] = x.grad.float().numpy()
    return found


def test_the_norm_takes_no_square_of_a_large_mean_and_knows_bf16() -> None:
    single, several = alone(normalise_coarse), results(normalise_coarse, 2)
    for name, value in single.items():
        tolerance = 0.03 if "bf16" in name else 1e-3
        np.testing.assert_allclose(np.concatenate([rank[name] for rank in several]), value, atol=tolerance, rtol=0.02)


# ---- shares of a batch


def test_shares_of_the_order_are_the_batches_of_one_rank() -> None:
    order = np.random.default_rng(0).permutation(103)
    several = [Ranks(Place(rank=rank, world=3)) for rank in range(3)]
    shares = [rank.share(order, 12).reshape(-1, 4) for rank in several]
    together = np.concatenate(shares, axis=1)
    assert together.tolist() == order[:96].reshape(-1, 12).tolist()
    batch = batches(1, size=12)[0]
    cut = [rank.cut(batch) for rank in several]
    assert torch.equal(torch.cat([part.images for part in cut]), batch.images)
    assert np.concatenate([part.samples for part in cut]).tolist() == batch.samples.tolist()


def test_a_batch_that_cannot_be_divided_is_refused_with_one_that_can() -> None:
    Ranks(Place(world=3)).require_shares(48)
    with pytest.raises(UsageError, match="batch_size=48"):
        Ranks(Place(world=3)).require_shares(49)


# ---- noise


def drop_branches(ranks: Ranks) -> dict[str, Any]:
    """Stochastic depth by whole batches, whose norms would wait for each other, beside dropout by rank."""
    model = small_resnet(drop_path=0.7, drop_per="batch")
    state = make_state(model, OptimizerConfig(rate=0.01))
    state.ranks = ranks
    if ranks.world > 1:
        state.wrapped = ranks.wrap(state.objective)
    list(train_epoch(state, [ranks.cut(b) for b in batches(6)], TrainingConfig(), total=6, seed=0, plan=PLAN))
    ranks.seed(0, 1, 2)
    return {"state": {k: v.numpy() for k, v in tensors(state).items()}, "drawn": float(torch.rand(()))}


def test_branches_are_dropped_on_all_ranks_together_and_other_noise_is_each_ranks_own() -> None:
    one, other = results(drop_branches, 2)
    assert distance(one["state"], other["state"]) == 0
    assert one["drawn"] != other["drawn"]
    assert one["drawn"] == alone(drop_branches)["drawn"]  # rank 0 draws what one process does


def test_class_weights_weigh_the_whole_batch() -> None:
    weights = torch.rand(10, generator=torch.Generator().manual_seed(1)) + 0.1
    objective = Objective(Headed(), LossConfig(), weights=weights).double().eval()
    batch = wide_batches(1, 8)[0]
    several = [Ranks(Place(rank=rank, world=2)).cut(batch) for rank in range(2)]
    whole, one, other = (objective(part.images, part.targets).loss.item() for part in (batch, *several))
    assert one != other
    assert whole == pytest.approx((one + other) / 2, abs=1e-12)
