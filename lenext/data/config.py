"""Which data a run uses and how its training images are varied; no torch in here."""

import math
from dataclasses import dataclass
from typing import Literal

from lenext.errors import UsageError

DEFAULT_VALIDATION = 5000
_JITTER = "[0.4, 0.4, 0.4, 0.1]"  # an example for who got it wrong


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set, what is held out of its training split, and how its images are brought to the network's size.

    name: one of `lenext.data.sources.SOURCES`, or the path of a folder or an archive. root: a folder to look for a set
    in first. validation: how many training images are held out where the source has no validation split, 0 for none;
    the default of 5000 shrinks to a fifth of a small set (`split.validation_count`). limit: train on so many of the
    others at most, each class its share, 0 for all. split_seed: which ones are held out, and which are taken. fit: of
    images that are not square; auto is crop, or what the weights that training begins from were trained with. workers:
    threads that prepare batches ahead, -1 for one a core where images are files, none where they are in memory. cache:
    MiB of decoded images that stay in memory, of each process. disk_cache: MiB of the disk for those of sets that do
    not fit there, of all sets together, 0 for none; home: the folder for them, ~/.cache/lenext where it is "".
    """

    name: str
    root: str = ""
    validation: int = DEFAULT_VALIDATION
    limit: int = 0
    split_seed: int = 0
    fit: Literal["auto", "crop", "pad", "squash"] = "auto"
    workers: int = -1
    cache: int = 1024
    disk_cache: int = 20_480
    home: str = ""

    def __post_init__(self) -> None:
        _not_negative("data.validation", self.validation)
        _not_negative("data.limit", self.limit)
        _not_negative("data.cache", self.cache)
        _not_negative("data.disk_cache", self.disk_cache)
        _not_negative("data.workers", self.workers + 1)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of the training images; in this order, and each is off unless it is asked for.

    crop_area: a part of this share of the image, lowest and highest, is cut out and scaled, in place of fitting all
    of it; crop_aspect: the part's width / height. short_side: in place of that, the shorter side is scaled to these
    multiples of the frame, lowest and highest, and a window of the frame is cut out; 256 / 224 in 2012, up to 480 /
    224 in 2015. pad: pixels of background (value 0) added on each side before a random crop of the old size. shift:
    pixels up to which an image is moved, down and across; its edge is repeated. flip: mirror half of the images,
    left to right. randaugment: how many operations, and their strength, 0 to 10. trivial: one operation of any
    strength (TrivialAugment). autoaugment: two operations of the policy for ImageNet. jitter: of brightness,
    contrast, saturation (factors of 1 - x to 1 + x) and hue (turns of -x to x). colour_noise: deviation of the
    multiples of the principal axes of the colours; 0.1 in 2012. erase: share of the images in which a box is filled
    with noise. mixup, cutmix: alpha of the weight's Beta(alpha, alpha); with both, half of the batches get each.
    """

    crop_area: tuple[float, float] | None = None
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    short_side: tuple[float, float] | None = None
    pad: int = 0
    shift: int = 0
    flip: bool = False
    randaugment: tuple[int, int] | None = None
    trivial: bool = False
    autoaugment: bool = False
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    colour_noise: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for key in ("pad", "shift", "colour_noise", "erase", "mixup", "cutmix"):
            _not_negative(f"augment.{key}", getattr(self, key))
        for extent in self.jitter[:3]:
            _require(0 <= extent < math.inf, "jitter", self.jitter, "a factor's range is negative or endless", _JITTER)
        _require(0 <= self.jitter[3] <= 0.5, "jitter", self.jitter, "half a turn reaches every hue", _JITTER)
        _require(self.erase <= 1, "erase", self.erase, "it is a share of the images", "0.5")
        low, high = self.crop_area or (1.0, 1.0)
        _require(0 < low <= high <= 1, "crop_area", self.crop_area, "not rising shares of the area", "[0.08, 1.0]")
        low, high = self.crop_aspect
        _require(0 < low <= high < math.inf, "crop_aspect", self.crop_aspect, "not rising ratios", "[0.75, 1.333]")
        low, high = self.short_side or (1.0, 1.0)
        _require(1 <= low <= high < math.inf, "short_side", self.short_side, "not rising multiples", "[1.143, 2.143]")
        both = bool(self.crop_area and self.short_side)
        _require(not both, "short_side", self.short_side, "crop_area is set, another way to cut", "[1.0, 1.0]")
        number, strength = self.randaugment or (1, 0)
        why = "it takes how many operations, at least 1, and a strength of 0 to 10"
        _require(number >= 1 and 0 <= strength <= 10, "randaugment", self.randaugment, why, "[2, 9]")
        why = "RandAugment, TrivialAugment and AutoAugment are each a whole policy"
        _require(not (self.randaugment and self.trivial), "trivial", self.trivial, why, "false")
        other = bool(self.randaugment or self.trivial)
        _require(not (self.autoaugment and other), "autoaugment", self.autoaugment, why, "false")


def _not_negative(key: str, value: float) -> None:
    if not 0 <= value < math.inf:
        why = "it is negative" if value < 0 else "it is not finite"
        raise UsageError(f"cannot use {key} = {value}", why=why, advice=f"--set {key}=0")


def _require(holds: bool, key: str, value: object, why: str, example: str) -> None:
    if not holds:
        raise UsageError(f"cannot use augment.{key} = {value}", why=why, advice=f"--set augment.{key}={example}")
