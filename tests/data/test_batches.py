"""From a store to batches."""

import itertools

import numpy as np
import pytest
import torch

from lenext.data.augmentation import augment
from lenext.data.batches import Batch, eval_batches, train_batches
from lenext.data.config import AugmentConfig
from lenext.data.ordering import plan
from lenext.data.preprocessing import Preprocessing, fit, normalise, preprocess
from lenext.data.sources import open_split
from lenext.errors import DataError

STORE = open_split("digits", "test")  # 360 images
RULE = Preprocessing(size=(12, 12), channels=1, mean=(0.3,), std=(0.4,))
BOTH = AugmentConfig(pad=2, flip=True)


def train(batch_size: int, start: int = 0, epoch: int = 0) -> list[Batch]:
    return list(train_batches(STORE, RULE, BOTH, seed=5, epoch=epoch, batch_size=batch_size, start=start))


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


def test_batch_larger_than_the_set_is_refused_before_the_first_batch_is_asked_for() -> None:
    with pytest.raises(DataError, match="there are 360 training images"):
        train_batches(STORE, RULE, BOTH, seed=0, epoch=0, batch_size=361)


@pytest.mark.parametrize(("batch_size", "last"), [(360, 360), (100, 60), (1000, 360), (1, 1)])
def test_evaluation_sees_every_image_once_in_order_and_unvaried(batch_size: int, last: int) -> None:
    batches = list(eval_batches(STORE, RULE, batch_size))
    assert len(batches[-1].samples) == last
    assert np.array_equal(np.concatenate([b.samples for b in batches]), np.arange(360))
    assert torch.equal(torch.cat([b.images for b in batches]), preprocess(STORE.images, RULE))
    assert np.array_equal(torch.cat([b.targets for b in batches]), STORE.labels)


def test_batches_are_made_when_asked_for() -> None:
    endless = train_batches(STORE, RULE, BOTH, seed=5, epoch=0, batch_size=1)
    assert len(list(itertools.islice(endless, 2))) == 2
