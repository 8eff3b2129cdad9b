"""Many runs as one: oracle is each of them made alone, and the same sweep that nobody disturbed."""

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import lenext
from lenext import run as runs
from lenext.data.sources import find_source
from lenext.errors import ConflictError, DataError, InterruptedRunError, LockedError, UsageError
from lenext.experiment.opening import train
from lenext.experiment.sweeping import (
    Sweep,
    begin_sweep,
    folder_name,
    noted,
    open_session,
    planned_runs,
    product,
    read_failures,
    sweep_command,
    train_all,
    unfinished,
)
from lenext.reporting.sweeps import read_run, summarise

from ..dying import before_change, die, run_child
from .photos import tree, write_photos
from .pieces import result

DIGITS = find_source("digits", "")
SMALL = ("data.validation=1300", "training.batch_size=20", "training.threads=1", "training.precision=float32",
    "training.epochs=1", "training.optimizer.rate=0.01", "training.schedule.name=constant")  # fmt: skip
POOLING = ("model.pooling=average,max",)


def asked(*vary: str, seeds: int = 2, model: str = "lenet5_relu", settings: tuple[str, ...] = SMALL) -> Sweep:
    return Sweep(data="digits", model=model, settings=settings, variants=product(vary), seeds=seeds)


def whole(sweep: Sweep, folder: Path) -> dict[str, Any]:
    """Every bit of every run, and the table but for its times."""
    planned = planned_runs(sweep, folder)
    rows = summarise([read_run(one.variant, one.seed, one.run) for one in planned])
    table = [dataclasses.replace(row, epoch_seconds=None) for row in rows]
    return {"table": table, **{one.key: result(one.run) for one in planned}}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep over the pooling, read only."""
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    train_all(asked(*POOLING), folder, DIGITS)
    return folder


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_product_has_every_combination_under_the_keys_of_the_configuration() -> None:
    found = product(["model.pooling=average,max", "epochs=1, 2"])
    assert found == {
        "network.pooling=average,training.epochs=1": ("network.pooling=average", "training.epochs=1"),
        "network.pooling=average,training.epochs=2": ("network.pooling=average", "training.epochs=2"),
        "network.pooling=max,training.epochs=1": ("network.pooling=max", "training.epochs=1"),
        "network.pooling=max,training.epochs=2": ("network.pooling=max", "training.epochs=2"),
    }


def test_commas_within_brackets_and_quotes_belong_to_the_value() -> None:
    assert list(product(["training.schedule.milestones=[0.5,0.75],[0.3, 0.6],[]"])) == [
        "training.schedule.milestones=[0.5,0.75]",
        "training.schedule.milestones=[0.3, 0.6]",
        "training.schedule.milestones=[]",
    ]
    assert list(product(["weights=\"a,b\",'c],d',e/f.g"])) == ['weights="a,b"', "weights='c],d'", "weights=e/f.g"]


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ([], "nothing is varied"),
        (["network.pooling"], "KEY=V1,V2"),
        (["network.pooling="], "KEY=V1,V2"),
        (["=max"], "KEY=V1,V2"),
        (["network.pooling=max,,average"], "KEY=V1,V2"),
        (["network.pooling=max\n,average"], "KEY=V1,V2"),
        (["training.optimizer.rate=0.1,0.10"], "twice"),
        (["network.pooling=max", "model.pooling=average"], "twice"),
        (["seed=0,1"], "counted from 0"),
    ],
)
def test_what_cannot_be_varied_is_refused(vary: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        product(vary)
    assert said in caught.value.why


HOSTILE = ["../..", "/etc/passwd", 'a\\b:c*?"<>|', ".", "a,b", "a b", "%2F", "é", "x" * 300, "x" * 299 + "y", "~", "-"]


def test_folder_names_are_one_short_plain_part_of_a_path_each() -> None:
    names = [folder_name(f"weights={value}") for value in HOSTILE]
    assert len(set(names)) == len(HOSTILE)
    for name in names:
        assert Path(name).name == name
        assert len(name) <= 120
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=,+%._~-")


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (asked("network.poling=max,average"), "did you mean 'pooling'?"),
        (asked("training.batch_size=20,30"), "training.batch_size"),  # fixed by a setting
        (asked("model=lenet5_relu,resnet20"), "model"),  # fixed by its option
        (asked("model=lenet5_relu,resnet2", model=""), "did you mean"),
        (asked("size=a,b"), "--vary size=28,32"),
        (asked("model=1,2", model=""), "another type"),
        (asked("training.epochs=1,2", model="", settings=()), "--model"),
        (asked("size=28,30"), "--size 28"),
        (asked(*POOLING, settings=("data.validation=0",)), "held out"),
        (asked(*POOLING, settings=("seed=7",)), "fixes the seed"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path: Path, sweep: Sweep, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        begin_sweep(sweep, tmp_path / "sweep", DIGITS)
    assert said in str(caught.value)
    assert not (tmp_path / "sweep").exists()


def test_data_of_one_piece_without_held_out_images_is_refused(tmp_path: Path) -> None:
    source = find_source(str(write_photos(tmp_path / "photos")))
    sweep = dataclasses.replace(asked(*POOLING, settings=("data.validation=0",)), data=source.name)
    with pytest.raises(UsageError, match="held out"):
        begin_sweep(sweep, tmp_path / "sweep", source)


def test_no_seed_is_no_sweep() -> None:
    with pytest.raises(UsageError):
        asked(*POOLING, seeds=0)


# --- what is made -----------------------------------------------------------------------------------------------------


def test_each_run_is_the_one_that_train_makes(undisturbed: Path, tmp_path: Path) -> None:
    for pooling in ("average", "max"):
        settings = [*SMALL, f"network.pooling={pooling}"]
        alone = train("digits", "lenet5_relu", tmp_path / pooling, seed=1, settings=settings)
        run = undisturbed / f"network.pooling={pooling}" / "seed-1"
        assert result(run) == result(alone)
        assert runs.load_run(run)["command"] == runs.load_run(alone)["command"]
        assert runs.load_run(run)["test_opened"] == 0


def test_finished_sweep_is_kept_by_the_same_command(undisturbed: Path) -> None:
    before = tree(undisturbed)
    assert unfinished(asked(*POOLING), undisturbed) == []
    train_all(asked(*POOLING), undisturbed, DIGITS)
    assert tree(undisturbed) == before


def _die_at_change(folder: Path, number: int) -> None:
    before_change(number, folder, die)
    train_all(asked(*POOLING), folder, DIGITS)


@pytest.mark.parametrize("number", [30, 100])
def test_sweep_whose_process_is_killed_ends_in_the_same_bits(undisturbed: Path, tmp_path: Path, number: int) -> None:
    folder = tmp_path / "sweep"
    assert run_child(_die_at_change, folder, number) == -signal.SIGKILL
    train_all(asked(*POOLING), folder, DIGITS)
    assert whole(asked(*POOLING), folder) == whole(asked(*POOLING), undisturbed)


def test_interruption_ends_the_sweep_and_tells_the_command_that_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    folder, sweep = tmp_path / "sweep", asked(*POOLING)
    begin_sweep(sweep, folder, DIGITS)
    first = unfinished(sweep, folder)[0]
    with pytest.raises(InterruptedRunError) as caught, noted(folder, first, "the command"):
        for _ in open_session(sweep, first, DIGITS).records():
            os.kill(os.getpid(), signal.SIGINT)
    assert (caught.value.exit_code, caught.value.advice) == (130, "the command")
    assert first.status() == "interrupted"
    with pytest.raises(InterruptedRunError) as caught, noted(folder, first, "the command"):
        raise KeyboardInterrupt  # as while data is read
    assert (caught.value.exit_code, caught.value.advice) == (130, "the command")
    assert read_failures(folder) == {}
    train_all(sweep, folder, DIGITS)
    assert whole(sweep, folder) == whole(sweep, undisturbed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seeds": 3}, ["seeds: 2 then, 3 now"]),
        ({"model": "lenet5_dense"}, ["model: lenet5_relu then, lenet5_dense now"]),
        (
            {"settings": (*SMALL[:-1], "training.clip=1")},
            ["training.schedule.name=constant then", "training.clip=1 now"],
        ),
        ({"variants": product(["network.pooling=max"])}, ["variants: network.pooling=average then, none now"]),
        (
            {"variants": {**product(POOLING), "network.pooling=max": ("network.pooling=max", "network.padding=0")}},
            ["variants: network.pooling=max then, network.pooling=max (network.pooling=max,network.padding=0) now"],
        ),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused_and_the_difference_named(
    undisturbed: Path, change: dict[str, Any], said: list[str]
) -> None:
    before = tree(undisturbed)
    with pytest.raises(ConflictError) as caught:
        train_all(dataclasses.replace(asked(*POOLING), **change), undisturbed, DIGITS)
    for words in said:
        assert words in caught.value.why
    assert "batch_size" not in caught.value.why  # which is the same
    assert tree(undisturbed) == before


def test_recipe_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    text = Path(lenext.__file__).with_name("recipes").joinpath("d2l.toml").read_text(encoding="utf-8")
    recipe.write_text(text.replace('source = "', 'source = "after '), encoding="utf-8")
    sweep = dataclasses.replace(asked(*POOLING, seeds=1, settings=SMALL[:5]), recipe=str(recipe))
    train_all(sweep, tmp_path / "sweep", DIGITS)
    recipe.write_text(text.replace("rate = 0.1", "rate = 0.2"), encoding="utf-8")
    with pytest.raises(ConflictError) as caught:
        train_all(sweep, tmp_path / "sweep", DIGITS)
    assert "training.optimizer.rate" in caught.value.why


def test_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError):
        train_all(asked(*POOLING), tmp_path, DIGITS)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_two_processes_do_not_sweep_at_once(undisturbed: Path) -> None:
    with runs.locked(undisturbed), pytest.raises(LockedError):
        train_all(asked(*POOLING), undisturbed, DIGITS)


# --- what fails -------------------------------------------------------------------------------------------------------


def test_run_that_diverges_is_noted_once_and_the_others_go_on(tmp_path: Path) -> None:
    settings = tuple(setting for setting in SMALL if "rate" not in setting)
    sweep = asked("training.optimizer.rate=1e12,0.01", seeds=1, settings=settings)
    for _ in range(2):  # the second time nothing is trained: it would diverge again
        train_all(sweep, tmp_path / "sweep", DIGITS)
        failures = read_failures(tmp_path / "sweep")
        assert [(key, one["exit_code"]) for key, one in failures.items()] == [
            ("training.optimizer.rate=1e12/seed-0", 7)
        ]
        assert "diverged" in failures["training.optimizer.rate=1e12/seed-0"]["what"]
        assert unfinished(sweep, tmp_path / "sweep") == []
    planned = planned_runs(sweep, tmp_path / "sweep")
    diverged, trained = summarise([read_run(p.variant, p.seed, p.run, failures.get(p.key)) for p in planned])
    assert (diverged.n, diverged.validation_score, diverged.failed) == (0, None, ("seed 0 (exit 7)",))
    assert (trained.n, trained.failed) == (1, ())
    assert trained.validation_score is not None


def test_run_that_does_not_fit_is_noted_and_tried_again(tmp_path: Path) -> None:
    settings = tuple(setting for setting in SMALL if "batch_size" not in setting)
    sweep = asked("training.batch_size=20,5000", seeds=1, settings=settings)
    train_all(sweep, tmp_path / "sweep", DIGITS)
    failures = read_failures(tmp_path / "sweep")
    assert [(key, one["exit_code"]) for key, one in failures.items()] == [("training.batch_size=5000/seed-0", 2)]
    waiting = unfinished(sweep, tmp_path / "sweep")
    assert [planned.key for planned in waiting] == ["training.batch_size=5000/seed-0"]
    with noted(tmp_path / "sweep", waiting[0], ""):
        pass  # it succeeds, as after more memory was bought
    assert read_failures(tmp_path / "sweep") == {}


# --- hostile values ---------------------------------------------------------------------------------------------------


def test_weights_in_folders_of_awkward_names_are_swept_over(undisturbed: Path, tmp_path: Path) -> None:
    first = undisturbed / "network.pooling=average" / "seed-0"
    folders = [tmp_path / "a,b" / "c.d", tmp_path / "e f=[g"]
    for folder in folders:
        folder.parent.mkdir(exist_ok=True)
        folder.symlink_to(first / "best")
    settings = tuple(s for s in SMALL if "data.validation" in s or "batch" in s or "threads" in s or "epochs" in s)
    sweep = asked(f'weights="{folders[0]}","{folders[1]}"', model="", seeds=1, settings=settings)
    train_all(sweep, tmp_path / "sweep", DIGITS)
    planned = planned_runs(sweep, tmp_path / "sweep")
    assert [one.status() for one in planned] == ["finished", "finished"]
    assert len({one.run.parent.name for one in planned}) == 2
    assert {path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()} == {
        one.run.parent.name for one in planned
    }


def test_command_goes_on_with_the_sweep_whatever_is_in_its_values() -> None:
    vary = ["weights=\"a b\",'c'", "training.schedule.milestones=[0.5,0.75],[]"]
    sweep = Sweep(data="my data/x", recipe="a b.toml", settings=("training.clip=1",), variants=product(vary), seeds=2)
    assert sweep_command(sweep, vary, Path("runs/a b"), "") == (
        "lenext sweep 'my data/x' --vary 'weights=\"a b\",'\"'\"'c'\"'\"'' "
        "--vary 'training.schedule.milestones=[0.5,0.75],[]' --recipe 'a b.toml' --set training.clip=1 "
        "--seeds 2 --run 'runs/a b'"
    )
