"""ENAS, the network of the micro search (Pham, Guan, Zoph, Le & Dean 2018, "Efficient Neural Architecture Search via
Parameter Sharing", arXiv 1802.03268).

Cells in the manner of NASNet, found in half a day on one GPU, since all networks of the search share their weights.
For CIFAR-10 three groups of five normal cells with a reduction cell before the second and the third, as layers 0 to 16;
the widths double at each reduction. The cells are those that the authors' release trains (melodyguan/enas,
scripts/cifar10_micro_final.sh). Unlike in NASNet
  the inputs      both go through 1x1 convolutions, in the first cell too, and the current one through two
  an identity     halves an input of a reduction cell by a factorised reduction
  auxiliary head  reads the first cell behind the second reduction; its last map is averaged
  linear layers   have no biases

The paper prints 4.6 million parameters, the release's network has 3.9, or 4.4 with the auxiliary head. Everything but
identities is dropped at a rate that rises over the layers to `drop_path`; in the release also over the training, as by
the recipe's `training.drop_path`.

enas_micro_n2_f8 is not in the paper: two cells a group, 8 channels, no auxiliary head, for two cores.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from lenext.errors import UsageError
from lenext.models.cells import CellTable, Current, Place, Twice, chain_cells
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.convolutions import ConvStyle, SameConv2d, conv_norm
from lenext.models.parts import named_chain

# The state 0 is the current input, 1 the previous one; the release has them the other way round, and operations as
# numbers. Each line makes the next state.
# fmt: off
NORMAL = CellTable(
    steps=(
        ("avg_pool_3x3",    1, "separable_3x3_2", 1),  # 2
        ("identity",        1, "separable_5x5_2", 1),  # 3
        ("identity",        1, "separable_5x5_2", 0),  # 4
        ("separable_3x3_2", 0, "separable_5x5_2", 1),  # 5
        ("avg_pool_3x3",    1, "separable_5x5_2", 0),  # 6
    ),
    output=(2, 3, 4, 5, 6),
)
REDUCTION = CellTable(
    steps=(
        ("separable_3x3_2", 0, "separable_3x3_2", 0),  # 2
        ("max_pool_3x3",    1, "avg_pool_3x3",    1),  # 3
        ("separable_5x5_2", 0, "separable_5x5_2", 3),  # 4
        ("separable_3x3_2", 0, "identity",        1),  # 5
        ("max_pool_3x3",    1, "separable_5x5_2", 0),  # 6
    ),
    output=(2, 4, 5, 6),
)
# fmt: on


@dataclass(frozen=True, kw_only=True)
class ENASConfig(NetworkConfig):
    """cells: normal ones a group. width: channels of a state in the first group; the stem has three times as many.

    auxiliary: whether a head helps to train. eps: of batch normalisation.
    """

    num_classes: int = 10
    input_size: int = 32
    min_size: int = 17  # the auxiliary head averages 5x5 pixels of a quarter of the side
    cells: int
    width: int
    auxiliary: bool = True
    eps: float = 1e-5
    dropout: float = 0.2
    drop_path: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cells < 1 or self.width < 1:
            raise UsageError(
                f"cannot build ENAS with {self.cells} cells a group and {self.width} channels",
                why="it counts cells and channels",
                advice=f"cells={max(self.cells, 1)}, width={max(self.width, 1)}",
            )


# fmt: off
VARIANTS = {
    "enas_micro":       ENASConfig(cells=5, width=36),
    # Not in the paper
    "enas_micro_n2_f8": ENASConfig(cells=2, width=8, auxiliary=False, min_size=8),
}
# fmt: on

ALIASES: Mapping[str, str] = {}


class ENAS(Classifier):
    """The release's chain: `stem` is a 3x3 convolution, the stages are the layers, each a cell."""

    config: ENASConfig

    def __init__(self, config: ENASConfig) -> None:
        super().__init__(config)
        stem = conv_norm(config.in_channels, 3 * config.width, 3, style=ConvStyle(eps=config.eps), activation="none")
        self.stem = named_chain([*stem.named_children(), ("twice", Twice())])  # (N, 108, 32, 32)
        self.stages, channels = chain_cells(
            plan_layers(config), 3 * config.width, calibrated=True, eps=config.eps, drop_path=config.drop_path
        )
        first = f"layer_{2 * config.cells + 2}"  # of the last group
        if config.auxiliary:
            self.auxiliary[first] = auxiliary_head(channels[first], config)  # (N, num_classes)
        self.head = named_chain(
            [
                ("current", Current()),
                ("relu", nn.ReLU()),
                ("pool", nn.AdaptiveAvgPool2d(1)),
                ("flatten", nn.Flatten()),
                ("dropout", nn.Dropout(config.dropout)),
                ("fc", nn.Linear(channels[first], config.num_classes, bias=False)),
            ]
        )  # (N, num_classes)


def plan_layers(config: ENASConfig) -> list[Place]:
    """Every cell as a layer: (N, 180, 32, 32), from layer_5 (N, 360, 16, 16), from layer_11 (N, 720, 8, 8)."""
    plan: list[Place] = []
    for group in range(3):
        width = config.width * 2**group
        kinds = [(NORMAL, 1)] * config.cells
        for table, stride in [(REDUCTION, 2), *kinds] if group else kinds:
            plan.append(Place(f"layer_{len(plan)}", "cell", table, width, stride))
    return plan


def auxiliary_head(channels: int, config: ENASConfig) -> nn.Sequential:
    """Scores from a map near the end: (N, channels, H, W) -> (N, num_classes)."""
    return named_chain(
        [
            ("relu", nn.ReLU()),
            ("average", nn.AvgPool2d(5, 3)),  # of 8x8 pixels 2x2
            ("conv1", nn.Conv2d(channels, 128, 1, bias=False)),
            ("bn1", nn.BatchNorm2d(128, config.eps)),
            ("relu1", nn.ReLU()),
            ("conv2", SameConv2d(128, 768, 2, bias=False)),
            ("bn2", nn.BatchNorm2d(768, config.eps)),
            ("relu2", nn.ReLU()),
            ("pool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("fc", nn.Linear(768, config.num_classes, bias=False)),
        ]
    )
