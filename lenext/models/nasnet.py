"""NASNet-A (Zoph et al. 2017, "Learning Transferable Architectures for Scalable Image Recognition", arXiv 1707.07012).

Figure 4's two cells, found on CIFAR-10, stacked as in Figure 2: N normal cells, a reduction cell, N normal cells, a
reduction cell, N normal cells; for ImageNet a 3x3 convolution of stride 2 and two more reduction cells come first. The
names of the paper say N and the filters behind the last cell: 6 @ 4032. The auxiliary head reads the cell before the
second reduction.

Not in print, and here as in the authors' release (TensorFlow's slim): SAME padding (the first convolution of ImageNet
VALID), whose pixels no average counts; the previous input of the first cell is the current one as it comes; every
operation but "none" is dropped at a rate that rises linearly over the cells to `drop_path`. Their ScheduledDropPath
also raises the rates while training; a network does not know its progress, so that the recipe does (`drop_path`).

Differences of popular code, and between the rows:
  nasnetalarge     timm's: no auxiliary head, and the strided averages of the reduction cells count the padding as zeros
  nasnet_a_large   as released; the auxiliary head's 6x6 convolution sees all of the map of a 331 image, that of other
                   sizes is averaged to 6x6. In both rows the cell behind a reduction reads the cell two before the
                   reduction (`skip`), in the others that right before it, as released
  nasnet_a_mobile  ports that pad symmetrically count 568 million MACs, the paper and SAME padding 564
  cifar_7_2304     32.6 million parameters by the released cells; the paper prints 27.6 (N = 6 would have 28.2)
  cifar_2_192      not in the paper: its CIFAR network with N = 2 and 8 channels a state at first, and no auxiliary
                   head, which would have fifteen times the parameters; it trains on two cores
  normalisation    eps 1e-3, for CIFAR 1e-5, as released; statistics are averaged over 10 steps, as in timm and in the
                   release for CIFAR, whose ImageNet networks average over 1 / 0.0003
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from lenext.errors import UsageError
from lenext.models.cells import Cell, CellShape, CellTable, Current, Twice
from lenext.models.classifier import Classifier, NetworkConfig
from lenext.models.parts import named_chain, pooled_linear

# Figure 4: the state 0 is the current input, 1 the previous one, each line makes the next
# fmt: off
NORMAL = CellTable(
    steps=(
        ("separable_5x5_2", 0, "separable_3x3_2", 1),  # 2
        ("separable_5x5_2", 1, "separable_3x3_2", 1),  # 3
        ("avg_pool_3x3",    0, "none",            1),  # 4
        ("avg_pool_3x3",    1, "avg_pool_3x3",    1),  # 5
        ("separable_3x3_2", 0, "none",            0),  # 6
    ),
    output=(1, 2, 3, 4, 5, 6),
)
REDUCTION = CellTable(
    steps=(
        ("separable_5x5_2", 0, "separable_7x7_2", 1),  # 2
        ("max_pool_3x3",    0, "separable_7x7_2", 1),  # 3
        ("avg_pool_3x3",    0, "separable_5x5_2", 1),  # 4
        ("none",            3, "avg_pool_3x3",    2),  # 5
        ("separable_3x3_2", 2, "max_pool_3x3",    0),  # 6
    ),
    output=(3, 4, 5, 6),
)
# fmt: on
ZEROS = ("avg_pool_3x3_zeros", *REDUCTION.steps[2][1:])
REDUCTION_WITH_ZEROS = CellTable((*REDUCTION.steps[:2], ZEROS, *REDUCTION.steps[3:]), REDUCTION.output)


@dataclass(frozen=True, kw_only=True)
class NASNetConfig(NetworkConfig):
    """N @ filters: three groups of N = `cells` normal cells, and `filters` channels behind the last.

    stem: "imagenet" is a convolution of stride 2 and two reduction cells, "cifar" a convolution alone. stem_width: its
    channels. skip: the cell behind a reduction reads the one two before the reduction, not that right before it. zeros:
    strided averages count the padding, as zeros. auxiliary: side of the map that the auxiliary head's convolution
    covers; 0 is no head.
    """

    min_size: int = 67  # the auxiliary head pools a map of 5x5
    cells: int
    filters: int
    stem: Literal["imagenet", "cifar"] = "imagenet"
    stem_width: int
    skip: bool = False
    zeros: bool = False
    auxiliary: int = 4
    eps: float = 1e-3
    dropout: float = 0.5
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        unit = 96 if self.stem == "imagenet" else 24
        if self.cells < 1 or self.filters < 1 or self.filters % unit:
            raise UsageError(
                f"cannot build NASNet {self.cells} @ {self.filters}",
                why=f"its first cells have filters / {unit} channels a state (a whole number) in groups of one or more",
                advice=f"cells=1 or more, filters={max(round(self.filters / unit), 1) * unit}",
            )


def _large(auxiliary: int, zeros: bool, min_size: int) -> NASNetConfig:
    """6 @ 4032 of Table 2."""
    return NASNetConfig(
        cells=6, filters=4032, stem_width=96, skip=True, zeros=zeros, auxiliary=auxiliary, drop_path=0.3,
        input_size=331, min_size=min_size,
    )  # fmt: skip


def _cifar(cells: int, filters: int, auxiliary: int, min_size: int) -> NASNetConfig:
    """N @ filters for CIFAR-10: the stem has three times the channels of the first states."""
    return NASNetConfig(
        cells=cells, filters=filters, stem="cifar", stem_width=filters // 8, auxiliary=auxiliary, eps=1e-5,
        dropout=0.0, drop_path=0.4, num_classes=10, input_size=32, min_size=min_size,
    )  # fmt: skip


# fmt: off
VARIANTS = {
    # Tables 2 and 3: N @ filters
    "nasnetalarge":          _large(auxiliary=0, zeros=True, min_size=64),
    "nasnet_a_large":        _large(auxiliary=6, zeros=False, min_size=67),
    "nasnet_a_mobile":       NASNetConfig(cells=4, filters=1056, stem_width=32),
    # Table 1
    "nasnet_a_cifar_6_768":  _cifar(6, 768, auxiliary=4, min_size=9),
    "nasnet_a_cifar_7_2304": _cifar(7, 2304, auxiliary=4, min_size=9),
    # Not in the paper
    "nasnet_a_cifar_2_192":  _cifar(2, 192, auxiliary=0, min_size=8),
}
# fmt: on

ALIASES = {"nasnetamobile": "nasnet_a_mobile"}


class NASNet(Classifier):
    """Figure 2's chain: `stem` is the first convolution, the stages are reduction cells and groups of normal cells."""

    config: NASNetConfig

    def __init__(self, config: NASNetConfig) -> None:
        super().__init__(config)
        self.stem = make_stem(config)
        channels, previous_stride = (config.stem_width, config.stem_width), None
        stages: dict[str, list[tuple[str, nn.Module]]] = {}
        plan, reduction = plan_cells(config), REDUCTION_WITH_ZEROS if config.zeros else REDUCTION
        for number, (stage, name, width) in enumerate(plan, start=1):
            table, stride = (NORMAL, 1) if stage.startswith("normal") else (reduction, 2)
            shape = CellShape(
                width=width,
                channels=channels,
                stride=stride,
                previous_stride=previous_stride,
                skip=config.skip and stage.startswith("reduction"),
                eps=config.eps,
                drop_path=config.drop_path * number / len(plan),
            )
            stages.setdefault(stage, []).append((name, Cell(table, shape)))
            channels = (width * len(table.output), channels[1 if shape.skip else 0])
            previous_stride = stride
        self.stages = named_chain((stage, named_chain(cells)) for stage, cells in stages.items())
        if config.auxiliary:
            self.auxiliary["normal_1"] = auxiliary_head(config.filters // 2, config)  # (N, num_classes)
        self.head = named_chain(
            [
                ("current", Current()),
                ("relu", nn.ReLU()),
                *pooled_linear(config.filters, config.num_classes, config.dropout).named_children(),
            ]
        )  # (N, num_classes)


def plan_cells(config: NASNetConfig) -> list[tuple[str, str, int]]:
    """Stage, name and channels of a state of each cell, in order; the normal cells are numbered through."""
    width = config.filters // 24  # six states, after two doublings
    plan = []
    if config.stem == "imagenet":  # shapes of nasnetalarge at 331
        plan += [("cell_stem_0", "cell", width // 4), ("cell_stem_1", "cell", width // 2)]  # (N, 336, 42, 42)
    for group in range(3):  # (N, 1008, 42, 42), (N, 2016, 21, 21), (N, 4032, 11, 11)
        if group:
            plan.append((f"reduction_{group - 1}", "cell", width * 2**group))
        numbers = range(group * config.cells, (group + 1) * config.cells)
        plan += [(f"normal_{group}", f"cell_{number}", width * 2**group) for number in numbers]
    return plan


def make_stem(config: NASNetConfig) -> nn.Sequential:
    """One 3x3 convolution: (N, in_channels, H, W) -> twice (N, stem_width, H, W), or (H - 1) // 2 for ImageNet."""
    stride, padding = (2, 0) if config.stem == "imagenet" else (1, 1)
    return named_chain(
        [
            ("conv", nn.Conv2d(config.in_channels, config.stem_width, 3, stride, padding, bias=False)),
            ("bn", nn.BatchNorm2d(config.stem_width, config.eps)),
            ("twice", Twice()),
        ]
    )


def auxiliary_head(channels: int, config: NASNetConfig) -> nn.Sequential:
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
