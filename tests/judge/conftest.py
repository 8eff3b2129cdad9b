import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from lenext.predictions import Predictions

from .pieces import make


@pytest.fixture(scope="session")
def digits() -> Predictions:
    """A linear classifier trained on 100 digits: about one in eight of the others is wrong."""
    images, labels = load_digits(return_X_y=True)
    classifier = LogisticRegression(C=0.01, max_iter=500).fit(images[:100], labels[:100])
    return make(classifier.decision_function(images[100:]), labels[100:])
