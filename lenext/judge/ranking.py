"""Which images are worth a look: rows of predictions, in the order in which to look at them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenext.predictions import Predictions

WORST = 24  # mistakes that the report shows in any case
PER_CELL = 12  # images of one cell of the confusion matrix
FULL_CELLS = 6  # confusions that are shown with all their images, up to PER_CELL: those that the report tells in words
LIMIT = 400  # images in all

Rows = NDArray[np.int64]


def worst_mistakes(predictions: Predictions, count: int = WORST) -> Rows:
    """Rows of at most `count` wrong predictions, the most confident first; equal ones keep the rows' order.

    Multi-label, those with the most wrong decisions come first, and of equally many the most confident.
    """
    wrong = predictions.predicted() != predictions.labels
    if predictions.multi_label:
        error = np.abs(predictions.probabilities() - predictions.labels)  # of a wrong decision, its confidence
        severity = np.stack([wrong.sum(axis=1), (error * wrong).sum(axis=1)])
        wrong = wrong.any(axis=1)
    else:
        severity = predictions.probabilities().max(axis=1)[None]
    rows = np.flatnonzero(wrong)
    order = np.lexsort(-severity[::-1, rows])  # its last key counts first
    return rows[order][: max(count, 0)].astype(np.int64)


def gallery_rows(predictions: Predictions) -> Rows:
    """Rows whose images the report shows, all different: the worst mistakes, then images behind the confusion matrix.

    Of each cell the most confident come first: up to 12 of the most frequent confusions, then one image of each other
    cell, then a second of each and so on, the largest confusions first and the right answers last, until there are
    400. Multi-label there is no such matrix: the worst mistakes alone.
    """
    worst = worst_mistakes(predictions)
    if predictions.multi_label:
        return worst
    cells = cell_rows(predictions)
    confused = sorted((cell for cell in cells if cell[0] != cell[1]), key=lambda cell: -len(cells[cell]))
    right = [cell for cell in cells if cell[0] == cell[1]]
    full = [row for cell in confused[:FULL_CELLS] for row in cells[cell][:PER_CELL]]
    rounds = [
        cells[cell][place]
        for place in range(PER_CELL)
        for cell in (*confused[FULL_CELLS:], *right)
        if place < len(cells[cell])
    ]
    rows = dict.fromkeys([*worst.tolist(), *full, *rounds])  # the first place of each
    return np.array(list(rows)[:LIMIT], dtype=np.int64)


def cell_rows(predictions: Predictions) -> dict[tuple[int, int], list[int]]:
    """Return the rows in each cell (true, predicted) of the confusion matrix that has any, the most confident first.

    Cells come in the order of the matrix, row by row; equal confidence keeps the rows' order.
    """
    labels, predicted = predictions.labels, predictions.predicted()
    order: NDArray[Any] = np.lexsort((-predictions.probabilities().max(axis=1), predicted, labels))
    cells: dict[tuple[int, int], list[int]] = {}
    for row in order.tolist():
        cells.setdefault((int(labels[row]), int(predicted[row])), []).append(row)
    return cells
