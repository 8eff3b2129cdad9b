"""What the contact sheet shows is what a training batch holds."""

import numpy as np
import pytest

from lenext.data.config import DataConfig
from lenext.data.published import open_published
from lenext.data.sources import find_source
from lenext.errors import UsageError
from lenext.experiment.config import compose
from lenext.experiment.preview import seen_images

SOURCE = find_source("digits")


def shown(*settings: str, count: int = 30) -> tuple[np.ndarray, list[str]]:
    told = ["training.batch_size=16", *settings]
    experiment, _ = compose(DataConfig(name="digits"), SOURCE, "resnet20", settings=told)
    return seen_images(experiment, SOURCE, count)


def test_unvaried_images_are_the_stored_ones_under_their_labels() -> None:
    images, labels = shown("augment.pad=0")
    assert images.shape == (30, 8, 8, 1)
    store = open_published("digits").open("train")
    place = {image.numpy().tobytes(): int(label) for image, label in zip(store.images, store.labels, strict=True)}
    assert [str(place[image[:, :, 0].tobytes()]) for image in images] == labels


def test_varied_images_are_others_and_mixed_labels_tell_their_shares() -> None:
    plain, labels = shown("augment.pad=0")
    varied, same = shown("augment.pad=2")
    assert same == labels
    assert not np.array_equal(plain, varied)
    mixed, told = shown("augment.mixup=1.0")
    assert mixed.shape == plain.shape
    shares = [[float(part.split()[0]) for part in label.split(", ")] for label in told if "," in label]
    assert len(shares) > 10
    assert all(sum(parts) == pytest.approx(1, abs=0.02) and parts == sorted(parts, reverse=True) for parts in shares)


@pytest.mark.parametrize("count", [0, 1151])
def test_more_images_than_there_are_cannot_be_shown(count: int) -> None:
    with pytest.raises(UsageError, match="1150 to train on"):
        shown(count=count)
