"""The bar charts of the courses: what each layer holds, learns and multiplies, and how far it sees."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from lenext.reporting.dots import figure_bytes, styled_for_files
from lenext.reporting.offline import render_offline, svg_element
from lenext.reporting.plots import TRAIN_COLOUR, VALIDATION_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {
    # heading: (key of a layer's object, what a unit of it is called)
    "activations": ("activation_bytes", "B"),
    "parameters": ("params", ""),
    "multiply-accumulates": ("macs", ""),
    "receptive field": ("receptive_field", "pixels"),
}
NAMED = 40  # layers, at most, whose names fit under the bars
MARKED = 200  # places of the receptive field, at most, that have a dot each
INCHES_A_LAYER, MIN_WIDTH, MAX_WIDTH, HEAD, HEIGHT = 0.17, 6.0, 16.0, 0.9, 1.9  # HEIGHT: of a chart
PAGE_WIDTH = 11.0  # inches of a drawing whose letters are as large as those of the page around it
HEADINGS = ("layer", "kind", "output", "activations, bytes", "parameters", "MACs", "sees, pixels")
UNKNOWN = "-"
UNITS = ("bytes written", "parameters", "MACs", "pixels seen")
LEAD = """\
Point at a column for the numbers of its layer: what it writes, learns and multiplies, and the side of the part of
the image that a place of its output sees. MACs are those of convolutions, linear layers and matrix
products; 1 MAC = 2 FLOPs."""


def draw_layers(layers: Sequence[Mapping[str, Any]], heading: str, form: str) -> bytes:
    """Charts under one another, a bar or a point a layer, as a file's content; `form` is "svg", "png" or "html".

    layers: objects with "name", "kind", "output", "calls", and the keys of PANELS; those that did not run are left out.
    A chart of which nothing is known is left out, too. The page is offline: a column tells its layer's numbers under
    the pointer, and a table has all of them. The same layers give the same bytes.
    """
    ran = [layer for layer in layers if layer["calls"]]
    with styled_for_files("cost"):
        if form != "html":
            width = min(max(MIN_WIDTH, 1.6 + INCHES_A_LAYER * len(ran)), MAX_WIDTH)
            return figure_bytes(_draw_panels(ran, heading, width), form)
        figure = _draw_panels(ran, "", PAGE_WIDTH)  # the page has the heading
        drawn = figure_bytes(figure, "svg")
        drawing = svg_element(drawn, {}, more="".join(_columns(figure, [describe(layer) for layer in ran])))
    rows = [HEADINGS, *(_cells(layer) for layer in ran)]
    return render_offline(heading, LEAD, drawing, rows, right=range(2, len(HEADINGS)))


def describe(layer: Mapping[str, Any]) -> str:
    """A layer in words."""
    name, kind, output, *figures = _cells(layer)
    told = (f"{figure} {unit}" for figure, unit in zip(figures, UNITS, strict=True) if figure != UNKNOWN)
    return f"{name}, {kind} to {output}: {', '.join(told)}"


def _draw_panels(layers: Sequence[Mapping[str, Any]], heading: str, width: float) -> "Figure":
    from matplotlib.figure import Figure

    values = {title: _values(layers, key) for title, (key, _) in PANELS.items()}
    panels = {title: unit for title, (_, unit) in PANELS.items() if any(values[title])}
    figure = Figure(figsize=(width, HEAD + HEIGHT * len(panels)), layout="constrained", facecolor="white")
    if heading:
        figure.suptitle(heading, x=0.01, ha="left")
    every = list(figure.subplots(len(panels), sharex=True, squeeze=False).flat) if panels else []
    for axes, (title, unit) in zip(every, panels.items(), strict=True):
        (_draw_fields if title == "receptive field" else _draw_bars)(axes, values[title])
        _dress(axes, title, unit)
        axes.set_xlim(-0.6, len(layers) - 0.4)
    if panels:
        _name_layers(every[-1], [layer["name"] or "(network)" for layer in layers])
    return figure


def _values(layers: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """What the network does itself, outside its modules, is of several places: no field."""
    return [() if key == "receptive_field" and not layer["name"] else layer[key] for layer in layers]


def _columns(figure: "Figure", titles: Sequence[str]) -> Iterator[str]:
    """An unseen rectangle over all charts for each layer, which tells a title; the figure is drawn."""
    every, points = figure.axes, 72 / figure.dpi  # an SVG by matplotlib counts in points, from the top
    if not every:
        return
    height = 72 * figure.get_figheight()
    top, foot = height - points * every[0].bbox.y1, height - points * every[-1].bbox.y0
    edges = [points * every[0].transData.transform((number - 0.5, 0))[0] for number in range(len(titles) + 1)]
    for left, right, title in zip(edges, edges[1:], titles, strict=False):
        place = f'x="{left:.2f}" y="{top:.2f}" width="{right - left:.2f}" height="{foot - top:.2f}"'
        yield f'<rect class="touch" {place}><title>{escape(title)}</title></rect>\n'


def _cells(layer: Mapping[str, Any]) -> tuple[str, ...]:
    """A layer as a row under HEADINGS."""
    figures = (f"{layer[key]:,}" for key in ("activation_bytes", "params", "macs"))
    side = str(max(layer["receptive_field"])) if layer["receptive_field"] else UNKNOWN
    return (layer["name"] or "(network)", layer["kind"], "x".join(map(str, layer["output"])), *figures, side)


def _draw_bars(axes: "Axes", values: Sequence[float]) -> None:
    """One outline for all bars: a network of a thousand layers is a small file."""
    tall = [(number, value) for number, value in enumerate(values) if value]
    x = [number + side for number, _ in tall for side in (-0.4, -0.4, 0.4, 0.4)]
    axes.fill(x, [y for _, value in tall for y in (0, value, value, 0)], color=VALIDATION_COLOUR, linewidth=0)
    axes.set_ylim(bottom=0)


def _draw_fields(axes: "Axes", fields: Sequence[Sequence[int]]) -> None:
    """The largest side of each that is known."""
    known = [(number, max(field)) for number, field in enumerate(fields) if field]
    axes.plot(*zip(*known, strict=True), color=TRAIN_COLOUR, marker="o" if len(known) <= MARKED else None)
    axes.set_ylim(bottom=0)


def _dress(axes: "Axes", title: str, unit: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_title(title, loc="left", pad=6)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_formatter(f"{{x:g}} {unit}" if unit == "pixels" else EngFormatter(unit=unit))


def _name_layers(axes: "Axes", names: Sequence[str]) -> None:
    if len(names) <= NAMED:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
    else:
        axes.set_xlabel(f"{len(names)} layers in the order in which they run")
