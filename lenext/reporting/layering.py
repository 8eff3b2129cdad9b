"""Where the boxes of a drawing go: ranks from top to bottom, an order in each, columns that keep chains straight.

After Sugiyama et al. 1981: the longest path gives the rank, an arrow over several ranks becomes a chain of narrow lanes
(so that it passes beside boxes and not through them), barycentres give the order. As in Brandes & Koepf 2001, what is
alone above and below one another shares a column. Same graph, same places: nothing is drawn by chance.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

LANE_WIDTH = 10.0  # of an arrow that passes a rank
GAP = 22.0  # between two neighbours in a rank
BROAD = 900.0  # pixels of boxes in a rank that fit a page
ORDER_SWEEPS, PULLS, PUSHES, POLISH = 12, 150, 8, 20  # enough for the largest cell: more change nothing to see


@dataclass
class Layers:
    """Boxes and lanes by rank. Numbers below `boxes` are boxes, the others lanes.

    ranks: of each number; order: numbers of each rank from left to right; x: middle of each number in pixels;
    segments: pairs of numbers in neighbouring ranks; chains: of each arrow, its numbers from box to box.
    """

    boxes: int
    widths: list[float]
    ranks: list[int]
    order: list[list[int]] = field(default_factory=list)
    x: list[float] = field(default_factory=list)
    segments: list[tuple[int, int]] = field(default_factory=list)
    chains: list[list[int]] = field(default_factory=list)

    def above(self, number: int) -> list[int]:
        """What ends in the number, one rank higher."""
        return [a for a, b in self.segments if b == number]

    def below(self, number: int) -> list[int]:
        """Where the number leads, one rank lower."""
        return [b for a, b in self.segments if a == number]

    def is_box(self, number: int) -> bool:
        """Whether it is a box, not a lane."""
        return number < self.boxes


def layer_boxes(widths: Sequence[float], arrows: Sequence[tuple[int, int]]) -> Layers:
    """Find rank, order and x of boxes of these widths, numbered so that every arrow goes to a higher number."""
    early = _earliest(len(widths), arrows)
    late = _latest(early, arrows)
    layers = Layers(len(widths), list(widths), _choose_ranks(widths, arrows, early, late))
    ranks = list(layers.ranks)  # the layers' own grow by lanes
    lanes: dict[tuple[int, int], int] = {}  # what leaves one box shares a lane as far as it can
    for a, b in arrows:
        chain = [a]
        for rank in range(ranks[a] + 1, ranks[b]):
            if (a, rank) not in lanes:
                lanes[a, rank] = len(layers.widths)
                layers.widths.append(LANE_WIDTH)
                layers.ranks.append(rank)
            chain.append(lanes[a, rank])
        layers.chains.append([*chain, b])
        layers.segments += [segment for segment in itertools.pairwise([*chain, b]) if segment not in layers.segments]
    _sort_ranks(layers)
    critical = {n for n in range(len(widths)) if early[n] == late[n]}
    _place_columns(layers, _columns(layers, critical))
    return layers


def _earliest(count: int, arrows: Sequence[tuple[int, int]]) -> list[int]:
    """The highest rank of each box that is below what it takes."""
    ranks = [0] * count
    for a, b in sorted(arrows, key=lambda arrow: arrow[1]):
        ranks[b] = max(ranks[b], ranks[a] + 1)
    return ranks


def _latest(ranks: Sequence[int], arrows: Sequence[tuple[int, int]]) -> list[int]:
    """The lowest rank of each box that is above what takes it."""
    late = [max(ranks)] * len(ranks)
    for a, b in sorted(arrows, key=lambda arrow: -arrow[0]):
        late[a] = min(late[a], late[b] - 1)
    return late


def _choose_ranks(
    widths: Sequence[float], arrows: Sequence[tuple[int, int]], early: list[int], late: list[int]
) -> list[int]:
    """Branches begin side by side as in the papers; where that is too broad, the shorter ones half way down."""
    across = [sum(width for width, other in zip(widths, early, strict=True) if other == rank) for rank in set(early)]
    if max(across) <= BROAD:
        return early
    firsts = {a for a, _ in arrows} - {b for _, b in arrows}
    return [0 if n in firsts else (early[n] + late[n]) // 2 for n in range(len(widths))]


def _sort_ranks(layers: Layers) -> None:
    """Order each rank by the barycentres of its neighbours, up and down in turn; the fewest crossings win."""
    order: list[list[int]] = [[] for _ in range(max(layers.ranks) + 1)]
    for number, rank in enumerate(layers.ranks):  # lanes come last, hence to the right of equal boxes
        order[rank].append(number)
    best, fewest = [list(rank) for rank in order], _crossings(order, layers)
    for sweep in range(ORDER_SWEEPS):
        down = sweep % 2 == 0
        sequence = range(1, len(order)) if down else range(len(order) - 2, -1, -1)
        for rank in sequence:
            fixed = {n: i for i, n in enumerate(order[rank - 1 if down else rank + 1])}
            order[rank] = _by_barycentre(order[rank], fixed, layers, down)
        _swap_neighbours(order, layers)
        crossings = _crossings(order, layers)
        if crossings < fewest:
            best, fewest = [list(rank) for rank in order], crossings
    layers.order = best


def _by_barycentre(rank: list[int], fixed: dict[int, int], layers: Layers, down: bool) -> list[int]:
    middle = {}
    for i, number in enumerate(rank):
        places = [fixed[other] for other in (layers.above(number) if down else layers.below(number))]
        middle[number] = sum(places) / len(places) if places else float(i)
    return sorted(rank, key=lambda number: middle[number])


def _swap_neighbours(order: list[list[int]], layers: Layers) -> None:
    for rank in order:
        for i in range(len(rank) - 1):
            before = _crossings(order, layers)
            rank[i], rank[i + 1] = rank[i + 1], rank[i]
            if _crossings(order, layers) >= before:
                rank[i], rank[i + 1] = rank[i + 1], rank[i]


def _crossings(order: list[list[int]], layers: Layers) -> int:
    place = {number: i for rank in order for i, number in enumerate(rank)}
    by_rank: list[list[tuple[int, int]]] = [[] for _ in order]
    for a, b in layers.segments:
        by_rank[layers.ranks[a]].append((place[a], place[b]))
    return sum((a - c) * (b - d) < 0 for ends in by_rank for i, (a, b) in enumerate(ends) for c, d in ends[i + 1 :])


def _columns(layers: Layers, critical: set[int]) -> list[int]:
    """The column of each number: a chain shares one, and no two columns cross."""
    place = {number: i for rank in layers.order for i, number in enumerate(rank)}
    wanted = [(a, b) for a, b in layers.segments if _partner(layers, a, b, critical)]
    lanes_first = sorted(wanted, key=lambda s: (layers.is_box(s[0]) + layers.is_box(s[1]), place[s[0]], place[s[1]]))
    taken: list[tuple[int, int]] = []
    for a, b in lanes_first:
        beside = [(c, d) for c, d in taken if layers.ranks[c] == layers.ranks[a]]
        if all(c != a and d != b and (place[c] - place[a]) * (place[d] - place[b]) > 0 for c, d in beside):
            taken.append((a, b))
    column = list(range(len(layers.widths)))
    for a, b in sorted(taken, key=lambda segment: layers.ranks[segment[0]]):
        column[b] = column[a]
    return column


def _partner(layers: Layers, a: int, b: int, critical: set[int]) -> bool:
    return _main(layers, layers.below(a), critical) == b and _main(layers, layers.above(b), critical) == a


def _main(layers: Layers, others: list[int], critical: set[int]) -> int | None:
    """Which of a box's neighbours on one side goes straight on: the only one, or of two boxes the longer branch."""
    if len(others) == 1:
        return others[0]
    boxes = [number for number in others if layers.is_box(number)]
    if len(boxes) == 1 and len(others) == 2:
        return boxes[0]
    longer = [number for number in boxes if number in critical]
    return longer[0] if len(boxes) == 2 == len(others) and len(longer) == 1 else None


def _place_columns(layers: Layers, column: list[int]) -> None:
    """Pull each column towards what it is joined to; those that come too near push each other apart alike."""
    limits = _limits(layers, column)
    pulls = _pulls(layers, column)
    x = dict.fromkeys(column, 0.0)
    for _ in range(PULLS):
        wishes = {c: _wish(x, pulls[c], x[c]) for c in x}
        x = {c: (x[c] + wishes[c]) / 2 for c in x}
        for _ in range(PUSHES):
            for (one, other), room in limits.items():
                missing = room - (x[other] - x[one])
                if missing > 0:
                    x[one], x[other] = x[one] - missing / 2, x[other] + missing / 2
    for _ in x:  # at most as many passes as columns push one another
        for (one, other), room in limits.items():
            x[other] = max(x[other], x[one] + room)
    for sweep in range(POLISH):
        for c in sorted(x, key=x.__getitem__, reverse=sweep % 2 == 0):
            low = max((x[one] + room for (one, other), room in limits.items() if other == c), default=-math.inf)
            high = min((x[other] - room for (one, other), room in limits.items() if one == c), default=math.inf)
            x[c] = max(low, min(high, _wish(x, pulls[c], x[c])))
    layers.x = [round(x[c], 2) for c in column]


def _limits(layers: Layers, column: list[int]) -> dict[tuple[int, int], float]:
    """How far apart two columns that are neighbours anywhere must be."""
    limits: dict[tuple[int, int], float] = {}
    for rank in layers.order:
        for one, other in itertools.pairwise(rank):
            room = (layers.widths[one] + layers.widths[other]) / 2 + GAP
            pair = column[one], column[other]
            limits[pair] = max(room, limits.get(pair, 0.0))
    return limits


def _pulls(layers: Layers, column: list[int]) -> dict[int, list[tuple[int, float]]]:
    """The columns that each one is joined to, with a weight: less for long lanes, and for what fans in or out."""
    pulls: dict[int, list[tuple[int, float]]] = {c: [] for c in column}
    for chain in layers.chains:
        length = max(len(chain) - 2, 1)
        for a, b in itertools.pairwise(chain):
            weight = 1.0 / (length * max(len(layers.below(a)), len(layers.above(b))) ** 2)
            if column[a] != column[b]:
                pulls[column[a]].append((column[b], weight))
                pulls[column[b]].append((column[a], weight))
    return pulls


def _wish(x: dict[int, float], pulls: list[tuple[int, float]], here: float) -> float:
    total = sum(weight for _, weight in pulls)
    return sum(x[other] * weight for other, weight in pulls) / total if total else here
