"""What is published: the weights of each network by library and tag, where they lie, and how they are fed."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenext.config import from_mapping, nearest, read_toml
from lenext.errors import UsageError
from lenext.papers import PaperRow
from lenext.weights.keymaps import SOURCES

FOLDER = Path(__file__).parent
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Published:
    """One set of weights, and how images were shown to it when its error was measured.

    source: "torchvision", "timm" or "original". tag: its name there. file: its file's name, where the source has one.
    size: of the images in pixels. resize: the shorter side before the middle is cut out, 0 where `crop` says which
    part of it is shown. mean, std: in units where white is 1. top1: percent right on ImageNet's validation images.
    """

    source: str
    tag: str
    file: str = ""
    size: int
    resize: int = 0
    crop: float = 1.0
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    classes: int = 1000
    top1: float | None = None

    def preprocessing(self) -> dict[str, Any]:
        """The plain form of `lenext.data.preprocessing.Preprocessing`."""
        return {
            "size": [self.size, self.size],
            "channels": 3,
            "mean": list(self.mean),
            "std": list(self.std),
            "border": 0,
            "fit": "crop",
            "crop_fraction": self.size / self.resize if self.resize else self.crop,
            "interpolation": self.interpolation,
        }


def published_weights(row: PaperRow) -> list[Published]:
    """Everything that is published for a network, torchvision's first; of each source the default first."""
    return [
        from_mapping(Published, {"source": source, **entry}, f"published.toml {source}.{peer}")
        for source in SOURCES
        if (peer := getattr(row, source))
        for entry in _tables().get(source, {}).get(peer, {}).get("weights", [])
    ]


def choose_published(row: PaperRow, source: str = "", tag: str = "") -> Published:
    """The default of a network's weights, or those of a source or a tag; else a UsageError that names what there is."""
    every = published_weights(row)
    found = [one for one in every if source in ("", one.source) and tag in ("", one.tag)]
    if not found:
        what = " ".join(word for word in (source, tag) if word)
        raise UsageError(
            f"no published weights{' of ' + what if what else ''} are known for {row.name}",
            why="neither torchvision nor timm has this network" if not every else "there are others",
            advice=nearest(tag, [one.tag for one in every]) if every else "lenext weights lists what there is",
        )
    return found[0]


def class_names(count: int) -> tuple[str, ...]:
    """ImageNet's 1000 names in the order of their WordNet ids, as torchvision spells them; else numbers."""
    if count == 1000:
        return tuple((FOLDER / "imagenet_classes.txt").read_text(encoding="utf-8").splitlines())
    return tuple(f"class {index}" for index in range(count))


@functools.cache
def _tables() -> Mapping[str, Any]:
    return read_toml(FOLDER / "published.toml")
