"""`lenext doctor`: what this machine has and what lenext makes of it."""

import dataclasses

from lenext.cli.output import home, put, put_json, table
from lenext.extras import EXTRAS, missing_modules, require_extra


def diagnose(*, require: str = "", bench: bool = False, json: bool = False) -> None:
    """Tell versions, processor, precision, data sets and extras.

    Parameters
    ----------
    require
        Fail with exit 6 unless this extra is installed.
    bench
        Measure what it does at best: operations and bytes a second, and the time of a call.
    json
        Print an object.
    """
    if require:
        require_extra(require, f"use the extra {require}")
    from lenext.data.published import default_root
    from lenext.data.sources import SOURCES, find_source
    from lenext.device import candidate_plans
    from lenext.errors import DataError
    from lenext.run import environment

    def found(name: str) -> str:
        try:
            return find_source(name, home()).found
        except DataError:
            return f"not here; lenext data get {name}"

    if bench:
        _show_peaks(json=json)
        return
    machine = environment()
    plan = candidate_plans()[0]
    facts = {
        **{key: str(value) for key, value in machine.items() if key != "versions"},
        **machine["versions"],
        "device": plan.device,
        "precision": plan.precision,
        "data folder": home() or str(default_root()),
        **{f"data {name}": found(name) for name in SOURCES},
        **{f"extra {name}": _state(name) for name in EXTRAS},
    }
    if json:
        put_json({"facts": facts, "speed_plan": dataclasses.asdict(plan)})
        return
    put(table(list(facts.items())))


def _show_peaks(*, json: bool) -> None:
    """What the machine does at best under each plan that a run may choose."""
    from lenext.cli.latency_text import peak_rows
    from lenext.costs.latency import measure_peaks
    from lenext.device import candidate_plans

    found = [(plan, measure_peaks(plan)) for plan in candidate_plans()]
    if json:
        put_json([{"plan": dataclasses.asdict(plan), "peaks": dataclasses.asdict(peaks)} for plan, peaks in found])
    else:
        put("\n\n".join(table(peak_rows(plan, peaks)) for plan, peaks in found))


def _state(extra: str) -> str:
    missing = missing_modules(extra)
    return f"not installed; pip install 'lenext[{extra}]'" if missing else "installed"
