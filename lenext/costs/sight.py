"""What the places of a tensor see of the image: intervals of pixels, and how operators move, join and mix them.

Along a side of the image a place i sees the pixels from low + i * jump to high + i * jump (Araujo et al. 2019: jump
is their effective stride, -low their effective padding). A tensor's places may lie in any of its dimensions,
several sides in one dimension after a reshape, or in none, where it has seen the side as a whole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

Dim = tuple[tuple[int, int], ...]  # sides of the image along one dimension as (side, places), outermost first; -1: none


class Unknown(Exception):  # noqa: N818  # no error: the layer is reported as not known
    """The rule of an operator does not hold for what it was given."""


@dataclass(frozen=True)
class Span:
    """Pixels from `low` to `high` for place 0, and `jump` further on for each later one; jump 0 is for all alike."""

    jump: int
    low: int
    high: int

    def slide(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Span":
        """See through a window that goes over the places."""
        first = self.low - padding * self.jump
        return Span(self.jump * stride, first, first + self.high - self.low + dilation * (kernel - 1) * self.jump)

    def whole(self, places: int) -> "Span":
        """See all the places at once."""
        return Span(0, self.low, self.high + (places - 1) * self.jump)

    def at(self, place: int) -> "Span":
        """See one place."""
        return Span(0, self.low + place * self.jump, self.high + place * self.jump)

    def union(self, other: "Span") -> "Span":
        """Least interval around both."""
        return Span(self.jump, min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class Sight:
    """What a tensor sees: for each dimension the sides along it, () for none; for each side its span.

    gates: the modules where places have learnt of the whole image, beside what their spans tell.
    unknown: operators on the way whose rule is not known; spans mean nothing then.
    """

    dims: tuple[Dim, ...]
    spans: tuple[Span, ...]
    gates: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def moving(self) -> dict[int, int]:
        """The dimension in which each side's places lie, for the sides that still have some."""
        return {side: number for number, dim in enumerate(self.dims) for side, _ in dim if side >= 0}


def see_image(size: Sequence[int]) -> Sight:
    """An image (1, C, *sides) sees itself."""
    sides = size[2:]
    return Sight(((), (), *(((side, n),) for side, n in enumerate(sides))), (Span(1, 0, 0),) * len(sides))


def see_whole(sight: Sight, dims: Iterable[int]) -> Sight:
    """Give up the places along some dimensions: each remaining place sees all of them."""
    chosen = {dim % len(sight.dims) for dim in dims}
    spans = list(sight.spans)
    for dim in chosen:
        for side, places in sight.dims[dim]:
            if side >= 0:
                spans[side] = spans[side].whole(places)
    kept = tuple(() if number in chosen else dim for number, dim in enumerate(sight.dims))
    return replace(sight, dims=kept, spans=tuple(spans))


def reduce(sight: Sight, dims: Iterable[int], keep: bool) -> Sight:
    """Sum or average over dimensions."""
    chosen = {dim % len(sight.dims) for dim in dims}
    sight = see_whole(sight, chosen)
    return sight if keep else replace(sight, dims=tuple(d for n, d in enumerate(sight.dims) if n not in chosen))


def mix(sight: Sight, dims: Iterable[int], place: str) -> Sight:
    """Let places keep their own values and learn of all along some dimensions, as normalisation and softmax do."""
    return join([sight, see_whole(sight, dims)], place)


def slide(sight: Sight, windows: Sequence[tuple[int, int, int, int]]) -> Sight:
    """Slide windows (kernel, stride, padding, dilation) along the last dimensions; the new lengths are unknown yet."""
    spans = list(sight.spans)
    for dim, window in zip(sight.dims[-len(windows) :], windows, strict=True):
        if len(dim) > 1:
            raise Unknown
        for side, _ in dim:
            spans[side] = spans[side].slide(*window)
    return replace(sight, spans=tuple(spans))


def resize(sight: Sight, size: Sequence[int]) -> Sight:
    """Write down the numbers of places of a result of shape `size`."""
    if len(sight.dims) != len(size):
        raise Unknown
    dims = []
    for dim, length in zip(sight.dims, size, strict=True):
        if len(dim) > 1 and prod(places for _, places in dim) != length:
            raise Unknown
        dims.append(dim if len(dim) > 1 else tuple((side, length) for side, _ in dim))
    return replace(sight, dims=tuple(dims))


def join(sights: Sequence[Sight], place: str = "") -> Sight:
    """What a sum, a product or a concatenation sees of tensors with the same dimensions: the union.

    Where one has places along a side and another has seen the side as a whole, `place` is a gate. Sides in different
    dimensions or at different jumps raise Unknown.
    """
    first = sights[0]
    gates = dict.fromkeys(gate for sight in sights for gate in sight.gates)
    dims: list[Dim] = [
        next((dim for dim in alternatives if dim), ()) for alternatives in zip(*(s.dims for s in sights), strict=True)
    ]
    spans = []
    for side in range(len(first.spans)):
        moving = [sight for sight in sights if side in sight.moving()]
        if len({(s.moving()[side], s.dims[s.moving()[side]], s.spans[side].jump) for s in moving}) > 1:
            raise Unknown
        if moving and len(moving) < len(sights):
            gates[place] = None
        span = (moving or sights)[0].spans[side]
        for sight in moving or sights:
            span = span.union(sight.spans[side])
        spans.append(span)
    joined = Sight(tuple(dims), tuple(spans), tuple(gates))
    if sum(side >= 0 for dim in dims for side, _ in dim) != len(joined.moving()):  # one side in two dimensions
        raise Unknown
    return joined


def broadcast(sight: Sight, shape: Sequence[int], to: Sequence[int]) -> Sight:
    """Bring a tensor of `shape` to the dimensions of `to`; a single place that is repeated is one that all see."""
    missing = len(to) - len(shape)
    repeated = [number for number, length in enumerate(shape) if length == 1 != to[number + missing]]
    sight = see_whole(sight, repeated)
    return replace(sight, dims=((),) * missing + sight.dims)


def regroup(sight: Sight, shape: Sequence[int], to: Sequence[int]) -> Sight:
    """Reshape: dimensions may merge and part again between sides, and not within one."""
    single = {number for number, dim in enumerate(sight.dims) if dim and prod(places for _, places in dim) == 1}
    sight = see_whole(sight, single)
    factors: list[tuple[int, int]] = []  # (side or -1, length)
    for along, length in zip(sight.dims, shape, strict=True):
        factors += along or [(-1, length)]
    factors = [factor for factor in factors if factor[1] != 1 or factor[0] >= 0]
    dims: list[Dim] = []
    for length in to:
        dim: list[tuple[int, int]] = []
        left = length
        while left > 1:
            side, places = factors.pop(0)
            if left % places == 0:
                left //= places
            elif side < 0 and places % left == 0:
                factors.insert(0, (-1, places // left))
                places, left = left, 1
            else:
                raise Unknown
            dim.append((side, places))
        dims.append(tuple(dim) if any(side >= 0 for side, _ in dim) else ())
    return replace(sight, dims=tuple(dims))
