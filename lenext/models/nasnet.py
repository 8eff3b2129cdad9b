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

from lenext.errors import UsageError
from lenext.models.cell_stack import CellStack, CellStackConfig
from lenext.models.cells import CellTable

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
class NASNetConfig(CellStackConfig):
    """N @ filters: `filters` channels behind the last cell.

    zeros: strided averages count the padding, as zeros.
    """

    filters: int
    zeros: bool = False

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


class NASNet(CellStack):
    """N @ filters: the last normal cells have filters / 6 channels a state."""

    config: NASNetConfig

    def __init__(self, config: NASNetConfig) -> None:
        width = config.filters // 24  # six states, after two doublings
        super().__init__(config, width, NORMAL, REDUCTION_WITH_ZEROS if config.zeros else REDUCTION)
