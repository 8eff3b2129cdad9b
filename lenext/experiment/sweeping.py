"""Many runs that differ in a few settings: asked for once, gone on with by the same command, none lost to another.

A sweep is a folder: `sweep.json` says what was asked and what failed, FOLDER/NAME/seed-N is a run like any other.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lenext import run as runs
from lenext.config import differing_keys, from_mapping, override, read_toml, to_mapping
from lenext.data.config import DataConfig
from lenext.data.sources import Source
from lenext.errors import ConflictError, DataError, InterruptedRunError, LenextError, LockedError, UsageError
from lenext.experiment.config import Experiment, command_line, compose, own_key
from lenext.experiment.opening import Beginning, create, prepare
from lenext.experiment.resuming import MACHINE, resume
from lenext.experiment.session import Session
from lenext.models.catalog import get_config

NAMES = ("model", "weights", "recipe", "size")  # much follows from them: --set does not take them, --vary does
DIVERGED = 7  # exit code
LONGEST = 120  # characters of a folder's name


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What is asked of a sweep. variants: name -> the settings, as `--set` has them, that make the variant.

    settings: of all variants. The variants' settings may also name what has an option of its own (NAMES).
    """

    data: str
    model: str = ""
    weights: str = ""
    recipe: str = ""
    size: int = 0
    settings: tuple[str, ...] = ()
    variants: Mapping[str, tuple[str, ...]]
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UsageError("cannot sweep", why=f"{self.seeds} runs of a setting cannot be made", advice="--seeds 3")


@dataclass(frozen=True)
class Planned:
    """One run of a sweep: variant and seed, and its place as FOLDER/NAME/seed-N."""

    variant: str
    seed: int
    run: Path

    @property
    def key(self) -> str:
        """What `sweep.json` calls it."""
        return f"{self.run.parent.name}/{self.run.name}"

    def status(self) -> str:
        """As `run.json` has it; "missing" where there is no run."""
        return str(runs.load_run(self.run)["status"]) if (self.run / runs.RUN_JSON).is_file() else "missing"


def product(vary: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Every combination of the values of `KEY=V1,V2`: name -> settings; the first key changes slowest.

    Commas within brackets or quotes belong to a value: `training.schedule.milestones=[0.5,0.75],[0.3,0.6]`.
    """
    lists: dict[str, list[str]] = {}
    for text in map(own_key, vary):
        key, separator, values = (part.strip() for part in text.partition("="))
        found = _split(values)
        if not (separator and key and all(found) and text.isprintable()):
            why = "it takes a key and values: KEY=V1,V2"
            raise UsageError(f"cannot vary {text!r}", why=why, advice="--vary network.pooling=average,max")
        key = "training.epochs" if key == "epochs" else key
        if key in ("seed", "data.name") or key in lists:
            why = "it is varied twice" if key in lists else "a sweep has one data set, and its seeds are counted from 0"
            raise UsageError(f"cannot vary {key!r}", why=why, advice="--seeds 3, and each key once")
        lists[key] = [f"{key}={value}" for value in found]
        distinct = {repr(override({}, [setting])) for setting in lists[key]}
        if len(distinct) < len(found):
            raise UsageError(f"cannot vary {text!r}", why="a value is there twice", advice="each value once")
    if not lists:
        raise UsageError("cannot sweep", why="nothing is varied", advice="--vary model.pooling=average,max")
    return {",".join(settings): settings for settings in itertools.product(*lists.values())}


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets and quotes."""
    parts, depth, quoted = [""], 0, ""
    for character in text:
        if quoted:
            quoted = "" if character == quoted else quoted
        elif character in "\"'":
            quoted = character
        depth += (character in "[{") - (character in "]}") if not quoted else 0
        if character == "," and not (depth or quoted):
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def folder_name(variant: str) -> str:
    """A name for any file system: what it might not take is written as %XX, and a long name ends in its digest."""
    safe = quote(variant, safe="=,+")
    if len(safe) <= LONGEST:
        return safe
    return f"{safe[: LONGEST - 9]}-{hashlib.sha256(variant.encode()).hexdigest()[:8]}"


def planned_runs(sweep: Sweep, folder: Path) -> list[Planned]:
    """Every run of the sweep, all variants with seed 0 first: an interrupted sweep has something of each."""
    return [
        Planned(variant, seed, folder / folder_name(variant) / f"seed-{seed}")
        for seed in range(sweep.seeds)
        for variant in sweep.variants
    ]


def compose_variant(
    sweep: Sweep, variant: str, seed: int, source: Source, root: str = ""
) -> tuple[Experiment, list[str], list[str]]:
    """Resolve one run as `lenext train` would: the experiment, its settings, and what was decided, in sentences."""
    names: dict[str, Any] = {name: getattr(sweep, name) for name in NAMES}
    settings, own = [own_key(setting) for setting in sweep.settings], list(sweep.variants[variant])
    fixed = {name for name in NAMES if names[name]} | {setting.partition("=")[0].strip() for setting in settings}
    for setting in map(own_key, own):
        key = setting.partition("=")[0].strip()
        if key in fixed:
            why = f"{key} is fixed and varied"
            raise UsageError("cannot sweep", why=why, advice=f"--vary {key} without the option that fixes it")
        if key not in NAMES:
            settings.append(setting)
            continue
        names[key] = override({}, [setting])[key]
        if not isinstance(names[key], type(getattr(sweep, key))):
            raise UsageError(f"cannot sweep over {setting}", why="it is of another type", advice="--vary size=28,32")
    if not (names["model"] or names["weights"]):
        raise UsageError("cannot sweep", why="it takes a network", advice="--model lenet5_relu, or --vary model=...")
    data = DataConfig(name=source.name, root=root, home=root)
    experiment, decided = compose(data, source, seed=seed, settings=settings, **names)
    if experiment.seed != seed:
        raise UsageError(
            "cannot sweep", why="a setting fixes the seed, and seeds are counted from 0", advice="--seeds 3"
        )
    get_config(experiment.model, **experiment.network)
    if not experiment.training.loss.uses_labels:
        why = "settings are compared by their classes, and it learns none"
        advice = "lenext train for each, then lenext sweep DATA --vary weights=RUN1,RUN2"
        raise UsageError(f"cannot sweep over {variant}", why=why, advice=advice)
    if not experiment.data.validation and "validation" not in source.counts:
        why = "settings are chosen on held-out images, and none are held out"
        raise UsageError("cannot compare settings", why=why, advice="--set data.validation=5000")
    return experiment, settings, decided


def begin_sweep(sweep: Sweep, folder: Path, source: Source, root: str = "") -> None:
    """Make the folder, or see that it is of the same sweep and its runs as they would be made today.

    Settings that cannot be are refused before anything is trained; another sweep is a ConflictError (exit 5) that
    names what differs.
    """
    composed = {variant: compose_variant(sweep, variant, 0, source, root)[0] for variant in sweep.variants}
    asked = to_mapping(sweep) | {"variants": {name: list(own) for name, own in sweep.variants.items()}}
    if not (folder / runs.SWEEP_JSON).is_file():
        if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
            why, kept = "it exists already, and is no sweep", "the existing folder, untouched"
            raise DataError(f"cannot sweep into {folder}", why=why, advice="another --run", kept=kept)
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_json(folder / runs.SWEEP_JSON, {"format": runs.FORMAT, "asked": asked, "failures": {}})
    before = runs.read_json(folder / runs.SWEEP_JSON)["asked"]
    if before != asked:
        raise _conflict(folder, _differences(before, asked))
    for planned in planned_runs(sweep, folder):
        if planned.status() != "missing":
            now = to_mapping(dataclasses.replace(composed[planned.variant], seed=planned.seed))
            _refuse_changed(planned.run, now)


def _differences(before: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What was asked then and now, where it differs; of lists and of variants only what the other has not."""
    told = []
    for key in sorted({*before, *asked}):
        then, now = before.get(key), asked.get(key)
        if then == now:
            continue
        if isinstance(then, list | dict) and isinstance(now, list | dict):
            one, other = _listed(then), _listed(now)
            lists = ([item for item in a if item not in b] for a, b in ((one, other), (other, one)))
            then, now = (", ".join(items) or "none" for items in lists)
        told.append(f"{key}: another order" if then == now else f"{key}: {then} then, {now} now")
    return told


def _listed(value: Sequence[Any] | Mapping[str, Sequence[str]]) -> list[str]:
    """Settings, or variants by their names and, where those do not tell them, their settings."""
    if isinstance(value, Mapping):
        told = {name: ",".join(settings) for name, settings in value.items()}
        return [name if name == settings else f"{name} ({settings})" for name, settings in told.items()]
    return [str(item) for item in value]


def _refuse_changed(run: Path, now: Mapping[str, Any]) -> None:
    """A recipe or a rule that has changed since would make another run under the same name."""
    before = to_mapping(from_mapping(Experiment, read_toml(run / runs.CONFIG_TOML)))  # with what is new, by default
    passing = {*MACHINE, "data.root"}
    if before["training"]["steps"]:  # epochs follow from them when the run is prepared
        passing.add("training.epochs")
    if changed := [key for key in differing_keys(before, now) if key not in passing]:
        raise _conflict(run, [f"{key} is another one today" for key in changed])


def _conflict(place: Path, differences: Sequence[str]) -> ConflictError:
    return ConflictError(
        f"cannot go on with {place}",
        why="it was made by another command: " + "; ".join(differences),
        kept="the sweep, untouched",
        advice="the command of then, or another --run",
    )


def unfinished(sweep: Sweep, folder: Path) -> list[Planned]:
    """The runs that are still to be trained. One that diverged is not: it would again, to the same bits."""
    failures = read_failures(folder)
    return [
        planned
        for planned in planned_runs(sweep, folder)
        if planned.status() != "finished" and failures.get(planned.key, {}).get("exit_code") != DIVERGED
    ]


def open_session(sweep: Sweep, planned: Planned, source: Source, root: str = "") -> Session:
    """Begin the run, or take it up where it was interrupted."""
    if planned.status() != "missing":
        return resume(planned.run, root=root, source=source)
    beginning, settings = prepare_variant(sweep, planned, source, root)
    command = command_line(beginning.experiment, settings, vars(beginning.plan))
    return create(beginning, planned.run, command=command)


def prepare_variant(sweep: Sweep, planned: Planned, source: Source, root: str = "") -> tuple[Beginning, list[str]]:
    """Prepare a run of the sweep, and tell its settings; nothing is written."""
    experiment, settings, _ = compose_variant(sweep, planned.variant, planned.seed, source, root)
    return prepare(experiment, source), settings


@contextlib.contextmanager
def noted(folder: Path, planned: Planned, command: str) -> Iterator[None]:
    """Note in `sweep.json` that the run within failed, or no longer does, so that the others go on.

    command: what goes on with the sweep; an interruption ends it and says so, as does a run that another process holds.
    """
    content = runs.read_json(folder / runs.SWEEP_JSON)
    before = content["failures"].pop(planned.key, None)
    try:
        yield
    except InterruptedRunError as error:
        number = error.exit_code - 128
        raise InterruptedRunError(error.what, why=error.why, kept=error.kept, advice=command, signal=number) from error
    except KeyboardInterrupt as error:  # while a run was being prepared
        what, why = f"the sweep in {folder} was interrupted", f"before {planned.key} was begun"
        raise InterruptedRunError(what, why=why, kept="every run before it", advice=command, signal=2) from error
    except (LockedError, ConflictError):
        raise
    except LenextError as error:
        now = {"exit_code": error.exit_code, "what": error.what, "why": error.why, "advice": error.advice}
        content["failures"][planned.key] = now
        runs.write_json(folder / runs.SWEEP_JSON, content)
    else:
        if before is not None:
            runs.write_json(folder / runs.SWEEP_JSON, content)


def read_failures(folder: Path) -> dict[str, dict[str, Any]]:
    """Of each run that failed: exit code, what, why and advice."""
    failures: dict[str, dict[str, Any]] = runs.read_json(folder / runs.SWEEP_JSON)["failures"]
    return failures


def exhaust(_: Planned, session: Session) -> None:
    """Train a run in silence."""
    for _record in session.records():
        pass


def train_all(
    sweep: Sweep,
    folder: Path,
    source: Source,
    root: str = "",
    *,
    train: Callable[[Planned, Session], None] = exhaust,
    command: str = "the same call again",
) -> None:
    """Make or find the sweep, and train everything that is not finished; what fails is noted, and the others go on.

    train: how a run is shown while it is trained. command: what goes on with the sweep after an interruption.
    """
    begin_sweep(sweep, folder, source, root)
    with runs.locked(folder):
        for planned in unfinished(sweep, folder):
            with noted(folder, planned, command):
                train(planned, open_session(sweep, planned, source, root))


def sweep_command(sweep: Sweep, vary: Sequence[str], folder: Path, root: str = "") -> str:
    """The command that makes the sweep, and goes on with it."""
    words = ["lenext", "sweep", sweep.data]
    for text in vary:
        words += ["--vary", text]
    for name in NAMES:
        words += [f"--{name}", str(getattr(sweep, name))] if getattr(sweep, name) else []
    for setting in sweep.settings:
        words += ["--set", setting]
    words += ["--root", root] if root else []
    return shlex.join([*words, "--seeds", str(sweep.seeds), "--run", str(folder)])
