"""Cells found by search, built from tables: what NASNet and its successors have in common.

A cell has two inputs, the outputs of the two cells before it, and begins with two states made of them: 0 of the current
one and 1 of the previous one, both brought to the cell's width. Each step adds a state, the sum of two operations on
earlier states, and some of the states side by side are the cell's output. Along a chain of cells goes the pair
(current, previous).

A reduction cell strides the operations that read states 0 or 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lenext.models.cell_operations import NEVER_DROPPED, OPERATIONS, project, projected_width
from lenext.models.parts import DropPath, named_chain

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class CellTable:
    """The steps of a cell as (operation, state, operation, state), and the states of its output.

    The states 0 and 1 are the inputs, step i makes state i + 2.
    """

    steps: tuple[tuple[str, int, str, int], ...]
    output: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CellShape:
    """What differs from cell to cell of one table.

    width: channels of each state. channels: of the two inputs. stride: 2 in a reduction cell. previous_stride: 2 where
    the previous input is twice as large as the current one, behind a reduction, else 1; None in the first cell, which
    takes it as it comes. calibrated: the current input is brought to the width twice, as in ENAS. skip: hand on the
    previous input in place of the current one. eps: of batch normalisation. drop_path: rate at which an operation is
    dropped for whole images.
    """

    width: int
    channels: tuple[int, int]
    stride: int = 1
    previous_stride: int | None = 1
    calibrated: bool = False
    skip: bool = False
    eps: float = 1e-3
    drop_path: float = 0.0


class Step(nn.Module):
    """The sum of two operations, each on one of the states so far; only an operation on an input takes the stride."""

    def __init__(self, row: tuple[str, int, str, int], channels: list[int], shape: CellShape) -> None:
        super().__init__()
        left, self.left_state, right, self.right_state = row
        self.left, self.left_drop = make_operation(left, self.left_state, channels, shape)
        self.right, self.right_drop = make_operation(right, self.right_state, channels, shape)

    def forward(self, states: list[Tensor]) -> Tensor:
        """The next state, (N, width, H, W)."""
        left: Tensor = self.left_drop(self.left(states[self.left_state]))
        right: Tensor = self.right_drop(self.right(states[self.right_state]))
        return left + right


def make_operation(name: str, state: int, channels: list[int], shape: CellShape) -> tuple[nn.Module, nn.Module]:
    """An operation on a state, and what drops it; what may be an identity is never dropped."""
    operation = OPERATIONS[name](channels[state], shape.width, shape.stride if state < 2 else 1, shape.eps)
    return operation, nn.Identity() if name in NEVER_DROPPED else DropPath(shape.drop_path)


def bring_current(shape: CellShape) -> nn.Module:
    """What makes state 0 of the current input behind its ReLU."""
    once = project(shape.channels[0], shape.width, shape.eps)
    if not shape.calibrated:
        return once
    return named_chain(
        [("calibrate", once), ("relu", nn.ReLU()), ("base", project(shape.width, shape.width, shape.eps))]
    )


class Cell(nn.Module):
    """One cell of a table: the pair (current, previous) -> (output, current), or (output, previous) where it skips."""

    def __init__(self, table: CellTable, shape: CellShape) -> None:
        super().__init__()
        self.output, self.skip = table.output, shape.skip
        self.relu = nn.ReLU()
        self.current = bring_current(shape)
        self.previous, channels = None, [shape.width, shape.channels[1]]
        if shape.previous_stride == 2 or (shape.previous_stride == 1 and shape.channels[1] != shape.width):
            self.previous = project(shape.channels[1], shape.width, shape.eps, shape.previous_stride)
            channels[1] = projected_width(shape.width, shape.previous_stride)
        steps = []
        for row in table.steps:
            steps.append(Step(row, channels, shape))
            channels.append(shape.width)
        self.steps = nn.ModuleList(steps)
        # an input among the output takes the shape of the steps
        self.fit = nn.ModuleDict(
            {
                str(state): project(channels[state], shape.width, shape.eps, shape.stride)
                for state in table.output
                if state < 2 and (shape.stride == 2 or channels[state] != shape.width)
            }
        )
        fitted = projected_width(shape.width, shape.stride)
        self.channels = sum(fitted if str(state) in self.fit else shape.width for state in table.output)

    def forward(self, pair: Pair) -> Pair:
        """(N, channels, H, W) each -> (N, self.channels, H/stride, W/stride) and the input handed on.

        self.channels is the width for each state of the output, an odd one less for an input that a stride halves.
        """
        current, previous = pair
        states = [
            self.current(self.relu(current)),
            previous if self.previous is None else self.previous(self.relu(previous)),
        ]
        for step in self.steps:
            states.append(step(states))
        kept = [self.fit[str(i)](states[i]) if str(i) in self.fit else states[i] for i in self.output]
        return torch.cat(kept, 1), previous if self.skip else current


class Twice(nn.Module):
    """What comes before the first cell stands for both of its inputs."""

    def forward(self, x: Tensor) -> Pair:
        """x -> (x, x)."""
        return x, x


class Current(nn.Module):
    """What comes behind the last cell reads its output alone."""

    def forward(self, pair: Pair) -> Tensor:
        """(current, previous) -> current."""
        return pair[0]


class Place(NamedTuple):
    """Where a cell stands: the stage and its name there; its table, width, stride and whether it skips."""

    stage: str
    name: str
    table: CellTable
    width: int
    stride: int = 1
    skip: bool = False


def chain_cells(
    places: Sequence[Place], channels: int, *, calibrated: bool = False, eps: float, drop_path: float
) -> tuple[nn.Sequential, dict[str, int]]:
    """Cells behind a stem of `channels`: a chain of the stages, from pair to pair, and the channels behind each stage.

    The first cell takes its previous input as it comes, unless calibrated. Drop rates rise linearly over the cells to
    drop_path.
    """
    inputs, previous_stride = (channels, channels), 1 if calibrated else None
    stages: dict[str, list[tuple[str, nn.Module]]] = {}
    widths = {}
    for number, place in enumerate(places, start=1):
        shape = CellShape(
            width=place.width,
            channels=inputs,
            stride=place.stride,
            previous_stride=previous_stride,
            calibrated=calibrated,
            skip=place.skip,
            eps=eps,
            drop_path=drop_path * number / len(places),
        )
        cell = Cell(place.table, shape)
        stages.setdefault(place.stage, []).append((place.name, cell))
        widths[place.stage] = cell.channels
        inputs = (cell.channels, inputs[1 if place.skip else 0])
        previous_stride = place.stride
    return named_chain((stage, named_chain(cells)) for stage, cells in stages.items()), widths
