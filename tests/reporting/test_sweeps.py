"""The table and the drawing of a sweep: hand arithmetic."""

from pathlib import Path

import numpy as np
import pytest

from lenext.reporting.dots import draw_groups, save_figure, styled_for_files
from lenext.reporting.sweeps import RunResult, summarise, sweep_cells

GROUPS = {"a=1,b=[1,2]": [0.90, 0.92, 0.94], "a=2,b=[1,2]": [0.5], "a=3,b=[1,2]": []}
HALF = 4.30265 * 0.02 / 3**0.5  # Student's t of two degrees of freedom, deviation 0.02


def test_drawing_has_every_run_as_a_point_and_the_interval_of_their_mean() -> None:
    with styled_for_files("test"):
        (axes,) = draw_groups(GROUPS, label="accuracy").axes
    bar, mean, points, lone_mean, lone = (np.asarray(line.get_xdata(), float) for line in axes.lines)
    np.testing.assert_allclose(bar, [0.92 - HALF, 0.92 + HALF], rtol=1e-5)
    np.testing.assert_allclose(mean, [0.92])
    np.testing.assert_allclose(points, GROUPS["a=1,b=[1,2]"])
    assert (list(lone_mean), list(lone)) == ([0.5], [0.5])  # and no bar
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"a={i}\nb=[1,2]" for i in (1, 2, 3)]
    assert axes.get_xlabel().startswith("accuracy\n")


def test_same_drawing_is_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        with styled_for_files("test"):
            paths = save_figure(draw_groups(GROUPS, label="accuracy"), tmp_path / name)
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]


def run(variant: str, seed: int, score: float | None, test: float | None = None) -> RunResult:
    status = "missing" if score is None else "finished"
    return RunResult(variant=variant, seed=seed, run="", status=status, validation_score=score, test_score=test)


def test_means_are_of_all_finished_runs_or_of_none() -> None:
    rows = summarise([run("a", 0, 0.90, 0.8), run("b", 0, 0.5, 0.4), run("a", 1, 0.94), run("b", 1, None)])
    assert [(row.variant, row.n) for row in rows] == [("a", 2), ("b", 1)]
    assert [row.validation_score for row in rows] == [pytest.approx(0.92), 0.5]
    assert [row.validation_interval for row in rows] == [pytest.approx(12.7062 * 0.02, rel=1e-4), None]
    assert [row.test_score for row in rows] == [None, 0.4]  # of "a" only one run is judged
    heading, first, second = sweep_cells(rows, "top-1")
    assert heading[:4] == ("setting", "n", "validation top-1", "test top-1")
    assert first[:4] == ("a", "2", "92.00 % ± 25.41", "-")
    assert second[:4] == ("b", "1", "50.00 %", "40.00 %")
