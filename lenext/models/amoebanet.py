"""AmoebaNet (Real, Aggarwal, Huang & Le 2018, "Regularized Evolution for Image Classifier Architecture Search", arXiv
1802.01548).

Cells that evolution found in NASNet's search space and larger ones, stacked as NASNet's: A (Figure 5), the
supplement's B and C, and D, chosen for speed on TPUs. The names give N, the normal cells of a group, and F, the
channels of a state in the first group; where a name says none, N is 6, of the mobile networks 4, 3 and 4.

There is no counterpart in torchvision or timm. The cells are those of the authors' release (tensorflow/tpu, which
trains D), in which
  1x7_7x1, 3x3          are bottlenecks: a quarter of the channels passes their filters
  odd widths            are refused where a factorised reduction makes them, as with F = 190, 50 and 62 in the second
                        reduction cell; here both of its halves are rounded down
  dil_2_separable_5x5_2 is not dilated, since no rate is read out of the name; here it is, at the same cost
  drop path             has one rate in all cells, which rises while training; here it rises over the cells to
                        `drop_path` as in NASNet, and stands at the end's
  auxiliary head        has 0.4 of NASNet's channels, here all of them
No release has the CIFAR-10 networks: a stem of 3F channels and the epsilon 1e-5 are NASNet's. The input of N = 6,
F = 448 is not in print; 299 pixels cost the printed 104 billion MACs, 331 would cost 126.

amoebanet_a_cifar_n2_f8 is not in the paper: two cells a group, 8 channels, no auxiliary head; it trains on two cores.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lenext.errors import UsageError
from lenext.models.cell_stack import CellStack, CellStackConfig
from lenext.models.cells import CellTable

# Normal and reduction cells: the state 0 is the current input, 1 the previous one, each line makes the next
# fmt: off
CELLS: Mapping[str, tuple[CellTable, CellTable]] = {
    "a": (
        CellTable(
            steps=(
                ("avg_pool_3x3",    0, "max_pool_3x3",    0),  # 2
                ("separable_3x3_2", 1, "none",            1),  # 3
                ("none",            0, "avg_pool_3x3",    1),  # 4
                ("separable_3x3_2", 0, "separable_5x5_2", 2),  # 5
                ("avg_pool_3x3",    5, "separable_3x3_2", 0),  # 6
            ),
            output=(1, 3, 4, 6),
        ),
        CellTable(
            steps=(
                ("separable_3x3_2", 1, "avg_pool_3x3",    0),
                ("max_pool_3x3",    0, "separable_7x7_2", 2),
                ("max_pool_3x3",    1, "max_pool_3x3",    0),
                ("separable_3x3_2", 4, "1x7_7x1",         0),
                ("avg_pool_3x3",    1, "separable_7x7_2", 0),
            ),
            output=(2, 3, 4, 5, 6),
        ),
    ),
    "b": (
        CellTable(
            steps=(
                ("1x1",             1, "max_pool_3x3",    1),
                ("none",            1, "separable_3x3_2", 0),
                ("1x1",             1, "separable_3x3_2", 0),
                ("1x1",             2, "none",            2),
                ("avg_pool_3x3",    1, "1x1",             5),
            ),
            output=(0, 3, 4, 6),
        ),
        CellTable(
            steps=(
                ("max_pool_2x2",          0, "max_pool_3x3",    0),
                ("none",                  2, "3x3",             1),
                ("dil_2_separable_5x5_2", 2, "max_pool_3x3",    2),
                ("none",                  3, "separable_3x3_2", 1),
                ("avg_pool_3x3",          4, "1x1",             3),
            ),
            output=(5, 6),
        ),
    ),
    "c": (
        CellTable(
            steps=(
                ("avg_pool_3x3",    0, "separable_3x3_2", 0),
                ("none",            0, "separable_3x3_2", 0),
                ("avg_pool_3x3",    2, "separable_3x3_2", 1),
                ("none",            0, "separable_3x3_2", 1),
                ("avg_pool_3x3",    3, "separable_3x3_2", 0),
            ),
            output=(1, 2, 4, 5, 6),
        ),
        CellTable(
            steps=(
                ("max_pool_3x3",    0, "max_pool_3x3",    0),
                ("separable_7x7_2", 2, "separable_3x3_2", 0),
                ("separable_7x7_2", 0, "max_pool_3x3",    1),
                ("separable_5x5_2", 4, "separable_5x5_2", 4),
                ("max_pool_3x3",    1, "separable_3x3_2", 1),
            ),
            output=(0, 2, 3, 4, 5, 6),
        ),
    ),
    "d": (
        CellTable(
            steps=(
                ("1x1",             1, "max_pool_3x3",    1),
                ("none",            1, "1x7_7x1",         0),
                ("1x1",             0, "1x7_7x1",         0),
                ("max_pool_3x3",    2, "none",            2),
                ("avg_pool_3x3",    1, "1x1",             5),
            ),
            output=(0, 3, 4, 6),
        ),
        CellTable(
            steps=(
                ("max_pool_2x2",    0, "max_pool_3x3",    0),
                ("none",            2, "3x3",             1),
                ("1x7_7x1",         2, "max_pool_3x3",    2),
                ("none",            3, "max_pool_2x2",    1),
                ("avg_pool_3x3",    2, "1x1",             3),
            ),
            output=(4, 5, 6),
        ),
    ),
}
# fmt: on


@dataclass(frozen=True, kw_only=True)
class AmoebaNetConfig(CellStackConfig):
    """cell: which pair of cells. width: F, the channels of a state in the first group of normal cells."""

    cell: Literal["a", "b", "c", "d"]
    cells: int = 6
    width: int
    stem_width: int = 32
    drop_path: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        least = 16 if self.stem == "imagenet" else 4
        if self.cells < 1 or self.width < least:
            raise UsageError(
                f"cannot build AmoebaNet with N = {self.cells}, F = {self.width}",
                why=f"its narrowest bottleneck has F / {least} channels, and a group has one cell or more",
                advice=f"cells={max(self.cells, 1)}, width={max(self.width, least)}",
            )


def _cifar(
    cell: Literal["a", "b"], width: int, cells: int = 6, auxiliary: int = 4, min_size: int = 9
) -> AmoebaNetConfig:
    """The network for CIFAR-10: the stem has three times the channels of the first states."""
    return AmoebaNetConfig(
        cell=cell, cells=cells, width=width, stem="cifar", stem_width=3 * width, auxiliary=auxiliary, eps=1e-5,
        dropout=0.0, num_classes=10, input_size=32, min_size=min_size,
    )  # fmt: skip


# fmt: off
VARIANTS = {
    # Table 2
    "amoebanet_a_n6_f190":     AmoebaNetConfig(cell="a", cells=6, width=190, auxiliary=6, input_size=331),
    "amoebanet_a_n6_f448":     AmoebaNetConfig(cell="a", cells=6, width=448, auxiliary=5, input_size=299),
    # The supplement
    "amoebanet_a_mobile":      AmoebaNetConfig(cell="a", cells=4, width=50),
    "amoebanet_b_mobile":      AmoebaNetConfig(cell="b", cells=3, width=62),
    "amoebanet_c_mobile":      AmoebaNetConfig(cell="c", cells=4, width=50),
    # The release
    "amoebanet_d_f256":        AmoebaNetConfig(cell="d", cells=6, width=256),
    # Table 1, and B of the supplement
    "amoebanet_a_cifar_f32":   _cifar("a", width=32),
    "amoebanet_a_cifar_f36":   _cifar("a", width=36),
    "amoebanet_b_cifar_f128":  _cifar("b", width=128),
    # Not in the paper
    "amoebanet_a_cifar_n2_f8": _cifar("a", width=8, cells=2, auxiliary=0, min_size=8),
}
# fmt: on

ALIASES: Mapping[str, str] = {}


class AmoebaNet(CellStack):
    """NASNet's stack of one of the four pairs of cells."""

    config: AmoebaNetConfig

    def __init__(self, config: AmoebaNetConfig) -> None:
        super().__init__(config, config.width, *CELLS[config.cell])
