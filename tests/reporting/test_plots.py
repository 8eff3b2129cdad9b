import math
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest

from lenext.judge.calibration import ReliabilityBin
from lenext.judge.intervals import wilson
from lenext.reporting.plots import THEME, TRAIN_COLOUR, VALIDATION_COLOUR, Line, line_chart, reliability_chart

TRAIN = Line("train", [1, 2, 3], [2.0, 1.0, 0.5], TRAIN_COLOUR, dashed=True)
VALIDATION = Line("validation", [1, 2, 3], [1.8, 0.9, 0.52])


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def lines(svg: str, colour: str) -> list[list[tuple[float, float]]]:
    """The points of every path that is stroked in the colour, in the drawing's own units."""
    found = []
    for path in ElementTree.fromstring(svg).iter("path"):
        style = path.get("style", "")
        if f"stroke: var({THEME[colour]}" in style and "fill: none" in style and path.get("clip-path"):
            pairs = re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d", ""))
            found.append([(float(x), float(y)) for x, y in pairs])
    return found


def test_chart_names_its_axes_and_its_lines() -> None:
    shown = texts(line_chart([TRAIN, VALIDATION], key="loss", title="Loss", description="the loss"))
    assert {"Loss", "epoch", "train", "validation", "1", "2", "3"} <= set(shown)


def test_points_stand_in_proportion_to_their_values() -> None:
    (line,) = lines(line_chart([TRAIN], key="loss", title="Loss", description=""), TRAIN_COLOUR)
    (x1, y1), (x2, y2), (x3, y3) = line
    assert x3 - x2 == pytest.approx(x2 - x1, rel=1e-4)
    assert (y2 - y1) / (y3 - y2) == pytest.approx((2.0 - 1.0) / (1.0 - 0.5), rel=1e-4)


def test_losses_that_span_more_than_twentyfold_are_drawn_logarithmically_and_say_so() -> None:
    svg = line_chart([Line("train", [1, 2, 3], [40.0, 4.0, 0.4])], key="loss", title="Loss", description="")
    ((_, y1), (_, y2), (_, y3)) = lines(svg, VALIDATION_COLOUR)[0]
    assert y2 - y1 == pytest.approx(y3 - y2, rel=1e-4)
    assert "Loss, logarithmic" in texts(svg)


def test_names_of_lines_that_end_together_do_not_cover_each_other() -> None:
    svg = line_chart([TRAIN, VALIDATION], key="loss", title="Loss", description="")
    places = [
        float(element.get("y", "nan"))
        for element in ElementTree.fromstring(svg).iter("text")
        if element.text in ("train", "validation")
    ]
    assert abs(places[0] - places[1]) >= 10


@pytest.mark.parametrize("last", [0.5, 30.0, 0.05])
def test_name_of_a_line_stands_beside_its_end(last: float) -> None:
    svg = line_chart([Line("train", [1, 2, 3], [2.0, 1.0, last])], key="loss", title="Loss", description="")
    (name,) = [element for element in ElementTree.fromstring(svg).iter("text") if element.text == "train"]
    assert float(name.get("y", "nan")) == pytest.approx(lines(svg, VALIDATION_COLOUR)[0][-1][1], abs=4)


def test_gap_in_a_line_breaks_it_and_nothing_else() -> None:
    svg = line_chart(
        [Line("train", [1, 2, 3, 4, 5], [2.0, 1.0, None, math.inf, 0.5])], key="loss", title="Loss", description=""
    )
    assert len(lines(svg, VALIDATION_COLOUR)[0]) == 3


def test_small_learning_rates_are_written_short() -> None:
    rate = Line("rate", [1, 2], [0.0003, 0.00015])
    shown = texts(line_chart([rate], key="rate", title="Learning rate", description="", small=True))
    assert [text for text in shown if "e-" in text] == ["1.5e-4", "3e-4"]


def test_line_of_one_point_is_visible() -> None:
    svg = line_chart([Line("train", [1], [0.7])], key="accuracy", title="Accuracy", description="", percent=True)
    dots = [one for one in ElementTree.fromstring(svg).iter("use") if "--validation" in one.get("style", "")]
    assert len(dots) == 1
    assert any(text.endswith(" %") for text in texts(svg))


def test_line_without_any_finite_point_still_gives_axes() -> None:
    assert "epoch" in texts(line_chart([Line("train", [1], [math.nan])], key="loss", title="Loss", description=""))


def test_drawing_has_theme_colours_no_address_and_its_own_ids() -> None:
    svg = line_chart([TRAIN, VALIDATION], key="loss", title="Loss", description='a "quoted" <loss>')
    assert "://" not in svg
    assert 'aria-label="a &quot;quoted&quot; &lt;loss&gt;"' in svg
    bare = re.sub(r"var\(--[\w-]+, #[0-9a-f]{6}\)", "", svg)
    assert not re.findall(r"#[0-9a-f]{6}\b(?!\))", bare.replace("#loss-", ""))
    assert all(name.startswith("loss-") for name in re.findall(r' id="([^"]+)"', svg))


def test_drawing_is_the_same_bytes_whatever_the_settings_of_matplotlib_and_leaves_them_alone() -> None:
    plain = line_chart([TRAIN, VALIDATION], key="loss", title="Loss", description="")
    with matplotlib.rc_context({"lines.linewidth": 7.0, "axes.grid": True, "font.size": 20.0}):
        assert line_chart([TRAIN, VALIDATION], key="loss", title="Loss", description="") == plain
        assert matplotlib.rcParams["lines.linewidth"] == 7.0


BINS = (
    ReliabilityBin(low=0.0, high=0.25, count=0, confidence=0.0, accuracy=0.0),
    ReliabilityBin(low=0.25, high=0.5, count=4, confidence=0.4, accuracy=0.25),
    ReliabilityBin(low=0.5, high=0.75, count=0, confidence=0.0, accuracy=0.0),
    ReliabilityBin(low=0.75, high=1.0, count=16, confidence=0.8, accuracy=1.0),
)


def test_reliability_has_a_dot_and_its_interval_at_each_bin_that_holds_answers() -> None:
    svg = reliability_chart(BINS, key="reliability", vertical="Accuracy", description="")
    tree = ElementTree.fromstring(svg)
    ends = [
        [float(number) for number in re.findall(r"[\d.]+", path.get("d", ""))]
        for path in tree.iter("path")
        if "--validation" in path.get("style", "") and "fill: none" in path.get("style", "")
    ]
    dots = [
        (float(one.get("x", "nan")), float(one.get("y", "nan")))
        for one in tree.iter("use")
        if "--validation" in one.get("style", "")
    ]
    (x1, low1, _, high1), (x2, low2, _, high2) = ends
    assert [x for x, _ in dots] == pytest.approx([x1, x2], abs=0.01)
    unit = (dots[0][1] - dots[1][1]) / 0.75  # from an accuracy of 0.25 to one of 1
    for (_, y), low, high, one in zip(dots, (low1, low2), (high1, high2), BINS[1::2], strict=True):
        expected = wilson(round(one.accuracy * one.count), one.count)
        assert [one.accuracy + (y - low) / unit, one.accuracy + (y - high) / unit] == pytest.approx(expected, abs=1e-3)


def test_bars_of_the_counts_stand_in_proportion_to_them() -> None:
    tree = ElementTree.fromstring(reliability_chart(BINS, key="reliability", vertical="Accuracy", description=""))
    heights = []
    for path in tree.iter("path"):
        if "fill: var(--validation" in path.get("style", "") and path.get("clip-path"):
            places = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", path.get("d", ""))]
            heights.append(max(places) - min(places))
    assert [height / max(heights) for height in heights] == pytest.approx([0, 0.25, 0, 1], abs=1e-4)


def test_reliability_names_its_axes_and_keeps_its_ids_and_colours_to_itself() -> None:
    svg = reliability_chart(BINS, key="reliability", vertical="Accuracy", description="a <chart>")
    assert {"Accuracy", "confidence", "0 %", "100 %"} <= set(texts(svg))
    assert 'aria-label="a &lt;chart&gt;"' in svg
    assert all(name.startswith("reliability-") for name in re.findall(r' id="([^"]+)"', svg))
    assert not re.findall(r"#[0-9a-f]{6}\b(?!\))", re.sub(r"var\(--[\w-]+, #[0-9a-f]{6}\)", "", svg))
