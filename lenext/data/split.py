"""Hold out a validation part, and write down which image went where."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lenext import rng
from lenext.data.config import DEFAULT_VALIDATION
from lenext.errors import DataError
from lenext.run import write_durably

Labels = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
Parts = dict[str, Rows]

TEST_SHARE = 0.15  # of data without splits; validation takes as much again
_PASSES = 5  # over all groups; the first does nearly all the work
_HEADER = ["id", "label", "split"]


def validation_count(validation: int, n: int) -> int:
    """Return how many of `n` training images to hold out: `validation`, the default capped at a fifth of the set."""
    count = min(validation, n // 5) if validation == DEFAULT_VALIDATION else validation
    _check_count(count, n)
    return count


def hold_out(labels: Labels, count: int, seed: int, groups: Sequence[str] = ()) -> tuple[Rows, Rows]:
    """Return sorted indices (train, validation), `count` of them in validation.

    Every class gives its share; the shares are rounded by largest remainder, ties to the lower class, so that the count
    is exact. Which images of a class go is a function of (seed, index) alone. Where an image may have several classes,
    or images of one group must stay together, the count and the shares are met as nearly as a greedy choice can.

    labels: int64 (N,), or float32 (N, K) of a multi-label task. groups: one name an image, "" for an image on its own.
    """
    n = len(labels)
    _check_count(count, n)
    order = rng.permutation(seed, 0, n, "hold_out")
    if labels.ndim == 1 and not any(groups):
        held = _exact_shares(labels, count, order)
    else:
        held = _greedy_shares(labels, count, order, groups or ("",) * n)
    return np.flatnonzero(~held), np.flatnonzero(held)


def three_ways(labels: Labels, seed: int, groups: Sequence[str] = (), validation: int = DEFAULT_VALIDATION) -> Parts:
    """Split data that has no splits of its own: 15 % to test, 15 % (or `validation` images) to validation, the rest."""
    n = len(labels)
    rest, test = hold_out(labels, round(TEST_SHARE * n), seed, groups)
    count = round(TEST_SHARE * n) if validation == DEFAULT_VALIDATION else validation
    train, held = hold_out(labels[rest], count, seed, [groups[row] for row in rest.tolist()] if groups else ())
    return {"train": rest[train], "validation": rest[held], "test": test}


def label_names(labels: Labels, classes: Sequence[str]) -> list[str]:
    """Name the classes of each image, several of them parted by "|"."""
    if labels.ndim == 1:
        return [classes[label] for label in labels.tolist()]
    return ["|".join(classes[k] for k in np.flatnonzero(row).tolist()) for row in labels]


def write_split(path: Path, parts: Mapping[str, Mapping[str, str]]) -> None:
    """Write a CSV `id,label,split`, one line an image, sorted by id; the file appears whole or not at all.

    parts: of each part, the label of each id.
    """
    lines: dict[str, tuple[str, str]] = {}
    for part, labels in parts.items():
        for name, label in labels.items():
            if name in lines:
                raise DataError(
                    f"cannot write {path}",
                    why=f"{name} is in both {lines[name][1]!r} and {part!r}",
                    advice="split the data again",
                )
            lines[name] = (label, part)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows((name, *lines[name]) for name in sorted(lines))
    write_durably(path, text.getvalue().encode())


def read_split(path: Path) -> dict[str, dict[str, str]]:
    """Read what `write_split` wrote: of each part, the label of each id, in the order of the file."""
    advice = "use the split.csv of an intact run, or split the data again"
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}", why=str(error), advice=advice) from error
    if not rows or rows[0] != _HEADER:
        raise DataError(f"cannot read {path}", why="its first line is not " + ",".join(_HEADER), advice=advice)
    parts: dict[str, dict[str, str]] = {}
    seen: set[str] = set()
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 3 or row[0] in seen:
            why = f"line {number} names {row[0]} again" if len(row) == 3 else f"line {number} has {len(row)} fields"
            raise DataError(f"cannot read {path}", why=why, advice=advice)
        name, label, part = row
        seen.add(name)
        parts.setdefault(part, {})[name] = label
    return parts


def split_digest(ids: Sequence[str]) -> str:
    """SHA-256 of the set of ids: equal for equal images, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _exact_shares(labels: Labels, count: int, order: Rows) -> npt.NDArray[np.bool_]:
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    shares = count * sizes // len(labels)
    remainders = count * sizes % len(labels)
    for winner in np.argsort(-remainders, kind="stable")[: count - int(shares.sum())]:
        shares[winner] += 1
    held = np.zeros(len(labels), dtype=bool)
    by_class = np.split(order[np.argsort(class_of[order], kind="stable")], np.cumsum(sizes)[:-1])
    for rows, share in zip(by_class, shares.tolist(), strict=True):
        held[rows[:share]] = True
    return held


def _greedy_shares(labels: Labels, count: int, order: Rows, groups: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Move groups in random order, each where the counts (of images, of each class) come nearer to their aim.

    The distance is chi-squared, so that a rare class counts as much as a frequent one, and the images as all classes.
    """
    n = len(labels)
    marks = np.eye(int(labels.max()) + 1)[labels] if labels.ndim == 1 else labels.astype(np.float64)
    marks = np.concatenate([np.ones((n, 1)), marks], axis=1)  # (N, 1 + K)
    aim = marks.sum(axis=0) * (count / n)
    weight = 1 / np.maximum(aim, 1.0)
    weight[0] *= marks.shape[1] - 1
    together: dict[object, list[int]] = {}
    for row in order.tolist():
        together.setdefault(groups[row] or row, []).append(row)
    sums = [(rows, marks[rows].sum(axis=0)) for rows in together.values()]
    held = np.zeros(n, dtype=bool)
    missing = aim.copy()
    for _ in range(_PASSES if count else 0):
        for rows, total in sums:
            moved = missing + total if held[rows[0]] else missing - total
            if (weight * moved**2).sum() < (weight * missing**2).sum():
                held[rows] = ~held[rows]
                missing = moved
    if held.all() or held.any() != (count > 0):
        raise DataError(
            f"cannot hold out {count} of {n} images",
            why=f"there are {len(together)} groups, none of a fitting size",
            advice="smaller groups, or --set data.validation=0",
        )
    return held


def _check_count(count: int, n: int) -> None:
    if not 0 <= count < n:
        raise DataError(
            f"cannot hold out {count} of {n} images",
            why="at least one image must remain to train on" if count >= n else "the count is negative",
            advice=f"--set data.validation={max(n // 5, 0)}",
        )
