"""A drawing of groups of runs, as files: a point for each run, the mean and its interval for each group."""

import contextlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenext.judge.intervals import mean_interval
from lenext.reporting.plots import VALIDATION_COLOUR, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEAD, ROW = 6.4, 0.9, 0.34  # inches: of the drawing, of what stands around its rows, of a row
INK = "#222222"
OFFSET = 0.18  # of a row, by which the points stand below their mean


@contextlib.contextmanager
def styled_for_files(key: str) -> Iterator[None]:
    """Draw within in the page's style, in dark ink, letters as outlines: where a file is opened the font may miss."""
    import matplotlib

    ink: Any = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    with styled(key):
        matplotlib.rcParams.update({"svg.fonttype": "path", **ink})
        yield


def draw_groups(groups: Mapping[str, Sequence[float]], *, label: str, percent: bool = True) -> "Figure":
    """Draw a row for each group from the top down, within `styled_for_files`.

    label: of the values. percent: fractions, written as per cent. A group of one value has no interval, an empty one
    an empty row.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    lines = [re.sub(r",(?=[\w.]+=)", "\n", name) for name in groups]
    figure = Figure(figsize=(WIDTH, HEAD + ROW * sum(1 + line.count("\n") for line in lines)), layout="constrained")
    axes = figure.add_subplot()
    for row, values in enumerate(groups.values()):
        if values:
            _draw_row(axes, row, values)
    axes.set_yticks(range(len(groups)), lines)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    if percent:
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, -0.01), min(high, 1.01))  # an interval may reach further, and nothing is there
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel(f"{label}\npoint: a run; bar: the mean and its 95 % interval by Student's t")
    return figure


def save_figure(figure: "Figure", stem: Path) -> list[Path]:
    """Write `stem`.svg and `stem`.png, and return the two paths."""
    paths = [stem.with_name(f"{stem.name}.{form}") for form in ("svg", "png")]
    for path in paths:
        path.write_bytes(figure_bytes(figure, path.suffix[1:]))
    return paths


def figure_bytes(figure: "Figure", form: str) -> bytes:
    """The drawing as a file's content, "svg" or "png": the same bytes for the same drawing."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=form, dpi=150, metadata={"Date": None} if form == "svg" else {"Software": None})
    return drawn.getvalue()


def _draw_row(axes: "Axes", row: int, values: Sequence[float]) -> None:
    mean, half = mean_interval(values)
    if half is not None:
        axes.plot([mean - half, mean + half], [row, row], color=VALIDATION_COLOUR, linewidth=1.6)
    axes.plot([mean], [row], color=VALIDATION_COLOUR, marker="|", markersize=11, markeredgewidth=2)
    below = [row + OFFSET] * len(values)
    axes.plot(values, below, color=INK, linestyle="none", marker="o", markersize=3.5, alpha=0.6)
