"""A file of another library's weights becomes a lenext checkpoint, which needs to know nothing more."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lenext import checkpoint as checkpoints
from lenext.errors import UsageError, WeightsError, printable
from lenext.models.catalog import canonical_name
from lenext.papers import PaperRow, load_papers
from lenext.run import LOCK, staged
from lenext.weights.conversion import Conversion, convert_with_report
from lenext.weights.keymaps import SOURCES
from lenext.weights.published import Published, class_names, published_weights
from lenext.weights.reading import read_tensors


@dataclass(frozen=True)
class Imported:
    """What was made. fed: how images are shown to the network, which is `assumed` where no name tells the weights."""

    checkpoint: Path
    conversion: Conversion
    source: str
    fed: Published
    assumed: bool


def import_weights(file: Path, model: str, out: Path, source: str = "", tag: str = "") -> Imported:
    """Write a checkpoint of the network called `model` with the weights of `file` into the new folder `out`.

    source: "torchvision", "timm" or "original"; without it, the first whose names fit. tag: which of the source's
    weights they are, where the file's name does not tell: it decides how images are fed. Every tensor must have its
    place and be finite (WeightsError); a folder that exists is refused.
    """
    if os.path.lexists(out):
        raise UsageError(f"cannot write {out}", why="it exists", kept="it, untouched", advice="--out another folder")
    row = load_papers()[canonical_name(model)]
    tensors = read_tensors(file)
    source, conversion = _convert(tensors, row, source or _source_of(file, tag, row))
    fed, assumed = _how_fed(file, tag, row, source)
    weights = {
        name: value.float() if value.is_floating_point() else value for name, value in conversion.weights.items()
    }
    broken = [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise WeightsError(
            f"cannot use the weights in {file}",
            why=f"{len(broken)} tensors hold values that are no numbers: {', '.join(broken[:3])}",
            advice="get the file again",
        )
    classes = conversion.classes[1]
    card = checkpoints.Card(
        model=row.name,
        changes={"num_classes": classes, "in_channels": row.input_size[0]},
        classes=class_names(classes),
        preprocessing=fed.preprocessing(),
        data=f"{printable(file.name)} of {source}",
    )
    with staged(out, "--out") as staging:
        checkpoints.save(staging, checkpoints.Checkpoint(card=card, weights=weights))
    (out / LOCK).unlink()  # of the staging; a checkpoint has none
    return Imported(out, conversion, source, fed, assumed)


def _convert(tensors: Mapping[str, Tensor], row: PaperRow, source: str) -> tuple[str, Conversion]:
    """By the given source, or by the first of those that have this network whose names fit."""
    have = [name for name in SOURCES if getattr(row, name)]
    if source and source not in have:
        raise UsageError(
            f"cannot import {row.name} from {source}",
            why=f"{source} has no network that is the same function" if have else "no library has this network",
            advice=f"--from {' or '.join(have)}" if have else "docs/models tells which networks others have",
        )
    failure: WeightsError | None = None
    for name in [source] if source else have:
        try:
            return name, convert_with_report(tensors, row.name, name)
        except WeightsError as error:
            failure = failure or error
    raise failure or UsageError(
        f"cannot import weights into {row.name}",
        why="no library has a network that is the same function",
        advice="docs/models tells which networks others have",
    )


def _source_of(file: Path, tag: str, row: PaperRow) -> str:
    """The source that publishes a file of this name or weights of this tag, or none."""
    return next((one.source for one in published_weights(row) if _names(one, file, tag)), "")


def _how_fed(file: Path, tag: str, row: PaperRow, source: str) -> tuple[Published, bool]:
    """How the weights are fed: as published under their name or tag, else as the source's default."""
    known = [one for one in published_weights(row) if one.source == source]
    for one in known:
        if _names(one, file, tag):
            return one, False
    if tag:
        raise UsageError(
            f"unknown tag {tag!r}",
            why=f"{source} has no such weights",
            advice=f"one of: {', '.join(one.tag for one in known)}",
        )
    default = (
        known[0]
        if known
        else Published(source=source, tag="", size=row.input_size[1], crop=0.875, interpolation="bicubic")
    )
    return default, True


def _names(one: Published, file: Path, tag: str) -> bool:
    return tag == one.tag if tag else (file.name == one.file or one.tag in (file.parent.name, file.stem))
