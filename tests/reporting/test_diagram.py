"""The drawing of a block: nothing over anything, arrows from box to box, the same bytes again."""

import functools
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import pytest
import torch
from PIL import ImageFont

from lenext.explain.boxes import Box, Graph
from lenext.explain.graph import trace_block
from lenext.models.catalog import build
from lenext.reporting.diagram import COLOURS, INK, SIZE, Drawing, arrange_boxes, draw_block, text_width
from lenext.reporting.layering import layer_boxes
from lenext.reporting.plots import AXIS_COLOUR
from lenext.reporting.routing import Placed

SVG = "{http://www.w3.org/2000/svg}"
BLOCKS = [
    ("resnet50", "stages.conv3_x.0", None),
    ("resnet50", "stages.conv3_x", None),
    ("googlenet", "stages.3a", None),
    ("inception_v3", "stages.7b", None),
    ("inception_resnet_v2", "stages.inception_resnet_a.0", None),
    ("densenet121", "stages.block1", None),
    ("mobilenetv3_large_100", "stages.3.1", None),
    ("mobilenetv3_large_100", "stages.3.1.layers.squeeze", None),
    ("nasnet_a_mobile", "stages.normal_1.cell_5", 2),
    ("nasnet_a_mobile", "stages.reduction_1.cell", 2),
    ("nasnet_a_mobile", "stages.reduction_1.cell", None),
    ("vgg16", "head", None),
]
block = pytest.mark.parametrize(("name", "place", "depth"), BLOCKS)


@functools.cache
def traced(name: str, place: str, depth: int | None) -> Graph:
    with torch.device("meta"):
        model = build(name)
    side = model.config.input_size
    return trace_block(model, place, (3, side, side), depth=depth)


@functools.cache
def arranged(name: str, place: str, depth: int | None) -> Drawing:
    return arrange_boxes(traced(name, place, depth), "a title")


def overlap(one: Placed, other: Placed, room: float = 0.0) -> bool:
    return (
        one.left - room < other.right
        and other.left - room < one.right
        and one.top - room < other.bottom
        and other.top - room < one.bottom
    )


@block
def test_boxes_stand_apart_and_inside_the_drawing(name: str, place: str, depth: int | None) -> None:
    drawing = arranged(name, place, depth)
    for one, other in itertools.combinations(drawing.boxes, 2):
        assert not overlap(one, other, room=10.0)
    for box in drawing.boxes:
        assert box.left >= 10 <= box.top
        assert box.right <= drawing.width - 10
        assert box.bottom <= drawing.height - 10


@block
def test_arrows_pass_beside_boxes_and_never_through_them(name: str, place: str, depth: int | None) -> None:
    graph, drawing = traced(name, place, depth), arranged(name, place, depth)
    for route, (source, target) in zip(drawing.routes, graph.arrows, strict=True):
        for (x0, y0), (x1, y1) in itertools.pairwise(route):
            assert x0 == x1 or y0 == y1, "level or upright"
            line = Placed((x0 + x1) / 2, (y0 + y1) / 2, abs(x1 - x0), abs(y1 - y0))
            for number, box in enumerate(drawing.boxes):
                if number not in (source, target):
                    assert not overlap(line, box, room=2.0), (graph.boxes[number], route)


@block
def test_arrows_go_from_their_box_to_their_box(name: str, place: str, depth: int | None) -> None:
    graph, drawing = traced(name, place, depth), arranged(name, place, depth)
    for route, (source, target) in zip(drawing.routes, graph.arrows, strict=True):
        start, end = drawing.boxes[source], drawing.boxes[target]
        assert start.left < route[0][0] < start.right
        assert route[0][1] == pytest.approx(start.bottom)
        if graph.boxes[target].is_sign():
            reach = max(abs(route[-1][0] - end.x), abs(route[-1][1] - end.y))
            assert reach == pytest.approx(end.width / 2, abs=0.1)
        else:
            assert end.left < route[-1][0] < end.right
            assert route[-1][1] == pytest.approx(end.top)
        assert all(a[1] <= b[1] + 1e-6 for a, b in itertools.pairwise(route)), "data flows down"


@block
def test_what_comes_from_two_boxes_never_shares_a_line(name: str, place: str, depth: int | None) -> None:
    graph, drawing = traced(name, place, depth), arranged(name, place, depth)
    lines = [
        (arrow, line)
        for arrow, route in zip(graph.arrows, drawing.routes, strict=True)
        for line in itertools.pairwise(route)
    ]
    for (one, (a, b)), (other, (c, d)) in itertools.combinations(lines, 2):
        if one[0] == other[0] or one[1] == other[1]:
            continue
        for along, across in ((0, 1), (1, 0)):
            level = a[across] == b[across] and c[across] == d[across] and abs(a[across] - c[across]) < 3
            shared = min(max(a[along], b[along]), max(c[along], d[along])) - max(
                min(a[along], b[along]), min(c[along], d[along])
            )
            assert not (level and shared > 3), (one, other, a, b, c, d)


@block
def test_texts_fit_their_boxes(name: str, place: str, depth: int | None) -> None:
    root = ET.fromstring(draw_block(traced(name, place, depth), "a title"))
    groups = [group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}rect") is not None]
    assert groups
    for group in groups:
        rect = group.find(f"{SVG}rect")
        assert rect is not None
        left, top, width, height = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        for text in group.iter(f"{SVG}text"):
            size, bold = float(text.get("font-size", SIZE)), text.get("font-weight") == "600"
            half = measure(text.text or "", size, bold) / 2
            assert left + 4 <= float(text.attrib["x"]) - half
            assert float(text.attrib["x"]) + half <= left + width - 4
            assert top < float(text.attrib["y"]) - size * 0.7
            assert float(text.attrib["y"]) + size * 0.2 < top + height


def measure(text: str, size: float, bold: bool) -> float:
    """Pixels in DejaVu Sans, which matplotlib brings."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return (
        ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), 100).getlength(text)
        * size
        / 100
    )


@block
def test_the_estimate_of_a_text_is_never_too_small(name: str, place: str, depth: int | None) -> None:
    for line in {line for box in traced(name, place, depth).boxes for line in box.lines}:
        for bold in (False, True):
            assert measure(line, SIZE, bold) <= text_width(line, SIZE, bold=bold) < 1.35 * measure(line, SIZE, bold)


def test_the_document_is_xml_that_tells_what_it_shows() -> None:
    graph = traced("resnet50", "stages.conv3_x.0", None)
    root = ET.fromstring(draw_block(graph, "a < b & c"))
    assert root.findtext(f"{SVG}title") == "a < b & c"
    assert "5. 1x1 conv, 512, /2, batch norm of 1: 512x28x28" in (root.findtext(f"{SVG}desc") or "")
    assert root.get("role") == "img"
    assert "stages.conv3_x.0.conv2" in [title.text for title in root.iter(f"{SVG}title")]
    assert len(list(root.iter(f"{SVG}polygon"))) == len(graph.arrows)


def test_the_same_block_gives_the_same_bytes_in_any_process() -> None:
    program = (
        "import sys, torch\n"
        "from lenext.models.catalog import build\n"
        "from lenext.explain.graph import trace_block\n"
        "from lenext.reporting.diagram import draw_block\n"
        "model = build('googlenet')\n"
        "sys.stdout.write(draw_block(trace_block(model, 'stages.3a', (3, 224, 224)), 'title'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == draw_block(traced("googlenet", "stages.3a", None), "title")


def test_an_identity_runs_at_the_side_and_enters_the_sum_there() -> None:
    graph = traced("resnet50", "stages.conv3_x.0", None)
    drawing = arranged("resnet50", "stages.conv3_x.0", None)
    main = [drawing.boxes[n].x for n, box in enumerate(graph.boxes) if box.place != "stages.conv3_x.0.shortcut.conv"]
    assert max(main) - min(main) < 0.1, "the trunk is straight"
    total = next(n for n, box in enumerate(graph.boxes) if box.is_sign())
    ends = [route[-1] for route, (_, target) in zip(drawing.routes, graph.arrows, strict=True) if target == total]
    assert sorted(round(abs(x - drawing.boxes[total].x)) for x, _ in ends) == [0, 13]


def test_four_branches_stand_side_by_side() -> None:
    graph, drawing = traced("googlenet", "stages.3a", None), arranged("googlenet", "stages.3a", None)
    first = [drawing.boxes[n] for n in graph.after(0)]
    assert len({box.x for box in first}) == 4
    assert len({round(box.y, 3) for box in first}) == 1
    middle = (min(box.x for box in first) + max(box.x for box in first)) / 2
    assert abs(drawing.boxes[0].x - middle) < 20


def test_ranks_follow_the_arrows_whatever_the_graph() -> None:
    arrows = [(0, 1), (1, 2), (2, 3), (0, 3), (0, 2), (1, 4), (3, 4)]
    layers = layer_boxes([50.0] * 5, arrows)
    assert all(layers.ranks[a] < layers.ranks[b] for a, b in arrows)
    for rank in layers.order:
        for one, other in itertools.pairwise(rank):
            assert layers.x[other] - layers.x[one] >= (layers.widths[one] + layers.widths[other]) / 2


def test_every_colour_reads_on_its_ground() -> None:
    for ground, _ in COLOURS.values():
        assert contrast(INK, ground) >= 7
    assert contrast(AXIS_COLOUR, "#ffffff") >= 4.5
    assert contrast(AXIS_COLOUR, "#000000") >= 4.5


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(found, 16) / 255 for found in re.findall("..", colour[1:])]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_graph_of_one_box_is_drawn() -> None:
    graph = Graph("one", (Box("input", ("input",), (1, 2, 2)),), ())
    assert ET.fromstring(draw_block(graph, "one")).tag == f"{SVG}svg"
