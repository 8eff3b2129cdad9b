"""How the arrows of a drawing run: down, across between two ranks, down again; into a sum from its side."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lenext.reporting.layering import Layers

RANK_GAP, TRACK_GAP = 34.0, 11.0  # pixels between two ranks; more for each further track across
CLEAR = 6.0  # pixels between an arrow and a box that it passes
STRAIGHT = 4.0  # what stands this little aside is moved

Point = tuple[float, float]


@dataclass(frozen=True)
class Placed:
    """A box of the drawing: its middle and size in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Right edge."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """Upper edge."""
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.y + self.height / 2


@dataclass
class _Net:
    """Arrows from one place into the gap below a rank that share the way across."""

    start: float
    ends: list[float] = field(default_factory=list)
    level: int = 0

    def span(self) -> tuple[float, float]:
        return min(self.start, *self.ends), max(self.start, *self.ends)


def route_arrows(
    layers: Layers, heights: Sequence[float], signs: frozenset[int]
) -> tuple[list[Placed], list[list[Point]]]:
    """Place the boxes in both directions and give each arrow its corners, from the box it leaves to the box it enters.

    heights: of the boxes; signs: those drawn as circles. A box that several arrows enter is as wide as they are apart.
    """
    _straighten(layers)
    ends = _ends(layers, signs)
    nets = _nets(layers, ends)
    tops, bottoms = _bands(layers, heights, nets)
    placed = []
    for n in range(layers.boxes):
        left, right = _extent(layers, n, signs)
        rank = layers.ranks[n]
        placed.append(Placed((left + right) / 2, (tops[rank] + bottoms[rank]) / 2, right - left, heights[n]))
    routes = [_route(layers, chain, placed, (tops, bottoms), (ends, nets)) for chain in layers.chains]
    return placed, routes


def _straighten(layers: Layers) -> None:
    """Move what stands a little aside of the only thing above it right below it."""
    for rank in layers.order[1:]:
        for number in rank:
            above = layers.above(number)
            if len(above) == 1 and abs(layers.x[above[0]] - layers.x[number]) <= STRAIGHT:
                layers.x[number] = layers.x[above[0]]


def _extent(layers: Layers, number: int, signs: frozenset[int]) -> tuple[float, float]:
    """Left and right edge of a box, stretched over what enters it as far as its neighbours leave room."""
    x, half = layers.x[number], layers.widths[number] / 2
    left, right = x - half, x + half
    above = layers.above(number)
    if number in signs or len(above) < 2:
        return left, right
    rank = layers.order[layers.ranks[number]]
    i = rank.index(number)
    first = min(left, min(layers.x[other] for other in above) - half / 2)
    last = max(right, max(layers.x[other] for other in above) + half / 2)
    if i > 0:
        first = max(first, min(left, layers.x[rank[i - 1]] + layers.widths[rank[i - 1]] / 2 + 3 * CLEAR))
    if i + 1 < len(rank):
        last = min(last, max(right, layers.x[rank[i + 1]] - layers.widths[rank[i + 1]] / 2 - 3 * CLEAR))
    return first, last


@dataclass(frozen=True)
class _End:
    """Where a segment enters what is below it: x, and whether by the side of a circle."""

    x: float
    side: bool = False


def _ends(layers: Layers, signs: frozenset[int]) -> dict[tuple[int, int], _End]:
    found: dict[tuple[int, int], _End] = {}
    for number in range(len(layers.widths)):
        above = sorted(set(layers.above(number)), key=lambda one: layers.x[one])
        if number in signs:
            entries = _sign_entries(layers, number, above)
        elif len(above) > 1 and layers.is_box(number):
            entries = _bar_entries(layers, number, above, signs)
        else:
            entries = [_End(layers.x[number]) for _ in above]
        found |= {(one, number): entry for one, entry in zip(above, entries, strict=True)}
    return found


def _sign_entries(layers: Layers, number: int, above: list[int]) -> list[_End]:
    """From straight above into the top; from elsewhere into the side, where only one comes and nothing is between."""
    x = layers.x[number]
    straight = [layers.x[one] == x for one in above]
    entries = []
    for one, is_straight in zip(above, straight, strict=True):
        same_side = [o for o in above if (layers.x[o] - x) * (layers.x[one] - x) > 0]
        alone = len(same_side) == 1 or (not any(straight) and one in (above[0], above[-1]))
        entries.append(_End(x, side=not is_straight and alone and _is_free(layers, number, layers.x[one])))
    return entries


def _is_free(layers: Layers, number: int, x: float) -> bool:
    low, high = sorted((layers.x[number], x))
    return not any(
        low < layers.x[other] + layers.widths[other] / 2 + CLEAR
        and layers.x[other] - layers.widths[other] / 2 - CLEAR < high
        for other in layers.order[layers.ranks[number]]
        if other != number and layers.is_box(other)
    )


def _bar_entries(layers: Layers, number: int, above: list[int], signs: frozenset[int]) -> list[_End]:
    left, right = _extent(layers, number, signs)
    inside = [left + 2 * CLEAR <= layers.x[one] <= right - 2 * CLEAR for one in above]
    if all(inside):
        return [_End(layers.x[one]) for one in above]
    step = (right - left) / (len(above) + 1)
    return [_End(left + step * (i + 1)) for i in range(len(above))]


def _nets(layers: Layers, ends: Mapping[tuple[int, int], _End]) -> dict[int, _Net]:
    """The ways across below each number that has any, with the level of each in its gap."""
    nets: dict[int, _Net] = {}
    for (a, _), end in ends.items():
        if not end.side and end.x != layers.x[a]:
            nets.setdefault(a, _Net(layers.x[a])).ends.append(end.x)
    for rank in range(len(layers.order)):
        gap = _fewest_overlaps([net for a, net in nets.items() if layers.ranks[a] == rank])
        for i, net in enumerate(gap):
            higher = [o.level + 1 for o in gap[:i] if o.span()[0] <= net.span()[1] and net.span()[0] <= o.span()[1]]
            net.level = max(higher, default=0)
    return nets


def _fewest_overlaps(nets: list[_Net]) -> list[_Net]:
    """Order from the top down so that few ways down meet ways across, by swapping neighbours while that helps."""
    nets = sorted(nets, key=lambda net: net.start)
    for _ in nets:
        for i in range(len(nets) - 1):
            one, other = nets[i], nets[i + 1]
            if _meetings(other, one) < _meetings(one, other):
                nets[i], nets[i + 1] = other, one
    return nets


def _meetings(upper: _Net, lower: _Net) -> int:
    first, last = lower.span()
    return sum(first <= x <= last for x in upper.ends) + (upper.span()[0] <= lower.start <= upper.span()[1])


def _bands(layers: Layers, heights: Sequence[float], nets: Mapping[int, _Net]) -> tuple[list[float], list[float]]:
    """Top and bottom of each rank."""
    tops, bottoms, y = [], [], 0.0
    for rank, numbers in enumerate(layers.order):
        tops.append(y)
        y += max(heights[n] for n in numbers if layers.is_box(n))
        bottoms.append(y)
        levels = [net.level for a, net in nets.items() if layers.ranks[a] == rank]
        y += RANK_GAP + TRACK_GAP * max(levels, default=0)
    return tops, bottoms


def _route(
    layers: Layers,
    chain: list[int],
    placed: list[Placed],
    bands: tuple[list[float], list[float]],
    ways: tuple[Mapping[tuple[int, int], _End], Mapping[int, _Net]],
) -> list[Point]:
    (_, bottoms), (ends, nets) = bands, ways
    source, target = placed[chain[0]], placed[chain[-1]]
    x = layers.x[chain[0]]
    points = [(x, source.bottom)]
    for a, b in itertools.pairwise(chain):
        end = ends[a, b]
        if end.side:
            edge = target.left if x < target.x else target.right
            return [*points, (x, target.y), (edge, target.y)]
        if end.x != x:
            y = bottoms[layers.ranks[a]] + RANK_GAP * 0.42 + TRACK_GAP * nets[a].level
            points += [(x, y), (end.x, y)]
        x = end.x
    return [*points, (x, target.top)]
