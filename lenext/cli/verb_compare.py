"""`lenext compare`: what networks cost and how often they err, one's own runs beside the papers. Imports no torch."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lenext.cli.output import put, put_json, say, table
from lenext.errors import UsageError
from lenext.reporting.landscape import (
    DATASETS,
    HEADINGS,
    Point,
    as_object,
    draw_landscape,
    front,
    paper_points,
    protocols,
    render_page,
    row_of,
)
from lenext.reporting.landscape import run_point as read_run
from lenext.run import write_durably

NARROW = 7  # columns about a winner that a terminal has room for
FORMS = (".svg", ".png", ".html")


def compare_networks(
    *runs: Path,
    papers: bool = False,
    winners: bool = False,
    years: bool = False,
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
    winners
        Who won the classification of ILSVRC, 2010 to 2017, with which error and how many layers.
    years
        How little arithmetic and how few parameters the papers' networks needed for an error, over the years.
    dataset
        Of the papers: imagenet unless there are runs, else the runs' own (cifar10, cifar100, fashion_mnist, mnist).
    protocol
        Of the papers, as "10-crop"; the most common of the data set unless told otherwise.
    out
        Draw that into an .svg or .png file, or into an offline .html page with the numbers.
    json
        Print a list of objects.
    """
    if out is not None and out.suffix.lower() not in FORMS:
        raise UsageError(f"cannot write {out}", why="it is .svg, .png or .html", advice=f"{out.stem}.svg")
    if papers + winners + years > 1:
        why = "--papers, --winners and --years are three answers"
        raise UsageError("cannot answer them at once", why=why, advice="one of them")
    if (dataset or protocol) and not (papers or years):
        why = "--dataset and --protocol are of the papers"
        raise UsageError("nothing to look up", why=why, advice="add --papers or --years")
    if runs and (winners or years):
        why = "--winners and --years are of the papers alone"
        raise UsageError("cannot lay runs beside these", why=why, advice="lenext compare RUNS --papers")
    if not (runs or papers or winners or years):
        raise UsageError("nothing to compare", why="no run is named", advice="--papers, or lenext compare runs/*")
    if winners:
        _show_winners(out, json=json)
    elif years:
        _show_years(dataset or "imagenet", protocol, out, json=json)
    else:
        _show_points([read_run(run) for run in runs], dataset, protocol if papers else None, out, json=json)


def _show_points(
    own: Sequence[tuple[str, Point]], dataset: str, protocol: str | None, out: Path | None, *, json: bool
) -> None:
    """Runs, and with a protocol (empty is the most common) the papers' networks."""
    sets = {data for data, _ in own}
    if len(sets) > 1:
        why = f"they were judged on {', '.join(sorted(sets))}"
        raise UsageError("cannot compare these runs", why=why, advice="name runs of one data set")
    points, told = [point for _, point in own], next(iter(sets), "imagenet")
    if protocol is not None:
        found, title = _of_papers(dataset or told, protocol, sets)
        points += found
    else:
        title = f"{len(own)} runs on {told}"
    points.sort(key=lambda one: one.error)
    best = front(points)
    _write(out, lambda form: draw_landscape(points, title, form), lambda: render_page(points, title))
    if json:
        put_json([as_object(point, best) for point in points])
    else:
        cells = [(*told, "*" if point in best else "", source) for point in points for *told, source in [row_of(point)]]
        *heading, source = HEADINGS
        put(table([(*heading, "front", source), *cells], right=(2, 3, 4)))
        say(f"{title}; front: none errs less at as few MACs")


def _show_winners(out: Path | None, *, json: bool) -> None:
    from lenext.papers.ilsvrc import load_challenge
    from lenext.reporting import winners

    challenge = load_challenge()
    _write(
        out,
        lambda form: winners.draw_winners(challenge, winners.TITLE, form),
        lambda: winners.render_winners(challenge),
    )
    if json:
        put_json([vars(entry) for entry in challenge.entries])
    else:
        cells = [(*winners.row_of(entry)[:NARROW], entry.source) for entry in challenge.entries]
        put(table([(*winners.HEADINGS[:NARROW], "source"), *cells], right=(3, 4, 5, 6)))
        say(f"{winners.NOTE}\na person: {challenge.human.top5_error:g} % ({challenge.human.source})")


def _show_years(name: str, protocol: str, out: Path | None, *, json: bool) -> None:
    from lenext.reporting import years

    points, title = _of_papers(name, protocol, set())
    if len({point.year for point in points}) == 1:
        why = f"all networks with an error under {title} are of {points[0].year}"
        raise UsageError("cannot follow one year over the years", why=why, advice="--papers, or another --protocol")
    over = f"{title}: the least that an error took, by the year of the paper"
    _write(out, lambda form: years.draw_years(points, over, form), lambda: years.render_years(points, over))
    found = years.all_steps(points)
    if json:
        put_json([years.as_object(step) for step in found])
    else:
        put(table([years.HEADINGS, *map(years.row_of, found)], right=(4, 5, 6)))
        say(f"{title}; {years.NOTE_OF_ROWS}")


def _write(out: Path | None, draw: Callable[[str], bytes], render: Callable[[], bytes]) -> None:
    """A drawing, or the page with the numbers, where a file was asked for."""
    if out is not None:
        form = out.suffix[1:].lower()
        write_durably(out, render() if form == "html" else draw(form))
        say(str(out))


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
