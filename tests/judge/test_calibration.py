import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from lenext.judge.calibration import BINS, calibration_error, reliability
from lenext.judge.metrics import measure
from lenext.predictions import Predictions


def test_calibration_error_agrees_with_a_loop_over_the_bins(digits: Predictions) -> None:
    confidence = digits.probabilities().max(axis=1)
    correct = digits.scores.argmax(axis=1) == digits.labels
    expected = 0.0
    for m in range(BINS):
        inside = (confidence > m / BINS) & (confidence <= (m + 1) / BINS)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected > 0.02
    assert measure(digits).ece == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("confidence", "correct", "expected"),
    [
        ([0.2, 0.1], [True, False], 0.35),  # one bin, (0, 0.2]: accuracy 0.5, mean confidence 0.15
        ([0.2, 0.3], [True, False], 0.55),  # two bins: distances 0.8 and 0.3
        ([1.0, 0.9], [True, True], 0.05),
        ([0.0], [False], 0.0),
        ([0.75, 0.75, 0.75, 0.75], [True, True, True, False], 0.0),
    ],
)
def test_calibration_error_by_hand(confidence: list[float], correct: list[bool], expected: float) -> None:
    assert calibration_error(np.array(confidence), np.array(correct), bins=5) == pytest.approx(expected, abs=1e-15)


def test_reliability_agrees_with_scikit_learn(digits: Predictions) -> None:
    confidence = digits.probabilities().max(axis=1)
    correct = digits.predicted() == digits.labels
    filled = [one for one in reliability(confidence, correct, 10) if one.count]
    right, said = calibration_curve(correct, confidence, n_bins=10)
    np.testing.assert_allclose([one.accuracy for one in filled], right, rtol=1e-12)
    np.testing.assert_allclose([one.confidence for one in filled], said, rtol=1e-12)


def test_every_answer_is_in_one_bin_and_each_bin_holds_its_upper_end() -> None:
    bins = reliability(np.array([0.0, 0.25, 0.26, 0.5, 1.0]), np.array([True, False, True, True, False]), 4)
    assert [(one.low, one.high) for one in bins] == [(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)]
    assert [one.count for one in bins] == [2, 2, 0, 1]
    assert [one.accuracy for one in bins] == [0.5, 1.0, 0.0, 0.0]
    assert [one.confidence for one in bins] == [0.125, 0.38, 0.0, 1.0]
