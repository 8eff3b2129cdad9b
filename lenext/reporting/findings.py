"""What a run tells about its data, read from data.json: how much was found, what was odd, how it was divided."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenext import run as runs
from lenext.errors import DataError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something a person should know of the data: what kind, how often, in words, and a few of the images."""

    kind: str
    count: int
    text: str
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the split: its images, and how many of them each class has."""

    name: str
    images: int
    classes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The content of data.json; what the file leaves out is empty."""

    source: str
    found: str
    ignored: tuple[str, ...]
    findings: tuple[Finding, ...]
    parts: tuple[Part, ...]


def read_data(path: Path) -> DataFacts | None:
    """Read data.json; None where there is none, a DataError where it holds something else."""
    if not path.exists():
        return None
    content = runs.read_json(path)
    try:
        return DataFacts(
            source=str(content.get("source", "")),
            found=str(content.get("found", "")),
            ignored=tuple(str(sentence) for sentence in content.get("ignored", ())),
            findings=tuple(_finding(one) for one in content.get("findings", ())),
            parts=_parts(content.get("split", {})),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"cannot report on {path}",
            why=f"it does not tell of data as lenext writes it: {error!r}",
            advice="restore it from a copy, or remove it",
            kept="the run, untouched",
        ) from error


def _finding(one: Mapping[str, Any]) -> Finding:
    return Finding(
        kind=str(one["kind"]),
        count=int(one["count"]),
        text=str(one.get("text", "")),
        examples=tuple(str(name) for name in one.get("examples", ())),
    )


def _parts(split: Mapping[str, Any]) -> tuple[Part, ...]:
    names = [name for name in PARTS if name in split] + [name for name in split if name not in PARTS]
    return tuple(
        Part(
            name=str(name),
            images=int(split[name]["images"]),
            classes={str(label): int(count) for label, count in split[name].get("classes", {}).items()},
        )
        for name in names
    )
