"""A block as a drawing: SVG text that reads on white and on black, the same bytes for the same graph.

Boxes bring their own light ground under dark letters; whatever stands outside them is the one grey that reads on both.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from lenext.explain.boxes import Box, Graph
from lenext.reporting.layering import layer_boxes
from lenext.reporting.plots import AXIS_COLOUR
from lenext.reporting.routing import Placed, Point, route_arrows

FONT = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
SIZE, SMALL, LINE = 13.0, 11.0, 17.0  # pixels: letters, letters of a shape, from line to line
PADDING, SIGN, MARGIN, CORNER, HEAD = 12.0, 26.0, 18.0, 7.0, 7.0  # pixels
TITLE_HEIGHT = 34.0
INK = "#1b1f23"
COLOURS = {  # ground and edge of a box by its kind
    "conv": ("#d8ecec", "#0b6e74"),
    "linear": ("#dfe3f7", "#4a58a8"),
    "norm": ("#ececec", "#767676"),
    "activation": ("#ececec", "#767676"),
    "pool": ("#f6e8cf", "#9a6a1f"),
    "gate": ("#f5dfe8", "#9b3d66"),
    "join": ("#ffffff", "#444a50"),
    "other": ("#ececec", "#767676"),
}
# Widths of letters in parts of the size, as DejaVu Sans has them, the widest of FONT: what fits in it fits in all
NARROW, WIDE = "fijlrtI.,:;/|()' ", "mwMWQGO@%+"
NARROW_WIDTH, WIDE_WIDTH, LETTER_WIDTH, BOLD = 0.42, 0.98, 0.66, 1.12


@dataclass(frozen=True)
class Drawing:
    """Where everything is: boxes in the graph's order, corners of its arrows in their order, size in pixels."""

    boxes: tuple[Placed, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def draw_block(graph: Graph, title: str) -> str:
    """The graph as an SVG document of its own, under a title."""
    drawing = arrange_boxes(graph, title)
    shapes = _changed_shapes(graph)
    width, height = _number(drawing.width), _number(drawing.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{FONT}" font-size="{_number(SIZE)}">',
        f"<title>{html.escape(title)}</title>",
        f"<desc>{html.escape(_description(graph))}</desc>",
        _text(drawing.width / 2, MARGIN + SIZE, title, fill=AXIS_COLOUR, weight=600),
    ]
    parts += [_arrow(route) for route in drawing.routes]
    parts += [_box(box, place, shape) for box, place, shape in zip(graph.boxes, drawing.boxes, shapes, strict=True)]
    return "\n".join([*parts, "</svg>", ""])


def arrange_boxes(graph: Graph, title: str = "") -> Drawing:
    """Where `draw_block` puts the boxes and the arrows, in pixels from the upper left corner."""
    sizes = [_size(box, shape) for box, shape in zip(graph.boxes, _changed_shapes(graph), strict=True)]
    layers = layer_boxes([width for width, _ in sizes], graph.arrows)
    signs = frozenset(n for n, box in enumerate(graph.boxes) if box.is_sign())
    placed, routes = route_arrows(layers, [height for _, height in sizes], signs)
    edges = [x for place in placed for x in (place.left, place.right)] + [x for route in routes for x, _ in route]
    left, right = min(edges), max(edges)
    width = max(right - left, text_width(title, SIZE, bold=True)) + 2 * MARGIN
    dx = (width - right - left) / 2
    dy = MARGIN + (TITLE_HEIGHT if title else 0.0)
    return Drawing(
        tuple(Placed(place.x + dx, place.y + dy, place.width, place.height) for place in placed),
        tuple(tuple((x + dx, y + dy) for x, y in route) for route in routes),
        width,
        max(place.bottom for place in placed) + dy + MARGIN,
    )


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Pixels that the text takes at most, in any of the fonts that a reader may have."""
    parts = (NARROW_WIDTH if c in NARROW else WIDE_WIDTH if c in WIDE else LETTER_WIDTH for c in text)
    return sum(parts) * size * (BOLD if bold else 1.0)


def _changed_shapes(graph: Graph) -> list[str]:
    """The shape of each box where it differs from what the box took, else ""; signs have no room for one."""
    shapes = []
    for number, box in enumerate(graph.boxes):
        before = {graph.boxes[one].shape for one in graph.before(number)}
        told = box.kind in ("input", "output") or (before != {box.shape} and not box.is_sign())
        shapes.append("x".join(str(side) for side in box.shape) if told else "")
    return shapes


def _size(box: Box, shape: str) -> tuple[float, float]:
    if box.is_sign():
        return SIGN, SIGN
    widths = [text_width(line, SIZE, bold=i == _main_line(box)) for i, line in enumerate(box.lines)]
    lines = len(box.lines) + bool(shape)
    frame = 0.0 if box.kind in ("input", "output") else PADDING
    return max([*widths, text_width(shape, SMALL)]) + 2 * frame, lines * LINE + 0.75 * frame


def _main_line(box: Box) -> int:
    """The line that names the box, which need not be the first: an activation may come before its convolution."""
    return next((i for i, line in enumerate(box.lines) if " conv, " in line), 0)


def _box(box: Box, place: Placed, shape: str) -> str:
    tip = f"<title>{html.escape(box.place)}</title>" if box.place else ""
    if box.is_sign():
        return f"<g>{tip}{_sign(box, place)}</g>"
    framed = box.kind not in ("input", "output")
    ground, edge = COLOURS[box.kind] if framed else ("", "")
    ink = INK if framed else AXIS_COLOUR
    parts = [tip]
    if framed:
        parts.append(
            f'<rect x="{_number(place.left)}" y="{_number(place.top)}" width="{_number(place.width)}" '
            f'height="{_number(place.height)}" rx="5" fill="{ground}" stroke="{edge}" stroke-width="1.2"/>'
        )
    lines = len(box.lines) + bool(shape)
    y = place.y - lines * LINE / 2 + LINE / 2 + SIZE * 0.36
    for i, line in enumerate(box.lines):
        parts.append(
            _text(place.x, y + i * LINE, line, fill=ink, weight=600 if i == _main_line(box) and framed else 400)
        )
    if shape:
        y += len(box.lines) * LINE
        parts.append(_text(place.x, y, shape, fill=INK if framed else AXIS_COLOUR, size=SMALL, faint=framed))
    return f"<g>{''.join(parts)}</g>"


def _sign(box: Box, place: Placed) -> str:
    ground, edge = COLOURS["join"]
    arm = SIGN * 0.2
    if box.lines[0] == "x":
        arm *= 0.8
        ends = [(-arm, -arm, arm, arm), (-arm, arm, arm, -arm)]
    else:
        ends = [(-arm, 0.0, arm, 0.0), (0.0, -arm, 0.0, arm)]
    if box.lines[0] not in ("x", "+"):
        sign = _text(place.x, place.y + SIZE * 0.36, box.lines[0], fill=INK)
    else:
        strokes = "".join(
            f"M{_number(place.x + a)} {_number(place.y + b)}L{_number(place.x + c)} {_number(place.y + d)}"
            for a, b, c, d in ends
        )
        sign = f'<path d="{strokes}" stroke="{INK}" stroke-width="1.8" fill="none"/>'
    circle = f'cx="{_number(place.x)}" cy="{_number(place.y)}" r="{_number(SIGN / 2)}"'
    return f'<circle {circle} fill="{ground}" stroke="{edge}" stroke-width="1.2"/>{sign}'


def _arrow(route: Sequence[Point]) -> str:
    """A line with round corners that ends in a head."""
    (x0, y0), (x1, y1) = route[-2:]
    length = abs(x1 - x0) + abs(y1 - y0)
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    stem = [*route[:-1], (x1 - dx * HEAD, y1 - dy * HEAD)]
    path = f"M{_point(stem[0])}"
    for before, corner, after in zip(stem, stem[1:], stem[2:], strict=False):
        radius = min(CORNER, _distance(before, corner) / 2, _distance(corner, after) / 2)
        path += (
            f"L{_point(_towards(corner, before, radius))}Q{_point(corner)} {_point(_towards(corner, after, radius))}"
        )
    path += f"L{_point(stem[-1])}"
    side = HEAD * 0.5
    foot = (x1 - dx * HEAD, y1 - dy * HEAD)
    corners = [(x1, y1), (foot[0] - dy * side, foot[1] + dx * side), (foot[0] + dy * side, foot[1] - dx * side)]
    head = " ".join(_point(corner) for corner in corners)
    return (
        f'<path d="{path}" fill="none" stroke="{AXIS_COLOUR}" stroke-width="1.4"/>'
        f'<polygon points="{head}" fill="{AXIS_COLOUR}"/>'
    )


def _distance(one: Point, other: Point) -> float:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])  # all lines are level or upright


def _towards(start: Point, goal: Point, by: float) -> Point:
    distance = _distance(start, goal) or 1.0
    return start[0] + (goal[0] - start[0]) * by / distance, start[1] + (goal[1] - start[1]) * by / distance


def _text(  # what SVG wants to know of a line
    x: float, y: float, text: str, *, fill: str, size: float = SIZE, weight: int = 400, faint: bool = False
) -> str:
    extra = (f' font-size="{_number(size)}"' if size != SIZE else "") + (
        f' font-weight="{weight}"' if weight != 400 else ""
    )
    extra += ' fill-opacity="0.75"' if faint else ""
    place = f'x="{_number(x)}" y="{_number(y)}"'
    return f'<text {place} text-anchor="middle" fill="{fill}"{extra}>{html.escape(text)}</text>'


def _point(point: Point) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(value: float) -> str:
    return f"{value + 0.0:.1f}".removesuffix(".0").replace("-0.0", "0")


def _description(graph: Graph) -> str:
    """The block in words for who cannot see it: each step, its shape and what it takes."""
    steps = []
    for number, box in enumerate(graph.boxes):
        taken = ", ".join(str(one + 1) for one in graph.before(number))
        shape = "x".join(str(side) for side in box.shape)
        steps.append(f"{number + 1}. {', '.join(box.lines)}" + (f" of {taken}" if taken else "") + f": {shape}")
    return "; ".join(steps)
