"""Mixup and cutmix: what becomes of images and targets, and the distribution of the weights."""

import numpy as np
import pytest
import torch

from lenext.data.batches import Batch
from lenext.data.config import AugmentConfig
from lenext.data.mixing import cut_boxes, cutmix, mix, mixup, symmetric_beta

N, CLASSES = 6, 4
BATCH = Batch(
    torch.from_numpy(np.random.default_rng(4).normal(size=(N, 3, 10, 8)).astype(np.float32)),
    torch.tensor([0, 1, 2, 3, 0, 1]),
    np.arange(N) + 100,
)
SHARES = Batch(
    BATCH.images, torch.tensor(np.eye(CLASSES)[[0, 1, 2, 3, 0, 1]] + np.eye(CLASSES)[0]).float(), BATCH.samples
)
PARTNER = torch.tensor([2, 0, 1, 5, 3, 4])


def test_mixup_is_the_weighted_sum_of_two_images_and_of_their_labels() -> None:
    """Oracle: numpy, an image at a time."""
    weights = np.linspace(0, 1, N)
    mixed = mixup(BATCH, torch.from_numpy(weights), PARTNER, CLASSES)
    images, labels = BATCH.images.numpy(), np.eye(CLASSES)[BATCH.targets.numpy()]
    for i, (weight, j) in enumerate(zip(weights, PARTNER.tolist(), strict=True)):
        assert np.allclose(mixed.images[i].numpy(), weight * images[i] + (1 - weight) * images[j], atol=1e-6)
        assert np.allclose(mixed.targets[i].numpy(), weight * labels[i] + (1 - weight) * labels[j], atol=1e-6)
    assert mixed.images.dtype == mixed.targets.dtype == torch.float32
    assert np.array_equal(mixed.samples, BATCH.samples)


def test_a_weight_of_one_keeps_the_batch_and_one_of_nought_takes_the_partners() -> None:
    kept = mixup(BATCH, torch.tensor([1.0]), PARTNER, CLASSES)
    assert torch.equal(kept.images, BATCH.images)
    assert torch.equal(kept.targets.argmax(1), BATCH.targets)
    taken = mixup(BATCH, torch.tensor([0.0]), PARTNER, CLASSES)
    assert torch.equal(taken.images, BATCH.images[PARTNER])
    assert torch.equal(taken.targets.argmax(1), BATCH.targets[PARTNER])


def test_cutmix_puts_the_partners_box_in_and_mixes_labels_by_its_area() -> None:
    """Oracle: numpy's slices, and the area by hand."""
    boxes = torch.tensor([[0, 0, 5, 4], [2, 3, 4, 5], [0, 0, 10, 8], [9, 7, 1, 1], [3, 3, 0, 4], [1, 0, 8, 1]])
    mixed = cutmix(BATCH, boxes, PARTNER, CLASSES)
    shares = [20 / 80, 20 / 80, 1, 1 / 80, 0, 8 / 80]
    for i, ((top, left, height, width), share) in enumerate(zip(boxes.tolist(), shares, strict=True)):
        j = int(PARTNER[i])
        expected = BATCH.images[i].numpy().copy()
        inside = (slice(None), slice(top, top + height), slice(left, left + width))
        expected[inside] = BATCH.images[j].numpy()[inside]
        assert np.array_equal(mixed.images[i].numpy(), expected)
        labels = (1 - share) * np.eye(CLASSES)[BATCH.targets[i]] + share * np.eye(CLASSES)[BATCH.targets[j]]
        assert np.allclose(mixed.targets[i].numpy(), labels, atol=1e-6)


def test_targets_of_many_labels_are_mixed_as_they_are() -> None:
    mixed = mixup(SHARES, torch.tensor([0.25]), PARTNER, CLASSES)
    assert torch.allclose(mixed.targets, 0.25 * SHARES.targets + 0.75 * SHARES.targets[PARTNER])


def test_cut_boxes_have_the_share_of_the_area_and_lie_inside() -> None:
    numbers = np.random.default_rng(0)
    weight, centre = torch.from_numpy(numbers.random(1000)), torch.from_numpy(numbers.random((1000, 2)))
    top, left, height, width = cut_boxes(weight, centre, 40, 60).T
    assert min(top.min(), left.min(), height.min(), width.min()) >= 0
    assert (top + height).max() <= 40
    assert (left + width).max() <= 60
    middle = cut_boxes(weight, torch.full((1000, 2), 0.5), 40, 60)
    side = torch.sqrt(1 - weight)
    assert (middle[:, 2] - 40 * side).abs().max() <= 2  # an even number of whole pixels
    assert (middle[:, 3] - 60 * side).abs().max() <= 2
    assert cut_boxes(torch.tensor([0.75]), torch.tensor([[0.5, 0.5]]), 40, 60).tolist() == [[10, 15, 20, 30]]
    assert cut_boxes(torch.tensor([0.75]), torch.tensor([[0.0, 0.99]]), 40, 60).tolist() == [[0, 44, 10, 16]]


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 8.0])
def test_weights_have_the_distribution_of_a_symmetric_beta(alpha: float) -> None:
    """Oracle: numpy's own draws, by the two-sample Kolmogorov-Smirnov distance at p = 1e-4, and the known variance."""
    n = 20_000
    drawn = symmetric_beta(alpha, seed=0, epoch=0, samples=np.arange(n), stream="test").numpy()
    others = np.random.default_rng(1).beta(alpha, alpha, n)
    every = np.concatenate([drawn, others])
    below = [np.searchsorted(np.sort(values), every, side="right") / n for values in (drawn, others)]
    assert np.abs(below[0] - below[1]).max() < 2.23 * np.sqrt(2 / n)
    assert 0 <= drawn.min() < drawn.max() <= 1
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(drawn.mean() - 0.5) < 4 * np.sqrt(variance / n)
    assert abs(drawn.var() - variance) < 4 * np.sqrt(((drawn - 0.5) ** 2).var() / n)


@pytest.mark.parametrize("alpha", [1e-6, 1e6])
def test_weights_of_extreme_alphas_are_numbers(alpha: float) -> None:
    drawn = symmetric_beta(alpha, seed=0, epoch=0, samples=np.arange(1000), stream="test")
    assert torch.isfinite(drawn).all()
    assert ((drawn - 0.5).abs() - (0.5 if alpha < 1 else 0)).abs().max() < 0.01


@pytest.mark.parametrize(
    "config", [AugmentConfig(mixup=0.4), AugmentConfig(cutmix=1.0), AugmentConfig(mixup=0.8, cutmix=1.0)]
)
def test_a_batch_is_mixed_the_same_again_and_otherwise_in_another_place(config: AugmentConfig) -> None:
    first = mix(BATCH, config, CLASSES, seed=0, epoch=0, number=3)
    again = mix(BATCH, config, CLASSES, seed=0, epoch=0, number=3)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.targets, again.targets)
    for seed, epoch, number in [(1, 0, 3), (0, 1, 3), (0, 0, 4)]:
        other = mix(BATCH, config, CLASSES, seed=seed, epoch=epoch, number=number)
        assert not torch.equal(first.images, other.images)


def test_rows_of_mixed_targets_sum_to_one() -> None:
    for number in range(20):
        mixed = mix(BATCH, AugmentConfig(mixup=0.8, cutmix=1.0), CLASSES, seed=0, epoch=0, number=number)
        assert torch.allclose(mixed.targets.sum(1), torch.ones(N))


def test_with_both_half_of_the_batches_get_each() -> None:
    """Cutmix makes no value that was not there; mixup of noise makes hardly any that was."""
    known = set(BATCH.images.flatten().tolist())
    config = AugmentConfig(mixup=1.0, cutmix=1.0)
    cut = 0
    for number in range(400):
        mixed = mix(BATCH, config, CLASSES, seed=0, epoch=0, number=number)
        cut += set(mixed.images.flatten()[::7].tolist()) <= known
    assert abs(cut - 200) < 4 * np.sqrt(400 / 4)


def test_every_image_gives_itself_to_one_other() -> None:
    """At alpha near nought the weight is nought or one, so a batch is its own or its partners' images."""
    for number in range(10):
        mixed = mix(BATCH, AugmentConfig(mixup=1e-6), CLASSES, seed=0, epoch=0, number=number)
        assert torch.allclose(mixed.images.sum(0), BATCH.images.sum(0), atol=1e-4)


def test_nothing_configured_mixes_nothing() -> None:
    assert mix(BATCH, AugmentConfig(), CLASSES, seed=0, epoch=0, number=0) is BATCH
