"""`lenext compare`: what networks cost and how often they err, one's own runs beside the papers. Imports no torch."""

from pathlib import Path

from lenext.cli.output import put, put_json, say, table
from lenext.errors import UsageError
from lenext.reporting.landscape import (
    DATASETS,
    Point,
    as_object,
    draw_landscape,
    front,
    paper_points,
    protocols,
    render_page,
)
from lenext.reporting.landscape import run_point as read_run
from lenext.run import write_durably

FORMS = (".svg", ".png", ".html")


def compare_networks(
    *runs: Path,
    papers: bool = False,
    dataset: str = "",
    protocol: str = "",
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Put judged runs beside each other, or beside the networks whose papers tell an error under one protocol.

    Parameters
    ----------
    runs
        Runs that `lenext eval` has judged, all on one data set.
    papers
        The papers' networks, too.
    dataset
        Of the papers: imagenet unless there are runs, else the runs' own (cifar10, cifar100, fashion_mnist, mnist).
    protocol
        Of the papers, as "10-crop"; the most common of the data set unless told otherwise.
    out
        Draw accuracy over MACs into that .svg or .png file, or an offline .html page with the numbers.
    json
        Print a list of objects.
    """
    if out is not None and out.suffix.lower() not in FORMS:
        raise UsageError(f"cannot write {out}", why="it is .svg, .png or .html", advice=f"{out.stem}.svg")
    if (dataset or protocol) and not papers:
        raise UsageError("nothing to look up", why="--dataset and --protocol are of the papers", advice="add --papers")
    own = [read_run(run) for run in runs]
    sets = {data for data, _ in own}
    if len(sets) > 1:
        why = f"they were judged on {', '.join(sorted(sets))}"
        raise UsageError("cannot compare these runs", why=why, advice="name runs of one data set")
    if not runs and not papers:
        raise UsageError("nothing to compare", why="no run is named", advice="--papers, or lenext compare runs/*")
    points, told = [point for _, point in own], next(iter(sets), "imagenet")
    if papers:
        found, title = _of_papers(dataset or told, protocol, sets)
        points += found
    else:
        title = f"{len(own)} runs on {told}"
    points.sort(key=lambda one: one.error)
    best = front(points)
    if out is not None:
        form = out.suffix[1:].lower()
        write_durably(out, render_page(points, title) if form == "html" else draw_landscape(points, title, form))
        say(str(out))
    if json:
        put_json([as_object(point, best) for point in points])
    else:
        heading = ("network", "year", "parameters", "MACs", "top-1 error", "front", "source")
        put(table([heading, *(_cells(point, point in best) for point in points)], right=(2, 3, 4)))
        say(f"{title}; front: none errs less at as few MACs")


def _of_papers(name: str, protocol: str, sets: set[str]) -> tuple[list[Point], str]:
    """The papers' networks of a data set under a protocol, and a heading."""
    if name not in DATASETS or (sets and sets != {name}):
        why = f"no paper here tells an error on {name}" if name not in DATASETS else f"the runs are on {sets.pop()}"
        raise UsageError("cannot lay these beside the papers", why=why, advice=f"one of {', '.join(DATASETS)}")
    dataset, counts = DATASETS[name], dict(protocols(DATASETS[name]))
    chosen = protocol or next(iter(counts))
    if chosen not in counts:
        most = "; ".join(f"{one} ({count})" for one, count in list(counts.items())[:6])
        raise UsageError(f"no network has an error under {chosen!r}", why=f"there are: {most}", advice="one of those")
    return paper_points(dataset, chosen), f"{dataset}, {chosen}"


def _cells(point: Point, best: bool) -> tuple[str, ...]:
    year = "run" if point.own else str(point.year)
    figures = (f"{point.params:,}", f"{point.macs:,}", f"{point.error:.2f} %")
    return (point.name, year, *figures, "*" if best else "", point.source)
