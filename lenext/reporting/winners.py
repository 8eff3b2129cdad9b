"""The winners of ILSVRC by year: how often they erred, and how deep they were."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lenext.papers.ilsvrc import Challenge, Entry
from lenext.reporting.dots import figure_bytes, styled_for_files
from lenext.reporting.offline import render_offline, svg_element
from lenext.reporting.plots import TRAIN_COLOUR, VALIDATION_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "ILSVRC classification, 2010 to 2017: top-5 error and depth"
LEAD = """\
Point at a bar for its numbers and their sources; those that won their year are shaded in the table. An entry is the
average of several networks; where it was trained with other images than the challenge's, too, that error stands in
brackets. The images of 2010 and of 2011 were others than those since. A star marks what has been seen second-hand
only."""
NOTE = "in brackets: trained with other images, too; *: seen second-hand only"
HEADINGS = ("year", "entry", "won", "top-5 error, %", "with other images, %", "layers", "networks", "what", "sources")
WIDTH, HEIGHT = 9.0, 6.2  # inches
OTHER_COLOUR = "#a9a9ab"  # of a bar that did not win


def draw_winners(challenge: Challenge, title: str, form: str) -> bytes:
    """Two charts under one another, a bar an entry, and a line for a person; `form` is "svg" or "png"."""
    from matplotlib.figure import Figure

    entries = challenge.entries
    with styled_for_files("winners"):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained", facecolor="white")
        figure.suptitle(title, x=0.01, ha="left")
        errors, depths = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        _draw_bars(errors, "error", entries)
        _draw_bars(depths, "depth", entries)
        _draw_person(errors, challenge.human.top5_error)
        _dress(errors, "top-5 error on test images, %")
        _dress(depths, "layers with weights, of the deepest network")
        _add_legend(errors)
        names = [entry.team.replace("-", "-\n") + f"\n{entry.year}" for entry in entries]
        depths.set_xticks(range(len(entries)), names)
        depths.set_xlabel(NOTE)
        return figure_bytes(figure, form)


def render_winners(challenge: Challenge) -> bytes:
    """One offline page: the drawing, whose bars tell their numbers under the pointer, and a table."""
    entries = challenge.entries
    titles = {f"{key}-{number}": describe(one) for key in ("error", "depth") for number, one in enumerate(entries)}
    drawing = svg_element(draw_winners(challenge, "", "svg"), titles)  # the page has the title
    lead = f"{LEAD} The line: {challenge.human.top5_error:g} %, {challenge.human.source}."
    shaded = [number for number, entry in enumerate(entries, 1) if entry.won]
    return render_offline(TITLE, lead, drawing, [HEADINGS, *map(row_of, entries)], right=(3, 4, 5, 6), shaded=shaded)


def row_of(entry: Entry) -> tuple[str, ...]:
    """An entry as a row under HEADINGS."""
    outside = "" if entry.outside_error is None else f"{entry.outside_error:g}"
    error = f"{entry.top5_error:g}{'' if entry.verified else '*'}"
    sources = "; ".join(filter(None, (entry.source, entry.layers_source)))
    networks = "" if entry.networks is None else str(entry.networks)
    won = "yes" if entry.won else ""
    return (str(entry.year), entry.team, won, error, outside, _depth(entry), networks, entry.method, sources)


def describe(entry: Entry) -> str:
    """An entry in words."""
    year, team, won, error, outside, depth, _, method, sources = row_of(entry)
    told = f"{error} % top-5 error" + (f" ({outside} % with other images)" if outside else "")
    layers = f"{depth} layers" if entry.layers else f"layers: {depth}"
    return f"{team}, {year}{', won' if won else ''}: {told}, {layers}; {method} ({sources})"


def _error(entry: Entry) -> str:
    outside = "" if entry.outside_error is None else f"\n({entry.outside_error:g})"
    return f"{entry.top5_error:g}{'' if entry.verified else '*'}{outside}"


def _depth(entry: Entry) -> str:
    return str(entry.layers) if entry.layers else entry.no_layers


def _draw_bars(axes: "Axes", key: str, entries: Sequence[Entry]) -> None:
    for number, entry in enumerate(entries):
        height, label = (entry.top5_error, _error(entry)) if key == "error" else (entry.layers or 0, _depth(entry))
        colour = VALIDATION_COLOUR if entry.won else OTHER_COLOUR
        axes.bar([number], [height], 0.66, color=colour, linewidth=0, gid=f"{key}-{number}")
        words = label.replace(" ", "\n") if key == "depth" else label
        axes.annotate(
            words, (number, height), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8,
            bbox={"facecolor": "white", "linewidth": 0, "pad": 0.2},
        )  # fmt: skip


def _draw_person(axes: "Axes", error: float) -> None:
    axes.axhline(error, color=TRAIN_COLOUR, linewidth=1.1, linestyle=(0, (3.2, 1.8)))
    axes.annotate(
        f"a practised\nperson, {error:g}", (1, error), xycoords=("axes fraction", "data"), xytext=(4, 0),
        textcoords="offset points", va="center", fontsize=8, color=TRAIN_COLOUR,
    )  # fmt: skip


def _dress(axes: "Axes", title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", pad=8)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.margins(x=0.02, y=0.15)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(axis="x", length=0)


def _add_legend(axes: "Axes") -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=VALIDATION_COLOUR, label="won its year"), Patch(color=OTHER_COLOUR, label="did not win")]
    axes.legend(handles=patches, loc="upper right", frameon=False)
