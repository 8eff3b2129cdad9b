"""Numbers as people read them, and the closing table of the demo and of `eval`."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lenext.judge.metrics import Metrics, MultiLabelMetrics

HEADINGS = ("network", "test accuracy [95 % interval]", "time", "parameters", "MACs")
MISSING = "-"


@dataclass(frozen=True, kw_only=True)
class ResultRow:
    """One network's result; accuracy and interval are fractions, None where nothing was measured."""

    network: str
    accuracy: float | None
    interval: tuple[float, float] | None
    seconds: float | None
    params: int | None
    macs: int | None

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of HEADINGS."""
        return (
            " ".join(self.network.split()),
            percent(self.accuracy, self.interval),
            duration(self.seconds),
            count(self.params),
            count(self.macs),
        )


def results_table(rows: Sequence[ResultRow], *, terminal: bool = False, width: int | None = None) -> str:
    """Return the table as text, without a newline at its end.

    Plain columns by default, for files and pipes; `terminal=True` draws it with rich, in colour, `width` columns wide
    (rich finds the width itself where it is None).
    """
    cells = [row.cells() for row in rows]
    return _rich_table(cells, width) if terminal else _plain_table(cells)


def percent(fraction: float | None, interval: tuple[float, float] | None = None) -> str:
    """Write 0.912 as "91.2 %", with an interval as "91.2 % [90.6, 91.8]"."""
    if fraction is None or not math.isfinite(fraction):
        return MISSING
    text = f"{100 * fraction:.1f} %"
    if interval is None or not all(map(math.isfinite, interval)):
        return text
    low, high = interval
    return f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def count(number: float | None) -> str:
    """Write a count in three significant digits: 842, "270 k", "40.6 M", "1.23 G"."""
    if number is None or not math.isfinite(number):
        return MISSING
    if abs(number) < 1000:
        return f"{number:.0f}"
    scaled, units = float(number), iter("kMGT")
    unit = ""
    while abs(float(f"{scaled:.3g}")) >= 1000:  # after rounding, so that 999 960 is "1.00 M" and not "1e+03 k"
        following = next(units, None)
        if following is None:
            return f"{scaled:,.0f} {unit}"
        scaled, unit = scaled / 1000, following
    digits = 2 - math.floor(math.log10(abs(float(f"{scaled:.3g}"))))
    return f"{scaled:.{digits}f} {unit}"


def duration(seconds: float | None) -> str:
    """Write a time in its two largest units: "0.42 s", "12.3 s", "2 min 13 s", "1 h 04 min"."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return MISSING
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def metrics_line(metrics: "Metrics | MultiLabelMetrics") -> str:
    """Tell an evaluation's main figures in one line: "top-1 91.2 % [90.6, 91.8], top-5 99.0 %, NLL 0.31, ECE 0.012"."""
    from lenext.judge.metrics import Metrics

    if isinstance(metrics, Metrics):
        told = f"top-1 {percent(metrics.top1, metrics.top1_interval)}"
        told += f", top-5 {percent(metrics.top5)}" if len(metrics.per_class) > 5 else ""  # which nobody can miss
    else:
        told = f"mAP {percent(metrics.mean_ap)}, all labels right {percent(metrics.exact, metrics.exact_interval)}, "
        told += f"F1 {metrics.macro_f1:.3f} macro, {metrics.micro_f1:.3f} micro"
    return f"{told}, NLL {metrics.nll:.3f}, ECE {metrics.ece:.3f}"


def class_cells(metrics: "Metrics | MultiLabelMetrics") -> list[tuple[str, ...]]:
    """Return headings and a row a class: name, images, precision, recall, F1 and, multi-label, average precision."""
    many = any(row.average_precision is not None for row in metrics.per_class)
    rows = [("class", "images", "precision", "recall", "F1", *(["AP"] if many else []))]
    for row in metrics.per_class:
        figures = (row.precision, row.recall, row.f1, row.average_precision)
        rows.append((row.name, f"{row.support:,}", *(f"{value:.3f}" for value in figures if value is not None)))
    return rows


def _plain_table(cells: Sequence[tuple[str, ...]]) -> str:
    table = [HEADINGS, *cells]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADINGS))]
    lines = []
    for row in table:
        padded = [row[0].ljust(widths[0]), *(cell.rjust(size) for cell, size in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _rich_table(cells: Sequence[tuple[str, ...]], width: int | None) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, heading in enumerate(HEADINGS):
        table.add_column(Text(heading), justify="right" if column else "left")
    for first, *others in cells:
        table.add_row(Text(first, style="bold"), *map(Text, others))
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, width=width).print(table)
    return stream.getvalue().strip("\n")
