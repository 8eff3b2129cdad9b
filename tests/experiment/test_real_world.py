"""Data as people have it: arrays, several classes an image, folders with and without splits.

Oracles: scikit-learn's average precision, the rows of split.csv, and the network asked by hand.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.data.arrays import Arrays, from_arrays
from lenext.data.published import open_published
from lenext.errors import ConflictError, DataError, LenextError, UsageError
from lenext.experiment.resuming import resume
from lenext.judge.metrics import Metrics, MultiLabelMetrics
from lenext.predictions import Predictions
from lenext.training.loop import Step

from ..data.image_folders import write_folder
from .photos import begin_on, photographs, write_photos
from .pieces import copy, finish, result
from .test_trust import interrupt_after_every_step, trained

MARKS = ("even", "large", "has a hole")
TOLD = ["training.batch_size=32", "training.threads=1", "training.precision=float32"]


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 8, 8), and what is true of their numerals: (N, 3)."""
    store = open_published("digits").open(split)
    labels = store.labels
    marks = np.stack([labels % 2 == 0, labels >= 5, np.isin(labels, (0, 6, 8, 9))], axis=1)
    return store.images[:, 0].numpy(), marks.astype(np.int64)


def marked(count: int = 1437) -> Arrays:
    """The digits as a set in which an image may have several classes, or none."""
    images, marks = digits("train")
    return from_arrays(images[:count], marks[:count], MARKS, test=digits("test"), mirror=False, name="marks")


@pytest.fixture(scope="module")
def multi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and judged run of several classes an image; read only."""
    run = tmp_path_factory.mktemp("multi") / "run"
    lenext.train(marked(), "resnet20", run, epochs=3, settings=TOLD)
    lenext.evaluate(run, source=marked())
    return run


def test_a_network_learns_what_is_true_of_numerals(multi: Path) -> None:
    """Chance is the share of the images: about a half, a half and two fifths."""
    predictions = Predictions.load(multi / "predictions-test.npz")
    truth = digits("test")[1]
    assert np.array_equal(predictions.labels, truth)
    by_class = [average_precision_score(truth[:, k], predictions.scores[:, k]) for k in range(3)]
    stored = json.loads((multi / "metrics-test.json").read_text(encoding="utf-8"))
    assert stored["mean_ap"] == pytest.approx(np.mean(by_class), abs=1e-6)
    assert np.mean(by_class) > 0.85 > truth.mean(axis=0).max() + 0.2
    index = runs.load_run(multi)
    assert (index["score_name"], index["data"], index["test_opened"]) == ("mAP", "marks", 1)


def test_validation_during_training_is_by_the_same_measure(multi: Path, tmp_path: Path) -> None:
    found = lenext.evaluate(copy(multi, tmp_path / "run"), "validation", source=marked())
    assert isinstance(found, MultiLabelMetrics)
    best = max(runs.read_metrics(multi), key=lambda line: line["validation_score"])
    assert (found.score, found.nll) == (best["validation_score"], best["validation_loss"])


def test_the_report_of_several_classes_is_written_and_names_them(multi: Path, tmp_path: Path) -> None:
    page = lenext.write_report(copy(multi, tmp_path / "run")).read_text(encoding="utf-8")
    assert "mAP" in page
    assert all(name in page for name in MARKS)


def test_prediction_names_every_class_above_one_half(multi: Path, tmp_path: Path) -> None:
    images, _ = digits("test")
    for row in range(6):
        Image.fromarray(images[row]).save(tmp_path / f"{row}.png")
    logits = Predictions.load(multi / "predictions-test.npz").scores[:6]
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    for row, answer in enumerate(lenext.predict(multi, [tmp_path / f"{row}.png" for row in range(6)])):
        assert answer["classes"] == [MARKS[k] for k in np.flatnonzero(probabilities[row] > 0.5)]
        assert answer["probability"] == pytest.approx(probabilities[row].max(), abs=1e-5)


def test_several_classes_an_image_are_resumed_after_every_step_to_the_same_bits(tmp_path: Path) -> None:
    settings = ["training.batch_size=10", "training.average=0.9", "data.validation=20", "augment.mixup=0.5",
                "augment.cutmix=0.5", "training.loss.class_weights=balanced"]  # fmt: skip
    source = marked(120)
    whole = finish(begin_on(source, tmp_path / "whole", *settings, "data.workers=0"))
    run = begin_on(source, tmp_path / "run", *settings, "data.workers=2").run
    interrupt_after_every_step(run, 10, source)
    assert trained(run) == trained(whole)


def test_balanced_sampling_of_several_classes_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot balance the classes"):
        begin_on(marked(120), tmp_path / "run", "training.sampling=balanced", "data.validation=20")
    assert not (tmp_path / "run").exists()


# --- arrays -----------------------------------------------------------------------------------------------------------


def numerals(count: int = 200) -> Arrays:
    """Some digits without splits."""
    store = open_published("digits").open("train")
    return from_arrays(store.images[:count, 0].numpy(), store.labels[:count], tuple("0123456789"), name="numerals")


def test_arrays_are_trained_resumed_and_judged_as_they_are_handed_over(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [*TOLD, "training.batch_size=10", "training.epochs=2"]
    assert lenext.train(numerals(), "resnet20", run, settings=settings) == run
    rows = list(csv.DictReader((run / runs.SPLIT_CSV).read_text(encoding="utf-8").splitlines()))
    assert [sum(row["split"] == part for row in rows) for part in ("train", "validation", "test")] == [140, 30, 30]
    assert list(lenext.resume(run, source=numerals()).records()) == []
    found = lenext.evaluate(run, source=numerals())
    assert isinstance(found, Metrics)
    held = [row["id"] for row in rows if row["split"] == "test"]
    assert sorted(Predictions.load(run / "predictions-test.npz").ids) == sorted(held)
    assert found.n == 30


def test_arrays_are_resumed_to_the_same_bits(tmp_path: Path) -> None:
    settings = ["training.batch_size=10", "augment.pad=1"]
    whole = finish(begin_on(numerals(), tmp_path / "whole", *settings))
    run = begin_on(numerals(), tmp_path / "run", *settings).run
    for step in (2, 7, 9):
        for record in resume(run, source=numerals()).records():
            if isinstance(record, Step) and record.step == step:
                break
    assert result(finish(resume(run, source=numerals()))) == result(whole)


def test_other_arrays_are_a_conflict(tmp_path: Path) -> None:
    run = begin_on(numerals(), tmp_path / "run", "training.batch_size=10").run
    store = open_published("digits").open("train")
    images, labels = store.images[:200, 0].numpy().copy(), store.labels[:200].copy()
    images[:, 0, 0] ^= 1
    changed = from_arrays(images, store.labels[:200], tuple("0123456789"), name="numerals")
    with pytest.raises(ConflictError, match="of its images are not there, all/00000:"):
        resume(run, source=changed)
    labels[:] = (labels + 1) % 10
    with pytest.raises(ConflictError, match="of its images have another label"):
        resume(run, source=from_arrays(store.images[:200, 0].numpy(), labels, tuple("0123456789"), name="numerals"))


def test_a_run_on_arrays_alone_says_what_it_needs(tmp_path: Path) -> None:
    run = begin_on(numerals(), tmp_path / "run", "training.batch_size=10").run
    for ask in (lambda: resume(run), lambda: lenext.evaluate(run)):
        with pytest.raises(LenextError, match="numerals"):
            ask()


# --- folders with and without splits --------------------------------------------------------------------------------


def test_a_folder_without_splits_is_divided_once_and_judged_on_its_own_test_part(tmp_path: Path) -> None:
    run = finish(begin_on(write_photos(tmp_path / "photos", each=20), tmp_path / "run"))
    rows = list(csv.DictReader((run / runs.SPLIT_CSV).read_text(encoding="utf-8").splitlines()))
    parts = {part: [row for row in rows if row["split"] == part] for part in ("train", "validation", "test")}
    assert {part: len(found) for part, found in parts.items()} == {"train": 42, "validation": 9, "test": 9}
    for found in parts.values():
        assert len({sum(row["label"] == label for row in found) for label in ("cat", "dog", "owl")}) == 1
    assert len({row["id"] for row in rows}) == 60
    for split in ("test", "validation"):
        assert lenext.evaluate(run, split).n == 9
        predictions = Predictions.load(run / f"predictions-{split}.npz")
        told = [predictions.classes[label] for label in predictions.labels.tolist()]
        assert dict(zip(predictions.ids, told, strict=True)) == {row["id"]: row["label"] for row in parts[split]}


def test_a_folder_without_test_images_is_not_judged_on_validation_instead(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "photos", {**photographs(8, prefix="train/"), **photographs(3, prefix="validation/")}
    )
    run = finish(begin_on(folder, tmp_path / "run"))
    with pytest.raises(DataError, match="on test images") as caught:
        lenext.evaluate(run)
    assert caught.value.exit_code == 3
    assert "--split validation" in caught.value.advice
    assert runs.load_run(run)["test_opened"] == 0
    assert not (run / "metrics-test.json").exists()
    assert lenext.evaluate(run, "validation").n == 9
    write_folder(folder, photographs(2, prefix="test/"))  # as the advice says
    assert lenext.evaluate(run).n == 6


def test_a_folder_with_a_test_split_keeps_it_closed_until_it_is_judged(tmp_path: Path) -> None:
    """Its test images are no images at all, which is enough for as long as nobody opens them."""
    files = {**photographs(10, prefix="train/"), **photographs(2, prefix="test/")}
    broken = {name: content if name.startswith("train/") else content[:40] for name, content in files.items()}
    folder = write_folder(tmp_path / "photos", broken)
    run = finish(begin_on(folder, tmp_path / "run"))
    assert runs.load_run(run)["validation_images"] == 6  # a fifth of 30
    with pytest.raises(DataError, match=r"test/cat/00\.jpg"):
        lenext.evaluate(run)
    write_folder(folder, files)
    assert lenext.evaluate(run).n == 6


def test_a_broken_training_image_ends_the_run_with_its_name_and_a_whole_checkpoint(tmp_path: Path) -> None:
    """Broken before the start and decodable by nobody; no other image takes its place."""
    folder = write_photos(tmp_path / "photos", each=20)
    bad = folder / "dog" / "07.jpg"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=r"dog/07\.jpg"):
        finish(begin_on(folder, tmp_path / "run"))


def test_without_validation_the_last_network_is_judged(tmp_path: Path) -> None:
    run = finish(begin_on(write_photos(tmp_path / "photos"), tmp_path / "run", "data.validation=0"))
    index = runs.load_run(run)
    assert (index["chosen"], index["validation_images"], index["train_images"]) == ("last", 0, 36)
    loaded = checkpoints.load(run / "last")
    assert lenext.evaluate(run).n == 6
    assert json.loads((run / "metrics-test.json").read_text(encoding="utf-8"))["epoch"] == loaded.card.epoch == 2
    weights = lenext.load(run).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in loaded.weights.items())
