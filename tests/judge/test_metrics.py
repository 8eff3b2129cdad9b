import json
import math

import numpy as np
import pytest
import sklearn.metrics

from lenext.errors import DataError
from lenext.judge.intervals import f1_interval, wilson
from lenext.judge.metrics import Metrics, measure
from lenext.predictions import Predictions

from .pieces import make


@pytest.fixture(scope="module")
def measured(digits: Predictions) -> Metrics:
    found = measure(digits)
    assert isinstance(found, Metrics)
    return found


def measure_one(predictions: Predictions) -> Metrics:
    found = measure(predictions)
    assert isinstance(found, Metrics)
    return found


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


def test_intervals_of_each_class_come_from_its_counts(measured: Metrics) -> None:
    matrix = np.array(measured.confusion)
    for k, row in enumerate(measured.per_class):
        hits, support, said = int(matrix[k, k]), int(matrix[k].sum()), int(matrix[:, k].sum())
        assert row.recall_interval == wilson(hits, support)
        assert row.precision_interval == wilson(hits, said)
        assert row.f1_interval == f1_interval(hits, (support - hits) + (said - hits))


def test_best_epoch_is_chosen_by_accuracy(measured: Metrics) -> None:
    assert (measured.score, measured.score_name) == (measured.top1, "top-1")


def test_rows_of_the_confusion_are_supports_and_its_diagonal_the_accuracy(measured: Metrics) -> None:
    assert [sum(row) for row in measured.confusion] == [c.support for c in measured.per_class]
    assert sum(measured.confusion[k][k] for k in range(10)) / measured.n == measured.top1


def test_every_metric_of_four_samples_by_hand() -> None:
    # Softmax of log p is p. The predicted classes are a, a, c, c; the third sample's label is b.
    p = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.25, 0.25, 0.5], [0.1, 0.2, 0.7]])
    found = measure_one(make(np.log(p), [0, 0, 1, 2], ("a", "b", "c")))
    a, b, c = found.per_class
    assert found.confusion == ((2, 0, 0), (0, 0, 1), (0, 0, 1))
    assert (found.n, found.top1, found.top5) == (4, 0.75, 1.0)
    assert found.nll == pytest.approx(-math.log(0.7 * 0.5 * 0.25 * 0.7) / 4, rel=1e-6)
    # Bin (7/15, 8/15] has two samples at 0.5, one of them right; bin (10/15, 11/15] has two at 0.7, both right.
    assert found.ece == pytest.approx((2 * 0 + 2 * 0.3) / 4, rel=1e-6)
    assert (a.precision, a.recall, a.f1, a.support) == (1, 1, 1, 2)
    assert (b.precision, b.recall, b.f1, b.support) == (0, 0, 0, 1)
    assert (c.precision, c.recall, c.f1, c.support) == pytest.approx((0.5, 1, 2 / 3, 1))


def test_extreme_scores_give_the_exact_nll() -> None:
    found = measure_one(make([[3e38, -3e38], [1000, -1000], [-3e38, -3e38]], [0, 1, 0]))
    assert found.nll == pytest.approx((0 + 2000 + math.log(2)) / 3, rel=1e-15)


def test_nll_of_a_nearly_certain_answer_is_not_rounded_to_zero() -> None:
    assert measure_one(make([[30, 0]], [0])).nll == pytest.approx(math.log1p(math.exp(-30)), rel=1e-2)


def test_of_tied_classes_the_lower_index_comes_first() -> None:
    tied = np.zeros((7, 7))
    found = measure_one(make(tied, range(7)))
    assert found.top1 == 1 / 7
    assert found.top5 == 5 / 7
    assert [row[0] for row in found.confusion] == [1] * 7
    lowest, highest = measure_one(make(tied[:2], [0, 4])), measure_one(make(tied[:2], [5, 6]))
    assert (lowest.top5, highest.top5) == (1.0, 0.0)


def test_fifth_place_shared_by_two_goes_to_the_lower_index() -> None:
    row = [9, 8, 7, 6, 5, 5]
    assert measure_one(make([row], [4])).top5 == 1
    assert measure_one(make([row], [5])).top5 == 0


@pytest.mark.parametrize("classes", [1, 2, 4, 5])
def test_with_five_classes_or_fewer_the_label_is_always_among_the_top_five(classes: int) -> None:
    scores = np.random.default_rng(0).normal(size=(20, classes))
    assert measure_one(make(scores, np.arange(20) % classes)).top5 == 1


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_predicted_has_precision_zero_and_its_support() -> None:
    found = measure_one(make([[2, 1, 0], [2, 1, 0], [2, 1, 0]], [0, 1, 1])).per_class
    assert (found[1].precision, found[1].recall, found[1].f1, found[1].support) == (0.0, 0.0, 0.0, 2)
    assert found[1].recall_interval == wilson(0, 2)


@pytest.mark.filterwarnings("error")
def test_a_class_without_samples_has_no_recall_and_says_that_nothing_is_known() -> None:
    found = measure_one(make([[0, 0, 5], [5, 0, 0]], [0, 0])).per_class
    assert (found[2].precision, found[2].recall, found[2].f1, found[2].support) == (0.0, 0.0, 0.0, 0)
    assert found[2].recall_interval == (0.0, 1.0)


def test_no_samples_are_refused() -> None:
    with pytest.raises(DataError, match="the split 'test' has no samples"):
        measure_one(make(np.zeros((0, 3)), []))


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
    figures = ["precision", "recall", "f1", "precision_interval", "recall_interval", "f1_interval"]
    assert list(mapping["per_class"][0]) == ["name", "support", *figures]
    assert mapping["top1_interval"] == list(wilson(round(measured.top1 * 1697), 1697))
    assert mapping["confusion"][3][3] == measured.confusion[3][3]
