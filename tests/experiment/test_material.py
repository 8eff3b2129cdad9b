"""Which images a run is made from. Oracle: the counts of the labels."""

import numpy as np
import pytest

from lenext.data.config import DataConfig
from lenext.data.sources import find_source
from lenext.data.store import Store
from lenext.experiment.material import divide


def parts(limit: int) -> dict[str, Store]:
    return divide(find_source("digits"), DataConfig(name="digits", limit=limit), 8, 1)


def test_a_limit_takes_each_class_its_share_and_leaves_validation_as_it_is() -> None:
    limited, whole = parts(200), parts(0)
    assert len(limited["train"]) == 200
    shares = np.bincount(whole["train"].labels) / len(whole["train"])
    assert np.abs(np.bincount(limited["train"].labels) - 200 * shares).max() < 1
    assert set(limited["train"].ids) < set(whole["train"].ids)
    assert limited["validation"].ids == whole["validation"].ids


def test_a_larger_limit_keeps_the_images_of_a_smaller_one() -> None:
    assert set(parts(100)["train"].ids) < set(parts(300)["train"].ids)


@pytest.mark.parametrize("limit", [0, 1_000_000])
def test_without_a_limit_or_below_it_all_images_are_taken(limit: int) -> None:
    assert sum(len(store) for store in parts(limit).values()) == find_source("digits").counts["train"]
