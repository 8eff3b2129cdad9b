"""The offline pages as a browser shows them: what they ask for, what lies under the pointer, how wide they are."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lenext.cli import main
from lenext.papers.ilsvrc import load_challenge
from lenext.reporting.landscape import DATASETS, paper_points
from lenext.reporting.years import all_steps

from .browser import Browser, browsing

PAGES = {
    "layers": ("cost", "lenet5_relu", "--plot"),
    "landscape": ("compare", "--papers", "--dataset", "cifar10", "--out"),
    "winners": ("compare", "--winners", "--out"),
    "years": ("compare", "--years", "--protocol", "single crop", "--out"),
}
UNDER = """(place => { let found = document.elementFromPoint(place.x + place.width / 2, place.y + place.height / 2);
            while (found && !found.querySelector(':scope > title')) found = found.parentElement;
            return found ? found.querySelector(':scope > title').textContent : ''; })"""
PHONE, DESK = 400, 1280


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    for name, words in PAGES.items():
        with pytest.raises(SystemExit) as end:
            main([*words, str(folder / f"{name}.html")])
        assert end.value.code == 0
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_page_asks_for_nothing_but_itself_and_fits_the_window(browser: Browser, folder: Path, name: str) -> None:
    page = folder / f"{name}.html"
    for width in (PHONE, DESK):
        browser.open(page, width)
        sent = [event["params"]["request"]["url"] for event in browser.events if event["method"].endswith("WillBeSent")]
        assert sent == [page.as_uri()]
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("document.querySelector('svg').getBoundingClientRect().width") > 0.8 * min(width, 1100)


def test_column_over_the_tallest_bar_tells_its_layer(browser: Browser, folder: Path) -> None:
    """The bars of each chart are one outline: its highest points are those of the layer that has most."""
    browser.open(folder / "layers.html", DESK)
    tallest = """
[...document.querySelectorAll('svg g[id^="axes_"]')].slice(0, 3).map(chart => {
    let outline = chart.querySelector('path[style*="#0b6e74"]'), turn = outline.getScreenCTM();
    let ends = outline.getAttribute('d').match(/[\\d.]+ [\\d.]+/g).map(pair => pair.split(' ').map(Number));
    let top = Math.min(...ends.map(end => end[1])), xs = ends.filter(end => end[1] == top).map(end => end[0]);
    let place = new DOMPoint((xs[0] + xs[1]) / 2, top + 1).matrixTransform(turn);
    return """ + UNDER + """({x: place.x, y: place.y, width: 0, height: 0}); })"""  # fmt: skip
    activations, parameters, macs = browser.evaluate(tallest)
    assert activations.startswith(
        "stages.c1.conv, Conv2d to 6x28x28: 18,816 bytes written, 156 parameters"
    )  # 4*6*28*28
    assert parameters.startswith("head.c5.fc, Linear to 120: 480 bytes written, 48,120 parameters")  # 400*120 + 120
    assert macs.startswith("stages.c3.conv, ") and "240,000 MACs" in macs  # 16*10*10 * 6*5*5


def test_bar_of_every_winner_tells_it(browser: Browser, folder: Path) -> None:
    browser.open(folder / "winners.html", DESK)
    for number, entry in enumerate(load_challenge().entries):
        told = browser.evaluate(f"{UNDER}(document.getElementById('error-{number}').getBoundingClientRect())")
        assert told.startswith(f"{entry.team}, {entry.year}")


def test_every_step_down_tells_its_network(browser: Browser, folder: Path) -> None:
    points = paper_points(DATASETS["imagenet"], "single crop")
    browser.open(folder / "years.html", DESK)
    found = all_steps(points)
    assert len(found) > 10
    for step in found:
        point = f"document.getElementById('{step.measure}-{points.index(step.point)}')"
        browser.evaluate(f"{point}.scrollIntoView({{block: 'center'}})")
        assert browser.evaluate(f"{UNDER}({point}.getBoundingClientRect())").startswith(
            f"{step.point.name}, {step.point.year}: "
        )


@pytest.mark.parametrize("name", ["winners", "years"])
def test_no_two_words_of_a_drawing_overlap(browser: Browser, folder: Path, name: str) -> None:
    browser.open(folder / f"{name}.html", DESK)
    names = browser.evaluate(
        "[...document.querySelectorAll('svg g[id^=\"text_\"]')].map(name => name.getBoundingClientRect())"
        ".map(box => [box.left, box.top, box.right, box.bottom])"
    )
    assert len(names) > 20
    overlaps = [
        (a, b)
        for number, a in enumerate(names)
        for b in names[:number]
        if min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 1
    ]
    assert overlaps == [], json.dumps(overlaps)
