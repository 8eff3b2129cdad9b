"""What verbs share: where data lies, results on stdout, words on stderr, a bar where somebody watches."""

import contextlib
import csv
import json
import os
import re
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lenext.experiment.session import Session


def home() -> str:
    """Folder of data sets from $LENEXT_HOME; empty is the package's default."""
    return os.environ.get("LENEXT_HOME", "")


def say(text: str) -> None:
    """Tell a person something, on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def put(text: str) -> None:
    """Give a result, on stdout."""
    print(text, flush=True)  # noqa: T201


def put_json(content: Any) -> None:
    """Give a result as JSON, on stdout."""
    put(json.dumps(content, indent=2, ensure_ascii=False))


def put_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Give a list of objects as CSV with a header, on stdout."""
    if rows:
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_amount(text: str) -> int:
    """Read "8GB", "500 mb", "3GiB" as bytes: GB are powers of ten, GiB of two; 0 where it is none with a unit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?)b", text.strip().lower())
    return int(float(found[1]) * (1024 if found[3] else 1000) ** (" kmgt".index(found[2]))) if found else 0


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Align rows of text in columns, the first row being the headings; columns in `right` align right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def spread(percentages: Sequence[float]) -> str:
    """Tell mean, deviation and number of the results of several runs: "93.21 % +- 0.40 (n = 3 runs, sd)"."""
    mean, deviation = statistics.mean(percentages), statistics.stdev(percentages)
    return f"{mean:.2f} % +- {deviation:.2f} (n = {len(percentages)} runs, sd)"


def train_aloud(session: "Session") -> None:
    """Train a session to its end: a bar on a terminal, and a line for each epoch everywhere."""
    from lenext.experiment.session import Epoch

    with _bar(session) as advance:
        for record in session.records():
            if isinstance(record, Epoch):
                advance(0, describe_epoch(record, session.experiment.training.epochs))
            else:
                advance(1, "")


def describe_epoch(epoch: Any, epochs: int) -> str:
    """One line about a finished epoch."""
    validation = (
        ""
        if epoch.validation_score is None
        else f"  validation {epoch.validation_loss:.3f} {100 * epoch.validation_score:5.1f} %"
    )
    seen = "" if epoch.train_accuracy is None else f" {100 * epoch.train_accuracy:5.1f} %"
    train = f"train {epoch.train_loss:.3f}{seen}"
    return f"epoch {epoch.epoch:>{len(str(epochs))}}/{epochs}  {train}{validation}  {epoch.seconds:.0f} s"


@contextlib.contextmanager
def _bar(session: "Session") -> Iterator[Any]:
    if not sys.stderr.isatty():
        yield lambda _, line: say(line) if line else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(session.experiment.model, total=session.total_steps)
        progress.update(task, completed=session.state.progress.step)

        def advance(steps: int, line: str) -> None:
            progress.advance(task, steps)
            if line:
                progress.console.print(line, highlight=False)

        yield advance
