"""metadata.csv: the file that says which image has which label, where folders do not."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from lenext.errors import DataError

METADATA = "metadata.csv"
# fmt: off
SPLITS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}
# fmt: on
_COLUMNS = "file_name, and label or labels (parted by |); group and split if there are any"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One image as the file names it. number: of the line, from 1. split: a value of SPLITS, "" where none is given."""

    number: int
    file_name: str
    labels: tuple[str, ...]
    group: str = ""
    split: str = ""


def read_metadata(data: bytes, where: str) -> tuple[list[Line], bool]:
    """Return the lines, and whether an image may have several labels (a column `labels`, not `label`).

    where: the file, for errors. Whatever is not as it should be is a DataError that names the line.
    """
    records = _records(data, where)
    number, header = records[0] if records else (1, [])
    label = "labels" if "labels" in header else "label"
    if {"file_name", label} - set(header) or set(header) - {"file_name", label, "group", "split"}:
        raise bad_line(where, number, f"its columns are {', '.join(header) or 'none'}; known are {_COLUMNS}")
    if len(header) != len(set(header)):
        raise bad_line(where, number, f"it names a column twice: {', '.join(header)}")
    lines = []
    for number, record in records[1:]:
        if len(record) != len(header):
            raise bad_line(where, number, f"it has {len(record)} fields, the first line has {len(header)}")
        lines.append(_line(where, number, dict(zip(header, record, strict=True))))
    return lines, label == "labels"


def bad_line(where: str, number: int, why: str) -> DataError:
    """Return the error to raise about one line of the file."""
    return DataError(f"cannot use {where}", why=f"line {number}: {why}", advice="correct the line")


def _records(data: bytes, where: str) -> list[tuple[int, list[str]]]:
    """Return the records that are not blank, each with the number of its first line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_line(where, data[: error.start].count(b"\n") + 1, "it is no UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[tuple[int, list[str]]] = []
    try:
        while True:
            number = reader.line_num + 1
            record = next(reader, None)
            if record is None:
                return records
            if record:
                records.append((number, record))
    except csv.Error as error:
        raise bad_line(where, number, f"it is no CSV: {error}") from error


def _line(where: str, number: int, fields: dict[str, str]) -> Line:
    if "label" in fields:
        labels: Sequence[str] = [fields["label"].strip()]
    else:
        labels = [label.strip() for label in fields["labels"].split("|")] if fields["labels"].strip() else []
    if not all(labels):
        raise bad_line(where, number, f"the label of {fields['file_name']} is empty")
    split = ""
    if "split" in fields:
        split = SPLITS.get(fields["split"].strip().lower(), "")
        if not split:
            raise bad_line(where, number, f"the split {fields['split']!r} is none of train, validation, test")
    return Line(
        number=number,
        file_name=fields["file_name"],
        labels=tuple(sorted(set(labels))),
        group=fields.get("group", "").strip(),
        split=split,
    )
