"""`lenext train`: train a network on a data set, or go on with a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from lenext.cli.output import home, put, put_json, say, train_aloud
from lenext.errors import UsageError
from lenext.run import free_name, load_run, read_metrics

if TYPE_CHECKING:
    from lenext.experiment.config import Experiment
    from lenext.experiment.session import Session


def train_network(
    data: str = "",
    *,
    model: str = "",
    recipe: str = "",
    epochs: int | None = None,
    seed: int = 0,
    size: int = 0,
    run: Path | None = None,
    resume: Path | None = None,
    root: str = "",
    settings: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    json: bool = False,
) -> None:
    """Train a network; Ctrl-C saves, and --resume goes on to the same bits.

    Parameters
    ----------
    data
        fashion_mnist, mnist or digits.
    model
        A network of `lenext models`.
    recipe
        How to train: a recipe's name or a TOML file; the network's own unless told otherwise.
    epochs
        Passes over the training images; the recipe's unless told otherwise.
    seed
        Of weights, order, augmentation and dropout.
    size
        Height and width of the images in pixels; by rule unless told otherwise.
    run
        The run folder to make; runs/DATA-MODEL unless told otherwise.
    resume
        A run folder to go on with.
    root
        Folder to look for the data in first; $LENEXT_HOME or ~/.cache/lenext unless told otherwise.
    settings
        Any key of the configuration, as training.optimizer.rate=0.05; may be repeated.
    json
        Print the run as an object.
    """
    from lenext.data.config import DataConfig
    from lenext.experiment.config import compose

    settings = settings or []
    if resume is not None:
        if data or model or recipe or epochs is not None or seed or size or run:
            why = "a run keeps its data, network, recipe and seed"
            raise UsageError(f"cannot resume {resume} with other options", why=why, advice=f"--resume {resume}")
        session = _resume(resume, settings, root)
    elif data and model:
        experiment, decided = compose(
            DataConfig(name=data, root=root or home()), model,
            recipe=recipe, epochs=epochs, seed=seed, size=size, settings=settings,
        )  # fmt: skip
        session = _start(experiment, decided, run or free_name(Path("runs"), f"{data}-{experiment.model}"), settings)
    else:
        raise UsageError(
            "cannot train", why="it takes data and a network", advice="lenext train fashion_mnist --model resnet20"
        )
    train_aloud(session)
    if json:
        put_json({"run": str(session.run), **load_run(session.run), "epochs": read_metrics(session.run)})
    else:
        put(_closing(session.run))


def _resume(run: Path, settings: list[str], root: str) -> "Session":
    from lenext.experiment import session as sessions

    session = sessions.resume(run, settings, root=root)
    say(f"resuming {run} after {session.state.progress.step} of {session.total_steps} updates")
    return session


def _start(experiment: "Experiment", decided: list[str], run: Path, settings: list[str]) -> "Session":
    from lenext.experiment import session as sessions

    for sentence in decided:
        say(sentence)
    session = sessions.start(experiment, run, settings=settings)
    threads = f"{session.plan.threads} thread{'s' * (session.plan.threads > 1)}"
    train, held_out = len(session.parts.train), len(session.parts.validation)
    say(f"run {run}: {train:,} training images, {held_out:,} held out, {session.plan.precision}, {threads}")
    return session


def _closing(run: Path) -> str:
    index, records = load_run(run), read_metrics(run)
    last = records[-1]
    held_out = f", validation top-1 {100 * last['validation_top1']:.1f} %" if "validation_top1" in last else ""
    return f"{index['model']} on {index['data']}: {last['epoch']} epochs{held_out}\n{run}\nnext: lenext eval {run}"
