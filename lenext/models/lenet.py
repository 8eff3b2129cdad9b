"""LeNet-5."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import ACTIVATIONS, named_chain


@dataclass(frozen=True, kw_only=True)
class LeNetConfig(NetworkConfig):
    """The textbook form: every choice that the re-implementations make differently."""

    num_classes: int = 10
    in_channels: int = 1
    input_size: int = 28
    min_size: int = 28
    max_size: int | None = 28
    padding: int = 2
    pooling: Literal["average", "max"] = "average"
    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"
    batch_norm: bool = False


# fmt: off
VARIANTS = {
    "lenet5_dense":    LeNetConfig(padding=2, pooling="average", activation="sigmoid"),
    "lenet5_dense_bn": LeNetConfig(padding=0, pooling="average", activation="sigmoid", batch_norm=True),
    "lenet5_relu":     LeNetConfig(padding=2, pooling="max",     activation="relu"),
}
# fmt: on

ALIASES: dict[str, str] = {}


class LeNet(Classifier):
    """The textbook LeNet: dense C3, plain pooling, and a linear output."""

    config: LeNetConfig

    def __init__(self, config: LeNetConfig) -> None:
        super().__init__(config)
        pool = nn.AvgPool2d if config.pooling == "average" else nn.MaxPool2d
        side = ((config.input_size + 2 * config.padding - 4) // 2 - 4) // 2
        self.stem = nn.Identity()
        self.stages = named_chain(
            [
                ("c1", self._layer("conv", nn.Conv2d(config.in_channels, 6, 5, padding=config.padding))),
                ("s2", pool(2)),  # (N, 6, 14, 14)
                ("c3", self._layer("conv", nn.Conv2d(6, 16, 5))),  # (N, 16, 10, 10)
                ("s4", pool(2)),  # (N, 16, 5, 5)
            ]
        )
        self.head = named_chain(
            [
                ("flatten", nn.Flatten()),
                ("c5", self._layer("fc", nn.Linear(16 * side * side, 120))),
                ("f6", self._layer("fc", nn.Linear(120, 84))),
                ("output", nn.Linear(84, config.num_classes)),
            ]
        )

    def _layer(self, name: str, layer: nn.Conv2d | nn.Linear) -> nn.Sequential:
        """The layer, its normalisation if there is one, and the activation."""
        layers: list[tuple[str, nn.Module]] = [(name, layer)]
        if self.config.batch_norm:
            norm = nn.BatchNorm2d if isinstance(layer, nn.Conv2d) else nn.BatchNorm1d
            layers.append(("bn", norm(layer.weight.shape[0])))
        return named_chain([*layers, ("activation", ACTIVATIONS[self.config.activation]())])
