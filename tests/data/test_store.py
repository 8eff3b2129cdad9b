"""Stores: random access, ids, and what they refuse."""

import hashlib

import numpy as np
import pytest
import torch

from lenext.data.store import ArrayStore, CachedStore, Store, Subset, pixel_ids
from lenext.data.task import Task
from lenext.errors import DataError

PIXELS = np.random.default_rng(3).integers(0, 256, (6, 1, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.int64)


def whole() -> ArrayStore:
    return ArrayStore(torch.from_numpy(PIXELS), LABELS, pixel_ids("train", PIXELS))


def test_read_returns_the_images_in_the_order_asked() -> None:
    images = whole().read(np.array([4, 0, 4]))
    assert images.dtype == torch.uint8
    assert np.array_equal(images.numpy(), PIXELS[[4, 0, 4]])


def test_id_is_place_and_start_of_the_digest_of_the_raw_pixels() -> None:
    digest = hashlib.sha256(bytes(PIXELS[5].flatten().tolist())).hexdigest()
    assert whole().ids[5] == f"train/00005:{digest[:12]}"


def test_subset_speaks_of_its_own_rows() -> None:
    store: Store = Subset(whole(), np.array([5, 2, 1]))
    assert len(store) == 3
    assert store.labels.tolist() == [2, 2, 1]
    assert list(store.ids) == [whole().ids[i] for i in (5, 2, 1)]
    assert np.array_equal(torch.stack(list(store.read(np.array([2, 0])))).numpy(), PIXELS[[1, 5]])


def test_subset_of_a_subset_reads_through() -> None:
    store = Subset(Subset(whole(), np.array([5, 2, 1])), np.array([1]))
    assert np.array_equal(torch.stack(list(store.read(np.array([0])))).numpy(), PIXELS[[2]])
    assert store.labels.tolist() == [2]


@pytest.mark.parametrize("images", [torch.zeros(6, 1, 4, 3), torch.zeros(6, 4, 3, dtype=torch.uint8)])
def test_images_of_another_type_or_shape_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(DataError, match="not uint8"):
        ArrayStore(images, LABELS, pixel_ids("train", PIXELS))


def test_labels_and_ids_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match="6 images, 5 labels, 6 ids"):
        ArrayStore(torch.from_numpy(PIXELS), LABELS[:5], pixel_ids("train", PIXELS))
    with pytest.raises(DataError, match="6 images, 6 labels, 0 ids"):
        ArrayStore(torch.from_numpy(PIXELS), LABELS, ())


class Counting(ArrayStore):
    """A store that remembers what was asked of it."""

    def read(self, indices: np.ndarray) -> torch.Tensor:
        asked.extend(indices.tolist())
        return super().read(indices)


asked: list[int] = []


def test_cached_images_are_read_once_and_are_the_same() -> None:
    asked.clear()
    store = CachedStore(Counting(torch.from_numpy(PIXELS), LABELS, pixel_ids("train", PIXELS)), limit=PIXELS.size)
    for indices in ([4, 0, 4], [0, 4, 1], [1]):
        assert np.array_equal(torch.stack(list(store.read(np.array(indices)))).numpy(), PIXELS[indices])
    assert sorted(asked) == [0, 1, 4]
    assert (len(store), store.labels.tolist(), list(store.ids)) == (6, LABELS.tolist(), list(whole().ids))


def test_cache_keeps_no_more_than_its_limit() -> None:
    asked.clear()
    store = CachedStore(Counting(torch.from_numpy(PIXELS), LABELS, pixel_ids("train", PIXELS)), PIXELS[:2].size)
    for _ in range(2):
        assert np.array_equal(torch.stack(list(store.read(np.arange(6)))).numpy(), PIXELS)
    assert asked == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5]


def test_task_counts_its_classes() -> None:
    assert Task(("cat", "dog", "bird")).num_classes == 3
