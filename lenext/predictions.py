"""Predictions: what a network said about every image of a split, as one value and one file."""

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenext.errors import DataError
from lenext.run import write_durably

FORMAT = 1
RESTORE = "predict again, or restore the file from a copy"
TEXTS = ("split", "split_digest", "preprocessing_digest", "model")


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """The scores of one model on one split; ensembles, comparison and the report need nothing else.

    ids: one a sample, path and content digest; all different, for joins are by id. labels: (N,) int64 in [0, K), or,
    where a sample may have several classes, (N, K) uint8 of 0 and 1. scores: (N, K) float32, logits of one view, or
    those of the mean probability of several (its log, where a sample has one class). classes: K names.
    Arrays of other widths are converted; the fields are read-only. What does not fit together is a DataError.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.integer[Any]]
    scores: NDArray[np.float32]
    classes: tuple[str, ...]
    split: str
    split_digest: str
    preprocessing_digest: str
    model: str
    views: int = 1

    def __post_init__(self) -> None:
        ids, classes = tuple(self.ids), tuple(self.classes)
        labels, scores = np.asarray(self.labels), np.asarray(self.scores)
        _check_shapes(len(ids), len(classes), labels, scores)
        _check_names(ids, classes)
        _check_rows(ids, classes, labels, scores)
        if self.views < 1:
            raise _unusable(f"{self.views} views of each image", "count views from 1")
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "classes", classes)
        width = np.int64 if labels.ndim == 1 else np.uint8
        object.__setattr__(self, "labels", _read_only(labels.astype(width, copy=False)))
        object.__setattr__(self, "scores", _read_only(scores.astype(np.float32, copy=False)))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def multi_label(self) -> bool:
        """Whether a sample may have several classes, or none."""
        return self.labels.ndim == 2

    def probabilities(self) -> NDArray[np.float64]:
        """Return (N, K): the softmax of each row of scores, or, multi-label, the sigmoid of each score."""
        return sigmoid(self.scores) if self.multi_label else softmax(self.scores)

    def predicted(self) -> NDArray[np.integer[Any]]:
        """Return what the model says, in the shape of the labels.

        (N,): the class of the highest score, of equal ones the first. Multi-label, (N, K): 1 where the score is above
        zero, which is a probability above one half.
        """
        return (self.scores > 0).astype(np.uint8) if self.multi_label else self.scores.argmax(axis=1)

    def save(self, path: Path) -> None:
        """Write an .npz durably: equal content gives equal bytes, and a crash leaves the old file or the new one."""
        content = io.BytesIO()
        arrays: dict[str, Any] = {
            "format": np.int64(FORMAT),
            "ids": np.array(self.ids, dtype=np.str_),
            "labels": self.labels,
            "scores": self.scores,
            "classes": np.array(self.classes, dtype=np.str_),
            **{name: np.array(getattr(self, name), dtype=np.str_) for name in TEXTS},
            "views": np.int64(self.views),
        }
        np.savez(content, **arrays)  # not compressed: zlib's bytes differ from build to build; entries are dated 1980
        write_durably(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read what `save` wrote; a missing, damaged or foreign file is a DataError that names it."""
        try:
            arrays = _read_arrays(path)
            return cls(
                ids=_names(arrays, "ids"),
                labels=arrays["labels"],
                scores=arrays["scores"],
                classes=_names(arrays, "classes"),
                **{name: _text(arrays, name) for name in TEXTS},
                views=_whole(arrays, "views"),
            )
        except DataError as error:
            raise DataError(
                f"cannot read {path}", why=error.why, advice=error.advice, kept="the file, untouched"
            ) from error


def softmax(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities along the last axis, in float64; scores as large as float32 holds neither overflow nor warn."""
    shifted = np.asarray(scores, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def sigmoid(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Probability of each score by itself, in float64; scores as large as float32 holds neither overflow nor warn."""
    small = np.exp(-np.abs(np.asarray(scores, dtype=np.float64)))  # the smaller of the two odds, in (0, 1]
    return np.asarray(np.where(np.asarray(scores) >= 0, 1.0, small) / (1.0 + small))


def _check_shapes(n: int, k: int, labels: NDArray[Any], scores: NDArray[Any]) -> None:
    if labels.shape not in ((n,), (n, k)) or scores.shape != (n, k) or k == 0:
        raise _unusable(
            f"{n} ids and {k} classes, but labels of shape {labels.shape} and scores of shape {scores.shape}",
            "give one label (multi-label: one row of them) and one row of scores for each id, a column for each class",
        )
    if labels.dtype.kind not in ("iu" if labels.ndim == 1 else "iufb") or scores.dtype.kind != "f":
        raise _unusable(
            f"labels are {labels.dtype} and scores are {scores.dtype}",
            "labels are whole numbers, scores floating-point ones",
        )


def _check_names(ids: Sequence[str], classes: Sequence[str]) -> None:
    rows: dict[str, int] = {}
    for row, name in enumerate(ids):
        if rows.setdefault(name, row) != row:
            raise _unusable(f"rows {rows[name]} and {row} have the same id, {name!r}", "give each image its own id")
    for name in (*ids, *classes):
        if name.endswith("\0"):  # numpy would drop it on the way to the file
            raise _unusable(f"{name!r} ends with a zero character", "rename it")


def _check_rows(ids: Sequence[str], classes: Sequence[str], labels: NDArray[Any], scores: NDArray[Any]) -> None:
    if labels.ndim == 2:
        _check_marks(ids, classes, labels)
    outside = (labels < 0) | (labels >= len(classes)) if labels.ndim == 1 else np.zeros(0, dtype=bool)
    if outside.any():
        row = int(outside.argmax())
        raise _unusable(
            f"row {row} ({ids[row]}) has label {labels[row]}, and there are {len(classes)} classes",
            "check that labels and class names belong together",
        )
    broken = ~(np.abs(scores) <= np.finfo(np.float32).max)  # NaN compares false, too
    if broken.any():
        row, column = (int(place) for place in np.argwhere(broken)[0])
        raise _unusable(
            f"row {row} ({ids[row]}) has score {scores[row, column]} for class {classes[column]!r}, "
            f"which is no finite float32; so do {int(broken.any(axis=1).sum())} of {len(ids)} rows",
            "look for the layer where the numbers overflow, or use an earlier checkpoint",
        )


def _check_marks(ids: Sequence[str], classes: Sequence[str], labels: NDArray[Any]) -> None:
    broken = (labels != 0) & (labels != 1)
    if broken.any():
        row, column = (int(place) for place in np.argwhere(broken)[0])
        raise _unusable(
            f"row {row} ({ids[row]}) has label {labels[row, column]} for class {classes[column]!r}",
            "labels of a multi-label task are 0 or 1",
        )


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            # A whole member at a time: its checksum is verified before numpy parses any of it.
            arrays = {
                name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
                for name in archive.namelist()
            }
    except FileNotFoundError as error:
        raise _unusable("there is no such file", "check the path") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise _unusable(f"it is damaged, or no file of predictions: {error}", RESTORE) from error
    missing = [name for name in ("format", "ids", "labels", "scores", "classes", *TEXTS, "views") if name not in arrays]
    if missing:
        raise _unusable("it has no " + ", ".join(missing), RESTORE)
    if _whole(arrays, "format") != FORMAT:
        raise _unusable(f"its format is {arrays['format']}, this lenext reads {FORMAT}", "use the lenext that wrote it")
    return arrays


def _names(arrays: dict[str, NDArray[Any]], name: str) -> tuple[str, ...]:
    if arrays[name].dtype.kind != "U" or arrays[name].ndim != 1:
        raise _unusable(f"{name} is no list of texts", RESTORE)
    return tuple(arrays[name].tolist())


def _text(arrays: dict[str, NDArray[Any]], name: str) -> str:
    if arrays[name].dtype.kind != "U" or arrays[name].ndim:
        raise _unusable(f"{name} is no text", RESTORE)
    return str(arrays[name])


def _whole(arrays: dict[str, NDArray[Any]], name: str) -> int:
    if arrays[name].dtype.kind not in "iu" or arrays[name].ndim:
        raise _unusable(f"{name} is no whole number", RESTORE)
    return int(arrays[name])


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()  # the caller's own array stays writable
    view.flags.writeable = False
    return view


def _unusable(why: str, advice: str) -> DataError:
    return DataError("cannot use these predictions", why=why, advice=advice)
