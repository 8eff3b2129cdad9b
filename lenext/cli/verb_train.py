"""`lenext train`: train a network on data, or go on with a run."""

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from lenext.cli.output import home, put, put_json, say, spread, table, train_aloud
from lenext.errors import UsageError
from lenext.run import RUN_JSON, free_name, load_run, read_metrics

if TYPE_CHECKING:
    from lenext.data.config import DataConfig
    from lenext.data.sources import Source
    from lenext.experiment.opening import Beginning
    from lenext.experiment.session import Session
    from lenext.training.distributed import Ranks


def train_network(
    data: str = "",
    *,
    model: str = "",
    weights: str = "",
    freeze: str = "",
    recipe: str = "",
    epochs: int | None = None,
    time: str = "",
    seed: int = 0,
    seeds: int = 0,
    size: int = 0,
    run: Path | None = None,
    resume: Path | None = None,
    extend: Path | None = None,
    plan: Path | None = None,
    report: bool = False,
    dry_run: bool = False,
    root: str = "",
    settings: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    rank_limit: float = 120.0,
    json: bool = False,
) -> None:
    """Train a network; Ctrl-C saves, and --resume goes on to the same bits.

    Parameters
    ----------
    data
        A set of `lenext data`, or the path of a folder, a .zip or a .tar of images.
    model
        A network of `lenext models`.
    weights
        A run or checkpoint to begin from; its head is replaced where the classes differ.
    freeze
        Places that are not trained, as stem,stages.conv2_x.
    recipe
        How to train: a recipe's name or a TOML file; the network's own unless told otherwise.
    epochs
        Passes over the training images; the recipe's unless told otherwise.
    time
        Train for about so long, as 90s, 10m or 2h, turned into updates once.
    seed
        Of weights, order, augmentation and dropout.
    seeds
        Train so many times, with seeds 0, 1, 2 ..., into RUN/seed-0 ...
    size
        Height and width of the images in pixels; by rule unless told otherwise.
    run
        The run folder to make; runs/DATA-MODEL unless told otherwise.
    resume
        A run folder to go on with.
    extend
        A run folder to begin another run from, with --epochs in all.
    plan
        A run whose speed plan is followed, in place of timing how this machine trains fastest.
    report
        When it is trained, judge it on the test split and write the report.
    dry_run
        Tell what it will take (images, memory, time), and write no run.
    root
        Folder to look for the data in first; $LENEXT_HOME or ~/.cache/lenext unless told otherwise.
    settings
        Any key of the configuration, as training.optimizer.rate=0.05; may be repeated.
    rank_limit
        Of several processes (torchrun), the seconds that one may keep the others waiting.
    json
        Print the run as an object.
    """
    from lenext.cli.ranks import joined_ranks
    from lenext.data.config import DataConfig
    from lenext.data.sources import find_source
    from lenext.experiment.config import with_epochs

    told = [*with_epochs(epochs), *_frozen(freeze), *_planned(plan), *(settings or [])]
    fixed = bool(data or model or weights or freeze or recipe or seed or seeds or size or time or dry_run or plan)
    with joined_ranks(rank_limit) as ranks:
        if ranks.world > 1 and (seeds or time or dry_run):
            why, advice = "--seeds, --time and --dry-run are for one", "leave torchrun out, or the option"
            raise UsageError("cannot do this with several processes", why=why, advice=advice)
        if resume is not None and not (fixed or epochs is not None or run or extend):
            _finish([_resume(resume, told, root, ranks)], report, json)
        elif extend is not None and epochs is not None and not (fixed or settings or resume):
            _finish([_extend(extend, epochs, run, root, ranks)], report, json)
        elif resume is not None or extend is not None:
            why = "a run keeps its data, network, recipe and seed"
            advice = f"--resume {resume}" if resume else f"--extend {extend} --epochs N"
            raise UsageError(f"cannot go on with {resume or extend} like this", why=why, advice=advice)
        elif not data or not (model or weights):
            raise UsageError(
                "cannot train", why="it takes data and a network", advice="lenext train fashion_mnist --model resnet20"
            )
        elif time and epochs is not None:
            why = "--time finds out how many epochs there are"
            raise UsageError("cannot train for a time and a number of epochs", why=why, advice="drop one of them")
        elif seeds < 0 or (seeds and seed):
            why = "seeds are counted from 0" if seeds > 0 else f"{seeds} runs cannot be made"
            raise UsageError("cannot train with these seeds", why=why, advice="--seeds 3, or --seed 7")
        else:
            source = find_source(data, root or home())
            if report and not {"test", "all"} & set(source.counts):
                why, advice = f"{source.name} has none", "leave --report out, then: lenext eval RUN --split validation"
                raise UsageError("cannot judge on test images", why=why, advice=advice)
            names = {"model": model, "weights": weights, "recipe": recipe, "size": size}
            place = root or home()
            data_config = DataConfig(name=source.name, root=place, home=place)
            job = Job(source, data_config, names, told, _seconds(time), ranks)
            if dry_run:
                _tell_forecast(job.prepare(seed), json)
            else:
                _finish(job.sessions(run, range(seeds) if seeds else [seed], series=bool(seeds)), report, json)


@dataclass
class Job:
    """What was asked for: data and names, from which a run is made for each seed. seconds: a limit of time, or 0."""

    source: "Source"
    data: "DataConfig"
    names: dict[str, Any]
    settings: list[str]
    seconds: float
    ranks: "Ranks"

    def prepare(self, seed: int) -> "Beginning":
        """Resolve the names, prepare a run and say what was decided; a limit of time is turned into updates once."""
        from lenext.experiment.config import compose
        from lenext.experiment.forecast import within
        from lenext.experiment.opening import prepare

        if self.seconds:  # to compile is worth it in long runs, and a limit is not known to the plan
            self.settings = ["training.compile=never", *self.settings]
        experiment, decided = compose(self.data, self.source, seed=seed, settings=self.settings, **self.names)
        for sentence in decided:
            say(sentence)
        beginning = prepare(experiment, self.source, self.ranks)
        for sentence in beginning.said:
            say(sentence)
        if self.seconds:
            beginning = within(beginning, self.seconds)
            steps = beginning.experiment.training.steps
            say(f"{self.seconds:.0f} s are {steps:,} updates, {beginning.experiment.training.epochs} epochs")
            pinned = [f"training.steps={steps}", f"training.epochs={beginning.experiment.training.epochs}"]
            self.settings, self.seconds = [*self.settings, *pinned], 0.0
        return beginning

    def sessions(self, run: Path | None, seeds: Iterable[int], *, series: bool) -> "Iterator[Session]":
        """Create each run when the one before it is finished."""
        from lenext.experiment.config import command_line
        from lenext.experiment.opening import create
        from lenext.run import refuse_existing

        whole, seeds = run, list(seeds)
        if whole is not None and self.ranks.leads:
            for seed in seeds:  # before the first of them is trained
                refuse_existing(whole / f"seed-{seed}" if series and not (whole / RUN_JSON).exists() else whole)
        for seed in seeds:
            beginning = self.prepare(seed)
            whole = whole or free_name(Path("runs"), f"{Path(self.source.name).stem}-{beginning.experiment.model}")
            place = Path(self.ranks.agree("run", str(whole / f"seed-{seed}" if series else whole)))
            command = command_line(beginning.experiment, self.settings, vars(beginning.plan), self.ranks.world)
            session = create(beginning, place, command=command)
            train, held_out = len(session.parts.train), len(session.parts.validation)
            together = f"{self.ranks.world} ranks of " if self.ranks.world > 1 else ""
            say(f"run {place}: {train:,} training images, {held_out:,} held out, {together}{session.plan}")
            if not session.experiment.training.loss.uses_labels:
                say("no labels are used: the last epoch's network is kept, for --weights to begin from")
            elif not held_out:
                say("nothing is held out: the last epoch's network is kept, and no epoch is chosen")
            yield session


def _resume(run: Path, settings: list[str], root: str, ranks: "Ranks") -> "Session":
    from lenext.experiment import resuming

    session = resuming.resume(run, settings, root=root, ranks=ranks)
    for sentence in resuming.environment_changes(run):
        say(sentence)
    say(f"resuming {run} after {session.state.progress.step} of {session.total_steps} updates")
    return session


def _extend(run: Path, epochs: int, to: Path | None, root: str, ranks: "Ranks") -> "Session":
    from lenext.experiment import resuming

    to = Path(ranks.agree("run", str(to or free_name(run.parent, f"{run.name}-extended"))))
    session = resuming.extend(run, epochs, to, root=root, ranks=ranks)
    say(f"run {to}: from {run}, after {session.state.progress.epoch} of {epochs} epochs")
    return session


def _finish(sessions: "Iterable[Session]", report: bool, json: bool) -> None:
    import lenext
    from lenext.reporting.tables import metrics_line

    done: list[Path] = []
    scores: list[float] = []
    for session in sessions:
        train_aloud(session)
        if not session.state.ranks.leads:
            return
        done.append(session.run)
        told = [_closing(session.run, report)]
        if report and session.experiment.training.loss.uses_labels:
            metrics = lenext.evaluate(session.run)
            scores.append(100 * metrics.score)
            told.append(f"test, n = {metrics.n:,}: {metrics_line(metrics)}")
        if report:
            told.append(str(lenext.write_report(session.run)))
        if not json:
            put("\n".join(told))
    if json:
        records = [{"run": str(run), **load_run(run), "epochs": read_metrics(run)} for run in done]
        put_json(records[0] if len(records) == 1 else records)
    elif len(done) > 1:
        put(_summary(done, scores))


def _closing(run: Path, judged: bool) -> str:
    index, records = load_run(run), read_metrics(run)
    last = records[-1]
    name = index.get("score_name", "score")
    held_out = f", validation {name} {100 * last['validation_score']:.1f} %" if "validation_score" in last else ""
    following = "" if judged else f"\nnext: {_next(index, run)}"
    epochs = f"{last['epoch']} epoch{'s' * (last['epoch'] > 1)}"
    return f"{index['model']} on {index['data']}: {epochs}{held_out}\n{run}{following}"


def _next(index: dict[str, Any], run: Path) -> str:
    """What one does with a finished run: judge it, or teach it classes."""
    return f"lenext eval {run}" if index.get("labels", True) else f"lenext train DATA --weights {run}"


def _summary(done: list[Path], tested: list[float]) -> str:
    """Mean and deviation over the seeds, of each run's chosen epoch and of its test; nothing is pooled."""
    index = load_run(done[0])
    name = index["score_name"]
    records = [read_metrics(run) for run in done]
    told = []
    if all("validation_score" in record for run in records for record in run):
        best = [100 * max(record["validation_score"] for record in run) for run in records]
        told.append(f"best validation {name} over the seeds: {spread(best)}")
    following = _next(index, done[0].parent)
    told.append(f"test {name} over the seeds: {spread(tested)}" if tested else f"next: {following}")
    return "\n".join(told)


def _tell_forecast(beginning: "Beginning", json: bool) -> None:
    from lenext.experiment.forecast import estimate
    from lenext.reporting.tables import duration

    told = estimate(beginning)
    if json:
        put_json(dataclasses.asdict(told))
        return
    rows = [
        ("images", f"{told.train_images:,} to train on, {told.validation_images:,} held out"),
        ("parameters", f"{told.params:,}"),
        ("MACs", f"{told.macs:,} an image"),
        ("memory", f"{told.bytes / 2**20:,.0f} MiB of tensors, beside torch itself and cached images"),
        ("speed", f"{told.images_per_second:,.0f} images/s, {beginning.plan.precision}, {beginning.plan.device}"),
        ("updates", f"{told.steps:,} in {told.epochs:,} epochs"),
        ("time", f"about {duration(told.seconds)}"),
    ]
    put(table(rows))


def _frozen(places: str) -> list[str]:
    names = ", ".join(f'"{place.strip()}"' for place in places.split(",") if place.strip())
    return [f"training.freeze=[{names}]"] if names else []


def _planned(run: Path | None) -> list[str]:
    """The settings that repeat a run's plan."""
    if run is None:
        return []
    from lenext.experiment.config import plan_settings

    return [f"{key}={value}" for key, value in plan_settings(load_run(run)["speed_plan"]).items()]


def _seconds(text: str) -> float:
    """Read "90s", "10m" or "2h"; a bare number is of seconds."""
    if not text:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not found or float(found[1]) == 0:
        raise UsageError(f"cannot train for {text!r}", why="it is no length of time", advice="--time 10m")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]
