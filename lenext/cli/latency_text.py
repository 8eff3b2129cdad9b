"""What `lenext cost --latency` and `lenext doctor --bench` say in words."""

import dataclasses
from typing import TYPE_CHECKING, Any

from lenext.cli.output import table

if TYPE_CHECKING:
    from lenext.costs.latency import Latency, LayerTime, Peaks
    from lenext.device import SpeedPlan


def as_object(found: "Latency") -> dict[str, Any]:
    """Seconds, of the whole and of each layer."""
    told = {key: value for key, value in vars(found).items() if key not in ("plan", "peaks", "layers")}
    return told | {
        "unexplained": found.unexplained,
        "plan": dataclasses.asdict(found.plan),
        "peaks": dataclasses.asdict(found.peaks),
        "layers": flat(found),
    }


def flat(found: "Latency") -> list[dict[str, Any]]:
    """Each layer as an object."""
    return [dataclasses.asdict(layer) for layer in found.layers]


def time_table(found: "Latency", depth: int) -> str:
    """The layers for a person, those below `depth` names summed; 0 sums nothing."""
    rows: list[tuple[str, ...]] = [("layer", "time", "share", "at least", "by", "left")]
    groups: dict[str, list[LayerTime]] = {}
    for layer in found.layers:
        groups.setdefault(".".join(layer.name.split(".")[: depth or None]), []).append(layer)
    whole = sum(layer.median for layer in found.layers)
    for name, layers in groups.items():
        rows.append((name or "(network)", *_figures(layers, whole)))
    rows.append(("sum", *_figures(found.layers, whole)))
    return table(rows, right=(1, 2, 3, 5))


def _figures(layers: "list[LayerTime] | tuple[LayerTime, ...]", whole: float) -> tuple[str, ...]:
    time, bound = sum(layer.median for layer in layers), sum(layer.bound for layer in layers)
    by: dict[str, float] = {}
    for layer in layers:
        by[layer.bound_by] = by.get(layer.bound_by, 0.0) + layer.bound
    share, most = f"{time / whole:.0%}" if whole else "", max(by, key=lambda name: by[name], default="")
    return with_time_unit(time), share, with_time_unit(bound), most, with_time_unit(time - bound)


def summary(heading: str, found: "Latency") -> str:
    """The whole pass, what the layers do not sum to, and the peaks that the bounds come from."""
    low, median, high = (with_time_unit(value) for value in (found.low, found.median, found.high))
    rows = [
        ("pass", f"{median} [{low}, {high}], median and quartiles of {found.passes}"),
        ("images a second", f"{found.batch / found.median:,.0f}"),
        ("layers", with_time_unit(sum(layer.median for layer in found.layers))),
        ("between them", with_time_unit(found.between)),
        ("not explained", f"{with_time_unit(found.unexplained)} ({found.unexplained / found.median:.1%})"),
        *peak_rows(found.plan, found.peaks),
    ]
    return f"{heading}\n{table(rows)}\n{READING}"


READING = """\
at least: what the peaks allow; by: what sets that (arithmetic, memory, overhead of a call);
left: time that they do not explain"""


def peak_rows(plan: "SpeedPlan", peaks: "Peaks") -> list[tuple[str, str]]:
    """A plan, and what the machine does at best under it."""
    *cached, (_, beyond) = peaks.bandwidths
    bandwidths = ", ".join(f"{rate / 1e9:.1f} GB/s up to {size >> 20} MiB" for size, rate in cached)
    return [
        ("plan", f"{plan.device}, {plan.precision}, {plan.threads} thread{'s' * (plan.threads > 1)}"),
        ("arithmetic", f"{peaks.flops / 1e9:,.0f} GFLOP/s"),
        ("memory", f"{bandwidths}, {beyond / 1e9:.1f} GB/s beyond"),
        ("a call", with_time_unit(peaks.call)),
    ]


def with_time_unit(seconds: float) -> str:
    """Three digits and a unit: 1.23 s, 45.6 ms, 789 us."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if abs(seconds) >= 0.9995 * size:
            return f"{seconds / size:#.3g} {unit}".replace(". ", " ")
    return f"{seconds / 1e-6:#.3g} us".replace(". ", " ")
