"""`lenext predict`: classify image files with a run."""

from pathlib import Path
from typing import Literal

from lenext.cli.output import put, put_csv, put_json, say, table
from lenext.errors import UsageError


def predict_files(
    run: Path,
    files: list[Path],
    /,
    *,
    engine: Literal["auto", "eager", "compile", "openvino", "onnxruntime"] = "auto",
    precision: Literal["auto", "float32", "bf16"] = "float32",
    json: bool = False,
    csv: bool = False,
) -> None:
    """Classify image files.

    Parameters
    ----------
    run
        A run or checkpoint folder.
    files
        Image files, or folders of them.
    engine
        What runs the network; auto is torch itself (eager), unless so many images pay for preparing another.
    precision
        Of the network's numbers; auto is bf16 where the processor multiplies it, else float32.
    json
        Print a list of objects with file, class, index, probability and top5.
    csv
        Print file, class, index and probability as CSV.
    """
    if json and csv:
        raise UsageError("cannot print both", why="--json and --csv are two forms of one answer", advice="choose one")
    from lenext.evaluation.engines import EngineConfig
    from lenext.experiment.answers import classify_files

    answered = classify_files(run, files, EngineConfig(name=engine, precision=precision))
    say(f"by {answered.engine}: {answered.why}")
    answers = answered.rows
    if json:
        put_json(answers)
        return
    several = any("classes" in answer for answer in answers)  # of a run whose images may have any number of them
    brief = [{key: answer[key] for key in ("file", "class", "index", "probability")} for answer in answers]
    if several:
        brief = [{**row, "classes": "|".join(answer["classes"])} for row, answer in zip(brief, answers, strict=True)]
    if csv:
        put_csv(brief)
        return
    rows: list[tuple[str, ...]] = [
        (str(row["file"]), str(row["class"]), f"{100 * row['probability']:.1f} %") for row in brief
    ]
    headings: tuple[str, ...] = ("file", "class", "probability")
    if several:
        headings = ("file", "likeliest", "probability", "classes")
        rows = [(*cells, str(row["classes"]) or "-") for cells, row in zip(rows, brief, strict=True)]
    put(table([headings, *rows], right=(2,)))
