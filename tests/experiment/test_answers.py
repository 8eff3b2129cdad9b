"""Evaluation and prediction of a run. Oracles: the network run by hand, and files written with Pillow."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.data.published import open_published
from lenext.data.split import split_digest
from lenext.errors import DataError, LockedError, WeightsError
from lenext.judge.ranking import gallery_rows
from lenext.models.classifier import Classifier
from lenext.predictions import Predictions

from .pieces import begin, bits, copy, damage_newest, finish, write_digits

TEST = open_published("digits").open("test")


@pytest.fixture(scope="session")
def evaluated(
    fresh: Callable[..., Path], uninterrupted: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A trained run, evaluated on test once; read only."""
    whole = uninterrupted(fresh("one_cycle", "data.limit=0", "data.validation=1100"))
    run = copy(whole, tmp_path_factory.mktemp("evaluated") / "run")
    lenext.evaluate(run)
    return run


@pytest.fixture
def run(evaluated: Path, tmp_path: Path) -> Path:
    """A copy, free to be changed."""
    return copy(evaluated, tmp_path / "run")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five images of the test split as PNG files."""
    folder = tmp_path_factory.mktemp("pictures")
    for row in range(5):
        Image.fromarray(TEST.images[row, 0].numpy()).save(folder / f"{row}.png")
    return sorted(folder.iterdir())


def by_hand(run: Path) -> np.ndarray:
    """The chosen network's scores of the test split, fed as its card says, in torch alone."""
    loaded = checkpoints.load(run / "best")
    model = checkpoints.restore(loaded)
    mean, std = (loaded.card.preprocessing[key][0] for key in ("mean", "std"))
    with torch.no_grad():
        scores: np.ndarray = model((TEST.images.float() / 255 - mean) / std).numpy()
    return scores


def test_metrics_are_those_of_the_chosen_network_on_the_test_split(evaluated: Path) -> None:
    scores = by_hand(evaluated)
    stored = json.loads((evaluated / "metrics-test.json").read_text())
    assert stored["n"] == 360
    assert stored["top1"] == pytest.approx(float((scores.argmax(1) == TEST.labels).mean()), abs=1 / 360)
    assert (stored["split"], stored["checkpoint"], stored["model"]) == ("test", "best", "resnet20")
    assert stored["epoch"] == checkpoints.load(evaluated / "best").card.epoch


def test_predictions_are_of_every_test_image_in_order(evaluated: Path) -> None:
    found = Predictions.load(evaluated / "predictions-test.npz")
    assert found.ids == tuple(TEST.ids)
    assert found.split_digest == split_digest(TEST.ids)
    assert np.array_equal(found.labels, TEST.labels)
    np.testing.assert_allclose(found.scores, by_hand(evaluated), atol=2e-5)


def test_evaluating_again_gives_the_same_and_counts_the_opening(run: Path) -> None:
    assert runs.load_run(run)["test_opened"] == 1
    before = Predictions.load(run / "predictions-test.npz")
    one, other = lenext.evaluate(run), lenext.evaluate(str(run))
    assert one == other
    assert np.array_equal(Predictions.load(run / "predictions-test.npz").scores, before.scores)
    assert runs.load_run(run)["test_opened"] == 3


def test_validation_is_no_opening_of_the_test_split_and_leaves_its_files_alone(run: Path) -> None:
    """The gallery belongs to the predictions on test: a report after this must still fit together."""
    names = ("predictions-test.npz", "metrics-test.json", "gallery.npz")
    before = {name: (run / name).read_bytes() for name in names}
    assert lenext.evaluate(run, "validation").n == 1100
    assert {name: (run / name).read_bytes() for name in names} == before
    assert runs.load_run(run)["test_opened"] == 1
    assert Predictions.load(run / "predictions-validation.npz").split == "validation"
    assert lenext.write_report(run).is_file()


def test_index_names_what_evaluation_wrote(evaluated: Path) -> None:
    files = runs.load_run(evaluated)["files"]
    for name in ("predictions-test.npz", "metrics-test.json", "gallery.npz"):
        assert files[name]["sha256"] == runs.sha256_file(evaluated / name)


def test_gallery_has_the_images_as_stored_and_the_first_filters(evaluated: Path) -> None:
    predictions = Predictions.load(evaluated / "predictions-test.npz")
    with np.load(evaluated / "gallery.npz", allow_pickle=False) as gallery:
        rows = gallery["thumbnails_row"]
        wrong = predictions.scores.argmax(1) != predictions.labels
        assert np.array_equal(rows, gallery_rows(predictions))
        assert wrong[rows[: min(24, wrong.sum())]].all()
        assert np.array_equal(gallery["thumbnails_size"], np.full((len(rows), 2), 8))
        assert np.array_equal(gallery["thumbnails"][..., 0], TEST.images[torch.from_numpy(rows), 0].numpy())
        name = str(gallery["filters_name"])
        assert np.array_equal(gallery["filters"], checkpoints.load(evaluated / "best").weights[name].numpy())


def test_files_of_a_run_are_json_toml_csv_html_and_plain_arrays(run: Path) -> None:
    """Nothing is a pickle: arrays load with pickles forbidden, and no torch archive is there."""
    lenext.write_report(run)
    kinds = {path.suffix for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    assert kinds == {".json", ".toml", ".jsonl", ".csv", ".npz", ".html", ".safetensors"}
    for path in run.glob("*.npz"):
        with np.load(path, allow_pickle=False) as content:
            assert all(content[name].dtype.kind in "iufU" for name in content.files)


# --- predict --------------------------------------------------------------------------------------------------------


def test_picture_of_a_test_image_gets_the_probabilities_of_the_evaluation(
    evaluated: Path, pictures: list[Path]
) -> None:
    expected = Predictions.load(evaluated / "predictions-test.npz").probabilities()
    for row, found in enumerate(lenext.predict(evaluated, pictures)):
        assert found["file"] == str(pictures[row])
        assert found["index"] == expected[row].argmax()
        assert found["class"] == str(found["index"])
        assert len(found["top5"]) == 5
        for place in found["top5"]:
            assert place["probability"] == pytest.approx(expected[row, place["index"]], abs=1e-6)


def test_one_picture_alone_gets_what_it_gets_among_others(evaluated: Path, pictures: list[Path]) -> None:
    together = lenext.predict(evaluated, pictures)
    alone = [lenext.predict(str(evaluated), [str(path)])[0] for path in pictures]
    for one, other in zip(alone, together, strict=True):
        assert one["class"] == other["class"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)


def test_colour_picture_of_a_grey_image_is_the_same_picture(
    evaluated: Path, pictures: list[Path], tmp_path: Path
) -> None:
    Image.open(pictures[0]).convert("RGB").save(tmp_path / "colour.png")
    grey, colour = lenext.predict(evaluated, [pictures[0], tmp_path / "colour.png"])
    assert colour["class"] == grey["class"]
    assert colour["probability"] == pytest.approx(grey["probability"], abs=1e-6)


def test_checkpoint_folder_answers_for_itself(run: Path, pictures: list[Path]) -> None:
    assert lenext.predict(run / "best", pictures) == lenext.predict(run, pictures)
    runs.update_run(run, chosen="last")
    assert lenext.predict(run / "last", pictures) == lenext.predict(run, pictures)


def test_broken_picture_is_named_and_nothing_is_answered(evaluated: Path, pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(pictures[0].read_bytes()[:60])
    with pytest.raises(DataError, match=r"broken\.png"):
        lenext.predict(evaluated, [pictures[0], tmp_path / "broken.png"])


# --- load and what can be wrong ---------------------------------------------------------------------------------------


def test_load_gives_the_chosen_network_in_evaluation_mode(evaluated: Path) -> None:
    model = lenext.load(evaluated)
    assert isinstance(model, Classifier)
    assert not model.training
    assert bits(model.state_dict()) == bits(checkpoints.load(evaluated / "best").weights)
    assert bits(lenext.load(str(evaluated / "last")).state_dict()) == bits(checkpoints.load(evaluated / "last").weights)


def test_folder_that_is_no_run_is_exit_3(tmp_path: Path) -> None:
    for ask in (lenext.evaluate, lenext.load, lambda path: lenext.predict(path, [])):
        with pytest.raises(DataError, match=r"it has no run\.json"):
            ask(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_checkpoint_is_exit_4_and_no_test_image_was_opened(run: Path) -> None:
    runs.update_run(run, chosen="last")
    damage_newest(run)
    assert lenext.load(run).config.num_classes == 10  # the older generation
    damage_everything(run / "last")
    before = runs.load_run(run)
    with pytest.raises(WeightsError):
        lenext.evaluate(run)
    assert runs.load_run(run)["test_opened"] == before["test_opened"]


def damage_everything(folder: Path) -> None:
    for path in folder.glob("weights-*"):
        path.write_bytes(path.read_bytes()[:-1])


def test_run_in_use_is_exit_8_and_no_test_image_was_opened(run: Path) -> None:
    with runs.locked(run), pytest.raises(LockedError):
        lenext.evaluate(run)
    assert runs.load_run(run)["test_opened"] == 1


def test_missing_test_split_counts_no_opening(tmp_path: Path) -> None:
    root = write_digits(tmp_path / "data")
    run = finish(begin(tmp_path / "run", "training.epochs=1", data="mnist", root=str(root)))
    for path in (root / "mnist").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="cannot find mnist"):
        lenext.evaluate(run)
    assert runs.load_run(run)["test_opened"] == 0
