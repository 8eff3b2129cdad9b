"""The bar charts of the courses: what each layer holds, learns and multiplies, and how far it sees."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lenext.reporting.dots import figure_bytes, styled_for_files
from lenext.reporting.plots import TRAIN_COLOUR, VALIDATION_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {
    # heading: (key of a layer's object, what a unit of it is called)
    "activations": ("activation_bytes", "B"),
    "parameters": ("params", ""),
    "multiply-accumulates": ("macs", ""),
    "receptive field": ("receptive_field", "pixels"),
}
NAMED = 40  # layers, at most, whose names fit under the bars
INCHES_A_LAYER, MIN_WIDTH, MAX_WIDTH, HEIGHT = 0.17, 6.0, 16.0, 8.5


def draw_layers(layers: Sequence[Mapping[str, Any]], heading: str, form: str) -> bytes:
    """Four charts under one another, a bar or a point a layer; `form` is "svg" or "png".

    layers: objects with "name", "calls", and the keys of PANELS; those that did not run are left out. The same layers
    give the same bytes.
    """
    from matplotlib.figure import Figure

    ran = [layer for layer in layers if layer["calls"]]
    with styled_for_files("cost"):
        width = min(max(MIN_WIDTH, 1.6 + INCHES_A_LAYER * len(ran)), MAX_WIDTH)
        figure = Figure(figsize=(width, HEIGHT), layout="constrained", facecolor="white")
        figure.suptitle(heading, x=0.01, ha="left")
        every = figure.subplots(len(PANELS), sharex=True)
        for axes, (title, (key, unit)) in zip(every, PANELS.items(), strict=True):
            if key == "receptive_field":
                _draw_fields(axes, [layer[key] if layer["name"] else () for layer in ran])
            else:
                _draw_bars(axes, [layer[key] for layer in ran])
            _dress(axes, title, unit)
        _name_layers(every[-1], [layer["name"] or "(network)" for layer in ran])
        return figure_bytes(figure, form)


def _draw_bars(axes: "Axes", values: Sequence[float]) -> None:
    axes.bar(range(len(values)), values, 0.8, color=VALIDATION_COLOUR, linewidth=0)


def _draw_fields(axes: "Axes", fields: Sequence[Sequence[int]]) -> None:
    """The largest side of each that is known."""
    known = [(number, max(field)) for number, field in enumerate(fields) if field]
    axes.plot(*zip(*known, strict=True) if known else ([], []), color=TRAIN_COLOUR, marker="o")
    axes.set_ylim(bottom=0)


def _dress(axes: "Axes", title: str, unit: str) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.set_title(title, loc="left", pad=6)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_formatter(f"{{x:g}} {unit}" if unit == "pixels" else EngFormatter(unit=unit))


def _name_layers(axes: "Axes", names: Sequence[str]) -> None:
    if len(names) <= NAMED:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
    else:
        axes.set_xlabel(f"{len(names)} layers in the order in which they run")
