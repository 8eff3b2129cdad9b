"""`lenext eval`: judge a run on its test split."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lenext.cli.output import put, put_json, say, table
from lenext.run import load_run, metrics_name, read_json

if TYPE_CHECKING:
    from lenext.judge.metrics import Metrics, MultiLabelMetrics


def evaluate_run(run: Path, *, split: Literal["test", "validation"] = "test", json: bool = False) -> None:
    """Score a run's chosen checkpoint and write predictions and metrics into the run; each opening of test is counted.

    Parameters
    ----------
    run
        A run folder.
    split
        The split to score.
    json
        Print the metrics as an object.
    """
    import lenext

    metrics = lenext.evaluate(run, split)
    index = load_run(run)
    if split == "test":
        say(f"test split opened {index['test_opened']} time{'s' if index['test_opened'] != 1 else ''} by this run")
    if json:
        put_json(read_json(run / metrics_name(split)))
        return
    rows = [("class", "images", "precision", "recall", "F1")]
    rows += [
        (c.name, f"{c.support:,}", f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}") for c in metrics.per_class
    ]
    put(table(rows, right=(1, 2, 3, 4)))
    put(
        f"\n{index['model']} on {split} of {index['data']}, n = {metrics.n:,}, checkpoint {index['chosen']}: "
        f"{_summary(metrics)}, NLL {metrics.nll:.3f}, ECE {metrics.ece:.3f}"
    )


def _summary(metrics: "Metrics | MultiLabelMetrics") -> str:
    from lenext.judge.metrics import Metrics
    from lenext.reporting.tables import percent

    if isinstance(metrics, Metrics):
        return f"top-1 {percent(metrics.top1, metrics.top1_interval)}, top-5 {percent(metrics.top5)}"
    exact = percent(metrics.exact, metrics.exact_interval)
    return f"mAP {percent(metrics.mean_ap)}, all classes right {exact}, macro F1 {metrics.macro_f1:.3f}"
