"""`lenext train`: train a network on a data set, or go on with a run."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lenext.cli.output import home, put, put_json, say, train_aloud
from lenext.errors import UsageError
from lenext.run import free_name, load_run, read_metrics


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
    from lenext.experiment import session as sessions
    from lenext.experiment.config import compose

    settings = settings or []
    if resume is not None:
        if data or model or recipe or epochs is not None or seed or size or run:
            why = "a run keeps its data, network, recipe and seed"
            raise UsageError(f"cannot resume {resume} with other options", why=why, advice=f"--resume {resume}")
        session = sessions.resume(resume, settings, root=root)
        say(f"resuming {resume} after {session.state.progress.step} of {session.total_steps} updates")
    else:
        if not data or not model:
            raise UsageError(
                "cannot train", why="it takes data and a network", advice="lenext train fashion_mnist --model resnet20"
            )
        experiment, decided = compose(
            DataConfig(name=data, root=root or home()), model,
            recipe=recipe, epochs=epochs, seed=seed, size=size, settings=settings,
        )  # fmt: skip
        folder = run or free_name(Path("runs"), f"{data}-{experiment.model}")
        for sentence in decided:
            say(sentence)
        session = sessions.start(experiment, folder, settings=settings)
        say(f"run {folder}: {len(session.parts.train):,} training images, {len(session.parts.validation):,} held out, "
            f"{session.plan.precision}, {session.plan.threads} thread{'s' * (session.plan.threads > 1)}")  # fmt: skip
    train_aloud(session)
    if json:
        put_json({"run": str(session.run), **load_run(session.run), "epochs": read_metrics(session.run)})
    else:
        put(_closing(session.run))


def _closing(run: Path) -> str:
    index, records = load_run(run), read_metrics(run)
    last = records[-1]
    held_out = f", validation top-1 {100 * last['validation_top1']:.1f} %" if "validation_top1" in last else ""
    return f"{index['model']} on {index['data']}: {last['epoch']} epochs{held_out}\n{run}\nnext: lenext eval {run}"
