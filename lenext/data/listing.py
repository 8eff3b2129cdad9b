"""What a folder or an archive of images holds: which image has which class, and belongs to which split."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lenext.data.containers import Container, open_container, shown
from lenext.data.metadata import METADATA, SPLITS, bad_line, read_metadata
from lenext.data.task import Task
from lenext.errors import DataError

_ORDER = ("train", "validation", "test", "all")

_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
# how files of these kinds begin, by the specifications of the formats
_IMAGE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|BM....\0\0\0\0|RIFF....WEBP|II\*\0|MM\0\*|P[1-6]\s", re.DOTALL)
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")
_SYSTEM_FOLDER = "__MACOSX"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image: its name in the container, its class numbers (one, unless multi-label), its split or "all"."""

    name: str
    labels: tuple[int, ...]
    split: str
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The images of a container, sorted by the bytes of their names.

    ignored: what was left out, a sentence each. tables: each metadata.csv that was followed.
    """

    path: Path
    task: Task
    items: tuple[Item, ...]
    ignored: tuple[str, ...]
    tables: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """Images by split, in the order "train", "validation", "test"; or only "all"."""
        found = Counter(item.split for item in self.items)
        return {split: found[split] for split in _ORDER if split in found}

    @property
    def description(self) -> str:
        """One line: "3,670 files, 5 classes, 2,570 train, 550 validation, 550 test"."""
        splits = ["no splits"] if "all" in self.counts else [f"{n:,} {split}" for split, n in self.counts.items()]
        return ", ".join([_many(len(self.items), "file"), _many(self.task.num_classes, "class"), *splits])


@dataclass(frozen=True)
class _Row:
    """An image whose classes have no numbers yet."""

    name: str
    classes: tuple[str, ...]
    split: str
    group: str = ""


def list_files(folder: Path) -> list[Path]:
    """The images in a folder and below it, in the order of the bytes of their names; hidden ones are left out."""
    container = open_container(folder)
    names = [name for name in container.names() if not _hidden_part(name) and _is_image(container, name)]
    if not names:
        raise _unusable(folder, "there are no images", f"images are files ending in {' '.join(sorted(_SUFFIXES))}")
    return [folder / name for name in names]


def list_images(container: Container, path: Path) -> Listing:
    """Find the images of `container`, which was opened at `path`, in any usual layout; decode none of them.

    train|val|test/CLASS/**, CLASS/**, or a metadata.csv at the top or in each split folder, all of it inside any number
    of lone folders. What cannot be told for certain is a DataError: a wrong guess would cost a training run.
    """
    listing, complaints = survey_images(container, path)
    for _, error in complaints:
        raise error
    return listing


def survey_images(container: Container, path: Path) -> tuple[Listing, tuple[tuple[str, DataError], ...]]:
    """Find the images as `list_images` does; what training would refuse, but a check can look past, is returned.

    Each such complaint has a name, as "empty class folder". What leaves nothing to list is still a DataError.
    """
    visible = [name for name in container.names() if not _hidden_part(name)]
    images = [name for name in visible if _is_image(container, name)]
    top = _descend(visible, images)
    heads = sorted({_head(name, top) for name in images} - {""})
    tables = _tables(path, visible, heads, top)
    if tables:
        rows, multi_label = _read_tables(path, container, tables, top)
    else:
        rows, multi_label = _read_folders(path, images, heads, top), False
    classes = sorted({label for row in rows for label in row.classes})
    if not rows:
        why = f"{METADATA} names no image" if tables else "there are no images"
        raise _unusable(path, why, f"images are files ending in {' '.join(sorted(_SUFFIXES))}")
    complaints = [
        *(() if tables else _empty_folders(path, container, rows, top)),
        *_class_faults(path, rows, classes, multi_label),
    ]
    number = {label: i for i, label in enumerate(classes)}
    items = tuple(
        Item(name=row.name, labels=tuple(number[label] for label in row.classes), split=row.split, group=row.group)
        for row in sorted(rows, key=lambda row: os.fsencode(row.name))
    )
    used = {row.name for row in rows}
    known = {*used, *images, *tables}
    ignored = (
        *_hidden_files(name for name in container.names() if name not in used),
        *_sentence("file", "of other kinds", [name for name in visible if name not in known]),
        *_sentence(
            "image",
            f"that no row of {METADATA} names" if tables else "in no class folder",
            [name for name in images if name not in used],
        ),
    )
    listing = Listing(
        path=path, task=Task(tuple(classes), multi_label), items=items, ignored=ignored, tables=tuple(tables)
    )
    return listing, tuple(complaints)


def _hidden_part(name: str) -> str:
    """Return the first part of the name that marks what nobody means to show, or ""."""
    *folders, last = name.split("/")
    for folder in folders:
        if folder.startswith(".") or folder == _SYSTEM_FOLDER:
            return folder
    return last if last.startswith(".") or last.lower() in _SYSTEM_FILES else ""


def _is_image(container: Container, name: str) -> bool:
    suffix = posixpath.splitext(name)[1].lower()
    return suffix in _SUFFIXES if suffix else _IMAGE.match(container.read(name, 12)) is not None


def _descend(visible: Collection[str], images: Sequence[str]) -> str:
    """Return the folder that everything lies in, as "photos/"; "" where it lies at the top."""
    files = set(visible)
    top = ""
    while f"{top}{METADATA}" not in files:
        heads = {_head(name, top) for name in images}
        only = heads.pop() if len(heads) == 1 else ""
        inner = f"{top}{only}/"
        is_class = any(not _head(name, inner) for name in images) and f"{inner}{METADATA}" not in files
        if not only or only.lower() in SPLITS or is_class:
            break
        top = inner
    return top


def _head(name: str, top: str) -> str:
    """Return the folder directly below `top` that the file lies in; "" where it lies in `top` itself."""
    head, slash, _ = name[len(top) :].partition("/")
    return head if slash else ""


def _tables(path: Path, visible: Collection[str], heads: Sequence[str], top: str) -> dict[str, str]:
    """Return each metadata.csv that counts, with the split of all its images, "" where the file itself says it."""
    files = set(visible)
    if f"{top}{METADATA}" in files:
        return {f"{top}{METADATA}": ""}
    tables = {head: f"{top}{head}/{METADATA}" for head in heads if head.lower() in SPLITS}
    found = [head for head, table in tables.items() if table in files]
    if found and len(found) < len(heads):
        missing = next(head for head in heads if head not in found)
        why = f"there is a {METADATA} in {shown(found[0])}, but none in {shown(missing)}"
        raise _unusable(path, why, "write one at the top, or one in each split folder")
    return {tables[head]: SPLITS[head.lower()] for head in found}


def _read_tables(path: Path, container: Container, tables: Mapping[str, str], top: str) -> tuple[list[_Row], bool]:
    files = {shown(name): name for name in container.names()}
    rows: dict[str, _Row] = {}
    kinds = set()
    for table, split in tables.items():
        where = shown(str(path / table))
        lines, multi_label = read_metadata(container.read(table), where)
        kinds.add(multi_label)
        for line in lines:
            name = files.get(posixpath.normpath(posixpath.join(shown(posixpath.dirname(table)), line.file_name)))
            if name is None:
                raise bad_line(where, line.number, f"there is no file {line.file_name}")
            if name in rows:
                raise bad_line(where, line.number, f"{line.file_name} is named twice")
            rows[name] = _Row(name, line.labels, line.split or split, line.group)
    if len(kinds) > 1:
        raise _unusable(path, f"one {METADATA} has label, another has labels", "write all of them alike")
    if any(row.split for row in rows.values()):
        return list(rows.values()), True in kinds
    by_folder = [SPLITS.get(_head(name, top).lower(), "") for name in rows]
    splits = by_folder if all(by_folder) else ["all"] * len(rows)
    return [replace(row, split=split) for row, split in zip(rows.values(), splits, strict=True)], True in kinds


def _read_folders(path: Path, images: Sequence[str], heads: Sequence[str], top: str) -> list[_Row]:
    splits = [head for head in heads if head.lower() in SPLITS]
    others = [head for head in heads if head.lower() not in SPLITS]
    if splits and others:
        why = f"beside the split folders ({_first_three(splits)}) there are others with images ({_first_three(others)})"
        raise _unusable(path, why, f"put every class into a split folder, or write {METADATA}")
    rows = []
    for name in images:
        head = _head(name, top)
        inner = _head(name, f"{top}{head}/") if head else ""
        if inner.lower() in SPLITS and not splits:
            why = f"{shown(f'{head}/{inner}')} would be a split inside of a class"
            raise _unusable(path, why, f"name the one folder that holds the splits, or write {METADATA}")
        if label := inner if splits else head:
            rows.append(_Row(name, (shown(label),), SPLITS[head.lower()] if splits else "all"))
    if images and not rows:
        where = f"in {_first_three(splits)}" if splits else "at the top"
        why = f"{_many(len(images), 'image')} directly {where}, with no class folder"
        raise _unusable(path, why, f"put each class into its own folder, or write {METADATA} (file_name,label)")
    return rows


def _empty_folders(path: Path, container: Container, rows: Sequence[_Row], top: str) -> Iterator[tuple[str, DataError]]:
    """An empty class folder is a class that somebody meant to have."""
    depth = top.count("/") + (1 if rows[0].split == "all" else 2)
    parts = (name.split("/") for name in container.names() if not _hidden_part(name))
    filled = {"/".join(part[:depth]) for part in parts if len(part) > depth}
    sizes: dict[str, Counter[str]] = {}  # of each folder with class folders, the images of each class
    for row in rows:
        parent, folder = "/".join(row.name.split("/")[: depth - 1]), row.classes[0]
        sizes.setdefault(parent, Counter())[folder] += 1
    for folder in container.folders():
        parent = posixpath.dirname(folder)
        if folder.count("/") != depth - 1 or parent not in sizes or folder in filled or _hidden_part(f"{folder}/"):
            continue
        others = sizes[parent].values()
        verb = "has" if len(others) == 1 else "have"
        least = f"{min(others):,} to " if min(others) < max(others) else ""
        why = f'class folder "{shown(folder[len(top) :])}" is empty; {_many(len(others), "other class")} {verb} '
        why += least + _many(max(others), "file")
        yield "empty class folder", _unusable(path, why, "remove the folder, or put its images there")


def _class_faults(
    path: Path, rows: Sequence[_Row], classes: Sequence[str], multi_label: bool
) -> Iterator[tuple[str, DataError]]:
    if not classes:
        yield "no labels", _unusable(path, "no image has a label", f"fill the column labels of {METADATA}")
    if len(classes) == 1 and not multi_label:
        why = f'there is only one class, "{classes[0]}"'
        yield "only one class", _unusable(path, why, "add a folder of images of another class")
    of_split: dict[str, set[str]] = {}
    for row in rows:
        of_split.setdefault(row.split, set()).update(row.classes)
    if "all" not in of_split and "train" not in of_split:
        why = f"there is no train split, only {' and '.join(of_split)}"
        yield "no train split", _unusable(path, why, "add a folder train")
    for split, labels in of_split.items():
        missing = sorted(labels - of_split.get("train", labels))
        if missing:
            why = f"no image of train has the class {_first_three(missing)}, which {split} has"
            yield "class not in train", _unusable(path, why, f"add images of it to train, or remove it from {split}")


def _hidden_files(names: Iterable[str]) -> Iterator[str]:
    folders: Counter[str] = Counter()
    files = []
    for name in names:
        part = _hidden_part(name)
        if part and part != posixpath.basename(name):
            folders[part] += 1
        elif part:
            files.append(name)
    if folders:
        yield f"{_many(sum(folders.values()), 'file')} in {_first_three(sorted(folders))}"
    yield from _sentence("hidden file", "", files)


def _sentence(noun: str, what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{_many(len(names), noun)}{what and ' '}{what}: {_first_three(names)}"


def _first_three(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(map(shown, names[:3])) + more


def _many(count: int, noun: str) -> str:
    """Return "1 file", "3,670 files", "2 classes"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"


def _unusable(path: Path, why: str, advice: str) -> DataError:
    return DataError(f"cannot use {shown(str(path))} as data", why=why, advice=advice)
