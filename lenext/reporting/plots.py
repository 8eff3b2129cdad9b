"""Line charts as SVG for the page: the same numbers give the same bytes, and the page's theme gives the colours."""

import contextlib
import html
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lenext.judge.calibration import ReliabilityBin
from lenext.judge.intervals import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, SMALL_HEIGHT = 4.6, 2.9, 1.7  # inches; the page scales the drawing to its column
LEFT, RIGHT, BOTTOM, TOP = 0.53, 0.85, 0.42, 0.34  # inches around the axes; on the right is room for names
TALL_HEIGHT, COUNTS_HEIGHT, GAP, NO_NAMES = 3.6, 0.62, 0.2, 0.22  # inches: of the drawing in two parts
FONT_SIZE = 9.0  # points
LOGARITHMIC_FROM = 20  # largest over smallest value of a chart
POINTS = 72  # an inch
NAME_GAP = 11.0  # points between the middles of two line names
AXIS_COLOUR = "#767676"  # the one grey with a contrast of 4.5 on white and on black

# matplotlib draws in these; in the page each becomes a variable of page.css, so that one drawing serves both themes
THEME = {AXIS_COLOUR: "--plot-axis", "#d0d0d1": "--plot-grid", "#9a6a1f": "--train", "#0b6e74": "--validation"}
GRID_COLOUR, TRAIN_COLOUR, VALIDATION_COLOUR = list(THEME)[1:]


@dataclass(frozen=True)
class Line:
    """One named curve; points that are None or not finite are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: str = VALIDATION_COLOUR
    dashed: bool = False

    def points(self) -> tuple[list[float], list[float]]:
        """Return x and y, with gaps as nan."""
        return list(self.x), [math.nan if value is None or not math.isfinite(value) else value for value in self.y]


def line_chart(
    lines: Sequence[Line], *, key: str, title: str, description: str, percent: bool = False, small: bool = False
) -> str:
    """Draw the lines against the epoch and return an `<svg>` element without any address or unused id in it.

    `key` makes the element's ids its own within the page; `title` stands over the vertical axis;
    `description` is what a screen reader says; `percent` writes fractions as per cent;
    `small` is a lower drawing that begins at zero, its lines without names.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with styled(key):
        height = SMALL_HEIGHT if small else HEIGHT
        figure = Figure(figsize=(WIDTH, height))
        box = (LEFT / WIDTH, BOTTOM / height, 1 - (LEFT + RIGHT) / WIDTH, 1 - (BOTTOM + TOP) / height)
        axes = figure.add_axes(box)
        for line in lines:
            x, y = line.points()
            axes.plot(
                x,
                y,
                color=line.colour,
                linestyle=(0, (3.2, 1.8)) if line.dashed else "solid",
                marker="o" if len(x) <= 15 else None,
            )
        logarithmic = not percent and not small and _wide(lines)
        _dress(axes, f"{title}, logarithmic" if logarithmic else title)
        if logarithmic:
            _logarithmic(axes)
        elif percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        elif small:
            axes.set_ylim(bottom=0.0)
            axes.yaxis.set_major_locator(MaxNLocator(nbins=3))
        if not small:
            name_lines(axes, lines, (height - BOTTOM - TOP) * POINTS)
        return _for_page(figure, key, description)


def reliability_chart(bins: Sequence[ReliabilityBin], *, key: str, description: str, vertical: str) -> str:
    """Draw accuracy against confidence with 95 % intervals over the count of each bin; an `<svg>` as of `line_chart`.

    `vertical` names the accuracy. Wilson's interval of a bin is a line, its mean confidence and accuracy a dot.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

    filled = [one for one in bins if one.count]
    with styled(key):
        figure = Figure(figsize=(WIDTH, TALL_HEIGHT))
        left, width = LEFT / WIDTH, 1 - (LEFT + NO_NAMES) / WIDTH
        lower = figure.add_axes((left, BOTTOM / TALL_HEIGHT, width, COUNTS_HEIGHT / TALL_HEIGHT))
        foot = BOTTOM + COUNTS_HEIGHT + GAP
        upper = figure.add_axes((left, foot / TALL_HEIGHT, width, 1 - (foot + TOP) / TALL_HEIGHT))
        upper.plot([0, 1], [0, 1], color=AXIS_COLOUR, linewidth=0.8, linestyle=(0, (3.2, 1.8)))
        for one in filled:
            interval = wilson(round(one.accuracy * one.count), one.count)
            upper.plot(
                [one.confidence] * 2, interval, color=VALIDATION_COLOUR, linewidth=1.1, alpha=0.55, clip_on=False
            )
        x, y = [one.confidence for one in filled], [one.accuracy for one in filled]
        upper.plot(x, y, color=VALIDATION_COLOUR, linestyle="none", marker="o", markersize=4.5, clip_on=False)
        edges = [one.low for one in bins]
        lower.bar(edges, [one.count for one in bins], 1 / len(bins), align="edge", color=VALIDATION_COLOUR, linewidth=0)
        for axes, title in ((upper, vertical), (lower, "")):
            _dress(axes, title, right=NO_NAMES)
            axes.set_axisbelow(True)
            axes.set_xlim(0, 1.0)
            axes.xaxis.set_major_locator(MultipleLocator(0.2))
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        upper.set_ylim(0, 1.03)
        upper.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        upper.set_xlabel("")
        upper.tick_params(labelbottom=False)
        lower.set_xlabel("confidence")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
        return _for_page(figure, key, description)


@contextlib.contextmanager
def styled(key: str) -> Iterator[None]:
    """Draw within in the page's style; `key` makes the ids of an SVG the same each time."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the reader's changes no byte
        matplotlib.rcParams.update(_style(key))
        yield


def _style(key: str) -> Any:  # matplotlib 3.11 types the keys as a Literal of every name, 3.8 as text
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": f"lenext-{key}",
        "text.usetex": False,
        "font.family": "DejaVu Sans",  # comes with matplotlib; only measures the layout, the page sets its own
        "font.size": FONT_SIZE,
        "text.color": AXIS_COLOUR,
        "axes.labelcolor": AXIS_COLOUR,
        "axes.edgecolor": AXIS_COLOUR,
        "axes.linewidth": 0.7,
        "axes.titlesize": FONT_SIZE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.formatter.useoffset": False,
        "grid.color": GRID_COLOUR,
        "grid.linewidth": 0.5,
        "xtick.color": AXIS_COLOUR,
        "ytick.color": AXIS_COLOUR,
        "xtick.major.width": 0.7,
        "ytick.major.size": 0,
        "lines.linewidth": 1.6,
        "lines.markersize": 3.2,
        "lines.dash_capstyle": "round",
        "lines.solid_capstyle": "round",
    }


def _dress(axes: "Axes", title: str, right: float = RIGHT) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_title(title, loc="left", pad=8, x=-LEFT / (WIDTH - LEFT - right) + 0.01)
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _short(value: float) -> str:
    """Write a tick's value in few characters: 0.02, 1.5e-4."""
    return re.sub(r"\.?0*e-0?", "e-", f"{value:.2e}") if 0 < value < 0.001 else f"{value:g}"


def _wide(lines: Sequence[Line]) -> bool:
    """Tell whether the lines span so much that a linear axis would press most of them flat."""
    values = [value for line in lines for value in line.points()[1] if math.isfinite(value)]
    return bool(values) and min(values) > 0 and max(values) > LOGARITHMIC_FROM * min(values)


def _logarithmic(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    steps = (1.0,) if high > 300 * low else (1.0, 3.0) if high > 30 * low else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def name_lines(axes: "Axes", lines: Sequence[Line], height: float) -> None:
    """Write each line's name beside its end, pushed apart where two ends meet; the axes are `height` points high."""
    axes.autoscale_view()  # the transforms do not see the lines' limits before
    to_axes = axes.transScale + axes.transLimits  # of the data, to [0, 1] in both directions
    ends = []
    for line in lines:
        finite = [value for value in line.points()[1] if math.isfinite(value)]
        if finite:
            ends.append((float(to_axes.transform((line.x[-1], finite[-1]))[1]) * height, line))
    ends.sort(key=lambda end: end[0])
    places: list[float] = []
    for place, _ in ends:
        places.append(max(place, places[-1] + NAME_GAP) if places else place)
    pushed = sum(after - before for after, (before, _) in zip(places, ends, strict=True)) / max(len(ends), 1)
    for place, (_, line) in zip(places, ends, strict=True):
        axes.annotate(
            line.name,
            xy=(1.0, 0.0),
            xycoords="axes fraction",
            xytext=(5, place - pushed),
            textcoords="offset points",
            color=line.colour,
            va="center_baseline",
            annotation_clip=False,
        )


def _for_page(figure: "Figure", key: str, description: str) -> str:
    """Turn the drawing into an element of the page: no prologue, no addresses, ids of its own, themed."""
    drawn = io.StringIO()
    blank = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(drawn, format="svg", transparent=True, metadata=blank)
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<style.*?</style>", "", svg, count=1, flags=re.DOTALL)  # it would apply to the whole page
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r" font-family: [^;\"]*;?", "", svg)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: f' id="{key}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", svg)
    for colour, variable in THEME.items():
        svg = svg.replace(colour, f"var({variable}, {colour})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(description)}"', 1)
