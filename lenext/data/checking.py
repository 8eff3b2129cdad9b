"""What is wrong with a set of image files: every file is read once and decoded whole, and none is replaced."""

import hashlib
import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from lenext.data.batches import prepared
from lenext.data.containers import Container, open_container, shown
from lenext.data.decode import Header, decode_bytes, read_header
from lenext.data.findings import ERROR, KINDS, WARNING, Check, Finding
from lenext.data.likeness import SIDE, SKETCH, find_alike, joined, sketch
from lenext.data.listing import Item, survey_images
from lenext.data.shards import Shards
from lenext.data.store import Store
from lenext.data.truncation import is_whole
from lenext.device import cores
from lenext.errors import DataError

TINY = 16  # pixels: half a side of CIFAR's, the smallest photographs that networks are published for
FAR = 8  # a size that many times away from the median
LONG = 4
UNEVEN = 10  # images of the largest class to one of the smallest: the mildest imbalance of Cui et al. 2019, table 1
FEW = 10  # training images of a class: a tenth held out is less than one of fewer

_FORMATS = {
    ".jpg": ("JPEG", "MPO"), ".jpeg": ("JPEG", "MPO"), ".png": ("PNG",), ".gif": ("GIF",), ".bmp": ("BMP",),
    ".webp": ("WEBP",), ".tif": ("TIFF",), ".tiff": ("TIFF",), ".ppm": ("PPM",), ".pgm": ("PPM",), ".pbm": ("PPM",),
}  # fmt: skip
_MODES = {"CMYK": "CMYK", "P": "palette", "PA": "palette", "LA": "alpha channel", "RGBA": "alpha channel"}
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)  # Pillow's own limits

Groups = Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What one file turned out to be. fault: a kind of finding and the reason, where it could not be decoded whole."""

    fault: tuple[str, str] | None = None
    content: str = ""
    pixels: str = ""
    header: Header | None = None
    looks: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A file's name as shown, its split and its class numbers."""

    name: str
    split: str
    labels: tuple[int, ...]
    group: str = ""


def _unwatched(scans: Iterable[Scan], _: int) -> Iterable[Scan]:
    return scans


def check_images(path: Path, watched: Callable[[Iterable[Scan], int], Iterable[Scan]] = _unwatched) -> Check:
    """Read and decode every image of a folder, an archive or shards, and tell what is wrong with the set.

    watched: gets the scans as they come and their number, and yields them on, as a progress bar does. What cannot be
    opened at all is a DataError, as is a shard with another digest; a set whose classes or splits cannot be told is a
    finding.
    """
    container = open_container(path)
    if isinstance(container, Shards):
        container.verify()
    try:
        listing, complaints = survey_images(container, path)
    except DataError as error:
        finding = Finding(kind="unusable", severity=ERROR, text=f"{error.what}: {error.why}: {error.advice}")
        return Check(description="no images", listed=0, scored=0, refused=0, ignored=(), findings=(finding,))
    looks = np.empty((len(listing.items), SKETCH), np.uint8)  # 400 MB of 100,000 images
    scans: list[Scan] = []
    for scan in watched(scan_files(container, listing.items), len(listing.items)):
        if scan.looks is not None:
            looks[len(scans)] = scan.looks
        scans.append(Scan(fault=scan.fault, content=scan.content, pixels=scan.pixels, header=scan.header))
    places = [
        _Place(name=shown(item.name), split=item.split, labels=item.labels, group=item.group) for item in listing.items
    ]
    scored = [row for row, scan in enumerate(scans) if scan.fault is None]
    findings = [
        *(Finding(kind=kind, severity=ERROR, text=f"{error.why}: {error.advice}") for kind, error in complaints),
        *_faults(scans, places),
        *_copies(places, [(row, scans[row].content, scans[row].pixels) for row in scored]),
        *_near(places, scans, looks, scored),
        *_oddities(places, scans, scored),
        *_torn_groups(places),
        *_class_findings(places, listing.task.classes),
    ]
    return Check(
        description=listing.description,
        listed=len(listing.items),
        scored=len(scored),
        refused=sum(scan.fault is not None for scan in scans),
        ignored=listing.ignored,
        findings=_in_order(findings),
    )


def findings_from_ids(parts: Mapping[str, Store], classes: Sequence[str]) -> list[Finding]:
    """Tell what ids and labels alone give away, with nothing read: exact copies, missing and small classes, imbalance.

    parts: stores by split, as training is handed them; an id ends with ":" and a digest of the content.
    """
    places: list[_Place] = []
    copies: list[tuple[int, str, str]] = []
    for split, store in parts.items():
        for label, identity in zip(np.asarray(store.labels), store.ids, strict=True):
            name, _, content = identity.rpartition(":")
            labels = tuple(np.flatnonzero(label).tolist()) if np.ndim(label) else (int(label),)
            copies.append((len(places), content, content))
            places.append(_Place(name=name, split=split, labels=labels))
    found = [*_copies(places, copies), *_unseen_classes(places, classes), *_class_findings(places, classes)]
    return list(_in_order(found))


def scan_files(container: Container, items: Sequence[Item]) -> Iterator[Scan]:
    """Read each file once and decode it whole, in order, on all cores."""
    return prepared(lambda row: _scan(container, items[row].name), range(len(items)), cores())


def _scan(container: Container, name: str) -> Scan:
    try:
        data = container.read(name)
    except DataError as error:
        return Scan(fault=("unreadable", error.why))
    header = None
    try:
        header = read_header(data)
        image = decode_bytes(data)
    except DataError as error:
        return Scan(fault=(_fault(data, header, error), error.why))
    pixels = hashlib.sha256(repr(tuple(image.shape)).encode())
    pixels.update(image.permute(1, 2, 0).contiguous().numpy().data)
    return Scan(
        content=hashlib.sha256(data).hexdigest(),
        pixels=pixels.hexdigest(),
        header=header,
        looks=sketch(image) if min(image.shape[1:]) >= SIDE else None,
    )


def _fault(data: bytes, header: Header | None, error: DataError) -> str:
    if not data:
        return "empty file"
    if isinstance(error.__cause__, _BOMB) or "beyond the limits" in error.why:
        return "bomb"
    if not is_whole(data):
        return "truncated"
    return "broken" if header else "not an image"


def _faults(scans: Sequence[Scan], places: Sequence[_Place]) -> Iterator[Finding]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, scan in enumerate(scans):
        if scan.fault:
            rows[scan.fault[0]].append(row)
    for kind, found in rows.items():
        finding = _finding(kind, places, [[row] for row in found])
        first = scans[found[0]].fault
        why = f" ({first[1]})" if first and kind in ("broken", "unreadable") else ""
        yield Finding(kind=kind, severity=ERROR, text=finding.text + why, items=finding.items)


def _copies(places: Sequence[_Place], digests: Sequence[tuple[int, str, str]]) -> Iterator[Finding]:
    """digests: row, digest of the bytes, digest of the pixels. A copy under another split or label is named so."""
    same_bytes, same_pixels = defaultdict(list), defaultdict(list)
    for row, content, pixels in digests:
        same_bytes[content].append(row)
        same_pixels[pixels].append(row)
    first = {rows[0] for rows in same_bytes.values()}
    clashing = [rows for rows in same_pixels.values() if _clash(places, rows)]
    known = {row for rows in clashing for row in rows}
    yield from _by_clash("same image", places, clashing)
    plain = {
        "exact duplicates": [rows for rows in same_bytes.values() if rows[0] not in known],
        "same pixels": [[row for row in rows if row in first] for rows in same_pixels.values() if rows[0] not in known],
    }
    for kind, groups in plain.items():
        yield from _some(kind, places, [rows for rows in groups if len(rows) > 1])


def _near(
    places: Sequence[_Place], scans: Sequence[Scan], looks: npt.NDArray[np.uint8], scored: Sequence[int]
) -> Iterator[Finding]:
    """Compare one file of each picture: its exact copies are told of already."""
    large = [row for row in scored if min(_size(scans[row])) >= SIDE]
    rows = sorted({scans[row].pixels: row for row in reversed(large)}.values())
    groups = [[rows[one] for one in group] for group in joined(find_alike(looks[rows]))]
    yield from _by_clash("near duplicates", places, groups)
    yield from _some("near duplicates", places, [group for group in groups if not _clash(places, group)])


def _clash(places: Sequence[_Place], rows: Sequence[int]) -> bool:
    return len({(places[row].split, places[row].labels) for row in rows}) > 1


def _by_clash(what: str, places: Sequence[_Place], groups: Groups) -> Iterator[Finding]:
    splits = [rows for rows in groups if len({places[row].split for row in rows}) > 1]
    classes = [rows for rows in groups if len({places[row].labels for row in rows}) > 1]
    yield from _some(f"{what} in two splits", places, splits)
    yield from _some(f"{what} in two classes", places, classes)


def _oddities(places: Sequence[_Place], scans: Sequence[Scan], scored: Sequence[int]) -> Iterator[Finding]:
    """What decodes, but is not as the other files are."""
    rows: dict[str, list[int]] = defaultdict(list)
    grey = {row for row in scored if (header := scans[row].header) and header.is_grey}
    median = float(np.median([min(_size(scans[row])) for row in scored])) if scored else 0.0
    for row in scored:
        header, name = scans[row].header, places[row].name
        assert header is not None  # it was decoded
        for kind in _odd(header, posixpath.splitext(name)[1].lower(), median):
            rows[kind].append(row)
    if 0 < len(grey) < len(scored):
        few = grey if 2 * len(grey) <= len(scored) else set(scored) - grey
        rows["grey among colour" if few is grey else "colour among grey"] = sorted(few)
    for kind, found in rows.items():
        yield _finding(kind, places, [[row] for row in found])


def _odd(header: Header, suffix: str, median: float) -> Iterator[str]:
    shorter, longer = sorted((header.width, header.height))
    if header.format not in _FORMATS.get(suffix, (header.format,)):
        yield "misnamed"
    if shorter < TINY <= median:
        yield "tiny"
    elif not median / FAR <= shorter <= median * FAR:
        yield "odd size"
    elif longer > LONG * shorter:
        yield "odd shape"
    if header.mode.startswith("I"):
        yield "16-bit"
    elif header.mode in _MODES:
        yield _MODES[header.mode]
    if header.frames > 1 and header.format != "MPO":  # telephones keep a depth map behind the photograph
        yield "animated"


def _torn_groups(places: Sequence[_Place]) -> Iterator[Finding]:
    splits: dict[str, set[str]] = defaultdict(set)
    for place in places:
        splits[place.group].add(place.split)
    torn = sorted(group for group, found in splits.items() if group and len(found) > 1)
    if torn:
        text = f"images of {_some_names(torn)} are in several splits: the score would count what is known by heart"
        yield Finding(kind="group in two splits", severity=ERROR, text=text)


def _unseen_classes(places: Sequence[_Place], classes: Sequence[str]) -> Iterator[Finding]:
    """Of a division that lenext made itself; of one that was given, the listing complains."""
    trained = {label for place in places if place.split == "train" for label in place.labels}
    elsewhere = {label for place in places for label in place.labels} - trained
    if elsewhere:
        names = _some_names([name for number, name in enumerate(classes) if number in elsewhere])
        text = f"no image of {names} fell to train: add images of it, or set data.split_seed"
        yield Finding(kind="class not in train", severity=ERROR, text=text)


def _class_findings(places: Sequence[_Place], classes: Sequence[str]) -> Iterator[Finding]:
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for place in places:
        counts[place.split].update(place.labels)
    train = counts.get("train", counts.get("all", Counter()))
    for split, found in counts.items():
        missing = [name for number, name in enumerate(classes) if number in train and number not in found]
        if missing:
            text = f"{split} has no image of {_some_names(missing)}: nothing can be told of it there"
            yield Finding(kind="class missing in a split", severity=WARNING, text=text)
    sizes = sorted((train[number], name) for number, name in enumerate(classes) if number in train)
    if not sizes:
        return
    (least, smallest), (most, largest) = sizes[0], sizes[-1]
    if most >= UNEVEN * least:
        text = f"{largest} has {most:,} images to train on, {smallest} {least:,}: weigh the classes, or add images"
        yield Finding(kind="imbalance", severity=WARNING, text=text)
    if least < FEW:
        few = _some_names([f"{name} ({size})" for size, name in sizes if size < FEW])
        text = f"fewer than {FEW} images to train on: {few}: add some, or join classes"
        yield Finding(kind="few images", severity=WARNING, text=text)


def _size(scan: Scan) -> tuple[int, int]:
    return (scan.header.width, scan.header.height) if scan.header else (0, 0)


def _some(kind: str, places: Sequence[_Place], groups: Groups) -> Iterator[Finding]:
    if groups:
        yield _finding(kind, places, groups)


def _finding(kind: str, places: Sequence[_Place], groups: Groups) -> Finding:
    severity, text = KINDS[kind]
    items = tuple(tuple(places[row].name for row in rows) for rows in groups)
    return Finding(kind=kind, severity=severity, text=text, items=items)


def _some_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    order = list(KINDS)
    return tuple(sorted(findings, key=lambda finding: (finding.severity, order.index(finding.kind))))
