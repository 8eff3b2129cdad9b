"""Several classes a sample: scikit-learn's measures of a linear model on its own synthetic documents."""

import json
import warnings

import numpy as np
import pytest
import sklearn.metrics
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from lenext.judge.intervals import f1_interval, wilson
from lenext.judge.metrics import MultiLabelMetrics, measure
from lenext.predictions import Predictions

from .pieces import make


def measure_many(predictions: Predictions) -> MultiLabelMetrics:
    found = measure(predictions)
    assert isinstance(found, MultiLabelMetrics)
    return found


@pytest.fixture(scope="module")
def documents() -> Predictions:
    words, labels = make_multilabel_classification(1200, n_features=12, n_classes=6, n_labels=2, random_state=0)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        classifier = OneVsRestClassifier(LogisticRegression()).fit(words[:300], labels[:300])
    return make(classifier.decision_function(words[300:]), labels[300:])


@pytest.fixture(scope="module")
def measured(documents: Predictions) -> MultiLabelMetrics:
    return measure_many(documents)


def test_mean_average_precision_agrees_with_scikit_learn(documents: Predictions, measured: MultiLabelMetrics) -> None:
    each = sklearn.metrics.average_precision_score(documents.labels, documents.scores, average=None)
    assert [row.average_precision for row in measured.per_class] == pytest.approx(each, rel=1e-12)
    assert measured.mean_ap == pytest.approx(each.mean(), rel=1e-12)
    assert 0.5 < measured.mean_ap < 0.95
    assert (measured.score, measured.score_name) == (measured.mean_ap, "mAP")


def test_average_precision_takes_equal_scores_together_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(-2, 3, (200, 4)), rng.integers(0, 2, (200, 4))
    expected = sklearn.metrics.average_precision_score(labels, scores, average=None)
    found = [row.average_precision for row in measure_many(make(scores, labels)).per_class]
    assert found == pytest.approx(expected, rel=1e-12)


def test_f1_agrees_with_scikit_learn(documents: Predictions, measured: MultiLabelMetrics) -> None:
    said = documents.probabilities() > 0.5
    assert measured.macro_f1 == pytest.approx(sklearn.metrics.f1_score(documents.labels, said, average="macro"))
    assert measured.micro_f1 == pytest.approx(sklearn.metrics.f1_score(documents.labels, said, average="micro"))
    expected = sklearn.metrics.precision_recall_fscore_support(documents.labels, said)
    found = np.array([(c.precision, c.recall, c.f1, c.support) for c in measured.per_class])
    np.testing.assert_allclose(found.T, expected, rtol=1e-14)


def test_exact_match_agrees_with_scikit_learn(documents: Predictions, measured: MultiLabelMetrics) -> None:
    said = documents.probabilities() > 0.5
    assert measured.exact == sklearn.metrics.accuracy_score(documents.labels, said)
    assert measured.exact_interval == wilson(round(measured.exact * measured.n), measured.n)


def test_nll_is_scikit_learns_log_loss_of_all_decisions(documents: Predictions, measured: MultiLabelMetrics) -> None:
    every = documents.probabilities().ravel()
    expected = sklearn.metrics.log_loss(documents.labels.ravel(), np.stack([1 - every, every], axis=1))
    assert measured.nll == pytest.approx(expected, rel=1e-9)


def test_every_metric_of_three_samples_by_hand() -> None:
    odds = np.array([[3, 1 / 4], [1 / 9, 4], [4, 3]])  # probabilities 3/4, 1/5; 1/10, 4/5; 4/5, 3/4
    found = measure_many(make(np.log(odds), [[1, 0], [0, 0], [0, 1]], ("a", "b")))
    a, b = found.per_class
    for row in (a, b):
        assert [row.support, row.precision, row.recall, row.f1] == pytest.approx([1, 0.5, 1, 2 / 3])
        assert row.average_precision == 0.5
    assert [found.mean_ap, found.macro_f1, found.micro_f1, found.exact] == pytest.approx([1 / 2, 2 / 3, 2 / 3, 1 / 3])
    assert found.nll == pytest.approx(-np.log([0.75, 0.8, 0.9, 0.2, 0.2, 0.75]).mean(), rel=1e-6)
    assert a.precision_interval == wilson(1, 2)
    assert a.recall_interval == wilson(1, 1)
    assert a.f1_interval == f1_interval(1, 1)
    # By bin: 1/10 and 1/5, once each and the class not there; 3/4 twice, there; 4/5 twice, not there.
    assert found.ece == pytest.approx((0.1 + 0.2 + 2 * 0.25 + 2 * 0.8) / 6, rel=1e-6)


@pytest.mark.filterwarnings("error")
def test_class_without_samples_is_left_out_of_the_means() -> None:
    found = measure_many(make([[1, -1], [1, 1]], [[1, 0], [1, 0]]))
    assert (found.mean_ap, found.macro_f1) == (1.0, 1.0)
    assert found.micro_f1 == pytest.approx(4 / 5)
    row = found.per_class[1]
    assert (row.support, row.recall, row.average_precision, row.recall_interval) == (0, 0.0, 0.0, (0.0, 1.0))
    assert measure_many(make([[-1.0]], [[0]])).mean_ap == 0.0


def test_extreme_scores_give_the_exact_nll() -> None:
    found = measure_many(make([[3e38, -3e38], [1000, -1000]], [[1, 0], [0, 1]]))
    assert found.nll == pytest.approx(500.0, rel=1e-15)


def test_score_of_zero_is_no() -> None:
    assert measure_many(make([[0.0, 0.0]], [[0, 0]])).exact == 1.0


def test_mapping_passes_through_json(measured: MultiLabelMetrics) -> None:
    mapping = measured.to_mapping()
    assert json.loads(json.dumps(mapping, allow_nan=False)) == mapping
    assert list(mapping) == [
        "n", "mean_ap", "exact", "exact_interval", "macro_f1", "micro_f1", "nll", "ece", "per_class",
    ]  # fmt: skip
    assert "average_precision" in mapping["per_class"][0]
