"""`lenext sweep`: train with every combination of settings and seeds, and compare."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from lenext.cli.output import home, put, put_json, say, table, train_aloud
from lenext.errors import IncompleteError, UsageError
from lenext.run import SWEEP_JSON, load_run, locked, metrics_name, write_durably

if TYPE_CHECKING:
    from lenext.data.sources import Source
    from lenext.experiment.session import Session
    from lenext.experiment.sweeping import Sweep
    from lenext.reporting.sweeps import RunResult

Words = Annotated[list[str] | None, Parameter(negative="")]


def sweep_settings(
    data: str,
    *,
    vary: Words = None,
    model: str = "",
    weights: str = "",
    recipe: str = "",
    epochs: int | None = None,
    seeds: int = 3,
    size: int = 0,
    run: Path | None = None,
    test: bool = False,
    dry_run: bool = False,
    root: str = "",
    settings: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    json: bool = False,
) -> None:
    """Train with every combination of settings, some seeds each, and compare; the same command again goes on.

    Settings are compared on held-out images: table, sweep.csv and a figure. Finished runs are kept, interrupted ones
    resumed to the same bits; one that fails is told in the table while the others go on.

    Parameters
    ----------
    data
        A set of `lenext data`, or the path of a folder, a .zip or a .tar of images.
    vary
        A key of the configuration and its values, as model.pooling=average,max; may be repeated. Also model, recipe,
        weights, size and epochs.
    model
        A network of `lenext models`.
    weights
        A run or checkpoint to begin from.
    recipe
        How to train: a recipe's name or a TOML file; each network's own unless told otherwise.
    epochs
        Passes over the training images; the recipe's unless told otherwise.
    seeds
        Train each combination so many times, with seeds 0, 1, 2 ...
    size
        Height and width of the images in pixels; by rule unless told otherwise.
    run
        The folder to make or to go on with; runs/DATA-MODEL-sweep unless told otherwise.
    test
        Judge every finished run on the test split too, once; nothing is chosen by it.
    dry_run
        List the runs and what each will take, and write nothing.
    root
        Folder to look for the data in first; $LENEXT_HOME or ~/.cache/lenext unless told otherwise.
    settings
        Any key of the configuration, the same in all runs, as training.batch_size=32; may be repeated.
    json
        Print an object.
    """
    from lenext.data.sources import find_source
    from lenext.experiment.config import own_key, with_epochs
    from lenext.experiment.sweeping import Planned, Sweep, planned_runs, product, sweep_command, train_all

    variants = product(vary or [])
    source = find_source(data, root or home())
    if test and not {"test", "all"} & set(source.counts):
        raise UsageError("cannot judge on test images", why=f"{source.name} has none", advice="leave --test out")
    told = [*with_epochs(epochs), *map(own_key, settings or [])]
    sweep = Sweep(
        data=source.name, model=model, weights=weights, recipe=recipe, size=size, settings=tuple(told),
        variants=variants, seeds=seeds,
    )  # fmt: skip
    folder = run or Path("runs") / "-".join(filter(None, (Path(source.name).stem, model, "sweep")))
    if dry_run:
        _tell_forecast(sweep, folder, source, root or home(), json)
        return
    command = sweep_command(sweep, vary or [], folder, root) + (" --test" if test else "")
    everything = planned_runs(sweep, folder)
    if done := sum(planned.status() == "finished" for planned in everything):
        say(f"{done} of {len(everything)} runs are done")

    def aloud(planned: Planned, session: "Session") -> None:
        say(f"run {everything.index(planned) + 1} of {len(everything)}: {planned.variant}, seed {planned.seed}")
        train_aloud(session)

    train_all(sweep, folder, source, root or home(), train=aloud, command=command)
    with locked(folder):
        results = _judge(sweep, folder, test)
    _tell(folder, results, json)


def _judge(sweep: "Sweep", folder: Path, test: bool) -> "list[RunResult]":
    import lenext
    from lenext.experiment.sweeping import planned_runs, read_failures
    from lenext.reporting.sweeps import read_run

    failures, results = read_failures(folder), []
    for planned in planned_runs(sweep, folder):
        if test and planned.status() == "finished" and not (planned.run / metrics_name("test")).is_file():
            lenext.evaluate(planned.run)
        results.append(read_run(planned.variant, planned.seed, planned.run, failures.get(planned.key)))
    return sorted(results, key=lambda result: list(sweep.variants).index(result.variant))


def _tell(folder: Path, results: "list[RunResult]", json: bool) -> None:
    from lenext.experiment.sweeping import read_failures
    from lenext.reporting.dots import draw_groups, save_figure, styled_for_files
    from lenext.reporting.sweeps import scores_by_variant, summarise, sweep_cells, sweep_csv

    rows = summarise(results)
    name = next((load_run(Path(result.run))["score_name"] for result in results if result.params), "score")
    write_durably(folder / "sweep.csv", sweep_csv(results).encode())
    with styled_for_files("sweep"):
        save_figure(draw_groups(scores_by_variant(results), label=f"validation {name}"), folder / "sweep")
    if json:
        put_json({"sweep": str(folder), "settings": list(map(dataclasses.asdict, rows)),
                  "runs": list(map(dataclasses.asdict, results))})  # fmt: skip
    else:
        cells = sweep_cells(rows, name)
        put(table(cells, right=range(1, len(cells[0]) - any(row.failed for row in rows))))
        put("\n".join(str(folder / f"sweep.{ending}") for ending in ("csv", "svg", "png")))
    if failures := read_failures(folder):
        first = next(iter(failures.values()))
        raise IncompleteError(
            f"{len(failures)} of {len(results)} runs failed",
            why=f"{next(iter(failures))}: {first['what']}: {first['why']}",
            kept=f"the others, in {folder}; {SWEEP_JSON} tells of each",
            advice=first["advice"],
            code=first["exit_code"],
        )


def _tell_forecast(sweep: "Sweep", folder: Path, source: "Source", root: str, json: bool) -> None:
    from lenext.experiment.forecast import estimate
    from lenext.experiment.sweeping import Planned, prepare_variant
    from lenext.reporting.tables import count, duration

    found = {}
    for variant in sweep.variants:
        say(f"measuring {variant}")
        beginning, _ = prepare_variant(sweep, Planned(variant, 0, folder), source, root)
        found[variant] = estimate(beginning)
    total = sweep.seeds * sum(one.seconds for one in found.values())
    if json:
        settings = [{"setting": variant, **dataclasses.asdict(one)} for variant, one in found.items()]
        put_json({"seeds": sweep.seeds, "runs": sweep.seeds * len(found), "seconds": total, "settings": settings})
        return
    cells = [("setting", "parameters", "MACs", "memory", "images/s", "epochs", "a run")]
    for variant, one in found.items():
        speed, needed = f"{one.images_per_second:,.0f}", f"{one.bytes / 2**20:,.0f} MiB"
        cells.append(
            (variant, count(one.params), count(one.macs), needed, speed, str(one.epochs), duration(one.seconds))
        )
    put(table(cells, right=range(1, 7)))
    put(f"{sweep.seeds * len(found)} runs, {sweep.seeds} of each: about {duration(total)}")
