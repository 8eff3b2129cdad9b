"""`lenext models`: the networks, with what their papers say. Imports no torch."""

import fnmatch

from lenext.cli.output import put, put_json, table
from lenext.errors import UsageError
from lenext.papers import PaperRow, load_papers


def list_networks(pattern: str = "*", *, json: bool = False) -> None:
    """List the networks.

    Parameters
    ----------
    pattern
        A shell pattern on the names ("resnet*").
    json
        Print a list of objects.
    """
    rows = [row for name, row in load_papers().items() if fnmatch.fnmatchcase(name, pattern)]
    if not rows:
        raise UsageError(f"no network matches {pattern!r}", why="the catalog has none", advice="lenext models")
    if json:
        put_json([_plain(row) for row in rows])
        return
    headings = ("name", "year", "parameters", "MACs", "input", "top-1 error", "protocol")
    cells = [headings, *(_cells(row) for row in rows)]
    put(table(cells, right=(2, 3, 5)))


def _plain(row: PaperRow) -> dict[str, object]:
    first = row.results[0] if row.results else None
    return {
        "name": row.name,
        "family": row.family,
        "year": row.year,
        "params": row.params,
        "macs": row.macs,
        "input_size": list(row.input_size),
        "top1_error": first.top1_error if first else None,
        "top5_error": first.top5_error if first else None,
        "protocol": f"{first.dataset}, {first.protocol}" if first else None,
        "torchvision": row.torchvision,
        "timm": row.timm,
    }


def _cells(row: PaperRow) -> tuple[str, ...]:
    first = row.results[0] if row.results else None
    size = "x".join(str(side) for side in row.input_size)
    error = f"{first.top1_error:.2f} %" if first and first.top1_error is not None else ""
    protocol = f"{first.dataset}, {first.protocol}" if first else ""
    return row.name, str(row.year), f"{row.params:,}", f"{row.macs:,}", size, error, protocol
