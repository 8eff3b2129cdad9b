"""Hold out a validation part, and write down which image went where."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lenext import rng
from lenext.data.config import DEFAULT_VALIDATION
from lenext.errors import DataError
from lenext.run import write_durably

_HEADER = ["id", "split"]


def validation_count(validation: int, n: int) -> int:
    """Return how many of `n` training images to hold out: `validation`, the default capped at a fifth of the set."""
    count = min(validation, n // 5) if validation == DEFAULT_VALIDATION else validation
    _check_count(count, n)
    return count


def hold_out(
    labels: npt.NDArray[np.int64], count: int, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return sorted indices (train, validation), `count` of them in validation.

    Every class gives its share; the shares are rounded by largest remainder, ties to the lower class, so that the count
    is exact. Which images of a class go is a function of (seed, index) alone.
    """
    n = len(labels)
    _check_count(count, n)
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    shares = count * sizes // n
    remainders = count * sizes % n
    for winner in np.argsort(-remainders, kind="stable")[: count - int(shares.sum())]:
        shares[winner] += 1
    order = rng.permutation(seed, 0, n, "hold_out")
    held = np.zeros(n, dtype=bool)
    for index, share in enumerate(shares):
        held[order[class_of[order] == index][:share]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def write_split(path: Path, ids: Sequence[str], part: Mapping[str, npt.NDArray[np.int64]]) -> None:
    """Write a CSV `id,split`, one line an image in the order of `ids`; the file appears whole or not at all."""
    names: dict[int, str] = {}
    for name, indices in part.items():
        for index in indices.tolist():
            if index in names:
                raise DataError(
                    f"cannot write {path}",
                    why=f"{ids[index]} is in both {names[index]!r} and {name!r}",
                    advice="split the data again",
                )
            names[index] = name
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows((ids[index], names[index]) for index in sorted(names))
    write_durably(path, text.getvalue().encode())


def read_split(path: Path) -> dict[str, tuple[str, ...]]:
    """Read what `write_split` wrote: the ids of each part, in the order of the file."""
    advice = "use the split.csv of an intact run, or split the data again"
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}", why=str(error), advice=advice) from error
    if not rows or rows[0] != _HEADER:
        raise DataError(f"cannot read {path}", why="its first line is not id,split", advice=advice)
    parts: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2 or row[0] in seen:
            why = f"line {number} names {row[0]} again" if len(row) == 2 else f"line {number} has {len(row)} fields"
            raise DataError(f"cannot read {path}", why=why, advice=advice)
        seen.add(row[0])
        parts.setdefault(row[1], []).append(row[0])
    return {name: tuple(ids) for name, ids in parts.items()}


def split_digest(ids: Sequence[str]) -> str:
    """SHA-256 of the set of ids: equal for equal images, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def _check_count(count: int, n: int) -> None:
    if not 0 <= count < n:
        raise DataError(
            f"cannot hold out {count} of {n} images",
            why="at least one image must remain to train on" if count >= n else "the count is negative",
            advice=f"--set data.validation={max(n // 5, 0)}",
        )
