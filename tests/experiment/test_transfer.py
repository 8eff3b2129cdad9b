"""Training that begins from a run's weights: what is taken over to the bit, what is fresh, what is refused."""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.cli import main
from lenext.config import from_mapping
from lenext.data.config import DataConfig
from lenext.data.preprocessing import Preprocessing
from lenext.data.sources import find_source
from lenext.errors import DataError, UsageError, WeightsError
from lenext.experiment.config import compose
from lenext.experiment.opening import prepare
from lenext.experiment.resuming import resume
from lenext.training.loop import Step

from .photos import PLAIN, begin_on, tree, write_photos
from .pieces import begin, bits, copy, damage_newest, finish, result

HEAD = {"head.fc.weight", "head.fc.bias"}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows the ten digits, grey, 8x8; read only."""
    return finish(begin(tmp_path_factory.mktemp("known") / "run", "data.validation=1300", "training.epochs=2"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colour photographs of three classes; read only."""
    return write_photos(tmp_path_factory.mktemp("data") / "photos")


def weights_of(run: Path, part: str = "last") -> dict[str, bytes]:
    return bits(checkpoints.load(run / part).weights)


def test_all_but_the_head_is_the_checkpoint_before_the_first_step(known: Path, photos: Path, tmp_path: Path) -> None:
    run = begin_on(photos, tmp_path / "run", weights=str(known)).run
    before, after = weights_of(known, "best"), weights_of(run)
    assert {name for name in after if after[name] != before[name]} == HEAD
    assert weights_of(run, "best") == after
    card = checkpoints.load(run / "last").card
    assert (card.model, card.classes, card.changes) == (
        "resnet20", ("cat", "dog", "owl"), {"num_classes": 3, "in_channels": 1},
    )  # fmt: skip


def test_the_fresh_head_is_said_and_depends_on_the_seed(known: Path, photos: Path) -> None:
    heads = []
    for seed in (0, 0, 1):
        beginning = prepare(composed(photos, known, f"seed={seed}"), find_source(str(photos)))
        assert f"114 of 116 tensors from {known}; head 10 -> 3 made new" in beginning.said
        heads.append(bits(beginning.state.objective.classifier.head.state_dict()))
    assert heads[0] == heads[1] != heads[2]


def composed(photos: Path, weights: Path, *settings: str, **asked: Any) -> Any:
    """The experiment that goes on from `weights` on the photographs."""
    source = find_source(str(photos))
    told = {"model": "", "size": 8, **asked}
    data = DataConfig(name=source.name)
    return compose(data, source, weights=str(weights), settings=[*PLAIN, *settings], **told)[0]


def test_the_head_is_kept_for_the_same_classes_and_that_is_said(known: Path) -> None:
    source = find_source("digits")
    told = ["data.validation=1300", "training.batch_size=20", "training.threads=1"]
    experiment, said = compose(DataConfig(name="digits"), source, "", weights=str(known), settings=told)
    beginning = prepare(experiment, source)
    assert f"116 of 116 tensors from {known}; head kept" in beginning.said
    assert bits(beginning.state.objective.classifier.state_dict()) == weights_of(known, "best")
    assert experiment.recipe == "fine_tuning"
    assert f"from the weights in {known} (trained on digits)" in " ".join(said)


def test_the_runs_chosen_checkpoint_is_taken_or_the_folder_that_is_named(
    known: Path, photos: Path, tmp_path: Path
) -> None:
    run = copy(known, tmp_path / "known")
    runs.update_run(run, chosen="last")
    assert weights_of(run, "best") != weights_of(run, "last")
    for number, (weights, part) in enumerate([(run, "last"), (run / "best", "best"), (run / "last", "last")]):
        found = weights_of(begin_on(photos, tmp_path / str(number), weights=str(weights)).run)
        expected = weights_of(run, part)
        assert {name for name in found if found[name] != expected[name]} == HEAD


def test_an_averaged_run_hands_on_its_average(photos: Path, tmp_path: Path) -> None:
    first = finish(begin_on(photos, tmp_path / "first", "training.average=0.9"))
    loaded = checkpoints.load(first / "last")
    second = begin_on(photos, tmp_path / "second", "training.average=0.9", weights=str(first / "last")).run
    again = checkpoints.load(second / "last")
    assert bits(again.weights) == bits(loaded.weights)
    trained = {name.removeprefix("trained/"): value for name, value in again.optimizer.items()}
    assert bits(trained) == bits(loaded.weights)  # no momentum yet, and the trained weights begin at the average


def test_images_are_seen_as_the_checkpoint_saw_them(known: Path, photos: Path, tmp_path: Path) -> None:
    """Colour becomes grey; mean and deviation are those of the digits; only size and fit are of the new run."""
    run = begin_on(photos, tmp_path / "run", "data.fit=pad", weights=str(known), size=12).run
    old, new = (
        from_mapping(Preprocessing, checkpoints.load(place / "last").card.preprocessing) for place in (known, run)
    )
    assert new == dataclasses.replace(old, size=(12, 12), fit="pad")
    assert new.channels == 1
    assert lenext.evaluate(finish(resume(run))).n == 6
    answer = lenext.predict(run, [photos / "cat" / "00.jpg"])[0]
    assert answer["class"] in ("cat", "dog", "owl")


def test_frozen_places_keep_their_bits_norms_included(known: Path, photos: Path, tmp_path: Path) -> None:
    run = begin_on(photos, tmp_path / "run", "training.freeze=['stem','stages.conv2_x']", "training.average=0.9",
                   weights=str(known)).run  # fmt: skip
    for record in resume(run).records():
        if isinstance(record, Step) and record.step == 2:
            break
    finish(resume(run))
    before, loaded = weights_of(known, "best"), checkpoints.load(run / "last")
    trained = {n.removeprefix("trained/"): v for n, v in loaded.optimizer.items() if n.startswith("trained/")}
    for after in (bits(loaded.weights), bits(trained)):
        for name in before:
            kept = name.startswith(("stem.", "stages.conv2_x."))
            assert (after[name] == before[name]) == kept, name
    moved = {name.partition("/")[2] for name in loaded.optimizer if name.startswith("momentum_buffer/")}
    assert moved and not any(name.startswith(("stem.", "stages.conv2_x.")) for name in moved)


def test_a_run_from_weights_is_resumed_without_them_to_the_same_bits(known: Path, photos: Path, tmp_path: Path) -> None:
    weights = copy(known, tmp_path / "known")
    run = begin_on(photos, tmp_path / "run", "training.average=0.9", weights=str(weights)).run
    whole = finish(resume(copy(run, tmp_path / "whole")))
    (weights / "best").rename(tmp_path / "gone")
    for step in (1, 4, 7):
        for record in resume(run).records():
            if isinstance(record, Step) and record.step == step:
                break
    assert result(finish(resume(run))) == result(whole)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_another_network_is_refused_by_name(known: Path, photos: Path) -> None:
    with pytest.raises(UsageError, match="its network is resnet20"):
        composed(photos, known, model="resnet32")
    assert composed(photos, known, model="resnet20").model == "resnet20"


def test_a_damaged_checkpoint_is_exit_4_and_nothing_is_made(known: Path, photos: Path, tmp_path: Path) -> None:
    weights = copy(known, tmp_path / "known")
    for path in (weights / "best").glob("weights-*"):
        path.write_bytes(path.read_bytes()[:-1])
    before = tree(weights)
    with pytest.raises(WeightsError) as caught:
        begin_on(photos, tmp_path / "run", weights=str(weights))
    assert caught.value.exit_code == 4
    assert tree(weights) == before
    assert not (tmp_path / "run").exists()


def test_the_older_generation_stands_in_for_a_damaged_one(known: Path, photos: Path, tmp_path: Path) -> None:
    weights = copy(known, tmp_path / "known")
    damage_newest(weights)
    run = begin_on(photos, tmp_path / "run", weights=str(weights / "last")).run
    assert {n for n, v in weights_of(run).items() if v != weights_of(weights)[n]} == HEAD


def test_what_is_no_run_is_exit_3(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it has no run\.json"):
        begin_on(photos, tmp_path / "run", weights=str(photos))


def test_a_size_that_the_network_cannot_see_is_refused(photos: Path, tmp_path: Path) -> None:
    first = begin(tmp_path / "first", model="lenet5_relu", size=28).run
    with pytest.raises(UsageError, match="lenet5_relu cannot see 32x32"):
        begin_on(photos, tmp_path / "run", weights=str(first), size=32)


# --- by the command line ----------------------------------------------------------------------------------------------


def test_the_recorded_command_makes_the_run_again(
    known: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    copy(known, tmp_path / "known")
    told = [word for setting in PLAIN for word in ("--set", setting)]
    words = ["train", str(photos), "--weights", "known", "--freeze", "stem, stages.conv2_x", *told, "--run", "first"]
    with pytest.raises(SystemExit) as end:
        main(words)
    said = capsys.readouterr().err
    assert end.value.code == 0, said
    assert "resnet20 at 8x8, from the weights in known (trained on digits)" in said
    assert "114 of 116 tensors from known; head 10 -> 3 made new" in said
    command = shlex.split(runs.load_run(tmp_path / "first")["command"])
    with pytest.raises(SystemExit) as end:
        main([*command[1:], "--run", "again"])
    assert end.value.code == 0, capsys.readouterr().err
    first, again = result(tmp_path / "first"), result(tmp_path / "again")
    assert first == again
