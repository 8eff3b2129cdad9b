"""What a sweep found, read from its folder: a row for each variant, a line for each run."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lenext import run as runs
from lenext.judge.intervals import mean_interval
from lenext.reporting.tables import MISSING, count, duration


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One run. Scores are fractions, of the epoch that validation chose; None where it is not finished or not judged.

    best_epoch: the chosen one, of `epochs`. failed, exit_code: why, where it failed.
    """

    variant: str
    seed: int
    run: str
    status: str
    failed: str = ""
    exit_code: int | None = None
    validation_score: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    epoch_seconds: float | None = None
    test_score: float | None = None
    params: int | None = None
    macs: int | None = None


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """The finished runs of a variant together; intervals are half widths by Student's t, None for a single run."""

    variant: str
    n: int
    validation_score: float | None
    validation_interval: float | None
    test_score: float | None
    test_interval: float | None
    params: int | None
    macs: int | None
    epoch_seconds: float | None
    best_epoch: float | None
    failed: tuple[str, ...]


def read_run(variant: str, seed: int, run: Path, failure: Mapping[str, Any] | None = None) -> RunResult:
    """Read one run of a sweep; scores only of a finished one. failure: what `sweep.json` tells of it."""
    told: dict[str, Any] = {"variant": variant, "seed": seed, "run": str(run)}
    if failure:
        told |= {"failed": f"{failure['what']}: {failure['why']}", "exit_code": failure["exit_code"]}
    if not (run / runs.RUN_JSON).is_file():
        return RunResult(status="failed" if failure else "missing", **told)
    index, epochs = runs.load_run(run), runs.read_metrics(run)
    told |= {"params": index["params"], "macs": index["macs"]}
    if index["status"] == "finished":
        best = max(epochs, key=lambda line: (line["validation_score"], -line["validation_loss"]))
        told |= {"validation_score": best["validation_score"], "best_epoch": best["epoch"], "epochs": len(epochs)}
        told["epoch_seconds"] = statistics.fmean(line["seconds"] for line in epochs)
        if (run / runs.metrics_name("test")).is_file():
            metrics = runs.read_json(run / runs.metrics_name("test"))
            told["test_score"] = metrics["top1" if index["score_name"] == "top-1" else "mean_ap"]
    return RunResult(status=index["status"], **told)


def summarise(results: Sequence[RunResult]) -> list[VariantResult]:
    """Put the runs of each variant together, in the order in which the variants first come."""
    rows = []
    for variant in dict.fromkeys(result.variant for result in results):
        own = [result for result in results if result.variant == variant]
        done = [result for result in own if result.validation_score is not None]
        score, interval = _mean([result.validation_score for result in done])
        test, test_interval = _mean([result.test_score for result in done])
        rows.append(
            VariantResult(
                variant=variant, n=len(done), validation_score=score, validation_interval=interval, test_score=test,
                test_interval=test_interval, params=_first(own, "params"), macs=_first(own, "macs"),
                epoch_seconds=_mean([result.epoch_seconds for result in done])[0],
                best_epoch=_mean([result.best_epoch for result in done])[0],
                failed=tuple(f"seed {result.seed} (exit {result.exit_code})" for result in own if result.failed),
            )
        )  # fmt: skip
    return rows


def _mean(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Of all runs or of none: of some it would be a mean of other runs than the column beside."""
    known = [value for value in values if value is not None]
    return mean_interval(known) if known and len(known) == len(values) else (None, None)


def _first(results: Sequence[RunResult], name: str) -> int | None:
    return next((value for result in results if (value := getattr(result, name)) is not None), None)


def sweep_cells(rows: Sequence[VariantResult], score_name: str) -> list[tuple[str, ...]]:
    """Headings and a row of text for each variant; columns that would be empty everywhere are left out."""
    tested, failed = any(row.test_score is not None for row in rows), any(row.failed for row in rows)
    heads = ["setting", "n", f"validation {score_name}", *([f"test {score_name}"] if tested else [])]
    heads += ["parameters", "MACs", "an epoch", "epochs to best", *(["failed"] if failed else [])]
    cells = [tuple(heads)]
    for row in rows:
        cell = [row.variant, str(row.n), with_interval(row.validation_score, row.validation_interval)]
        cell += [with_interval(row.test_score, row.test_interval)] if tested else []
        best = MISSING if row.best_epoch is None else f"{row.best_epoch:.1f}"
        cell += [count(row.params), count(row.macs), duration(row.epoch_seconds), best]
        cells.append((*cell, *([", ".join(row.failed)] if failed else [])))
    return cells


def with_interval(score: float | None, half: float | None) -> str:
    """Write a fraction and the half width of its interval: "93.21 % ± 0.40"."""
    if score is None:
        return MISSING
    return f"{100 * score:.2f} %" + ("" if half is None else f" ± {100 * half:.2f}")


def sweep_csv(results: Sequence[RunResult]) -> str:
    """A line for each run, under a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(RunResult.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(result) for result in results)
    return text.getvalue()


def scores_by_variant(results: Sequence[RunResult]) -> Mapping[str, list[float]]:
    """The validation scores of each variant's finished runs."""
    variants = dict.fromkeys(result.variant for result in results)
    known = [(result.variant, result.validation_score) for result in results]
    return {variant: [s for name, s in known if name == variant and s is not None] for variant in variants}
