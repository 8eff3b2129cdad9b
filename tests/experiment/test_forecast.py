"""What a run will take. Oracles: arithmetic by hand, counts of bytes by hand, and the run that is then made."""

import dataclasses
import itertools
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.cli import main
from lenext.config import read_toml
from lenext.data.config import DataConfig
from lenext.data.sources import find_source
from lenext.errors import UsageError
from lenext.experiment.config import compose
from lenext.experiment.forecast import (
    Pace,
    estimate,
    seconds_of,
    steps_within,
    training_bytes,
    within,
)
from lenext.experiment.opening import Beginning, create, prepare
from lenext.experiment.session import steps_of_an_epoch

from .photos import PLAIN, tree, write_photos
from .pieces import SMALL, bits, finish

PACE = Pace(first=2.0, later=0.5, validation=3.0)


SGD = ["training.optimizer.name=sgd", "training.optimizer.momentum=0.9", "training.optimizer.nesterov=false"]


def begin_digits(*settings: str, model: str = "resnet20", size: int = 8) -> Beginning:
    """Prepare a run on the digits; nothing is written."""
    source = find_source("digits")
    experiment, _ = compose(DataConfig(name="digits"), source, model, size=size, settings=[*SMALL, *settings])
    return prepare(experiment, source)


# --- arithmetic -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "seconds"),
    [
        (0, 0.0),
        (1, 2.0 + 3.0),  # one update of the first epoch, judged
        (4, 8.0 + 3.0),  # the whole first epoch
        (5, 8.0 + 0.5 + 6.0),  # and an update of the second, judged too
        (12, 8.0 + 4.0 + 9.0),
    ],
)
def test_seconds_of_updates_by_hand(steps: int, seconds: float) -> None:
    assert seconds_of(PACE, steps, each=4) == seconds


@pytest.mark.parametrize(
    ("seconds", "steps"), [(0, 0), (4.9, 0), (5, 1), (6.9, 1), (11, 4), (14.4, 4), (14.5, 5), (21, 12)]
)
def test_updates_within_seconds_by_hand(seconds: float, steps: int) -> None:
    assert steps_within(PACE, seconds, each=4) == steps


def test_updates_within_are_the_most_that_fit() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        first, later, validation, seconds = (float(value) for value in random.exponential([1, 0.5, 5, 100]))
        pace, each = Pace(first=first, later=later, validation=validation), int(random.integers(1, 50))
        steps = steps_within(pace, seconds, each)
        assert seconds_of(pace, steps, each) <= seconds < seconds_of(pace, steps + 1, each)


def test_more_updates_take_longer_and_more_time_holds_more_updates() -> None:
    taken = [seconds_of(PACE, steps, 7) for steps in range(60)]
    assert all(one < other for one, other in itertools.pairwise(taken))
    held = [steps_within(PACE, seconds / 4, 7) for seconds in range(400)]
    assert all(one <= other for one, other in itertools.pairwise(held))


@pytest.mark.parametrize(("accumulate", "each"), [(1, 7), (2, 3), (3, 2), (7, 1)])
def test_updates_of_an_epoch_by_hand(accumulate: int, each: int) -> None:
    """337 images make 7 batches of 48."""
    beginning = begin_digits(f"training.accumulate={accumulate}", "training.steps=2")
    assert steps_of_an_epoch(beginning.experiment.training, len(beginning.parts.train)) == each


# --- memory ---------------------------------------------------------------------------------------------------------


def lenet_bytes_by_hand(batch: int) -> dict[str, int]:
    """What the tutorials' LeNet-5 keeps for backward at 28x28, in 32-bit floats, pooling's places in 64-bit integers.

    A ReLU keeps its output, which is the next layer's input; pooling keeps its input (that same output) and the places.
    """
    relu = 6 * 28 * 28 + 16 * 10 * 10 + 120 + 84
    pooled = 6 * 14 * 14 + 16 * 5 * 5
    log_softmax = 10
    return {"activations": 4 * batch * (relu + pooled + log_softmax), "places": 8 * batch * pooled}


def test_bytes_of_training_by_hand() -> None:
    """61,706 parameters, gradients, momentum; a batch, and its copy with channels last; what stays for backward."""
    batch = 48
    beginning = begin_digits(*SGD, model="lenet5_relu", size=28)
    params, kept = 61_706, lenet_bytes_by_hand(batch)
    images, targets = 4 * batch * 28 * 28, 8 * batch
    expected = 3 * 4 * params + 2 * images + sum(kept.values()) + targets
    assert training_bytes(beginning) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("setting", "copies"),
    [("training.optimizer.momentum=0", -1), ("training.average=0.9", 1), ("training.optimizer.name=adamw", 1)],
)
def test_bytes_of_optimiser_and_average_are_copies_of_the_weights(setting: str, copies: int) -> None:
    plain = begin_digits(*SGD, model="lenet5_relu", size=28)
    other = begin_digits(*SGD, setting, model="lenet5_relu", size=28)
    assert training_bytes(other) - training_bytes(plain) == copies * 4 * 61_706


def test_frozen_places_take_neither_gradients_nor_momentum() -> None:
    frozen = begin_digits(*SGD, "training.freeze=['head']", model="lenet5_relu", size=28)
    trained = begin_digits(*SGD, model="lenet5_relu", size=28)
    head = sum(value.numel() for value in trained.state.objective.classifier.head.parameters())
    assert training_bytes(trained) - training_bytes(frozen) >= 2 * 4 * head


def test_memory_is_that_of_a_batch_that_drops_no_branch() -> None:
    assert training_bytes(begin_digits(model="stochdepth_resnet_20")) == training_bytes(begin_digits(model="resnet20"))


def test_a_pass_of_fewer_images_keeps_their_maps_alone() -> None:
    settings = ["training.batch_size=48", "training.micro_batch=16"]
    parts = training_bytes(begin_digits(*settings, model="lenet5_relu", size=28))
    sixteen = training_bytes(begin_digits("training.batch_size=16", model="lenet5_relu", size=28))
    assert parts - sixteen == 32 * (4 * 28 * 28 + 8)  # the other images of the batch, and their classes


def test_bytes_grow_linearly_with_the_batch() -> None:
    found = [training_bytes(begin_digits(f"training.batch_size={size}")) for size in (16, 32, 48)]
    assert found[2] - found[1] == pytest.approx(found[1] - found[0], rel=1e-3)
    assert found[1] - found[0] > 16 * 4 * 64 * 16 * 19  # 19 layers of at least 16 maps of 8x8, then halved


# --- the run that is then made --------------------------------------------------------------------------------------


def test_forecast_says_of_a_run_what_its_index_says(tmp_path: Path) -> None:
    beginning = begin_digits("training.epochs=2", "training.accumulate=2")
    before = bits(beginning.state.objective.state_dict())
    told = estimate(beginning)
    assert bits(beginning.state.objective.state_dict()) == before
    session = create(beginning, tmp_path / "run", command="")
    index = runs.load_run(session.run)
    found = {"train_images": told.train_images, "validation_images": told.validation_images,
             "params": told.params, "macs": told.macs}  # fmt: skip
    assert found == {key: index[key] for key in found}
    assert (told.steps, told.epochs) == (session.total_steps, 2) == (6, 2)
    assert told.seconds > 0 and told.images_per_second > 0


def test_a_measured_run_ends_in_the_bits_of_one_that_was_not_measured(tmp_path: Path) -> None:
    settings = ["training.epochs=1", "training.average=0.9", "augment.mixup=0.2"]
    weights = []
    for name in ("measured", "not"):
        beginning = begin_digits(*settings)
        if name == "measured":
            estimate(beginning)
        weights.append(bits(checkpoints.load(finish(create(beginning, tmp_path / name, command="")) / "last").weights))
    assert weights[0] == weights[1]


def test_a_limit_of_time_pins_updates_and_the_epochs_that_hold_them() -> None:
    beginning = begin_digits("training.epochs=500")
    limited = within(beginning, 30.0)
    training = limited.experiment.training
    assert training.steps > 0
    assert training.epochs == -(-training.steps // 7)
    pinned = {"steps": 0, "epochs": 500}
    assert dataclasses.replace(training, **pinned) == beginning.experiment.training  # type: ignore[arg-type]


def test_too_little_time_for_one_update_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot train within 0 s") as caught:
        within(begin_digits(), 1e-6)
    assert "the first update and one validation take" in caught.value.why


def lenext(*words: str) -> int:
    """Run a command in this process and return its exit code."""
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.usefixtures("even_clock")
def test_the_command_of_a_run_limited_in_time_makes_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = [word for setting in SMALL for word in ("--set", setting)]
    assert lenext("train", "digits", "--model", "resnet20", "--size", "8", "--time", "1s", *told, "--run", "a") == 0
    steps = read_toml(tmp_path / "a" / runs.CONFIG_TOML)["training"]["steps"]
    words = shlex.split(runs.load_run(tmp_path / "a")["command"])
    assert steps > 0 and f"training.steps={steps}" in words and "--time" not in words
    assert lenext(*words[1:], "--run", "b") == 0
    a, b = (checkpoints.load(tmp_path / name / "last") for name in "ab")
    assert a.progress["step"] == b.progress["step"] == steps
    assert (bits(a.weights), bits(a.optimizer)) == (bits(b.weights), bits(b.optimizer))
    assert (tmp_path / "a" / runs.CONFIG_TOML).read_bytes() == (tmp_path / "b" / runs.CONFIG_TOML).read_bytes()


def test_a_dry_run_writes_nothing_and_tells_what_the_run_then_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", each=8)
    before = tree(tmp_path), sorted(tmp_path.rglob("*"))
    told = [word for setting in PLAIN for word in ("--set", setting)]
    words = ("train", "photos", "--model", "resnet20", "--size", "16", *told, "--json")
    assert lenext(*words, "--dry-run", "--run", "first") == 0
    assert (tree(tmp_path), sorted(tmp_path.rglob("*"))) == before
    forecast = json.loads(capsys.readouterr().out)
    assert lenext(*words, "--run", "first") == 0
    run = json.loads(capsys.readouterr().out)
    for key in ("train_images", "validation_images", "params", "macs"):
        assert forecast[key] == run[key] > 0
    assert (forecast["steps"], forecast["epochs"]) == (run["epochs"][-1]["step"], len(run["epochs"]))
