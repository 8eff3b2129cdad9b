"""What would flatter or mislead without a word: each is prevented, or said."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.data.config import DataConfig
from lenext.data.decode import decode_bytes
from lenext.data.sources import find_source
from lenext.data.split import read_split
from lenext.errors import ConflictError, DataError, UsageError
from lenext.experiment.config import compose
from lenext.experiment.forecast import estimate
from lenext.experiment.opening import prepare
from lenext.experiment.resuming import extend, resume
from lenext.models.catalog import build
from lenext.predictions import Predictions
from lenext.training.config import LossConfig
from lenext.training.loop import Step
from lenext.training.objective import Objective, class_weights

from ..data.image_folders import write_folder
from .photos import CLASSES, PLAIN, begin_on, photograph, photographs, write_photos
from .pieces import finish, result

ONE = ("training.epochs=1",)


def parts_of(run: Path) -> dict[str, set[str]]:
    return {part: set(names) for part, names in read_split(run / "split.csv").items()}


def test_a_run_on_names_that_begin_alike_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """The order of files is that of their names, and not that of names with digests behind them."""
    files = {f"{name}/{number}": photograph(kind, number) for kind, name in enumerate(CLASSES) for number in range(14)}
    write_folder(tmp_path / "photos", files)
    whole = finish(begin_on(tmp_path / "photos", tmp_path / "whole"))
    run = begin_on(tmp_path / "photos", tmp_path / "run").run
    for record in resume(run).records():
        if isinstance(record, Step) and record.step == 2:
            break
    assert result(finish(resume(run)))["last"] == result(whole)["last"]


def test_copies_of_an_image_stay_on_one_side(tmp_path: Path) -> None:
    files = dict(photographs(each=10))
    files |= {name.replace(".jpg", " copy.jpg"): content for name, content in files.items()}
    parts = parts_of(begin_on(write_folder(tmp_path / "photos", files), tmp_path / "run").run)
    digests = [{name.rpartition(":")[2] for name in names} for names in parts.values()]
    assert len(digests) == 3
    assert sum(map(len, digests)) == len(set.union(*digests)) == 30


def test_test_images_that_were_trained_on_are_counted_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**photographs(each=8, prefix="train/"), **photographs(each=4, prefix="test/")}
    for number in (0, 1):
        files[f"test/cat/again {number}.jpg"] = files[f"train/cat/{number:02}.jpg"]
    run = finish(begin_on(write_folder(tmp_path / "photos", files), tmp_path / "run", *ONE))
    lenext.evaluate(run)
    assert runs.read_json(run / "metrics-test.json")["trained_on"] == 2
    assert "2 of the test images are copies" in lenext.write_report(run).read_text(encoding="utf-8").replace("\n", " ")
    with pytest.raises(SystemExit):
        from lenext.cli import main

        main(["eval", str(run)])
    assert "2 of the test images are copies of images that it was trained or chosen on" in capsys.readouterr().err


@pytest.mark.parametrize("channels", [1, 3])
def test_prediction_of_a_file_is_what_evaluation_says_of_it(tmp_path: Path, channels: int) -> None:
    """A network of one channel on colour files, and one of three: decoded alike on both ways."""
    photos = write_photos(tmp_path / "photos")
    weights = ""
    if channels == 1:
        grey = {name: decode_grey(content) for name, content in photographs().items()}
        weights = str(begin_on(write_folder(tmp_path / "grey", grey), tmp_path / "known", *ONE).run)
    run = finish(begin_on(photos, tmp_path / "run", *ONE, weights=weights))
    lenext.evaluate(run)
    found = Predictions.load(run / "predictions-test.npz")
    files = [photos / name.rpartition(":")[0] for name in found.ids]
    answers = lenext.predict(run, files)
    probabilities = found.probabilities().max(axis=1)
    assert [answer["probability"] for answer in answers] == pytest.approx(probabilities.tolist(), abs=1e-5)


def decode_grey(content: bytes) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(decode_bytes(content, channels=1)[0].numpy()).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_mistyped_path_is_never_the_folder_of_data_sets(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    with pytest.raises(DataError, match="no such file"):
        find_source(str(tmp_path / "typo"), str(photos))
    source = find_source(str(photos))
    experiment, _ = compose(DataConfig(name=source.name, root="/elsewhere"), source, "resnet20", size=8)
    assert experiment.data.root == ""


def test_moved_photographs_are_found_by_root(tmp_path: Path) -> None:
    run = begin_on(write_photos(tmp_path / "photos"), tmp_path / "run").run
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(DataError):
        resume(run)
    finish(resume(run, root=str(tmp_path / "moved")))


def test_labels_that_became_single_are_a_conflict(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    names = sorted(str(path.relative_to(photos)) for path in photos.rglob("*.jpg"))
    rows = [f"{name},{name.split('/')[0]}" for name in names]
    (photos / "metadata.csv").write_text("\n".join(["file_name,labels", *rows]) + "\n")
    run = finish(begin_on(photos, tmp_path / "run", *ONE))
    (photos / "metadata.csv").write_text("\n".join(["file_name,label", *rows]) + "\n")
    with pytest.raises(ConflictError, match="an image has one label, and had any number"):
        lenext.evaluate(run)


def test_the_fit_of_the_weights_is_kept_unless_another_is_asked_for(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    known = str(begin_on(photos, tmp_path / "known", "data.fit=pad").run)
    kept = checkpoints.load(begin_on(photos, tmp_path / "kept", weights=known).run / "last").card
    assert kept.preprocessing["fit"] == "pad"
    asked = checkpoints.load(begin_on(photos, tmp_path / "asked", "data.fit=squash", weights=known).run / "last").card
    assert asked.preprocessing["fit"] == "squash"


def test_openings_of_the_test_are_handed_on_to_the_longer_run(tmp_path: Path) -> None:
    run = finish(begin_on(write_photos(tmp_path / "photos"), tmp_path / "run", *ONE))
    lenext.evaluate(run)
    lenext.evaluate(run)
    longer = extend(run, 2, tmp_path / "longer").run
    assert runs.load_run(longer)["test_opened"] == 2
    assert runs.load_run(longer)["extended_from"] == str(run)


def test_colours_are_those_that_the_network_sees(tmp_path: Path) -> None:
    """Grey files for a network of three channels: their pixels lie on one axis, on which all channels are equal."""
    grey = write_folder(tmp_path / "grey", {name: decode_grey(content) for name, content in photographs().items()})
    known = str(begin_on(write_photos(tmp_path / "photos"), tmp_path / "known").run)
    session = begin_on(grey, tmp_path / "run", *ONE, "augment.colour_noise=0.1", weights=known)
    colours = session.parts.variation.colours
    assert colours is not None
    assert colours.vectors[:, 0].tolist() == pytest.approx([3**-0.5] * 3)
    assert colours.deviations.tolist()[1:] == pytest.approx([0, 0], abs=1e-3)
    finish(session)


def test_a_forecast_of_too_few_images_is_a_clear_error(tmp_path: Path) -> None:
    source = find_source(str(write_photos(tmp_path / "photos", each=4)))
    told = [*PLAIN, "training.batch_size=64"]
    experiment, _ = compose(DataConfig(name=source.name), source, "resnet20", size=8, settings=told)
    with pytest.raises(UsageError, match="cannot train on"):
        estimate(prepare(experiment, source))


def test_class_weights_of_half_batches_add_up_to_those_of_a_whole_one() -> None:
    torch.manual_seed(0)
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 2])
    weights = class_weights(labels, LossConfig(class_weights="balanced"), 3)
    model = build("resnet20", num_classes=3, in_channels=1).eval()
    objective = Objective(model, LossConfig(class_weights="balanced"), weights=weights)
    images, targets = torch.randn(8, 1, 8, 8), torch.from_numpy(labels)
    whole = objective(images, targets)
    halves = [objective(images[part], targets[part]).loss.item() for part in (slice(0, 4), slice(4, 8))]
    assert np.mean(halves) == pytest.approx(whole.loss.item(), rel=1e-5)
    alone = F.cross_entropy(whole.scores, targets, weights, reduction="none").mean().item()
    assert whole.loss.item() == pytest.approx(alone, rel=1e-6)


def test_a_class_that_every_image_has_keeps_its_weight() -> None:
    marks = np.array([[1, 0], [1, 1], [1, 0], [1, 0]], np.float32)
    weights = class_weights(marks, LossConfig(class_weights="balanced"), 2)
    assert weights is not None
    assert weights.tolist() == [1.0, 3.0]


def test_a_folder_whose_path_is_no_text_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "fl\udce9t")
    with pytest.raises(DataError, match="rename the folder"):
        find_source(str(folder))


def test_what_changes_no_bit_may_be_told_a_resumed_run(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    whole = finish(begin_on(photos, tmp_path / "whole", *ONE))
    run = begin_on(photos, tmp_path / "run", *ONE).run
    told = ["data.workers=2", "data.cache=0", "training.save_seconds=0"]
    assert result(finish(resume(run, told)))["last"] == result(whole)["last"]
    with pytest.raises(ConflictError, match="another configuration") as caught:
        resume(run, [*told, "training.clip=1"])
    assert caught.value.why == "differs: training.clip"


def test_patience_without_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot wait for patience to end without validation"):
        begin_on(write_photos(tmp_path / "photos"), tmp_path / "run", "training.patience=2", "data.validation=0")


def test_moved_photographs_are_judged_where_they_are(tmp_path: Path) -> None:
    run = finish(begin_on(write_photos(tmp_path / "photos"), tmp_path / "run", *ONE))
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert lenext.evaluate(run, source=find_source(str(tmp_path / "moved"))).n == 6


def test_epochs_are_as_many_as_hold_the_updates(tmp_path: Path) -> None:
    session = begin_on(write_photos(tmp_path / "photos"), tmp_path / "run", "training.steps=13", "training.epochs=1")
    assert (session.experiment.training.epochs, session.total_steps) == (3, 13)  # five updates an epoch
    finish(session)
    assert checkpoints.load(tmp_path / "run" / "last").progress["epoch"] == 3


def test_a_folder_of_several_seeds_is_told_apart_from_a_run(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    for seed in (0, 1):
        begin_on(photos, tmp_path / "series" / f"seed-{seed}", *ONE)
    with pytest.raises(DataError, match="it holds the runs of 2 seeds"):
        lenext.load(tmp_path / "series")
