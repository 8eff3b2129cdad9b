"""Networks beside each other. Oracle: the papers' own rows, and every pair of points compared."""

import json
import re
from pathlib import Path

import pytest

from lenext.errors import DataError
from lenext.papers import load_papers
from lenext.reporting.landscape import (
    DATASETS,
    Point,
    describe,
    draw_landscape,
    front,
    paper_points,
    protocols,
    render_page,
    run_point,
)  # fmt: skip

from ..conftest import Lenext

IMAGENET = DATASETS["imagenet"]


def test_points_are_the_papers_of_one_protocol() -> None:
    points = {point.name: point for point in paper_points(IMAGENET, "10-crop")}
    assert points["alexnet"].error == 40.7
    for point in points.values():
        row = load_papers()[point.name]
        assert (point.params, point.macs, point.year) == (row.params, row.macs, row.year)
        assert point.error in [one.top1_error for one in row.results if one.protocol == "10-crop"]
    assert len(points) == dict(protocols(IMAGENET))["10-crop"]


def test_the_most_common_protocol_comes_first() -> None:
    counts = [count for _, count in protocols(IMAGENET)]
    assert counts == sorted(counts, reverse=True) and counts[0] > 50
    assert all(protocols(dataset) for dataset in DATASETS.values())


def test_the_front_is_what_no_other_beats() -> None:
    points = paper_points(IMAGENET, "single crop 224")
    best = front(points)
    beaten = [
        one
        for one in points
        if any(
            other.macs <= one.macs and other.error <= one.error and (other.macs, other.error) != (one.macs, one.error)
            for other in points
        )
    ]
    assert {(one.macs, one.error) for one in best} == {(one.macs, one.error) for one in points if one not in beaten}
    assert [one.macs for one in best] == sorted(one.macs for one in best)


def test_page_is_offline_and_every_point_tells_its_numbers() -> None:
    odd = Point("<b>runs & co</b>", "", None, 10, 1_000_000, 12.5, "resnet20, n = 360", own=True)
    points = [*paper_points(DATASETS["cifar10"], "single view"), odd]
    text = render_page(points, "CIFAR-10 <test>").decode()
    assert "<script" not in text and "<b>runs" not in text and "CIFAR-10 &lt;test&gt;" in text
    assert not re.search(r"""(?:href|src)=["']https?:|url\(http""", text)
    assert len(re.findall(r'<g id="point-\d+"><title>', text)) == len(points)
    assert describe(odd) == "<b>runs & co</b>: 87.50 % top-1, 10 parameters, 1,000,000 MACs (resnet20, n = 360)"
    assert text == render_page(points, "CIFAR-10 <test>").decode()


@pytest.mark.parametrize("form", ["svg", "png"])
def test_drawing_is_the_same_every_time(form: str) -> None:
    points = paper_points(IMAGENET, "10-crop")
    assert draw_landscape(points, "10-crop", form) == draw_landscape(points, "10-crop", form)


def judged(folder: Path, data: str, top1: float) -> Path:
    """What `lenext compare` reads of a run."""
    folder.mkdir()
    index = {"format": 1, "model": "resnet20", "data": data, "params": 269_722, "macs": 40_551_040}
    (folder / "run.json").write_text(json.dumps(index))
    (folder / "metrics-test.json").write_text(json.dumps({"top1": top1, "n": 10_000}))
    return folder


def test_a_real_run_is_read(lenext: Lenext, tmp_path: Path) -> None:
    assert lenext("train", "digits", "--model", "lenet5_relu", "--epochs", "1", "--run", "first").code == 0
    with pytest.raises(DataError, match="not judged"):
        run_point(tmp_path / "first")
    assert lenext("eval", "first").code == 0
    data, point = run_point(tmp_path / "first")
    metrics = json.loads((tmp_path / "first" / "metrics-test.json").read_text())
    assert (data, point.own, point.params) == ("digits", True, 61_706)
    assert point.error == pytest.approx(100 - 100 * metrics["top1"])
    assert lenext("compare", "first").out.splitlines()[1].startswith("first    run")


def test_runs_lie_beside_the_papers_of_their_own_data(lenext: Lenext, tmp_path: Path) -> None:
    run = judged(tmp_path / "mine", "cifar10", 0.9)
    answer = json.loads(lenext("compare", str(run), "--papers", "--json").out)
    own = [one for one in answer if one["own"]]
    assert [(one["name"], round(one["error"], 6)) for one in own] == [(str(run), 10.0)]
    assert len(answer) == 1 + dict(protocols(DATASETS["cifar10"]))["single view"]
    for ending in ("svg", "png", "html"):
        assert lenext("compare", str(run), "--papers", "--out", f"all.{ending}").code == 0
        assert (tmp_path / f"all.{ending}").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        ([], 2, "no run is named"),
        (["--papers", "--protocol", "one glance"], 2, "single crop 224 ("),
        (["--papers", "--dataset", "digits"], 2, "no paper here tells an error on digits"),
        (["--papers", "--out", "all.pdf"], 2, ".svg, .png or .html"),
        (["one", "two"], 2, "judged on cifar10, mnist"),
        (["one", "--papers", "--dataset", "mnist"], 2, "the runs are on cifar10"),
        (["one", "--protocol", "10-crop"], 2, "are of the papers"),
        (["absent"], 3, "run.json"),
    ],
)
def test_what_cannot_be_compared(lenext: Lenext, tmp_path: Path, words: list[str], code: int, why: str) -> None:
    judged(tmp_path / "one", "cifar10", 0.9)
    judged(tmp_path / "two", "mnist", 0.9)
    found = lenext("compare", *words)
    assert (found.code, why in found.err) == (code, True)
