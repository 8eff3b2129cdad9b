"""Arrays that a program has in memory, as a source."""

import numpy as np
import pytest

from lenext.data.arrays import from_arrays
from lenext.errors import DataError, UsageError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)
CLASSES = ("a", "b", "c")


def test_images_come_back_as_they_were_given() -> None:
    source = from_arrays(COLOUR, LABELS, CLASSES, test=(COLOUR[:2], LABELS[:2]))
    assert (source.counts, source.channels, source.native_size) == ({"train": 6, "test": 2}, 3, (5, 4))
    store = source.open("train")
    assert np.array_equal(np.stack([image.permute(1, 2, 0).numpy() for image in store.read(np.arange(6))]), COLOUR)
    assert store.labels.tolist() == LABELS.tolist()
    assert store.labels.dtype == np.int64
    assert source.open("test").ids[0] == store.ids[0].replace("train", "test")
    assert source.description == "8 images, 3 classes, 6 train, 2 test"


def test_arrays_without_splits_are_all() -> None:
    source = from_arrays(GREY, LABELS, CLASSES)
    assert (source.counts, source.channels) == ({"all": 6}, 1)
    assert source.groups("all") == ("",) * 6


def test_rows_of_marks_are_several_labels() -> None:
    source = from_arrays(GREY, np.eye(3)[LABELS].astype(bool), CLASSES)
    assert source.task.multi_label
    assert np.array_equal(source.open("all").labels, np.eye(3, dtype=np.float32)[LABELS])


@pytest.mark.parametrize(
    ("images", "labels", "why"),
    [
        (GREY.astype(np.float32), LABELS, "float32 of shape"),
        (COLOUR[..., :2], LABELS, "not uint8"),
        (GREY, LABELS[:5], "for 6 images"),
        (GREY, LABELS + 1, "label 3 of image 2"),
        (GREY, LABELS.astype(np.float64) - 0.5, "label -0.5 of image 0"),
        (GREY, np.eye(2)[LABELS % 2], "3 classes"),
        (GREY[:0], LABELS[:0], "for 0 images"),
        (GREY, np.array(list("abcabc")), "labels are <U1"),
    ],
)
def test_what_does_not_fit_is_told(images: np.ndarray, labels: np.ndarray, why: str) -> None:
    with pytest.raises(DataError) as caught:
        from_arrays(images, labels, CLASSES)
    assert why in caught.value.why


def test_splits_of_other_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="test is"):
        from_arrays(GREY, LABELS, CLASSES, test=(GREY[:, :3], LABELS))
    with pytest.raises(UsageError, match="a path would be looked for"):
        from_arrays(GREY, LABELS, CLASSES, name="my/photos")
    with pytest.raises(UsageError, match="a set of that name is known"):
        from_arrays(GREY, LABELS, CLASSES, name="mnist")
