"""From a store to batches."""

import itertools
import threading
from typing import Any

import numpy as np
import pytest
import torch

from lenext.data.augmentation import augment
from lenext.data.batches import Batch, Variation, eval_batches, train_batches
from lenext.data.config import AugmentConfig
from lenext.data.ordering import epoch_order, plan
from lenext.data.preprocessing import Fit, Preprocessing, fit, normalise, preprocess
from lenext.data.published import open_published
from lenext.data.store import ArrayStore, Images, Store, Subset
from lenext.errors import DataError, UsageError

STORE = open_published("digits").open("test")  # 360 images
RULE = Preprocessing(size=(12, 12), channels=1, mean=(0.3,), std=(0.4,))
BOTH = AugmentConfig(pad=2, flip=True)


def train(batch_size: int, start: int = 0, epoch: int = 0, workers: int = 0) -> list[Batch]:
    order = epoch_order(STORE, seed=5, epoch=epoch)[start * batch_size :]
    return list(
        train_batches(
            STORE, RULE, Variation(BOTH, 10), order, seed=5, epoch=epoch, batch_size=batch_size, workers=workers
        )
    )


def same(one: Batch, other: Batch) -> bool:
    return (
        torch.equal(one.images, other.images)
        and torch.equal(one.targets, other.targets)
        and np.array_equal(one.samples, other.samples)
    )


@pytest.mark.parametrize("epoch", [0, 1])
def test_training_reads_the_plan_and_drops_the_last_partial_batch(epoch: int) -> None:
    batches = train(50, epoch=epoch)
    assert len(batches) == 7
    assert np.array_equal(np.concatenate([b.samples for b in batches]), plan(360, seed=5, epoch=epoch)[0][:350])
    for batch in batches:
        assert batch.images.shape == (50, 1, 12, 12)
        assert batch.images.dtype == torch.float32
        assert batch.targets.dtype == torch.int64
        assert np.array_equal(batch.targets.numpy(), STORE.labels[batch.samples])


@pytest.mark.parametrize("epoch", [0, 1])
def test_training_images_are_fitted_then_varied_then_normalised(epoch: int) -> None:
    batch = train(50, epoch=epoch)[2]
    fitted = fit(STORE.read(batch.samples), RULE)
    varied = augment(fitted, BOTH, seed=5, epoch=epoch, samples=batch.samples)
    assert torch.equal(batch.images, normalise(varied, RULE))


@pytest.mark.parametrize("start", range(8))
def test_epoch_resumed_at_a_batch_equals_the_uninterrupted_one(start: int) -> None:
    resumed, whole = train(50, start), train(50)[start:]
    assert len(resumed) == 7 - start
    assert all(map(same, resumed, whole))


def test_batch_size_changes_no_image() -> None:
    small, large = train(30), train(60)
    assert torch.equal(torch.cat([b.images for b in small]), torch.cat([b.images for b in large]))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_threads_that_prepare_ahead_change_nothing(workers: int) -> None:
    assert all(map(same, train(30, workers=workers), train(30)))
    rest = train(30, start=5, workers=workers)
    assert len(rest) == 7
    assert all(map(same, rest, train(30)[5:]))
    ahead, alone = list(eval_batches(STORE, RULE, 100, workers)), list(eval_batches(STORE, RULE, 100))
    assert len(ahead) == 4
    assert all(map(same, ahead, alone))


class Together(Subset):
    """The same images with the three bytes of a pixel side by side, as files are decoded."""

    def read(self, indices: np.ndarray) -> list[torch.Tensor]:
        return [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in super().read(indices)]


@pytest.mark.parametrize(
    "variation",
    [
        {"crop_area": (0.08, 1.0), "flip": True},
        {"short_side": (1.0, 2.0), "jitter": (0.4, 0.4, 0.4, 0.1), "erase": 0.5},
        {"pad": 4, "shift": 2, "flip": True, "randaugment": (2, 9), "mixup": 0.2},
        {"crop_area": (0.5, 1.0), "trivial": True, "cutmix": 1.0},
    ],
)
def test_the_order_of_the_bytes_in_memory_changes_no_image(variation: dict[str, Any]) -> None:
    """Fitted, cut, mirrored, varied, normalised and mixed; photographs have sizes of their own."""
    pixels = np.random.default_rng(2).integers(0, 256, (24, 3, 150, 160), dtype=np.uint8)
    planes = ArrayStore(torch.from_numpy(pixels), np.arange(24) % 10, tuple(map(str, range(24))))
    together = Together(planes, np.arange(24))
    assert not together.read(np.array([0]))[0].is_contiguous()
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    rules: list[tuple[tuple[int, int], Fit]] = [((128, 136), "crop"), ((180, 140), "pad"), ((64, 64), "squash")]
    for size, fit_ in rules:
        rule = Preprocessing(size=size, channels=3, mean=mean, std=std, border=4, fit=fit_)
        one, other = (
            next(train_batches(store, rule, Variation(AugmentConfig(**variation), 10), np.arange(24), seed=0, epoch=0,
                               batch_size=24))
            for store in (planes, together)
        )  # fmt: skip
        assert same(one, other)
        assert all(map(same, eval_batches(planes, rule, 5), eval_batches(together, rule, 5)))
        assert next(eval_batches(together, rule, 5)).images.is_contiguous()


def test_an_error_in_a_thread_reaches_the_caller_and_the_threads_end() -> None:
    order = np.array([0, 1, 2, 3, -1, 5])
    before = threading.active_count()
    batches = train_batches(Strict(STORE), RULE, Variation(BOTH, 10), order, seed=0, epoch=0, batch_size=1, workers=2)
    with pytest.raises(DataError, match="no image -1"):
        list(batches)
    assert threading.active_count() == before


def test_threads_end_where_the_caller_stops() -> None:
    before = threading.active_count()
    order = epoch_order(STORE, seed=5, epoch=0)
    batches = train_batches(STORE, RULE, Variation(BOTH, 10), order, seed=5, epoch=0, batch_size=1, workers=2)
    next(batches)
    assert threading.active_count() > before
    batches.close()  # type: ignore[attr-defined]  # a generator
    assert threading.active_count() == before


class Strict(Subset):
    """A store that refuses what numpy would count from the end."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, np.arange(len(store)))

    def __len__(self) -> int:
        return 10**6  # so that samples stay what they are

    def read(self, indices: np.ndarray) -> Images:
        if indices.min() > 10**5:
            raise DataError("cannot read", why="no image -1", advice="ask for another")
        return super().read(indices)


def test_balanced_order_shows_every_class_alike() -> None:
    store = Subset(STORE, np.concatenate([np.flatnonzero(STORE.labels == 3)[:4], np.flatnonzero(STORE.labels == 5)]))
    n = len(store)
    order = epoch_order(store, seed=1, epoch=0, balanced=True)
    labels = store.labels[order % n]
    assert len(order) == n
    assert abs(int((labels == 3).sum()) - int((labels == 5).sum())) <= 1
    assert len(set(order.tolist())) == n  # each showing has a number, and so random numbers, of its own
    rare = np.bincount(order[labels == 3] % n, minlength=4)[:4]
    assert rare.max() - rare.min() <= 1
    assert not np.array_equal(order, epoch_order(store, seed=1, epoch=1, balanced=True))
    batch = next(train_batches(store, RULE, Variation(BOTH, 10), order, seed=1, epoch=0, batch_size=n))
    assert np.array_equal(batch.targets.numpy(), labels)
    shown = batch.images[order % n == 0]
    assert len(shown) > 1
    assert not torch.equal(shown[0], shown[1])


def test_classes_of_a_multi_label_task_are_not_balanced_by_order() -> None:
    store = ArrayStore(STORE.images[:2], np.eye(2, dtype=np.float32), STORE.ids[:2])
    with pytest.raises(UsageError, match="may have several"):
        epoch_order(store, seed=0, epoch=0, balanced=True)


@pytest.mark.parametrize(("batch_size", "last"), [(360, 360), (100, 60), (1000, 360), (1, 1)])
def test_evaluation_sees_every_image_once_in_order_and_unvaried(batch_size: int, last: int) -> None:
    batches = list(eval_batches(STORE, RULE, batch_size))
    assert len(batches[-1].samples) == last
    assert np.array_equal(np.concatenate([b.samples for b in batches]), np.arange(360))
    assert torch.equal(torch.cat([b.images for b in batches]), preprocess(list(STORE.images), RULE))
    assert np.array_equal(torch.cat([b.targets for b in batches]), STORE.labels)


def test_batches_are_made_when_asked_for() -> None:
    order = epoch_order(STORE, seed=5, epoch=0)
    endless = train_batches(STORE, RULE, Variation(BOTH, 10), order, seed=5, epoch=0, batch_size=1)
    assert len(list(itertools.islice(endless, 2))) == 2
