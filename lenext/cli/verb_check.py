"""`lenext data check`: what is wrong with a set of image files."""

import json as jsons
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from lenext.cli.output import put, put_json
from lenext.errors import DataError, UsageError

if TYPE_CHECKING:
    from lenext.data.checking import Scan
    from lenext.data.findings import Check, Finding

INDENT = 17  # of what stands below the name of a finding
SHOWN = 3  # examples of a finding, and names of a group of copies


def check_files(
    path: Path,
    *,
    json: bool = False,
    every: Annotated[bool, Parameter(name="--list", negative="")] = False,
) -> None:
    """Read and decode every image of a folder, a .zip or a .tar, and tell what is wrong; exit 3 if that is an error.

    Parameters
    ----------
    path
        The images, as `lenext train` takes them.
    json
        Print an object.
    every
        Print every file, a line each: severity, kind, number of the group of copies, file; parted by tabs. A name that
        cannot be printed is a JSON string.
    """
    if json and every:
        raise UsageError("cannot print both", why="--json and --list are two forms of one answer", advice="choose one")
    from lenext.data.checking import check_images
    from lenext.data.containers import shown

    check = check_images(path, _watched)
    if json:
        put_json(check.to_mapping())
    elif every:
        for finding in check.findings:
            for number, group in enumerate(finding.items, 1):
                for name in group:
                    put(f"{finding.severity}\t{finding.kind}\t{number}\t{_printable(name)}")
    else:
        put(_describe(check, shown(str(path))))
    if check.has_errors:
        sys.exit(DataError.exit_code)


def _watched(scans: "Iterable[Scan]", total: int) -> "Iterator[Scan]":
    """Show a bar where somebody watches."""
    if not sys.stderr.isatty():
        yield from scans
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("  decoding"), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        for scan in scans:
            yield scan
            progress.advance(task)


def _describe(check: "Check", path: str) -> str:
    """What was found as a table, a few files below each line."""
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    lines = [f"{path}: {check.description}", *(f"ignored: {sentence}" for sentence in check.ignored)]
    if check.findings:
        lines += ["", "severity  count  finding"]
    for finding in check.findings:
        lines += _finding_lines(finding, width)
    if any(len(finding.items) > SHOWN for finding in check.findings):
        lines += ["", f"every file: lenext data check {shlex.quote(path)} --list"]
    errors = sum(finding.severity == "error" for finding in check.findings)
    lines += ["", f"{check.listed:,} files listed = {check.scored:,} decoded whole + {check.refused:,} refused"]
    lines += [f"{_many(errors, 'error')}, {_many(len(check.findings) - errors, 'warning')}"]
    return "\n".join(lines)


def _finding_lines(finding: "Finding", width: int) -> list[str]:
    indent = " " * INDENT
    lines = [f"{finding.severity:<8}  {finding.count:>5,}  {finding.kind}"]
    lines += textwrap.wrap(finding.text, width, initial_indent=indent, subsequent_indent=indent)
    for group in finding.items[:SHOWN]:
        first, *others = [_printable(name) for name in group]
        lines += [f"{indent}- {first}", *(f"{indent}  {finding.sign} {name}" for name in others[: SHOWN - 1])]
        if len(others) >= SHOWN:
            lines.append(f"{indent}  {finding.sign} {len(others) - SHOWN + 1:,} more")
    if len(finding.items) > SHOWN:
        lines.append(f"{indent}- {len(finding.items) - SHOWN:,} more")
    return lines


def _printable(name: str) -> str:
    """Return the name on one line: one with a line break or the like in it as a JSON string."""
    return name if name.isprintable() and not name.startswith('"') else jsons.dumps(name)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
