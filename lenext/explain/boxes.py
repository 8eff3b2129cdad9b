"""A block as boxes and arrows: plain values that a drawing is made from. Imports no torch."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["input", "output", "conv", "linear", "norm", "activation", "pool", "gate", "join", "other"]

FOLDED: tuple[Kind, ...] = ("norm", "activation")  # follow what they act on into its box
HOSTS: tuple[Kind, ...] = ("conv", "linear", "norm", "activation")


@dataclass(frozen=True)
class Box:
    """One step of a block.

    lines: what it does, in the field's words; more than one where steps are folded into it. shape: of its output,
    without the batch: (C, H, W), or (features,). place: the dotted name of its module in the network, "" for a
    function. kind "join" has the one line "+", "x" or "concatenate".
    """

    kind: Kind
    lines: tuple[str, ...]
    shape: tuple[int, ...]
    place: str = ""

    def is_sign(self) -> bool:
        """Whether it is drawn as a sign in a circle: a sum or a product of tensors."""
        return self.kind == "join" and len(self.lines[0]) == 1


@dataclass(frozen=True)
class Graph:
    """A block: boxes in the order in which they run, inputs first, and arrows (from, to) as numbers of boxes."""

    name: str
    boxes: tuple[Box, ...]
    arrows: tuple[tuple[int, int], ...]

    def before(self, box: int) -> list[int]:
        """Numbers of the boxes whose output it takes, in the order of its arguments; one taken twice is there twice."""
        return [source for source, target in self.arrows if target == box]

    def after(self, box: int) -> list[int]:
        """Numbers of the boxes that take its output."""
        return [target for source, target in self.arrows if source == box]


def fold_boxes(graph: Graph, chains: Mapping[int, str] | None = None) -> Graph:
    """Write normalisation and activation as further lines of the box that they follow, as papers draw them.

    Only where nothing else reads what lies between. A sum's activation stays a box: it is what the block hands on.
    chains: the sequence that a box is of; each becomes one box, in as few lines as tell it.
    """
    chains = chains or {}
    host = dict(_hosts(graph, chains))
    root = {number: _first(number, host) for number in range(len(graph.boxes))}
    kept = [number for number in root if root[number] == number]
    new = {number: position for position, number in enumerate(kept)}
    boxes = []
    for number in kept:
        members = [graph.boxes[one] for one in root if root[one] == number]
        lines = [line for member in members for line in member.lines]
        main = next((member for member in members if member.kind not in FOLDED), members[0])
        place = chains.get(number, members[0].place)
        told = tuple(shorten(lines) if number in chains else lines)
        boxes.append(replace(main, lines=told, shape=members[-1].shape, place=place))
    arrows = [(new[root[a]], new[root[b]]) for a, b in graph.arrows if root[a] != root[b]]
    return Graph(graph.name, tuple(boxes), tuple(arrows))


def drop_unread(graph: Graph) -> Graph:
    """Leave out inputs that nothing reads, such as states that a step of a cell is handed and does not use."""
    kept = [n for n, box in enumerate(graph.boxes) if box.kind != "input" or graph.after(n)]
    new = {number: position for position, number in enumerate(kept)}
    return Graph(graph.name, tuple(graph.boxes[n] for n in kept), tuple((new[a], new[b]) for a, b in graph.arrows))


def shorten(lines: Sequence[str]) -> list[str]:
    """Tell a depthwise and a 1x1 convolution as a separable one, and what comes twice once."""
    told: list[str] = []
    for line in lines:
        depthwise = re.fullmatch(r"(\S+) depthwise conv, \d+(.*)", told[-1]) if told else None
        pointwise = re.fullmatch(r"1x1 conv, (\d+)", line)
        if depthwise and pointwise:
            told[-1] = f"{depthwise[1]} separable conv, {pointwise[1]}{depthwise[2]}"
        else:
            told.append(line)
    half = len(told) // 2
    return [*told[:half], "twice"] if half and told[:half] == told[half:] else told


def _hosts(graph: Graph, chains: Mapping[int, str]) -> Iterator[tuple[int, int]]:
    for number, box in enumerate(graph.boxes):
        before = graph.before(number)
        if len(before) != 1 or len(graph.after(before[0])) != 1:
            continue
        follows = box.kind in FOLDED and graph.boxes[before[0]].kind in HOSTS
        ours, theirs = chains.get(number), chains.get(before[0])
        if (follows and ours == theirs) or (ours is not None and ours == theirs):
            yield number, before[0]


def _first(number: int, host: dict[int, int]) -> int:
    while number in host:
        number = host[number]
    return number
