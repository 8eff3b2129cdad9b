"""What the experiments share: options, runs by the engine of `lenext sweep`, measures of a run, table, verdict,
figures.

An experiment trains its variants with some seeds each and compares a measure. Its verdict is computed: "reproduced"
where the 95 % intervals of the two means (Student's t over the seeds) do not overlap, which is stricter than a test
of their difference. What was made by `train_variants` goes on when an interrupted command is given again.
"""

import argparse
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lenext import checkpoint as checkpoints
from lenext.cli.output import put, say, table, train_aloud
from lenext.config import from_mapping, read_toml
from lenext.data.sources import find_source
from lenext.data.store import Store
from lenext.experiment.config import Experiment
from lenext.experiment.material import recorded_division
from lenext.experiment.session import Session
from lenext.experiment.sweeping import (
    Planned,
    Sweep,
    planned_runs,
    read_failures,
    train_all,
)
from lenext.judge.intervals import mean_interval
from lenext.reporting.dots import draw_groups, save_figure, styled_for_files
from lenext.run import CONFIG_TOML, read_metrics

Groups = Mapping[str, Sequence[float]]
Runs = Mapping[str, Sequence[Path]]  # of each variant
Curves = Mapping[str, tuple[Sequence[float], Sequence[Sequence[float]]]]  # name: x, and y for each seed
QUICK = ("training.threads=1",)  # nothing is timed before the first step
COLOURS = ("#0b6e74", "#b3541e", "#5b4b9a", "#9a6a1f", "#3a7d2c", "#a02c5d", "#4d4d4d", "#2f6db5")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much is trained, on what, and where runs and figures go. size: 0 for the rule of `lenext train`."""

    data: str
    root: str
    size: int
    epochs: int
    seeds: int
    quick: bool
    settings: tuple[str, ...]
    out: Path


def read_options(claim: str, name: str, words: Sequence[str] | None, *, epochs: int, quick_epochs: int = 2) -> Options:
    """Read the command line; claim: the module's docstring. --quick is seconds on the digits, and shows nothing."""
    parser = argparse.ArgumentParser(description=claim, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small form on the digits, to see that it runs")
    parser.add_argument("--data", help="as of lenext train (fashion_mnist; digits with --quick)")
    parser.add_argument("--root", default=os.environ.get("LENEXT_HOME", ""), help="folder to look for the data in")
    parser.add_argument("--size", type=int, default=0, help="of the images, as of lenext train")
    parser.add_argument("--set", action="append", default=[], help="of every run, as of lenext train: data.limit=10000")
    parser.add_argument("--epochs", type=int, help=f"of a run ({epochs}; {quick_epochs} with --quick)")
    parser.add_argument("--seeds", type=int, help="of each variant (3; 2 with --quick)")
    parser.add_argument("--out", type=Path, help=f"runs/experiments/{name}, with -quick behind it in the quick form")
    told = parser.parse_args(words)
    return Options(
        data=told.data or ("digits" if told.quick else "fashion_mnist"),
        root=told.root,
        size=told.size,
        epochs=told.epochs or (quick_epochs if told.quick else epochs),
        seeds=told.seeds or (2 if told.quick else 3),
        quick=told.quick,
        settings=(*QUICK * told.quick, *told.set),
        out=told.out or Path("runs/experiments") / (f"{name}-quick" if told.quick else name),
    )


def train_variants(
    options: Options, variants: Mapping[str, Sequence[str]], *, settings: Sequence[str] = (), part: str = "runs"
) -> dict[str, list[Path]]:
    """Train what is not finished, and return the finished runs of each variant.

    variants: name -> settings as of `--set`, and model=..., recipe=..., size=... part: the folder under `options.out`.
    """
    source, folder = find_source(options.data, options.root), options.out / part
    common = (f"training.epochs={options.epochs}", *options.settings, *settings)
    named = {name: tuple(own) for name, own in variants.items()}
    sweep = Sweep(data=source.name, size=options.size, settings=common, variants=named, seeds=options.seeds)

    def aloud(planned: Planned, session: Session) -> None:
        say(f"{planned.key} of {len(named)} variants")
        train_aloud(session)

    train_all(sweep, folder, source, options.root, train=aloud, command="the same command again")
    for key, failure in read_failures(folder).items():
        say(f"{key} failed: {failure['what']}: {failure['why']}")
    done = [planned for planned in planned_runs(sweep, folder) if planned.status() == "finished"]
    return {name: [planned.run for planned in done if planned.variant == name] for name in named}


def measured(runs: Runs, measure: Callable[[Path], float]) -> dict[str, list[float]]:
    """The measure of every run."""
    return {name: [measure(run) for run in found] for name, found in runs.items()}


def validation_error(run: Path) -> float:
    """The lowest of all epochs."""
    return 1 - max(float(line["validation_score"]) for line in read_metrics(run))


def training_error(run: Path) -> float:
    """Of the last epoch: while training, on images as augmented."""
    return 1 - float(read_metrics(run)[-1]["train_accuracy"])


def epoch_seconds(run: Path) -> float:
    """The median over the epochs."""
    return float(np.median([line["seconds"] for line in read_metrics(run)]))


def epochs_to_training_error(run: Path, share: float) -> float:
    """Epochs until the error is at most `share`, between two epochs by a straight line; all of them if it never is."""
    errors = [1.0, *(1 - float(line["train_accuracy"]) for line in read_metrics(run))]
    for epoch, (before, error) in enumerate(itertools.pairwise(errors), start=1):
        if error <= share:
            return epoch - (share - error) / (before - error)
    return float(len(errors) - 1)


def stores_of(run: Path, root: str = "") -> dict[str, Store]:
    """What the run was trained on and what it held out, found again."""
    experiment = from_mapping(Experiment, read_toml(run / CONFIG_TOML))
    source = find_source(experiment.data.name, root or experiment.data.root)
    channels = int(checkpoints.load(checkpoints.find_folder(run)).card.preprocessing["channels"])
    return recorded_division(run, source, experiment.data, experiment.size, channels)


@dataclass(frozen=True)
class Claim:
    """The measure of `less` is smaller than that of `more`."""

    text: str
    less: str
    more: str

    def verdict(self, groups: Groups) -> str:
        """What the intervals tell of it."""
        if min(len(groups[self.less]), len(groups[self.more])) < 2:
            return "not shown: an interval takes two finished runs of each"
        (low, below), (high, above) = mean_interval(groups[self.less]), mean_interval(groups[self.more])
        if low + (below or 0) < high - (above or 0):
            return "reproduced: intervals do not overlap"
        if high + (above or 0) < low - (below or 0):
            return "contradicted: intervals do not overlap, and lie the other way round"
        return "not shown at this scale: intervals overlap"


def tell(
    options: Options, groups: Groups, claims: Sequence[Claim], *, label: str, percent: bool = True, stem: str = "figure"
) -> list[str]:
    """Print table and verdicts, draw the figure, and return the verdicts. percent: the values are fractions."""
    scale, unit = (100, " %") if percent else (1, "")
    cells = [(label, "n", "mean", "95 % interval")]
    for name, values in groups.items():
        mean, half = mean_interval(values) if values else (float("nan"), None)
        interval = "-" if half is None else f"[{scale * (mean - half):.2f}, {scale * (mean + half):.2f}]"
        cells.append((name, str(len(values)), f"{scale * mean:.2f}{unit}", interval))
    put(table(cells, right=(1, 2, 3)))
    verdicts = [f"{claim.text}: {claim.verdict(groups)}" for claim in claims]
    options.out.mkdir(parents=True, exist_ok=True)
    with styled_for_files(stem):
        paths = save_figure(draw_groups(groups, label=label, percent=percent), options.out / stem)
    put("\n".join([*verdicts, *map(str, paths)]))
    return verdicts


def tell_errors(options: Options, runs: Runs, claims: Sequence[Claim]) -> list[str]:
    """`tell` of the error on training images, and of that on held-out ones."""
    told = tell(options, measured(runs, training_error), claims, label="training error", stem="training")
    return told + tell(options, measured(runs, validation_error), claims, label="validation error", stem="validation")


def tell_error_and_time(options: Options, runs: Runs, better: Claim, faster: Claim) -> list[str]:
    """`tell` of the error on held-out images, and of the seconds that an epoch takes."""
    told = tell(options, measured(runs, validation_error), [better], label="validation error", stem="error")
    seconds = measured(runs, epoch_seconds)
    return told + tell(options, seconds, [faster], label="seconds an epoch", percent=False, stem="seconds")


def draw_curves(
    options: Options, panels: Mapping[str, Curves], *, vertical: str, logarithmic: bool = False, stem: str = "curves"
) -> None:
    """Draw a panel for each horizontal axis: the mean over the seeds as a line in the band of its interval.

    Values are fractions, written as per cent, or logarithmic.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    options.out.mkdir(parents=True, exist_ok=True)
    columns, rows = min(len(panels), 2), -(-len(panels) // 2)
    with styled_for_files(stem):
        figure = Figure(figsize=(5.2 if columns == 1 else 7.2, 0.9 + 2.5 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, (horizontal, curves) in zip(grid.flat, panels.items(), strict=False):
            for colour, (name, (x, seeds)) in zip(COLOURS, curves.items(), strict=False):
                if not seeds:
                    continue  # all of its runs failed, which the table tells
                told = [mean_interval(np.log10(y).tolist() if logarithmic else y) for y in zip(*seeds, strict=True)]
                band = np.array([(mean, mean - (half or 0.0), mean + (half or 0.0)) for mean, half in told]).T
                middle, low, high = 10**band if logarithmic else band
                axes.plot(x, middle, color=colour, label=name, marker="o")
                axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.set_xlabel(horizontal)
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=horizontal in ("epoch", "layer")))
            axes.grid(axis="y")
            if logarithmic:
                axes.set_yscale("log")
            else:
                axes.set_ylim(-0.02, 1.02)
                axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        for row in grid:
            row[0].set_ylabel(vertical)
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        paths = save_figure(figure, options.out / stem)
    put("\n".join(map(str, paths)))
