"""`lenext models`: the networks, with what their papers say. Imports no torch."""

import fnmatch
import re
from collections.abc import Callable
from typing import Any, Literal

from lenext.cli.output import put, put_json, table
from lenext.config import nearest
from lenext.errors import UsageError
from lenext.papers import FAMILIES, PaperRow, Result, load_papers

Sort = Literal["name", "year", "params", "macs", "top1"]


def list_networks(
    pattern: str = "*",
    *,
    family: str = "",
    year: int | None = None,
    max_params: str = "",
    max_macs: str = "",
    size: int | None = None,
    sort: Sort | None = None,
    json: bool = False,
) -> None:
    """List the networks: MACs of one image of the input's size, and the error that is reported, with its protocol.

    Parameters
    ----------
    pattern
        A shell pattern on the names ("resnet*").
    family
        Only the networks of a family.
    year
        Only those of papers of a year.
    max_params
        At most so many parameters, as 5M.
    max_macs
        At most so many multiply-accumulates for an image of the paper's size, as 600M or 1.5G.
    size
        Only those whose paper shows images of so many pixels a side.
    sort
        Order of the list: by name, year, params, macs or top1 (the reported error, smallest first).
    json
        Print a list of objects.
    """
    if family and family not in FAMILIES:
        raise UsageError(f"unknown family {family!r}", why="no such family", advice=nearest(family, FAMILIES))
    most_params, most_macs = _number(max_params, "--max-params"), _number(max_macs, "--max-macs")
    rows = [
        row
        for name, row in load_papers().items()
        if fnmatch.fnmatchcase(name, pattern)
        and family in ("", row.family)
        and year in (None, row.year)
        and size in (None, row.input_size[1])
        and row.params <= most_params
        and row.macs <= most_macs
    ]
    if not rows:
        what = f"no network matches {pattern!r}" if pattern != "*" else "no network is like that"
        raise UsageError(what, why="the catalog has none", advice="lenext models")
    if sort:
        rows.sort(key=ORDERS[sort])
    if json:
        put_json([_plain(row) for row in rows])
        return
    headings = ("name", "family", "year", "parameters", "MACs", "input", "top-1 error", "protocol")
    put(table([headings, *(_cells(row) for row in rows)], right=(3, 4, 6)))


def reported(row: PaperRow) -> Result | None:
    """The first result of a row that tells a top-1 error, else the first."""
    return next((result for result in row.results if result.top1_error is not None), next(iter(row.results), None))


def _top1(row: PaperRow) -> float:
    result = reported(row)
    return 100.0 if result is None or result.top1_error is None else result.top1_error


ORDERS: dict[str, Callable[[PaperRow], Any]] = {
    "name": lambda row: row.name,
    "year": lambda row: row.year,
    "params": lambda row: row.params,
    "macs": lambda row: row.macs,
    "top1": _top1,
}


def _number(text: str, option: str) -> float:
    """Read 5M, 1.5G, 300k or a bare number; no text is no limit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGB]?)", text.strip()) if text else None
    if text and not found:
        raise UsageError(f"cannot read {text!r}", why="it is no number", advice=f"{option} 5M")
    return float(found[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}[found[2]] if found else float("inf")


def _plain(row: PaperRow) -> dict[str, object]:
    result = reported(row)
    return {
        "name": row.name,
        "family": row.family,
        "year": row.year,
        "params": row.params,
        "auxiliary_params": row.auxiliary_params,
        "macs": row.macs,
        "input_size": list(row.input_size),
        "top1_error": result.top1_error if result else None,
        "top5_error": result.top5_error if result else None,
        "protocol": f"{result.dataset}, {result.protocol}" if result else None,
        "torchvision": row.torchvision,
        "timm": row.timm,
        "original": row.original,
    }


def _cells(row: PaperRow) -> tuple[str, ...]:
    result = reported(row)
    size = "x".join(str(side) for side in row.input_size)
    error = f"{result.top1_error:.2f} %" if result and result.top1_error is not None else ""
    protocol = f"{result.dataset}, {result.protocol}" if result else ""
    return row.name, row.family, str(row.year), f"{row.params:,}", f"{row.macs:,}", size, error, protocol
