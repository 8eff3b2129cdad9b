"""What `start` makes, what training writes, what it never reads. Oracles: counts by hand, the files' own formats."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import from_mapping, read_toml
from lenext.data.config import DataConfig
from lenext.data.preprocessing import statistics
from lenext.data.published import open_published
from lenext.data.sources import find_source
from lenext.data.split import read_split
from lenext.errors import DataError, LenextError, UsageError
from lenext.experiment.config import Experiment
from lenext.experiment.material import recorded_division
from lenext.experiment.resuming import resume
from lenext.experiment.session import Epoch
from lenext.models.catalog import build
from lenext.models.init import initialise
from lenext.training.loop import Step
from lenext.training.schedule import rate_factor

from .pieces import BATCHES, EPOCHS, HELD_OUT, SMALL, STEPS, begin, bits, copy, finish, write_digits

Fresh = Callable[..., Path]
Whole = Callable[[Path], Path]


# --- step 0 ---------------------------------------------------------------------------------------------------------


def test_run_folder_is_whole_before_the_first_step(fresh: Fresh) -> None:
    run = fresh()
    assert {path.name for path in run.iterdir()} == {
        "run.json", "config.toml", "data.json", "metrics.jsonl", "split.csv", "environment.json",
        "best", "last", ".lock",
    }  # fmt: skip
    assert (run / "metrics.jsonl").read_bytes() == b""
    for part in ("best", "last"):
        loaded = checkpoints.load(run / part)
        assert (loaded.card.step, loaded.card.epoch, loaded.progress["step"]) == (0, 0, 0)


def test_first_weights_are_the_recipes_of_the_seed(fresh: Fresh) -> None:
    model = build("resnet20", num_classes=10, in_channels=1)
    initialise(model, "he_normal", seed=0)
    assert bits(checkpoints.load(fresh() / "last").weights) == bits(model.state_dict())


def test_index_tells_what_was_made(fresh: Fresh) -> None:
    run = fresh()
    index = runs.load_run(run)
    cost = lenext.cost(build("resnet20", num_classes=10, in_channels=1), (1, 8, 8))
    expected = {
        "lenext": lenext.__version__, "name": "run", "status": "created", "model": "resnet20", "data": "digits",
        "params": cost.params, "macs": cost.macs,
        "train_images": 337, "validation_images": HELD_OUT, "train_seconds": 0.0, "test_opened": 0, "chosen": "best",
    }  # fmt: skip
    assert {key: index[key] for key in expected} == expected
    assert index["command"].startswith("lenext train digits --model resnet20 --recipe one_cycle --size 8 --epochs 3 ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", index["created"])
    assert index["speed_plan"]["precision"] == "float32"
    assert set(index["files"]) == {
        "config.toml", "data.json", "metrics.jsonl", "split.csv", "environment.json",
        "best/manifest.json", "last/manifest.json",
    }  # fmt: skip
    for name, entry in index["files"].items():
        assert entry == {"sha256": runs.sha256_file(run / name), "bytes": (run / name).stat().st_size}


def test_configuration_is_the_resolved_experiment(fresh: Fresh) -> None:
    run = fresh()
    assert from_mapping(Experiment, read_toml(run / "config.toml")) == resume(run).experiment
    assert read_toml(run / "config.toml")["training"]["optimizer"]["nesterov"] is True


def test_split_has_every_training_image_once_and_no_test_image(tmp_path: Path) -> None:
    parts = read_split(begin(tmp_path / "run", "data.limit=0", "data.validation=1100").run / "split.csv")
    train, held_out = set(parts["train"]), set(parts["validation"])
    assert set(parts) == {"train", "validation"}
    assert (len(train), len(held_out)) == (337, 1100)
    assert not train & held_out
    assert train | held_out == set(open_published("digits").open("train").ids)
    test = open_published("digits").open("test").ids
    assert not (train | held_out) & set(test)


def test_rows_of_the_split_are_those_images(fresh: Fresh) -> None:
    stores = recorded_division(fresh(), find_source("digits"), DataConfig(name="digits"), 8, 1)
    parts = read_split(fresh() / "split.csv")
    for part in ("train", "validation"):
        assert list(stores[part].ids) == list(parts[part])
        assert [f"{label}" for label in stores[part].labels] == list(parts[part].values())


def test_normalisation_is_of_the_training_part_alone(fresh: Fresh) -> None:
    store = open_published("digits").open("train")
    part = recorded_division(fresh(), find_source("digits"), DataConfig(name="digits"), 8, 1)["train"]
    mean, std = statistics([part.read(np.arange(len(part)))])
    card = checkpoints.load(fresh() / "last").card
    assert card.preprocessing["mean"] == list(mean)
    assert card.preprocessing["std"] == list(std)
    assert mean != statistics([list(store.images)])[0]


@pytest.mark.parametrize(
    ("model", "size", "border"),
    [("resnet20", 8, 0), ("resnet20", 10, 1), ("resnet20", 16, 4), ("resnet20", 11, 0), ("resnet20", 18, 0),
     ("lenet5", 32, 0)],
)  # fmt: skip
def test_small_even_gaps_are_framed_and_others_resampled(tmp_path: Path, model: str, size: int, border: int) -> None:
    found = begin(tmp_path / "run", model=model, size=size).parts.preprocessing
    assert (found.size, found.border) == ((size, size), border)


@pytest.mark.parametrize(
    "asked",
    [
        {"setting": "training.batch_size=338"},
        {"setting": "data.validation=1437"},
        {"setting": "training.init=he"},
        {"setting": "training.epochs=0"},
        {"setting": "training.optimizer.lr=1"},
        {"model": "resnet_20"},
        {"size": 7},
        {"data": "digit"},
    ],
    ids=str,
)
def test_experiment_that_cannot_be_trained_leaves_nothing(tmp_path: Path, asked: dict[str, Any]) -> None:
    other = {key: value for key, value in asked.items() if key != "setting"}
    with pytest.raises(LenextError):
        begin(tmp_path / "runs" / "run", *filter(None, [asked.get("setting")]), **other)
    assert list(tmp_path.iterdir()) == []


def test_batch_larger_than_the_training_part_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot train on 337 images"):
        begin(tmp_path / "run", "training.batch_size=338")


def test_same_seed_is_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        session = begin(tmp_path / name, f"seed={seed}", "data.validation=1300", "training.epochs=1")
        index = runs.load_run(session.run)
        index["speed_plan"]["channels_last"] = False
        runs.write_json(session.run / "run.json", index)
        weights.append(bits(checkpoints.load(finish(resume(session.run)) / "last").weights))
    assert weights[0] == weights[1] != weights[2]


# --- training -------------------------------------------------------------------------------------------------------


def test_records_are_steps_and_epochs_in_order(fresh: Fresh, tmp_path: Path) -> None:
    seen: list[Step | Epoch] = []
    finish(resume(copy(fresh(), tmp_path / "run")), seen.append)
    kinds = ["s"] * BATCHES + ["e"]
    assert ["s" if isinstance(record, Step) else "e" for record in seen] == kinds * EPOCHS
    assert [record.step for record in seen if isinstance(record, Step)] == list(range(1, STEPS + 1))
    assert [(r.epoch, r.step) for r in seen if isinstance(r, Epoch)] == [(n, n * BATCHES) for n in (1, 2, 3)]


def test_log_is_what_the_steps_showed(fresh: Fresh, tmp_path: Path) -> None:
    """Means over each epoch's steps, the rate of its last; epoch records and file agree."""
    steps: list[Step] = []
    epochs: list[Epoch] = []
    run = finish(
        resume(copy(fresh(), tmp_path / "run")),
        lambda record: steps.append(record) if isinstance(record, Step) else epochs.append(record),
    )
    lines = runs.read_metrics(run)
    assert lines == [{"kind": "epoch", **vars(epoch)} for epoch in epochs]
    schedule = resume(run).experiment.training.schedule
    for number, line in enumerate(lines):
        mine = steps[number * BATCHES : (number + 1) * BATCHES]
        assert line["lr"] == mine[-1].rate == 0.05 * rate_factor(schedule, (number + 1) * BATCHES - 1, STEPS)
        assert line["train_loss"] == pytest.approx(np.mean([step.loss for step in mine]), rel=1e-12)
        assert 0 <= line["train_accuracy"] <= 1 and line["train_accuracy"] * 336 == pytest.approx(
            round(line["train_accuracy"] * 336)
        )
        assert line["images_per_second"] == pytest.approx(336 / line["seconds"], rel=0.1)
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]


def test_validation_is_measured_on_the_held_out_part_by_the_weights_of_the_epochs_end(
    fresh: Fresh, uninterrupted: Whole
) -> None:
    """Oracle: the last checkpoint, asked again through `evaluate`'s own road, the run being made to choose it."""
    run = uninterrupted(fresh())
    twin = copy(run, run.parent / "twin")
    runs.update_run(twin, chosen="last")
    found = lenext.evaluate(twin, "validation")
    line = runs.read_metrics(run)[-1]
    assert (found.score, found.nll, found.n) == (line["validation_score"], line["validation_loss"], HELD_OUT)
    shutil.rmtree(twin)


def test_best_is_the_first_epoch_of_the_highest_validation_accuracy(fresh: Fresh, tmp_path: Path) -> None:
    session = resume(copy(fresh(), tmp_path / "run"))
    kept: dict[int, dict[str, bytes]] = {}

    def keep(record: Step | Epoch) -> None:
        if isinstance(record, Epoch):
            kept[record.epoch] = bits(session.state.objective.classifier.state_dict())

    run = finish(session, keep)
    top1 = [line["validation_score"] for line in runs.read_metrics(run)]
    best = checkpoints.load(run / "best")
    assert best.card.epoch == top1.index(max(top1)) + 1
    assert bits(best.weights) == kept[best.card.epoch]
    assert bits(checkpoints.load(run / "last").weights) == kept[EPOCHS]
    index = runs.load_run(run)
    assert (index["chosen"], index["status"]) == ("best", "finished")
    assert index["train_seconds"] > 0


def test_without_validation_the_last_checkpoint_is_chosen(tmp_path: Path) -> None:
    session = begin(tmp_path / "run", "data.validation=0", "training.epochs=1", "training.batch_size=84")
    assert runs.load_run(session.run)["chosen"] == "last"
    run = finish(session)
    index = runs.load_run(run)
    assert (index["chosen"], index["validation_images"], index["train_images"]) == ("last", 0, 337)
    assert all("validation" not in key for line in runs.read_metrics(run) for key in line)
    assert set(read_split(run / "split.csv")) == {"train"}
    assert lenext.evaluate(run).n == 360
    assert json.loads((run / "metrics-test.json").read_text())["checkpoint"] == "last"
    with pytest.raises(DataError):
        lenext.evaluate(run, "validation")


def test_network_goes_on_in_training_mode_after_a_validation(fresh: Fresh, tmp_path: Path) -> None:
    session = resume(copy(fresh(), tmp_path / "run"))
    modes: list[bool] = []
    finish(session, lambda _: modes.extend(module.training for module in session.state.objective.modules()))
    assert all(modes)


def test_training_opens_the_training_split_alone(tmp_path: Path) -> None:
    """The test files hold headers and not one image, which is enough for as long as nobody opens them."""
    root = write_digits(tmp_path / "data")
    for name, header in (("t10k-images-idx3-ubyte", 16), ("t10k-labels-idx1-ubyte", 8)):
        path = root / "mnist" / name
        path.write_bytes(path.read_bytes()[:header])
    run = finish(begin(tmp_path / "run", data="mnist", root=str(root)))
    assert runs.load_run(run)["status"] == "finished"
    assert lenext.evaluate(run, "validation").n == HELD_OUT
    with pytest.raises(DataError, match="t10k-images"):
        lenext.evaluate(run)
    assert runs.load_run(run)["test_opened"] == 0


def test_train_is_the_whole_road_in_one_call(tmp_path: Path) -> None:
    run = lenext.train(
        "digits", "lenet5_relu", str(tmp_path / "run"), recipe="d2l", epochs=1, seed=3,
        settings=[*SMALL, "training.optimizer.rate=0.2"],
    )  # fmt: skip
    experiment = from_mapping(Experiment, read_toml(run / "config.toml"))
    assert (experiment.recipe, experiment.seed, experiment.training.epochs) == ("d2l", 3, 1)
    assert experiment.training.optimizer.rate == 0.2
    assert runs.load_run(run)["status"] == "finished"


def test_a_small_network_learns_the_digits(tmp_path: Path) -> None:
    """Four passes of a recipe: far above the tenth that guessing gets."""
    settings = ["training.threads=1", "training.batch_size=32", "training.precision=float32", "augment.pad=1"]
    run = lenext.train("digits", "resnet20", tmp_path / "run", epochs=4, settings=settings)
    assert lenext.evaluate(run).score > 0.85
    assert torch.get_num_threads() == 1
