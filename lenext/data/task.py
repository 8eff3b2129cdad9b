"""What is to be told apart."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """The classes, in the order of their numbers, and whether an image may have several of them."""

    classes: tuple[str, ...]
    multi_label: bool = False

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)
