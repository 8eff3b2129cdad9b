"""The networks that NASNet and AmoebaNet make of their two cells (Zoph et al. 2017, Figure 2). No family of its own.

N normal cells, a reduction cell, N normal cells, a reduction cell, N normal cells; for ImageNet a 3x3 convolution of
stride 2 and two more reduction cells come first. Channels double at each reduction. The auxiliary head reads the cell
before the second reduction.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lenext.models.cells import CellTable, Current, Place, Twice, chain_cells
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import named_chain, pooled_linear


@dataclass(frozen=True, kw_only=True)
class CellStackConfig(NetworkConfig):
    """Three groups of N = `cells` normal cells.

    stem: "imagenet" is a convolution of stride 2 and two reduction cells, "cifar" a convolution alone. stem_width: its
    channels. skip: the cell behind a reduction reads the one two before the reduction, not that right before it.
    auxiliary: side of the map that the auxiliary head's convolution covers; 0 is no head. eps: of batch normalisation.
    """

    min_size: int = 67  # the auxiliary head pools a map of 5x5
    cells: int
    stem: Literal["imagenet", "cifar"] = "imagenet"
    stem_width: int
    skip: bool = False
    auxiliary: int = 4
    eps: float = 1e-3
    dropout: float = 0.5
    drop_path: float = 0.0


class CellStack(Classifier):
    """Figure 2's chain: `stem` is the first convolution, the stages are reduction cells and groups of normal cells."""

    config: CellStackConfig

    def __init__(self, config: CellStackConfig, width: int, normal: CellTable, reduction: CellTable) -> None:
        """width: channels of a state in the first group of normal cells."""
        super().__init__(config)
        self.stem = make_stem(config)
        places = plan_cells(config, width, normal, reduction)
        self.stages, channels = chain_cells(places, config.stem_width, eps=config.eps, drop_path=config.drop_path)
        if config.auxiliary:
            self.auxiliary["normal_1"] = auxiliary_head(channels["normal_1"], config)  # (N, num_classes)
        self.head = named_chain(
            [
                ("current", Current()),
                ("relu", nn.ReLU()),
                *pooled_linear(channels["normal_2"], config.num_classes, config.dropout).named_children(),
            ]
        )  # (N, num_classes)


def plan_cells(config: CellStackConfig, width: int, normal: CellTable, reduction: CellTable) -> list[Place]:
    """Every cell in its place; the normal ones are numbered through."""
    plan: list[Place] = []
    if config.stem == "imagenet":  # shapes of nasnetalarge at 331
        plan += [
            Place("cell_stem_0", "cell", reduction, width // 4, 2),  # (N, 168, 83, 83)
            Place("cell_stem_1", "cell", reduction, width // 2, 2),  # (N, 336, 42, 42)
        ]
    for group in range(3):  # (N, 1008, 42, 42), (N, 2016, 21, 21), (N, 4032, 11, 11)
        if group:
            plan.append(Place(f"reduction_{group - 1}", "cell", reduction, width * 2**group, 2, config.skip))
        numbers = range(group * config.cells, (group + 1) * config.cells)
        plan += [Place(f"normal_{group}", f"cell_{number}", normal, width * 2**group) for number in numbers]
    return plan


def make_stem(config: CellStackConfig) -> nn.Sequential:
    """One 3x3 convolution: (N, in_channels, H, W) -> twice (N, stem_width, H, W), or (H - 1) // 2 for ImageNet."""
    stride, padding = (2, 0) if config.stem == "imagenet" else (1, 1)
    return named_chain(
        [
            ("conv", nn.Conv2d(config.in_channels, config.stem_width, 3, stride, padding, bias=False)),
            ("bn", nn.BatchNorm2d(config.stem_width, config.eps)),
            ("twice", Twice()),
        ]
    )


def auxiliary_head(channels: int, config: CellStackConfig) -> nn.Sequential:
    """Scores from a map in the middle: (N, channels, H, W) -> (N, num_classes)."""
    return named_chain(
        [
            ("relu", nn.ReLU()),
            ("pool", nn.AvgPool2d(5, 3)),
            ("resize", nn.AdaptiveAvgPool2d(config.auxiliary)),  # nothing at the published size
            ("conv1", nn.Conv2d(channels, 128, 1, bias=False)),
            ("bn1", nn.BatchNorm2d(128, config.eps)),
            ("relu1", nn.ReLU()),
            ("conv2", nn.Conv2d(128, 768, config.auxiliary, bias=False)),
            ("bn2", nn.BatchNorm2d(768, config.eps)),
            ("relu2", nn.ReLU()),
            ("flatten", nn.Flatten()),
            ("fc", nn.Linear(768, config.num_classes)),
        ]
    )
