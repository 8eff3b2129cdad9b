"""Efficiency over the years: how little arithmetic and how few parameters an error needed, by the papers' years.

In the spirit of Hernandez and Brown (2020), who asked it of training; here it is one image, and one protocol at a time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lenext.reporting.dots import figure_bytes, styled_for_files
from lenext.reporting.landscape import Point, describe
from lenext.reporting.offline import render_offline, svg_element
from lenext.reporting.plots import AXIS_COLOUR, POINTS, TRAIN_COLOUR, VALIDATION_COLOUR, Line, name_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURES = {"macs": "multiply-accumulates of an image", "params": "parameters"}
HEADINGS = ("top-1 error", "least", "year", "network", "figure", "fewer", "errs", "source")
WORDS = {"macs": "MACs", "params": "parameters"}
LEVELS = 4  # of error, at most
STEPS = (1.0, 2.0, 5.0, 10.0, 20.0)  # between levels of error, per cent: the first that makes no more than LEVELS
COLOURS = (TRAIN_COLOUR, "#57a5a9", VALIDATION_COLOUR, "#04363a")  # of the levels, the darker the more accurate
LEAD = """\
Point at a network for its numbers. A line is the least that any network up to its year needed for a top-1 error,
and falls where a paper needed less: the table lists these, and how many times fewer than the first that erred so
little. The year is the paper's; a hollow point is a network whose error is told elsewhere, often after a longer
training in later years, which then has its share in the gain."""
NOTE = "year of the paper; hollow: the error is told elsewhere, and the network often trained later"
NOTE_OF_ROWS = (
    "fewer: than the first that erred so little; the year is the paper's, the error often of a later training"
)
WIDTH, HEIGHT = 11.0, 8.4  # inches


@dataclass(frozen=True)
class Step:
    """A network that needed less than every one before it.

    level: what it errs at most, in words. measure: "macs" or "params", of which it has `figure`, `fewer` times less
    than the first that erred so little.
    """

    level: str
    measure: str
    point: Point
    figure: int
    fewer: float


def levels(points: Sequence[Point]) -> dict[str, float]:
    """Errors to ask about, in words: that of the oldest network, of the worst of its year, and round ones below it."""
    first = min(point.year or math.inf for point in points)
    name, oldest = max(((one.name, one.error) for one in points if one.year == first), key=lambda pair: pair[1])
    best = min(point.error for point in points)
    for step in STEPS:
        rounds = [step * number for number in range(math.ceil(best / step), math.ceil(oldest / step))]
        rounds = [error for error in rounds if error <= oldest - step / 2]
        if len(rounds) < LEVELS:
            break
    return {f"no worse than {name}": oldest} | {f"at most {error:g} %": error for error in reversed(rounds)}


def steps(points: Sequence[Point], level: str, measure: str) -> list[Step]:
    """The networks that err no more than a level and need less than all before them, one a year at most, by year."""
    found, error = list[Step](), levels(points)[level]
    good = [point for point in points if point.error <= error and point.year is not None]
    for point in sorted(good, key=lambda one: (one.year, getattr(one, measure), one.error)):
        figure = getattr(point, measure)
        if not found or figure < found[-1].figure:
            first = found[0].figure if found else figure
            found.append(Step(level, measure, point, figure, first / figure))
    return found


def all_steps(points: Sequence[Point]) -> list[Step]:
    """Those of every level and measure."""
    return [step for measure in MEASURES for level in levels(points) for step in steps(points, level, measure)]


def row_of(step: Step) -> tuple[str, ...]:
    """A step as a row under HEADINGS."""
    point = step.point
    fewer = f"{step.fewer:.1f}x" if step.fewer > 1 else ""
    figures = (step.level, WORDS[step.measure], str(point.year), point.name, f"{step.figure:,}", fewer)
    return (*figures, f"{point.error:.2f} %", point.source)


def draw_years(points: Sequence[Point], title: str, form: str) -> bytes:
    """Arithmetic and parameters over the years, a line for each level of error; `form` is "svg" or "png"."""
    from matplotlib.figure import Figure

    with styled_for_files("years"):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained", facecolor="white")
        figure.suptitle(title, x=0.01, ha="left")
        every, last = figure.subplots(len(MEASURES), sharex=True), max(point.year or 0 for point in points)
        for axes, (measure, heading) in zip(every, MEASURES.items(), strict=True):
            _draw_points(axes, points, measure)
            _dress(axes, heading)
        every[-1].set_xlabel(NOTE)
        figure.draw_without_rendering()  # how tall the charts are is known then
        for axes, measure in zip(every, MEASURES, strict=True):
            lines, names = list[Line](), dict[str, tuple[Step, str]]()
            for level, colour in zip(levels(points), COLOURS, strict=False):
                found = steps(points, level, measure)
                lines.append(_draw_line(axes, found, colour, last))
                names |= {step.point.name: (step, colour) for step in found}
            for step, colour in names.values():
                _name_step(axes, step, colour, last)
            name_lines(axes, lines, POINTS * axes.bbox.height / figure.dpi)
        return figure_bytes(figure, form)


def render_years(points: Sequence[Point], title: str) -> bytes:
    """One offline page: the drawing, whose points tell their numbers under the pointer, and a table of the steps."""
    titles = {f"{measure}-{n}": describe(point) for measure in MEASURES for n, point in enumerate(points)}
    drawing = svg_element(draw_years(points, "", "svg"), titles)  # the page has the title
    rows = [HEADINGS, *(row_of(step) for step in all_steps(points))]
    return render_offline(title, LEAD, drawing, rows, right=(4, 5, 6))


def as_object(step: Step) -> dict[str, Any]:
    """A step, its network's numbers among it."""
    told = {"level": step.level, "measure": step.measure, "figure": step.figure, "fewer": step.fewer}
    return told | {key: value for key, value in vars(step.point).items() if key != "own"}


def _draw_points(axes: "Axes", points: Sequence[Point], measure: str) -> None:
    for number, point in enumerate(points):
        in_paper = point.source.startswith("paper")
        axes.scatter(
            [point.year or 0], [getattr(point, measure)], s=16, linewidths=0.8, edgecolors=AXIS_COLOUR,
            color=AXIS_COLOUR if in_paper else "white", gid=f"{measure}-{number}", zorder=5,
        )  # fmt: skip


def _draw_line(axes: "Axes", found: Sequence[Step], colour: str, last: int) -> Line:
    """A staircase down to the last year; the error and the gain as a name for its end."""
    years, figures = [step.point.year or 0 for step in found], [step.figure for step in found]
    axes.step([*years, last], [*figures, figures[-1]], where="post", color=colour, zorder=3)
    axes.scatter(years, figures, s=58, color=colour, linewidths=0, zorder=4)  # around the points, which tell numbers
    fewer = f", {found[-1].fewer:.0f}x fewer" if found[-1].fewer >= 1.5 else ""
    return Line(found[0].level + fewer, [last], [figures[-1]], colour)


def _name_step(axes: "Axes", step: Step, colour: str, last: int) -> None:
    """Above the line that goes on to the right; of the last year to the left, where no line is."""
    year = step.point.year or 0
    axes.annotate(
        step.point.name, (year, step.figure), xytext=(5, 3) if year < last else (-6, -3), textcoords="offset points",
        color=colour, fontsize=6.5, ha="left" if year < last else "right", zorder=6,
    )  # fmt: skip


def _dress(axes: "Axes", heading: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_title(heading, loc="left", pad=8)
    axes.set_yscale("log")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.margins(x=0.03, y=0.08)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
