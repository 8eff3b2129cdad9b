"""Small networks, real digits and training states for the tests of this folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lenext.data.batches import Batch, Variation, train_batches
from lenext.data.config import AugmentConfig
from lenext.data.ordering import epoch_order
from lenext.data.preprocessing import Preprocessing
from lenext.data.sources import find_source
from lenext.device import SpeedPlan
from lenext.models.catalog import build
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.init import initialise
from lenext.training.config import LossConfig, OptimizerConfig, TrainingConfig
from lenext.training.loop import Step, TrainState, train_epoch
from lenext.training.objective import Objective
from lenext.training.optim import make_optimizer

DIGITS = find_source("digits").open("test")  # 360 images of 8x8
PREPROCESSING = Preprocessing(size=(8, 8), channels=1, mean=(0.3,), std=(0.4,))
PLAN = SpeedPlan(device="cpu", precision="float32", channels_last=False, threads=1)
BF16 = SpeedPlan(device="cpu", precision="bf16", channels_last=False, threads=1)


@dataclass(frozen=True, kw_only=True)
class NoisyConfig(NetworkConfig):
    num_classes: int = 10
    in_channels: int = 1
    input_size: int = 8
    min_size: int = 8


class Noisy(Classifier):
    """Convolution, batch norm and dropout: every kind of state and of noise that a step can touch."""

    def __init__(self) -> None:
        super().__init__(NoisyConfig())
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.stages = nn.Sequential(nn.Dropout(0.5))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(216, 10))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.stages(self.stem(images)))
        return scores


def make_state(
    model: Classifier | None = None, optimizer: OptimizerConfig | None = None, loss: LossConfig | None = None
) -> TrainState:
    """A training state at step 0 with the same weights every time."""
    model = Noisy() if model is None else model
    initialise(model, "he_normal", seed=0)
    config = optimizer or OptimizerConfig()
    return TrainState(Objective(model, loss or LossConfig()), make_optimizer(model, config))


def resnet20() -> Classifier:
    return build("resnet20", num_classes=10, in_channels=1, input_size=8)


def batches(count: int, *, start: int = 0, size: int = 16, epoch: int = 0) -> list[Batch]:
    """Batches `start` to `count` of an epoch of digits."""
    order = epoch_order(DIGITS, seed=3, epoch=epoch)[start * size :]
    found = train_batches(
        DIGITS, PREPROCESSING, Variation(AugmentConfig(), 10), order, seed=3, epoch=epoch, batch_size=size
    )
    return [next(found) for _ in range(start, count)]


def run_steps(
    state: TrainState, data: Sequence[Batch], config: TrainingConfig | None = None, **changes: Any
) -> list[Step]:
    """Train on all the batches and return the steps."""
    arguments: dict[str, Any] = {"total": 20, "seed": 0, "plan": PLAN, **changes}
    return list(train_epoch(state, data, config or TrainingConfig(), **arguments))


def tensors(state: TrainState) -> dict[str, Tensor]:
    """A copy of every tensor that training changes."""
    found = {name: value.clone() for name, value in state.objective.state_dict().items()}
    for number, values in enumerate(state.optimizer.state.values()):
        found |= {f"{number}/{key}": value.clone() for key, value in values.items() if isinstance(value, Tensor)}
    return found


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
