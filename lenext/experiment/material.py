"""What a run works on: its data, divided once and found again by name, label and content; its preprocessing."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lenext import run as runs
from lenext.checkpoint import Card
from lenext.data.batches import Variation, prepared
from lenext.data.cache import keep_decoded
from lenext.data.checking import findings_from_ids
from lenext.data.colour import colour_components
from lenext.data.config import DataConfig
from lenext.data.files import FileStore
from lenext.data.preprocessing import Preprocessing, decoded_side, match_channels, statistics
from lenext.data.published import default_root
from lenext.data.sources import Source
from lenext.data.split import Rows, hold_out, label_names, read_split, three_ways, validation_count, write_split
from lenext.data.store import ArrayStore, Images, Store, Subset
from lenext.data.task import Task
from lenext.device import cores
from lenext.errors import ConflictError, DataError
from lenext.experiment.config import Experiment

PAD_LIMIT = 8  # pixels: an even gap up to this is framed, as LeNet-5's from 28 to 32 was; another one is resampled
MEASURED = 1000  # images at most: mean and deviation of files come from so many, evenly spaced
PORTION = 64  # images read at a time for that


@dataclass(frozen=True)
class Parts:
    """The data of a run: what is trained on, what is held out (possibly nothing), what becomes of an image."""

    task: Task
    train: Store
    validation: Store
    preprocessing: Preprocessing
    variation: Variation
    workers: int


def make_parts(
    experiment: Experiment, source: Source, stores: Mapping[str, Store], preprocessing: Preprocessing
) -> Parts:
    """Put together what training is handed: never the test split."""
    train, task, workers = stores["train"], source.task, count_workers(stores["train"], experiment.data)
    colours = None
    if experiment.augment.colour_noise:
        portions = _portions(train, workers)
        colours = colour_components([match_channels(i[None], preprocessing.channels)[0] for i in p] for p in portions)
    variation = Variation(experiment.augment, task.num_classes, colours)
    return Parts(task, train, stores["validation"], preprocessing, variation, workers)


def settle_preprocessing(experiment: Experiment, source: Source, train: Store) -> Preprocessing:
    """Decide what becomes of an image: the frame by the experiment, mean and deviation by the training images."""
    mean, std = statistics(_portions(train, count_workers(train, experiment.data)))
    native = source.native_size or (0, 0)
    gap = experiment.size - native[0] if 0 < native[0] == native[1] else -1
    return Preprocessing(
        size=(experiment.size, experiment.size),
        channels=source.channels,
        mean=mean,
        std=std,
        border=gap // 2 if 0 < gap <= PAD_LIMIT and gap % 2 == 0 else 0,
        fit="crop" if experiment.data.fit == "auto" else experiment.data.fit,
    )


def divide(source: Source, data: DataConfig, size: int, channels: int) -> dict[str, Store]:
    """Open what a run is made from: "train" and "validation" (possibly empty), as the source has them or held out.

    A source without splits gives "test" as well, by `three_ways`; where it has splits, the test split stays closed.
    """
    if "all" in source.counts:
        whole = _open(source, "all", data, size, channels)
        rows = three_ways(whole.labels, data.split_seed, _together(source, "all", whole), data.validation)
        rows["train"] = _taken(rows["train"], whole, data)
        return {part: Subset(whole, chosen) for part, chosen in rows.items()}
    train = _open(source, "train", data, size, channels)
    if "validation" in source.counts:
        given = _open(source, "validation", data, size, channels)
        taken = _taken(np.arange(len(train)), train, data)
        return {"train": Subset(train, taken), "validation": given}
    count = validation_count(data.validation, len(train))
    kept, held = hold_out(train.labels, count, data.split_seed, _together(source, "train", train))
    return {"train": Subset(train, _taken(kept, train, data)), "validation": Subset(train, held)}


def _taken(rows: Rows, store: Store, data: DataConfig) -> Rows:
    """The rows to train on, `data.limit` of them at most, each class its share."""
    if not 0 < data.limit < len(rows):
        return rows
    return rows[hold_out(store.labels[rows], data.limit, data.split_seed)[1]]


def data_facts(source: Source, stores: Mapping[str, Store]) -> dict[str, Any]:
    """What is known of the data before training, for `data.json`: what was found, and how the classes are divided."""
    classes = source.task.classes
    findings = findings_from_ids({part: store for part, store in stores.items() if len(store)}, classes)
    split: dict[str, Any] = {part: _balance(store, classes) for part, store in stores.items() if len(store)}
    if "test" in source.counts:  # which stays closed
        split["test"] = {"images": source.counts["test"], "classes": {}}
    return {
        "source": source.name,
        "found": source.description,
        "ignored": list(source.ignored),
        "findings": [finding.to_mapping() for finding in findings],
        "split": split,
    }


def record_division(path: Path, task: Task, stores: Mapping[str, Store]) -> None:
    """Write `split.csv`: which image, under which label, went where."""
    write_split(
        path,
        {
            part: dict(zip(store.ids, label_names(store.labels, task.classes), strict=True))
            for part, store in stores.items()
        },
    )


def recorded_division(run: Path, source: Source, data: DataConfig, size: int, channels: int) -> dict[str, Store]:
    """Open the parts that the run's `split.csv` names; images gone or relabelled are a ConflictError (5)."""
    runs.verify(run, runs.SPLIT_CSV)
    opened: dict[str, Store] = {}
    parts: dict[str, Store] = {}
    for part, stated in read_split(run / runs.SPLIT_CSV).items():
        origin = "all" if "all" in source.counts else part if part in source.counts else "train"
        if origin not in opened:
            opened[origin] = _open(source, origin, data, size, channels)
        store = opened[origin]
        row = {name: number for number, name in enumerate(store.ids)}
        missing = [name for name in stated if name not in row]
        if missing:
            raise _changed(run, f"{len(missing)} of its images are not there, {missing[0]} the first")
        parts[part] = Subset(store, np.sort(np.array([row[name] for name in stated], np.int64)))  # as when it was made
        found = zip(parts[part].ids, label_names(parts[part].labels, source.task.classes), strict=True)
        other = [(name, label) for name, label in found if stated[name] != label]
        if other:
            name, label = other[0]
            why = f"{len(other)} of its images have another label: {name} is {label!r}, and was {stated[name]!r}"
            raise _changed(run, why)
    nothing = Subset(parts["train"], np.array([], np.int64))
    return {"validation": nothing, **parts}


def trained_on(run: Path, test: Store) -> int:
    """Count the test images whose content is also among the images that the run was trained or chosen on."""
    parts = read_split(run / runs.SPLIT_CSV)
    used = {name.rpartition(":")[2] for part in ("train", "validation") for name in parts.get(part, {})}
    return sum(name.rpartition(":")[2] in used for name in test.ids)


def require_task(run: Path, source: Source, card: Card) -> None:
    """Refuse data of other classes than the run was trained on, in another order, or one where it had several (5).

    A network that was trained without labels has no classes; data of as many as its unused head is right for it.
    """
    if not card.classes and len(source.task.classes) == card.changes["num_classes"]:
        return
    if source.task.classes != card.classes:
        raise _changed(run, f"its classes are {', '.join(source.task.classes)}; the run's, {', '.join(card.classes)}")
    if source.task.multi_label != card.multi_label:
        kinds = ("one label", "any number of labels")
        raise _changed(run, f"an image has {kinds[source.task.multi_label]}, and had {kinds[card.multi_label]}")


def open_test(run: Path, source: Source, data: DataConfig, size: int, channels: int) -> Store:
    """Open the test split of the source, or what the run itself set aside; a run without either is a DataError."""
    if "test" in source.counts:
        return source.open("test", decoded_side(size), channels)
    parts = recorded_division(run, source, data, size, channels)
    if "test" not in parts:
        raise DataError(
            f"cannot judge {run} on test images",
            why=f"{source.name} has none; its validation images have chosen the checkpoint, and flatter it",
            advice="add a folder test/, or look at validation: lenext eval RUN --split validation",
            kept="the run, untouched",
        )
    return parts["test"]


def _together(source: Source, split: str, store: Store) -> tuple[str, ...]:
    """The group of each image; copies of one image are a group, or one would be judged by what was trained on."""
    digests = [name.rpartition(":")[2] for name in store.ids]
    copies = {digest for digest, count in Counter(digests).items() if count > 1}
    return tuple(
        group or (digest if digest in copies else "")
        for group, digest in zip(source.groups(split), digests, strict=True)
    )


def count_workers(store: Store, data: DataConfig) -> int:
    """How many threads prepare batches of this store."""
    return data.workers if data.workers >= 0 else 0 if is_in_memory(store) else cores()


def _open(source: Source, split: str, data: DataConfig, size: int, channels: int) -> Store:
    store = source.open(split, decoded_side(size), channels)
    if not isinstance(store, FileStore):
        return store
    home = Path(data.home) if data.home else default_root()
    return keep_decoded(store, memory=data.cache << 20, disk=data.disk_cache << 20, home=home)


def _balance(store: Store, classes: Sequence[str]) -> dict[str, Any]:
    labels = store.labels
    counts = np.bincount(labels, minlength=len(classes)) if labels.ndim == 1 else labels.sum(axis=0)
    return {"images": len(store), "classes": dict(zip(classes, counts.astype(int).tolist(), strict=True))}


def _portions(store: Store, workers: int) -> Iterator[Images]:
    """Read the images to measure: all where they are in memory, else at most MEASURED of them, evenly spaced."""
    in_memory = is_in_memory(store)
    count = len(store) if in_memory else min(len(store), MEASURED)
    rows = np.linspace(0, len(store), count, endpoint=False).astype(np.int64)
    portion = 4096 if in_memory else PORTION
    return prepared(lambda start: store.read(rows[start : start + portion]), range(0, count, portion), workers)


def is_in_memory(store: Store) -> bool:
    """Whether the images are there at no cost: an array, or a part of one."""
    return isinstance(store.store if isinstance(store, Subset) else store, ArrayStore)


def _changed(run: Path, why: str) -> ConflictError:
    return ConflictError(
        f"the data is not what {run} was trained on",
        why=why,
        kept="the run, untouched",
        advice="put the data back, or train a new run",
    )
