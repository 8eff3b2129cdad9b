import numpy as np
import pytest
from numpy.typing import NDArray

from lenext.judge.ranking import FULL_CELLS, LIMIT, PER_CELL, WORST, cell_rows, gallery_rows, worst_mistakes
from lenext.predictions import Predictions

from .pieces import make


def confidence_of(rows: NDArray[np.int64], predictions: Predictions) -> NDArray[np.float64]:
    return np.asarray(predictions.probabilities()[rows].max(axis=1))


def test_worst_mistakes_are_wrong_and_the_most_confident_come_first(digits: Predictions) -> None:
    rows = worst_mistakes(digits, 10_000)
    assert rows.dtype == np.int64
    assert len(rows) == (digits.scores.argmax(axis=1) != digits.labels).sum()
    assert (digits.scores[rows].argmax(axis=1) != digits.labels[rows]).all()
    assert (np.diff(confidence_of(rows, digits)) <= 0).all()
    np.testing.assert_array_equal(worst_mistakes(digits, 7), rows[:7])


def test_equally_confident_mistakes_keep_the_order_of_the_rows() -> None:
    scores = [[0, 2], [0, 3], [0, 2], [2, 0], [0, 3], [0, 9]]
    np.testing.assert_array_equal(worst_mistakes(make(scores, [0, 0, 0, 1, 0, 1]), 9), [1, 4, 0, 2, 3])


@pytest.mark.parametrize("count", [0, -1])
def test_no_mistakes_asked_for_are_none(digits: Predictions, count: int) -> None:
    assert len(worst_mistakes(digits, count)) == 0


def test_images_with_the_most_wrong_decisions_come_first_and_of_equally_many_the_surest() -> None:
    scores = [[1, 1, -1], [1, -1, -1], [3, -1, -1], [-1, 1, 1], [1, 2, 3]]
    labels = [[1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 1], [1, 0, 0]]
    # Wrong decisions: none, one of odds e, one of odds e^3, two of odds e, two of odds e^2 and e^3.
    np.testing.assert_array_equal(worst_mistakes(make(scores, labels), 9), [4, 3, 2, 1])
    np.testing.assert_array_equal(gallery_rows(make(scores, labels)), [4, 3, 2, 1])


def test_three_doubtful_decisions_are_worse_than_two_sure_ones() -> None:
    scores, labels = [[9, 9, -9], [0.1, 0.1, 0.1]], [[0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(worst_mistakes(make(scores, labels), 9), [1, 0])


def test_cells_are_those_of_the_confusion_matrix(digits: Predictions) -> None:
    cells = cell_rows(digits)
    assert sorted(row for rows in cells.values() for row in rows) == list(range(len(digits)))
    for (true, said), rows in cells.items():
        assert (digits.labels[rows] == true).all()
        assert (digits.scores[rows].argmax(axis=1) == said).all()
        assert (np.diff(confidence_of(np.array(rows), digits)) <= 0).all()


def test_gallery_begins_with_the_worst_mistakes_and_shows_each_image_once(digits: Predictions) -> None:
    rows = gallery_rows(digits)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(rows[:WORST], worst_mistakes(digits))
    assert len(set(rows.tolist())) == len(rows) <= LIMIT


def test_gallery_has_the_surest_dozen_of_every_cell_where_there_is_room(digits: Predictions) -> None:
    shown = set(gallery_rows(digits).tolist())
    assert len(shown) < LIMIT
    cells = cell_rows(digits)
    assert any(len(rows) > PER_CELL for rows in cells.values())
    assert all(set(rows[:PER_CELL]) <= shown for rows in cells.values())


def test_where_room_is_short_the_most_frequent_confusions_are_whole_and_others_get_their_surest_image() -> None:
    """30 classes of 60 images, each of which is confused with ten others."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(30), 60)
    said = (labels + np.where(rng.random(1800) < 0.5, 0, rng.geometric(0.3, 1800))) % 30
    predictions = make(np.eye(30)[said] * rng.uniform(1, 9, (1800, 1)), labels)
    shown = gallery_rows(predictions)
    cells = cell_rows(predictions)
    confused = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: -len(cells[cell]))
    assert len(shown) == LIMIT
    assert len(confused) > 100
    assert sum(len(cells[cell][:PER_CELL]) for cell in confused) > LIMIT
    for cell in confused[:FULL_CELLS]:
        assert set(cells[cell][:PER_CELL]) <= set(shown.tolist())
    assert all(rows[0] in shown for rows in cells.values())
    deepest = max(sum(row in shown for row in rows) for cell, rows in cells.items() if cell[0] == cell[1])
    for cell in confused:  # a right answer comes after the mistakes of its round
        assert set(cells[cell][:deepest]) <= set(shown.tolist())


def test_network_without_a_mistake_has_a_gallery_of_what_it_knows() -> None:
    predictions = make(np.eye(3)[[0, 1, 2, 1]], [0, 1, 2, 1])
    assert sorted(gallery_rows(predictions).tolist()) == [0, 1, 2, 3]
