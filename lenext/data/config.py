"""Which data a run uses and how its training images are varied; no torch in here."""

from dataclasses import dataclass

from lenext.errors import UsageError

DEFAULT_VALIDATION = 5000


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set and what is held out of its training split.

    name: one of `lenext.data.sources.SOURCES`. root: a folder to look in first. validation: how many training images
    are held out, 0 for none; the default of 5000 shrinks to a fifth of a small set (`split.validation_count`).
    split_seed: which ones are held out.
    """

    name: str
    root: str = ""
    validation: int = DEFAULT_VALIDATION
    split_seed: int = 0

    def __post_init__(self) -> None:
        _not_negative("data.validation", self.validation)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of the training images.

    pad: pixels of background (value 0) added on each side before a random crop of the old size. flip: mirror half of
    the images, left to right.
    """

    pad: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        _not_negative("augment.pad", self.pad)


def _not_negative(key: str, value: int) -> None:
    if value < 0:
        raise UsageError(f"cannot use {key} = {value}", why="it is negative", advice=f"--set {key}=0")
