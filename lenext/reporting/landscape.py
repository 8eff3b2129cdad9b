"""Networks beside each other: what they cost and how often they err, from the papers and from one's own runs.

Errors are only ever compared under one protocol: the same data, the same way of looking at an image.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenext import run as runs
from lenext.errors import DataError
from lenext.papers import load_papers
from lenext.reporting.dots import INK, figure_bytes, styled_for_files
from lenext.reporting.offline import render_offline, svg_element
from lenext.reporting.plots import GRID_COLOUR, TRAIN_COLOUR, VALIDATION_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DATASETS = {  # of the papers, by the data's name here
    "cifar10": "CIFAR-10 test",
    "cifar100": "CIFAR-100 test",
    "fashion_mnist": "Fashion-MNIST test",
    "mnist": "MNIST test",
    "imagenet": "ImageNet-1K validation",
}
HEADINGS = ("network", "year", "parameters", "MACs", "top-1 error", "source")
LEAD = """\
Point at a network for its numbers. The line joins those that no other beats with as little arithmetic; they are shaded
in the table."""
WIDTH, HEIGHT = 9.0, 5.6  # inches
LEAST_AREA, AREA_A_ROOT = 14.0, 0.030  # square points of a bubble: at least, and a root of a parameter


@dataclass(frozen=True)
class Point:
    """A network. error: top-1, per cent. own: whether it is a run of one's own, and its name then the run's folder."""

    name: str
    family: str
    year: int | None
    params: int
    macs: int
    error: float
    source: str
    own: bool = False


def paper_points(dataset: str, protocol: str) -> list[Point]:
    """The networks whose papers tell a top-1 error of a data set under a protocol, the first of several."""
    points: dict[str, Point] = {}
    for row in load_papers().values():
        for result in row.results:
            if (result.dataset, result.protocol) == (dataset, protocol) and result.top1_error is not None:
                error, source = result.top1_error, result.source
                point = Point(row.name, row.family, row.year, row.params, row.macs, error, source)
                points.setdefault(row.name, point)
    return list(points.values())


def protocols(dataset: str) -> list[tuple[str, int]]:
    """The protocols of a data set, with how many networks there are of each, the most common first."""
    told = Counter[str]()
    for row in load_papers().values():
        told.update({one.protocol for one in row.results if one.dataset == dataset and one.top1_error is not None})
    return sorted(told.items(), key=lambda item: (-item[1], item[0]))


def run_point(run: Path) -> tuple[str, Point]:
    """The name of a run's data, and the run by its test images; one that is not judged is a DataError."""
    index = runs.load_run(run)
    path = run / runs.metrics_name("test")
    if not path.is_file():
        raise DataError(f"cannot compare {run}", why="it is not judged yet", advice=f"lenext eval {run}")
    metrics = runs.read_json(path)
    if "top1" not in metrics:
        why = "several classes an image have no top-1 error"
        raise DataError(f"cannot compare {run}", why=why, advice="compare runs of one class an image")
    paper = load_papers().get(index["model"])
    family, error = paper.family if paper else "", 100 * (1 - metrics["top1"])
    told = f"{index['model']}, n = {metrics['n']:,}"
    return index["data"], Point(str(run), family, None, index["params"], index["macs"], error, told, own=True)


def front(points: Iterable[Point]) -> list[Point]:
    """Pareto's: those for which no other multiplies less and errs less, from the cheapest up."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.macs, one.error)):
        if not best or point.error < best[-1].error:
            best.append(point)
    return best


def draw_landscape(points: Sequence[Point], title: str, form: str) -> bytes:
    """Accuracy over MACs, an area for the root of the parameters, the front as a line; `form` is "svg" or "png"."""
    from matplotlib.figure import Figure

    with styled_for_files("landscape"):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        best = front(points)
        accuracies = [100 - point.error for point in best]
        axes.plot([point.macs for point in best], accuracies, color=GRID_COLOUR, zorder=1)
        for number, point in enumerate(points):
            _draw_point(axes, number, point)
        _name_points(axes, [*best, *(point for point in points if point.own and point not in best)])
        _dress(axes, title)
        return figure_bytes(figure, form)


def _draw_point(axes: "Axes", number: int, point: Point) -> None:
    colour = TRAIN_COLOUR if point.own else VALIDATION_COLOUR
    axes.scatter(
        [point.macs],
        [100 - point.error],
        s=LEAST_AREA + AREA_A_ROOT * point.params**0.5,
        marker="D" if point.own else "o",
        color=colour,
        alpha=0.9 if point.own else 0.45,
        linewidths=0,
        gid=f"point-{number}",
        zorder=3 if point.own else 2,
    )


def _name_points(axes: "Axes", points: Sequence[Point]) -> None:
    """To the left above each, so that names along the front, which rises to the right, do not meet it."""
    for point in points:
        name = Path(point.name).name if point.own else point.name
        axes.annotate(
            name,
            (point.macs, 100 - point.error),
            xytext=(-4, 5),
            textcoords="offset points",
            ha="right",
            fontsize=6.5,
            color=TRAIN_COLOUR if point.own else INK,
        )


def _dress(axes: "Axes", title: str) -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_title(title, loc="left", pad=8)
    axes.grid()
    axes.set_axisbelow(True)
    axes.margins(x=0.16, y=0.08)  # names stand to the left of their points
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.set_xlabel("multiply-accumulates of an image; area of a point: root of its parameters")
    axes.set_ylabel("top-1 accuracy")


def render_page(points: Sequence[Point], title: str) -> bytes:
    """One offline page: the drawing, whose points tell their numbers under the pointer, and a table of all."""
    titles = {f"point-{number}": describe(point) for number, point in enumerate(points)}
    drawing = svg_element(draw_landscape(points, "", "svg"), titles)  # the page has the title
    best, told = front(points), sorted(points, key=lambda one: one.error)
    rows = [HEADINGS, *(row_of(point) for point in told)]
    shaded = [number for number, point in enumerate(told, 1) if point in best]
    return render_offline(title, LEAD, drawing, rows, right=(2, 3, 4), shaded=shaded)


def row_of(point: Point) -> tuple[str, ...]:
    """A point as a row under HEADINGS."""
    year = "run" if point.own else str(point.year)
    return (point.name, year, f"{point.params:,}", f"{point.macs:,}", f"{point.error:.2f} %", point.source)


def describe(point: Point) -> str:
    """A point in words."""
    year = f", {point.year}" if point.year else ""
    return (
        f"{point.name}{year}: {100 - point.error:.2f} % top-1, {point.params:,} parameters, {point.macs:,} MACs "
        f"({point.source})"
    )


def as_object(point: Point, best: Sequence[Point]) -> dict[str, Any]:
    """A point and whether it is of the front."""
    return {**vars(point), "front": point in best}
