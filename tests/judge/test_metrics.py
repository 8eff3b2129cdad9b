import json
import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from lenext.errors import DataError, UsageError
from lenext.judge.metrics import BINS, Metrics, calibration_error, measure, wilson, worst_mistakes
from lenext.predictions import Predictions


def make(scores: Any, labels: Any, classes: tuple[str, ...] = ()) -> Predictions:
    scores = np.asarray(scores, dtype=np.float32)
    return Predictions(
        ids=tuple(str(row) for row in range(len(scores))),
        labels=np.asarray(labels, dtype=np.int64),
        scores=scores,
        classes=classes or tuple(f"class {k}" for k in range(scores.shape[1])),
        split="test",
        split_digest="",
        preprocessing_digest="",
        model="",
    )


@pytest.fixture(scope="module")
def digits() -> Predictions:
    """A linear classifier trained on 100 digits: about one in eight of the others is wrong."""
    images, labels = load_digits(return_X_y=True)
    classifier = LogisticRegression(C=0.01, max_iter=500).fit(images[:100], labels[:100])
    return make(classifier.decision_function(images[100:]), labels[100:])


@pytest.fixture(scope="module")
def measured(digits: Predictions) -> Metrics:
    return measure(digits)


def test_accuracy_agrees_with_scikit_learn(digits: Predictions, measured: Metrics) -> None:
    assert 0.8 < measured.top1 < 0.95
    assert measured.n == 1697
    assert measured.top1 == sklearn.metrics.accuracy_score(digits.labels, digits.scores.argmax(axis=1))


def test_top5_agrees_with_scikit_learn(digits: Predictions, measured: Metrics) -> None:
    assert measured.top1 < measured.top5 < 1
    assert measured.top5 == sklearn.metrics.top_k_accuracy_score(digits.labels, digits.scores, k=5)


def test_nll_agrees_with_scikit_learn(digits: Predictions, measured: Metrics) -> None:
    assert measured.nll == pytest.approx(sklearn.metrics.log_loss(digits.labels, digits.probabilities()), rel=1e-12)


def test_confusion_agrees_with_scikit_learn(digits: Predictions, measured: Metrics) -> None:
    expected = sklearn.metrics.confusion_matrix(digits.labels, digits.scores.argmax(axis=1))
    np.testing.assert_array_equal(measured.confusion, expected)


def test_classes_agree_with_scikit_learn(digits: Predictions, measured: Metrics) -> None:
    expected = sklearn.metrics.precision_recall_fscore_support(digits.labels, digits.scores.argmax(axis=1))
    found = np.array([(c.precision, c.recall, c.f1, c.support) for c in measured.per_class])
    np.testing.assert_allclose(found.T, expected, rtol=1e-15)
    assert [c.name for c in measured.per_class] == list(digits.classes)


def test_interval_of_each_recall_is_wilsons(measured: Metrics) -> None:
    for k, row in enumerate(measured.per_class):
        assert row.recall_interval == wilson(measured.confusion[k][k], row.support)


def test_calibration_error_agrees_with_a_loop_over_the_bins(digits: Predictions, measured: Metrics) -> None:
    confidence = digits.probabilities().max(axis=1)
    correct = digits.scores.argmax(axis=1) == digits.labels
    expected = 0.0
    for m in range(BINS):
        inside = (confidence > m / BINS) & (confidence <= (m + 1) / BINS)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected > 0.02
    assert measured.ece == pytest.approx(expected, rel=1e-12)


def test_rows_of_the_confusion_are_supports_and_its_diagonal_the_accuracy(measured: Metrics) -> None:
    assert [sum(row) for row in measured.confusion] == [c.support for c in measured.per_class]
    assert sum(measured.confusion[k][k] for k in range(10)) / measured.n == measured.top1


def test_every_metric_of_four_samples_by_hand() -> None:
    # Softmax of log p is p. The predicted classes are a, a, c, c; the third sample's label is b.
    p = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.25, 0.25, 0.5], [0.1, 0.2, 0.7]])
    found = measure(make(np.log(p), [0, 0, 1, 2], ("a", "b", "c")))
    a, b, c = found.per_class
    assert found.confusion == ((2, 0, 0), (0, 0, 1), (0, 0, 1))
    assert (found.n, found.top1, found.top5) == (4, 0.75, 1.0)
    assert found.nll == pytest.approx(-math.log(0.7 * 0.5 * 0.25 * 0.7) / 4, rel=1e-6)
    # Bin (7/15, 8/15] has two samples at 0.5, one of them right; bin (10/15, 11/15] has two at 0.7, both right.
    assert found.ece == pytest.approx((2 * 0 + 2 * 0.3) / 4, rel=1e-6)
    assert (a.precision, a.recall, a.f1, a.support) == (1, 1, 1, 2)
    assert (b.precision, b.recall, b.f1, b.support) == (0, 0, 0, 1)
    assert (c.precision, c.recall, c.f1, c.support) == pytest.approx((0.5, 1, 2 / 3, 1))


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


def test_extreme_scores_give_the_exact_nll() -> None:
    found = measure(make([[3e38, -3e38], [1000, -1000], [-3e38, -3e38]], [0, 1, 0]))
    assert found.nll == pytest.approx((0 + 2000 + math.log(2)) / 3, rel=1e-15)


def test_nll_of_a_nearly_certain_answer_is_not_rounded_to_zero() -> None:
    assert measure(make([[30, 0]], [0])).nll == pytest.approx(math.log1p(math.exp(-30)), rel=1e-2)


def test_of_tied_classes_the_lower_index_comes_first() -> None:
    tied = np.zeros((7, 7))
    found = measure(make(tied, range(7)))
    assert found.top1 == 1 / 7
    assert found.top5 == 5 / 7
    assert [row[0] for row in found.confusion] == [1] * 7
    lowest, highest = measure(make(tied[:2], [0, 4])), measure(make(tied[:2], [5, 6]))
    assert (lowest.top5, highest.top5) == (1.0, 0.0)


def test_fifth_place_shared_by_two_goes_to_the_lower_index() -> None:
    row = [9, 8, 7, 6, 5, 5]
    assert measure(make([row], [4])).top5 == 1
    assert measure(make([row], [5])).top5 == 0


@pytest.mark.parametrize("classes", [1, 2, 4, 5])
def test_with_five_classes_or_fewer_the_label_is_always_among_the_top_five(classes: int) -> None:
    scores = np.random.default_rng(0).normal(size=(20, classes))
    assert measure(make(scores, np.arange(20) % classes)).top5 == 1


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_predicted_has_precision_zero_and_its_support() -> None:
    found = measure(make([[2, 1, 0], [2, 1, 0], [2, 1, 0]], [0, 1, 1])).per_class
    assert (found[1].precision, found[1].recall, found[1].f1, found[1].support) == (0.0, 0.0, 0.0, 2)
    assert found[1].recall_interval == wilson(0, 2)


@pytest.mark.filterwarnings("error")
def test_a_class_without_samples_has_no_recall_and_says_that_nothing_is_known() -> None:
    found = measure(make([[0, 0, 5], [5, 0, 0]], [0, 0])).per_class
    assert (found[2].precision, found[2].recall, found[2].f1, found[2].support) == (0.0, 0.0, 0.0, 0)
    assert found[2].recall_interval == (0.0, 1.0)


def test_no_samples_are_refused() -> None:
    with pytest.raises(DataError, match="the split 'test' has no samples"):
        measure(make(np.zeros((0, 3)), []))


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


def plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(plain(item) for item in value)
    return type(value) in (int, float, str)


def test_mapping_is_plain_and_passes_through_json(measured: Metrics) -> None:
    mapping = measured.to_mapping()
    assert plain(mapping)
    assert json.loads(json.dumps(mapping, allow_nan=False)) == mapping


def test_mapping_has_every_figure_under_its_name(measured: Metrics) -> None:
    mapping = measured.to_mapping()
    assert list(mapping) == ["n", "top1", "top1_interval", "top5", "nll", "ece", "per_class", "confusion"]
    assert list(mapping["per_class"][0]) == ["name", "support", "precision", "recall", "f1", "recall_interval"]
    assert mapping["top1_interval"] == list(wilson(round(measured.top1 * 1697), 1697))
    assert mapping["confusion"][3][3] == measured.confusion[3][3]


def confidence_of(rows: NDArray[np.int64], predictions: Predictions) -> NDArray[np.float64]:
    return np.asarray(predictions.probabilities()[rows].max(axis=1))


def test_worst_mistakes_are_wrong_and_the_most_confident_come_first(digits: Predictions, measured: Metrics) -> None:
    rows = worst_mistakes(digits, 10_000)
    assert rows.dtype == np.int64
    assert len(rows) == round((1 - measured.top1) * measured.n)
    assert (digits.scores[rows].argmax(axis=1) != digits.labels[rows]).all()
    assert (np.diff(confidence_of(rows, digits)) <= 0).all()
    np.testing.assert_array_equal(worst_mistakes(digits, 7), rows[:7])


def test_equally_confident_mistakes_keep_the_order_of_the_rows() -> None:
    scores = [[0, 2], [0, 3], [0, 2], [2, 0], [0, 3], [0, 9]]
    np.testing.assert_array_equal(worst_mistakes(make(scores, [0, 0, 0, 1, 0, 1]), 9), [1, 4, 0, 2, 3])


@pytest.mark.parametrize("count", [0, -1])
def test_no_mistakes_asked_for_are_none(digits: Predictions, count: int) -> None:
    assert len(worst_mistakes(digits, count)) == 0
