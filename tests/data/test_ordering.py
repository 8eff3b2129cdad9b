"""The order of an epoch."""

import numpy as np
import pytest

from lenext.data.ordering import plan
from lenext.errors import DataError


def test_every_image_is_read_once_an_epoch() -> None:
    order = plan(1000, seed=1, epoch=0)
    assert order.shape == (1, 1000)
    assert np.array_equal(np.sort(order[0]), np.arange(1000))


def test_orders_differ_by_epoch_and_seed_and_repeat_for_the_same() -> None:
    first = plan(1000, seed=1, epoch=0)
    assert np.array_equal(first, plan(1000, seed=1, epoch=0))
    assert not np.array_equal(first, plan(1000, seed=1, epoch=1))
    assert not np.array_equal(first, plan(1000, seed=2, epoch=0))


def test_without_shuffling_the_order_is_the_sets_own() -> None:
    assert plan(5, seed=1, epoch=3, shuffle=False).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_ranks_together_read_step_by_step_what_one_rank_reads(ranks: int) -> None:
    alone = plan(100, seed=4, epoch=2)[0]
    shared = plan(100, seed=4, epoch=2, ranks=ranks)
    assert shared.shape == (ranks, 100 // ranks)
    assert np.array_equal(shared.T.ravel(), alone[: 100 // ranks * ranks])


@pytest.mark.parametrize(("n", "ranks"), [(2, 3), (0, 1), (5, 0)])
def test_ranks_without_an_image_are_refused(n: int, ranks: int) -> None:
    with pytest.raises(DataError, match=f"{n} images among {ranks} ranks"):
        plan(n, seed=0, epoch=0, ranks=ranks)
