"""The page as a browser shows it: what it asks for, how wide it is, what its cells open, how well it can be read."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lenext import run as runs
from lenext.judge.ranking import cell_rows, gallery_rows
from lenext.predictions import Predictions
from lenext.reporting.page import write_report

from .browser import Browser, browsing
from .conftest import save_evaluation

NAMES = (
    "<script>document.title='broken'</script>", "\"' onclick='document.title=1'", "two\nlines\r\nor\tthree",
    "</style></td><img src=x>", "{{ 7 * 7 }} {% raw %}", "caf\\xe9", "&lt;b&gt; &amp;", "W" * 90,
    "läufer 図 \N{FOX FACE}", "\u202eright to left",
)  # fmt: skip
PHONE, DESK = 400, 1280


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def hostile(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose class names, file names and data file hold what could harm a page; its images are photographs."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("hostile") / "a <b>&'\" run"))
    seen = Predictions.load(run / "predictions-test.npz")
    ids = tuple(f"{NAMES[row % 10]}/{'x' * (row % 60)}{row}.jpg:0123456789ab" for row in range(len(seen)))
    predictions = dataclasses.replace(seen, classes=NAMES, ids=ids)
    rows = gallery_rows(predictions)
    sizes = np.stack([96 - rows % 50, 50 + rows % 47], axis=1)
    gallery: dict[str, np.ndarray] = {
        "thumbnails": np.random.default_rng(0).integers(0, 256, (len(rows), 96, 96, 3), dtype=np.uint8),
        "thumbnails_size": sizes,
        "thumbnails_row": rows,
        "filters": np.eye(147, dtype=np.float32).reshape(147, 3, 7, 7)[:64],
        "filters_name": np.array("stem.<i>conv</i>.weight"),
    }
    save_evaluation(run, predictions, gallery)
    data = json.loads((run / "data.json").read_text(encoding="utf-8"))
    data["ignored"] = list(NAMES)
    data["findings"] = [{"kind": name, "count": 9, "text": name, "examples": list(NAMES)} for name in NAMES]
    for part in data["split"].values():
        part["classes"] = dict(zip(NAMES, part["classes"].values(), strict=True))
    runs.write_json(run / "data.json", data)
    runs.update_run(run, command="lenext train '<b>' " + "y" * 300, model="<i>net</i>", data=NAMES[3])
    return write_report(run)


@pytest.fixture(scope="module")
def plain(trained: Path) -> Path:
    return write_report(trained)


def test_page_asks_for_nothing_but_itself(browser: Browser, plain: Path, hostile: Path) -> None:
    for page in (plain, hostile):
        browser.open(page, DESK)
        browser.evaluate("document.querySelectorAll('[popover]').forEach(panel => panel.showPopover())")
        assert asked_for(browser) == [page.as_uri()]


def test_the_check_of_requests_sees_one_and_the_page_forbids_those_of_a_foreign_image(
    browser: Browser, plain: Path, tmp_path: Path
) -> None:
    loading = (
        "new Promise(done => { let image = new Image(); image.onerror = done; image.src = 'x.png'; }).then(() => 1)"
    )
    (tmp_path / "open.html").write_text("<!doctype html><title>no policy</title>", encoding="utf-8")
    browser.open(tmp_path / "open.html", DESK)
    browser.evaluate(loading)
    assert len(asked_for(browser)) == 2
    browser.open(plain, DESK)
    browser.evaluate(loading)
    failures = [event["params"] for event in browser.events if event["method"] == "Network.loadingFailed"]
    assert [failure.get("blockedReason") for failure in failures] == ["csp"]


def test_names_that_could_harm_are_shown_as_they_are(browser: Browser, hostile: Path) -> None:
    browser.open(hostile, DESK)
    shown = browser.evaluate("[...document.querySelectorAll('.matrix tbody th span')].map(name => name.textContent)")
    assert shown == [name.replace("\r\n", "\n") for name in NAMES]
    assert browser.evaluate("document.title").startswith("<i>net</i> on </style></td><img src=x>")
    assert (
        browser.evaluate("document.querySelectorAll('script, i, [onclick], img:not([src^=\"data:image\"])').length")
        == 0
    )


@pytest.mark.parametrize("width", [320, PHONE, 700, DESK])
def test_page_is_never_wider_than_the_window(browser: Browser, plain: Path, hostile: Path, width: int) -> None:
    for page in (plain, hostile):
        browser.open(page, width)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate("innerWidth") == width
        browser.evaluate("document.querySelector('[popover]').showPopover()")
        left, right = browser.evaluate(
            "(box => [box.left, box.right])(document.querySelector(':popover-open').getBoundingClientRect())"
        )
        assert 0 <= left < right <= width


def test_page_of_a_multi_label_run_is_never_wider_than_a_phone(browser: Browser, labelled: Path) -> None:
    browser.open(write_report(labelled), PHONE)
    assert browser.evaluate("document.documentElement.scrollWidth") <= PHONE


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_click_on_a_cell_shows_its_images_and_escape_hides_them(
    browser: Browser, trained: Path, plain: Path, width: int
) -> None:
    predictions = Predictions.load(trained / "predictions-test.npz")
    cells = cell_rows(predictions)
    wrong = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: -len(cells[cell]))
    browser.open(plain, width)
    for true, said in (wrong[0], wrong[-1], (0, 0), (9, 9)):
        browser.click(*middle(browser, f".matrix [popovertarget=cell-{true}-{said}]"))
        panels, images = browser.evaluate(OPEN_PANELS)
        assert panels == [f"cell-{true}-{said}"]
        assert len(images) == min(len(cells[true, said]), 12)
        assert all(loaded and 0 <= left < right <= width for loaded, left, right, _, _ in images)
        assert 0 <= images[0][3] < images[0][4] <= 900
        browser.press("Escape", 27)
        assert browser.evaluate(OPEN_PANELS)[0] == []


def test_keyboard_reaches_a_cell_opens_it_and_comes_back_to_it(browser: Browser, plain: Path) -> None:
    browser.open(plain, DESK)
    for _ in range(30):
        browser.press("Tab", 9)
        reached = browser.evaluate("document.activeElement.getAttribute('popovertarget')")
        if reached:
            break
    assert reached == "cell-0-0"
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter", 13, "\r")
    assert browser.evaluate(OPEN_PANELS)[0] == [reached]
    assert browser.evaluate("document.activeElement.textContent") == "Close"
    browser.press("Enter", 13, "\r")
    assert browser.evaluate(OPEN_PANELS)[0] == []
    assert browser.evaluate("document.activeElement.getAttribute('popovertarget')") == reached


def test_confusion_told_in_words_opens_the_panel_of_its_cell(browser: Browser, plain: Path) -> None:
    browser.open(plain, PHONE)
    browser.click(*middle(browser, ".pairs button"))
    assert browser.evaluate(OPEN_PANELS)[0] == [
        browser.evaluate("document.querySelector('.pairs button').getAttribute('popovertarget')")
    ]


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_has_a_contrast_of_four_and_a_half(
    browser: Browser, plain: Path, hostile: Path, labelled: Path, dark: bool
) -> None:
    for page in (plain, hostile, write_report(labelled)):
        browser.open(page, DESK, dark=dark)
        measured = browser.evaluate(CONTRASTS)
        assert len(measured) > 300
        assert [told for told in measured if told[0] < 4.5] == []
    assert (browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 252, 251)") != dark


def test_contrast_is_measured_as_wcag_defines_it(browser: Browser, tmp_path: Path) -> None:
    samples = (
        "<body style='background:#fff'><p style='color:#767676'>a<p style='color:#777'>b<p style='color:#000'>c"
        "<p style='background:#000'><b style='color:#fff;background:rgb(255 255 255 / 0.2)'>d</b></p>"
        "<svg><text fill='#767676' y='20'>e</text></svg>"
    )
    (tmp_path / "samples.html").write_text("<!doctype html>" + samples, encoding="utf-8")
    browser.open(tmp_path / "samples.html", DESK)
    # The figures of WebAIM's checker; a fifth of white over black is #333.
    assert [told[0] for told in browser.evaluate(CONTRASTS)] == pytest.approx([4.54, 4.48, 21, 12.63, 4.54], abs=0.01)


def asked_for(browser: Browser) -> list[str]:
    browser.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))).then(() => 1)")
    urls = [
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith("data:")]


def middle(browser: Browser, selector: str) -> tuple[float, float]:
    """Scroll the first such element into the middle of the window and return its middle."""
    x, y = browser.evaluate(
        f"(one => {{ one.scrollIntoView({{block: 'center', inline: 'center'}}); let box = one.getBoundingClientRect();"
        f" return [box.x + box.width / 2, box.y + box.height / 2]; }})(document.querySelector({json.dumps(selector)}))"
    )
    return float(x), float(y)


# Ids of the open panels, and of each of their images: whether it is loaded, left, right, top, bottom.
OPEN_PANELS = """[...document.querySelectorAll(':popover-open')].reduce((found, panel) => {
  found[0].push(panel.id);
  for (const image of panel.querySelectorAll('img')) {
    const box = image.getBoundingClientRect();
    found[1].push([image.complete && image.naturalWidth > 0, box.left, box.right, box.top, box.bottom]);
  }
  return found;
}, [[], []])"""

# Contrast (WCAG 2.2, 1.4.3) of every text with the colours behind it, and its beginning.
CONTRASTS = """(() => {
  const numbers = colour => [...colour.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const over = (top, ground) => [0, 1, 2].map(k => top[3] * top[k] + (1 - top[3]) * ground[k]);
  const ground = one => {
    if (!one) return [255, 255, 255];
    const own = numbers(getComputedStyle(one).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(one.parentElement));
  };
  const luminance = colour => colour.slice(0, 3).map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, k) => sum + part * [0.2126, 0.7152, 0.0722][k], 0);
  const told = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), one = texts.currentNode.parentElement;
    if (!text) continue;
    const style = getComputedStyle(one), behind = ground(one);
    const front = over(numbers(one.namespaceURI.endsWith('svg') ? style.fill : style.color), behind);
    const [low, high] = [luminance(front), luminance(behind)].sort((a, b) => a - b);
    told.push([(high + 0.05) / (low + 0.05), text.slice(0, 30)]);
  }
  return told;
})()"""
