"""Efficiency over the years. Oracle: the papers' rows, and every pair of points compared."""

import json
import re
from pathlib import Path

import pytest

from lenext.papers import load_papers
from lenext.reporting.landscape import DATASETS, Point, paper_points, protocols
from lenext.reporting.years import all_steps, draw_years, levels, render_years, steps

from ..conftest import Lenext

IMAGENET = DATASETS["imagenet"]


def network(name: str, year: int, macs: int, error: float) -> Point:
    return Point(name, "", year, 10 * macs, macs, error, "paper, Table 1")


def test_alexnets_accuracy_took_thirty_times_less_arithmetic_five_years_later() -> None:
    points = paper_points(IMAGENET, "single crop 224")
    found = steps(points, "no worse than alexnet_owt", "macs")
    assert (found[0].point.name, found[-1].point.name) == ("alexnet_owt", "mobilenetv3_small_050")
    first, last = (load_papers()[step.point.name] for step in (found[0], found[-1]))
    assert (first.year, last.year) == (2014, 2019)
    assert found[-1].fewer == first.macs / last.macs == pytest.approx(29.526, abs=0.001)


@pytest.mark.parametrize("protocol", ["single crop 224", "10-crop", "single crop"])
@pytest.mark.parametrize("measure", ["macs", "params"])
def test_every_step_needs_less_than_all_before_it_and_the_least_of_its_year(protocol: str, measure: str) -> None:
    points = paper_points(IMAGENET, protocol)
    for level, error in levels(points).items():
        found = steps(points, level, measure)
        assert len({step.point.year for step in found}) == len(found)
        good = [point for point in points if point.error <= error]
        for year in sorted({point.year or 0 for point in good}):
            least = min(getattr(point, measure) for point in good if (point.year or 0) <= year)
            assert [step.figure for step in found if (step.point.year or 0) <= year][-1] == least
        assert all(step.figure == getattr(step.point, measure) for step in found)


def test_levels_are_the_oldest_network_and_round_errors_that_somebody_reached() -> None:
    points = [network("old", 2012, 100, 42.0), network("twin", 2012, 90, 41.0), network("new", 2020, 50, 24.0)]
    assert levels(points) == {
        "no worse than old": 42.0,
        "at most 35 %": 35.0,
        "at most 30 %": 30.0,
        "at most 25 %": 25.0,
    }
    assert levels(points[:2]) == {"no worse than old": 42.0, "at most 41 %": 41.0}
    for name in DATASETS.values():
        for protocol, _ in protocols(name):
            points = paper_points(name, protocol)
            assert all(steps(points, level, "macs") for level in levels(points)) and len(levels(points)) <= 4


def test_ties_and_dearer_networks_are_no_steps() -> None:
    points = [network("a", 2012, 100, 40.0), network("b", 2013, 100, 30.0), network("c", 2014, 200, 10.0)]
    points += [network("d", 2014, 20, 41.0), network("e", 2015, 25, 39.0)]
    found = steps(points, "no worse than a", "params")
    assert [(step.point.name, step.figure, step.fewer) for step in found] == [("a", 1000, 1.0), ("e", 250, 4.0)]


def test_a_tenth_is_as_far_down_as_the_next_tenth_and_the_same_every_time() -> None:
    points = [network("a", 2012, 10**9, 40.0), network("b", 2014, 10**8, 39.0), network("c", 2016, 10**7, 38.0)]
    svg = draw_years(points, "", "svg")
    places = [re.search(rf'<g id="macs-{number}">.*?<use [^>]*x="([\d.]+)" y="([\d.]+)"', svg.decode(), re.DOTALL)
              for number in range(3)]  # fmt: skip
    xs, ys = zip(*[(float(place[1]), float(place[2])) for place in places if place], strict=True)
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], rel=1e-3) and ys[0] < ys[1]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], rel=1e-3) and xs[0] < xs[1]
    assert svg == draw_years(points, "", "svg")


def test_page_is_offline_and_every_point_tells_its_numbers() -> None:
    points = [*paper_points(DATASETS["cifar10"], "single view")[::4], network("<b>", 2015, 5, 4.0)]
    text = render_years(points, "10-crop <test>").decode()
    assert "<script" not in text and "<b>" not in text and "10-crop &lt;test&gt;" in text
    assert not re.search(r"""(?:href|src)=["']https?:|url\(http""", text)
    assert len(re.findall(r'<g id="(?:macs|params)-\d+"><title>', text)) == 2 * len(points)
    assert text.count("<tr><td>") == len(all_steps(points))


def test_command_lists_and_draws(lenext: Lenext, tmp_path: Path) -> None:
    answer = json.loads(lenext("compare", "--years", "--protocol", "10-crop", "--json", "--out", "years.png").out)
    assert (tmp_path / "years.png").stat().st_size > 10_000
    assert answer[0]["name"] == "alexnet" and answer[0]["figure"] == load_papers()["alexnet"].macs
    lines = lenext("compare", "--years").out.splitlines()
    assert any(line.split()[-3:-1] == ["paper,", "Table"] for line in lines) and "30 %" in lines[5]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--years", "--papers"], "three answers"),
        (["--winners", "--years"], "three answers"),
        (["run", "--winners"], "of the papers alone"),
        (["run", "--years"], "of the papers alone"),
        (["--winners", "--protocol", "10-crop"], "are of the papers"),
        (["--years", "--dataset", "mnist"], "are of 2013"),
        (["--years", "--out", "years.pdf"], ".svg, .png or .html"),
    ],
)
def test_what_would_do_nothing_is_refused(lenext: Lenext, words: list[str], why: str) -> None:
    found = lenext("compare", *words)
    assert (found.code, why in found.err) == (2, True)
