import importlib
import math

import numpy as np
import pytest

from lenext.errors import UsageError
from lenext.judge.intervals import f1_interval, mean_interval, student_t, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_has_the_published_values(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(1, 2), (93, 100), (8931, 10_000), (1, 50_000)])
def test_ends_of_the_interval_are_just_compatible_with_what_was_seen(successes: int, n: int) -> None:
    z = 1.959963984540054
    for end in wilson(successes, n):
        assert abs(successes / n - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n), rel=1e-9)


def test_interval_of_none_and_of_all_touches_the_end() -> None:
    for n in range(1, 60):
        low, high = wilson(0, n), wilson(n, n)
        assert low[0] == 0.0
        assert high[1] == 1.0
        assert low[1] == pytest.approx(1 - high[0], rel=1e-12)


def test_nothing_is_known_from_no_trial() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 2), (0, -1)])
def test_impossible_counts_have_no_interval(successes: int, n: int) -> None:
    with pytest.raises(UsageError, match="no interval"):
        wilson(successes, n)


def test_f1_interval_by_hand() -> None:
    # 81 of 263 is in Newcombe's table above: j is in [0.2553, 0.3662], and F1 = 2 j / (1 + j).
    assert f1_interval(81, 182) == pytest.approx((2 * 0.2553 / 1.2553, 2 * 0.3662 / 1.3662), abs=1e-4)
    assert f1_interval(0, 0) == (0.0, 1.0)
    assert f1_interval(0, 20)[0] == 0.0
    assert f1_interval(20, 0)[1] == 1.0


@pytest.mark.parametrize(
    ("n", "shares"),  # of true positives, false positives and false negatives among n samples
    [(60, (0.2, 0.05, 0.1)), (200, (0.1, 0.01, 0.03)), (1000, (0.02, 0.02, 0.02)), (300, (0.3, 0.0, 0.02))],
)
def test_f1_interval_holds_the_true_f1_about_nineteen_times_in_twenty(n: int, shares: tuple[float, ...]) -> None:
    truth = 2 * shares[0] / (2 * shares[0] + shares[1] + shares[2])
    draws = np.random.default_rng(0).multinomial(n, (*shares, 1 - sum(shares)), size=4000)
    held = 0
    for hits, false, missed, _ in draws.tolist():
        low, high = f1_interval(hits, false + missed)
        held += low <= truth <= high
    assert 0.93 < held / len(draws) < 0.98  # 4000 draws: a standard deviation is 0.0035


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 30, 31, 999])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_students_t_is_scipys(degrees: int, share: float) -> None:
    stats = importlib.import_module("scipy.stats")  # which scikit-learn brings; it has no types
    assert student_t(degrees, share) == pytest.approx(stats.t.ppf((1 + share) / 2, degrees), rel=1e-9)


def test_students_t_has_the_values_of_the_tables() -> None:
    # any table of the distribution, two tails of 5 %: 1, 2, 4, 9 degrees of freedom
    assert [round(student_t(degrees), 3) for degrees in (1, 2, 4, 9)] == [12.706, 4.303, 2.776, 2.262]
    with pytest.raises(UsageError):
        student_t(0)


def test_interval_of_a_mean_by_hand() -> None:
    mean, half = mean_interval([0.90, 0.92, 0.94])  # deviation 0.02
    assert mean == pytest.approx(0.92)
    assert half == pytest.approx(4.3027 * 0.02 / 3**0.5, rel=1e-4)
    assert mean_interval([0.5]) == (0.5, None)
    assert mean_interval([0.5, 0.5]) == (0.5, 0.0)
