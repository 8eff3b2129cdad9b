"""`lenext eval`: judge a run, or the runs of several seeds, on the test split."""

from pathlib import Path
from typing import Literal

from lenext.cli.output import home, put, put_json, say, spread, table
from lenext.run import load_run, metrics_name, read_json, series_of


def evaluate_run(
    run: Path, *, split: Literal["test", "validation"] = "test", data: str = "", json: bool = False
) -> None:
    """Score a run's chosen checkpoint and write predictions and metrics into the run; each opening of test is counted.

    Parameters
    ----------
    run
        A run folder, or one of several seeds.
    split
        The split to score.
    data
        Where the data lies now, if it has moved.
    json
        Print the metrics as an object, or a list of them.
    """
    import lenext
    from lenext.data.sources import find_source
    from lenext.reporting.tables import class_cells, metrics_line

    found, answers, series = [], [], series_of(run)
    for each in series or [run]:
        metrics = lenext.evaluate(each, split, source=find_source(data, home()) if data else None)
        found.append(metrics)
        answers.append(read_json(each / metrics_name(split)))
        index = load_run(each)
        if index["status"] != "finished":
            say(f"{each} is not finished ({index['status']}): this is not its last word")
        if split == "test":
            times = f"{index['test_opened']} time{'s' if index['test_opened'] != 1 else ''}"
            seen = answers[-1]["trained_on"]
            if seen:
                say(f"{seen:,} of the test images are copies of images that it was trained or chosen on")
            say(f"test split opened {times} by {each if series else 'this run'}")
        if not json:
            put(table(class_cells(metrics), right=range(1, 6)))
            put(
                f"\n{index['model']} on {split} of {index['data']}, n = {metrics.n:,}, checkpoint {index['chosen']}: "
                f"{metrics_line(metrics)}"
            )
    if json:
        put_json(answers[0] if len(answers) == 1 else answers)
    elif len(found) > 1:
        scores = [100 * metrics.score for metrics in found]
        put(f"\n{split} {found[0].score_name} over the seeds: {spread(scores)}")
