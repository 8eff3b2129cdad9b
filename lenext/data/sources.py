"""Where images come from: a published set by its name, or a folder or an archive of image files by its path."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from lenext.config import nearest
from lenext.data.files import open_files
from lenext.data.published import open_published
from lenext.data.store import Store
from lenext.data.task import Task
from lenext.errors import UsageError

SOURCES = ("fashion_mnist", "mnist", "cifar10", "cifar100", "digits")


class Source(Protocol):
    """A data set that was found; nothing is read but what is asked for."""

    @property
    def name(self) -> str:
        """By which `find_source` finds it again: "fashion_mnist", or the whole path of a folder or an archive."""

    @property
    def task(self) -> Task:
        """What is to be told apart."""

    @property
    def native_size(self) -> tuple[int, int] | None:
        """Height and width, where all images have them."""

    @property
    def channels(self) -> int:
        """1 where all images are grey, else 3."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Images by split: some of "train", "validation" and "test"; or "all" where the source has no splits."""

    @property
    def found(self) -> str:
        """Where it lies."""

    @property
    def description(self) -> str:
        """One line for a person."""

    @property
    def ignored(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""

    @property
    def mirror(self) -> bool:
        """Whether an image seen in a mirror is still one of its class, as a numeral is not."""

    def open(self, split: str, min_side: int = 0, channels: int = 0) -> Store:
        """Open one split; files are decoded to a shorter side of `min_side` at least and to `channels` (0: its own)."""

    def groups(self, split: str) -> tuple[str, ...]:
        """The group of each image, "" where it has none: images of one group (a patient, a scene) stay together."""


def find_source(name: str, root: str = "") -> Source:
    """Find data by name or path, reading no more than headers; missing is an error that tells what to do.

    root: a folder to look for a named set in.
    """
    if name in SOURCES:
        return open_published(name, root)
    if "/" in name or Path(name).exists():
        return open_files(Path(name))
    raise UsageError(
        f"unknown data set {name!r}", why="neither a known set nor a folder or archive", advice=nearest(name, SOURCES)
    )
