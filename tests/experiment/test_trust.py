"""Averages, accumulation, mixing, files and threads leave nothing behind that a resumed run would miss.

Oracle: the run trained at one go, and the data as it was. Interruptions are real signals.
"""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from PIL import Image

import lenext
from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.data.packing import pack_images
from lenext.data.sources import Source
from lenext.errors import ConflictError, InterruptedRunError
from lenext.experiment.resuming import environment_changes, resume
from lenext.training.loop import Step

from ..data.image_folders import write_folder
from .photos import begin_on, photograph, photographs, tree, write_photos
from .pieces import SCHEDULES, begin, bits, copy, finish, result, step_of

EVERYTHING = [
    "data.limit=137", "training.epochs=2", "training.batch_size=11", "training.accumulate=2",
    "training.average=0.9", "augment.mixup=0.4", "augment.cutmix=1.0", "augment.erase=0.5", "augment.pad=1",
]  # fmt: skip
VARIED = [
    "training.average=0.95", "training.sampling=balanced", "training.clip=1.0", "training.freeze=['stem']",
    "augment.crop_area=[0.3, 1.0]", "augment.flip=true", "augment.jitter=[0.3, 0.3, 0.3, 0.1]",
    "augment.colour_noise=0.1", "augment.mixup=0.3", "training.loss.label_smoothing=0.1",
]  # fmt: skip
MOST = ["training.average=0.95", "augment.crop_area=[0.3, 1.0]", "augment.trivial=true", "augment.cutmix=1.0",
    "training.loss.class_weights=balanced", "training.optimizer.name=adamw", "training.schedule.name=plateau",
    "training.schedule.patience=0", "training.schedule.threshold=0.9"]  # fmt: skip


SLOW = pytest.mark.slow


def interrupt_after_every_step(run: Path, steps: int, source: Source | None = None) -> Path:
    """Send a real signal after each update, resume, and train to the end."""
    for done in range(1, steps + 1):
        with pytest.raises(InterruptedRunError):
            for record in resume(run, source=source).records():
                if isinstance(record, Step):
                    os.kill(os.getpid(), (signal.SIGINT, signal.SIGTERM)[done % 2])
        assert step_of(run) == done
    return finish(resume(run, source=source))


def trained(run: Path) -> dict[str, object]:
    """All of `result` but the configuration, which names the number of threads."""
    return {key: value for key, value in result(run).items() if key != "config"}


@pytest.mark.parametrize(
    ("schedule", "workers"),
    [
        ("one_cycle", 2),
        ("plateau", 0),
        pytest.param("one_cycle", 0, marks=SLOW),
        pytest.param("plateau", 2, marks=SLOW),
    ],
)
def test_average_accumulation_and_mixing_are_resumed_after_every_step_to_the_same_bits(
    tmp_path: Path, schedule: str, workers: int
) -> None:
    """The uninterrupted run has no threads, so that the two numbers of threads are compared as well."""
    settings = [*EVERYTHING, *SCHEDULES[schedule]]
    whole = finish(begin(tmp_path / "whole", *settings, "data.workers=0"))
    run = begin(tmp_path / "run", *settings, f"data.workers={workers}").run
    interrupt_after_every_step(run, 12)  # 137 images make 12 batches of 11, two to an update, twice
    assert trained(run) == trained(whole)
    found = checkpoints.load(run / "last")
    assert bits(found.weights)["head.fc.weight"] != bits(found.optimizer)["trained/head.fc.weight"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs without splits; read only."""
    return write_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.mark.parametrize(
    ("settings", "workers"),
    [(VARIED, 2), (MOST, 0), pytest.param(VARIED, 0, marks=SLOW), pytest.param(MOST, 2, marks=SLOW)],
    ids=["varied-2", "most-0", "varied-0", "most-2"],
)
def test_a_run_on_image_files_is_resumed_after_every_step_to_the_same_bits(
    photos: Path, tmp_path: Path, settings: list[str], workers: int
) -> None:
    whole = finish(begin_on(photos, tmp_path / "whole", *settings, "data.workers=0"))
    run = begin_on(photos, tmp_path / "run", *settings, f"data.workers={workers}").run
    interrupt_after_every_step(run, 10)
    assert trained(run) == trained(whole)


def test_shards_of_a_folder_train_to_the_bits_of_the_folder(photos: Path, tmp_path: Path) -> None:
    packed = pack_images(photos, tmp_path / "shards", 20_480)
    assert packed.shards > 1
    sources = (("a", photos), ("b", packed.path))
    one, other = (result(finish(begin_on(source, tmp_path / name, *VARIED))) for name, source in sources)
    assert one["last"][1:] == other["last"][1:]  # all but the card, which names the data
    assert one["metrics"] == other["metrics"]
    assert (tmp_path / "a" / "split.csv").read_bytes() == (tmp_path / "b" / "split.csv").read_bytes()


NO_CACHE = ["data.cache=0", "data.disk_cache=0"]


@pytest.mark.parametrize("other", [NO_CACHE, ["data.workers=5"]], ids=["no cache", "5 workers"])
def test_neither_cache_nor_threads_change_a_bit(photos: Path, tmp_path: Path, other: list[str]) -> None:
    told = {"a": ["data.workers=0"], "b": other}
    runs_ = [begin_on(photos, tmp_path / name, *VARIED, *settings) for name, settings in told.items()]
    assert trained(finish(runs_[0])) == trained(finish(runs_[1]))


def test_images_kept_on_the_disk_change_no_bit(photos: Path, tmp_path: Path) -> None:
    """One run fills the cache, another reads it, a third has none."""
    told = {"fills": ["data.cache=0"], "reads": ["data.cache=0", "data.workers=2"], "none": NO_CACHE}
    results = {
        name: trained(finish(begin_on(photos, tmp_path / name, *VARIED, *settings))) for name, settings in told.items()
    }
    (pixels,) = (tmp_path / "home").glob("decoded/*/pixels")
    assert pixels.stat().st_size > 36 * 3 * 12 * 12  # 30 images to train on and 6 to validate, of 12 pixels at least
    assert results["fills"] == results["reads"] == results["none"]


# --- what may not change between start and resume -------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path) -> tuple[Path, Path]:
    """A run at step 0 on a folder that may be changed: (run, folder)."""
    folder = write_photos(tmp_path / "photos", each=8)
    return begin_on(folder, tmp_path / "run").run, folder


def of_training(run: Path, number: int = 0) -> str:
    """The name of a training image."""
    lines = (run / "split.csv").read_text(encoding="utf-8").splitlines()
    return [line.partition(":")[0] for line in lines if line.endswith(",train")][number]


def refused(run: Path) -> ConflictError:
    """Resume the run, which is refused, and return the error; the run stays as it is."""
    before = tree(run)
    with pytest.raises(ConflictError) as caught:
        resume(run)
    assert caught.value.exit_code == 5
    assert tree(run) == before
    return caught.value


def test_a_changed_configuration_names_all_the_keys_that_differ(begun: tuple[Path, Path]) -> None:
    with pytest.raises(ConflictError) as caught:
        resume(begun[0], ["training.accumulate=1", "augment.mixup=0.1", "training.optimizer.rates={stem = 0.5}"])
    assert caught.value.exit_code == 5
    assert caught.value.why == "differs: augment.mixup, training.accumulate, training.optimizer.rates.stem"


def test_a_missing_image_is_named(begun: tuple[Path, Path]) -> None:
    run, folder = begun
    names = [of_training(run, number) for number in (3, 5)]
    for name in names:
        (folder / name).unlink()
    assert f"2 of its images are not there, {names[0]}:" in refused(run).why


def test_an_image_of_other_bytes_is_named(begun: tuple[Path, Path]) -> None:
    run, folder = begun
    name = of_training(run, 4)
    with (folder / name).open("ab") as file:
        file.write(b"\0")  # after the end of the picture: not a pixel changes
    assert f"1 of its images are not there, {name}:" in refused(run).why


def test_an_image_under_another_class_is_named(begun: tuple[Path, Path]) -> None:
    run, folder = begun
    name = of_training(run)
    (folder / name).rename(folder / "owl" / "moved.jpg")
    assert f"1 of its images are not there, {name}:" in refused(run).why


def test_another_label_in_the_table_is_named(tmp_path: Path) -> None:
    """The files are the same; metadata.csv says otherwise of two of them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = [(f"{number:02}.jpg", ("cat", "dog")[number % 2]) for number in range(24)]
    for number, (name, _) in enumerate(rows):
        (folder / name).write_bytes(photograph(number % 2, number))
    write_table(folder, rows)
    run = begin_on(folder, tmp_path / "run").run
    places = [int(of_training(run, number)[:2]) for number in (2, 3)]
    old = {place: rows[place][1] for place in places}
    for place in places:
        rows[place] = (rows[place][0], {"cat": "dog", "dog": "cat"}[old[place]])
    write_table(folder, rows)
    why = refused(run).why
    first = places[0]
    assert "2 of its images have another label" in why
    assert re.search(rf"{first:02}\.jpg:\w+ is '{rows[first][1]}', and was '{old[first]}'", why)


def write_table(folder: Path, rows: list[tuple[str, str]]) -> None:
    """Write metadata.csv anew."""
    lines = ["file_name,label", *(f"{name},{label}" for name, label in rows)]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", ["ape", "zebra"], ids=["before the others", "after the others"])
def test_an_added_class_is_named(begun: tuple[Path, Path], name: str) -> None:
    run, folder = begun
    write_photos(folder, each=2, classes=(name,))
    assert name in refused(run).why


@pytest.mark.parametrize("name", ["ape", "zebra"], ids=["before the others", "after the others"])
def test_a_run_is_not_judged_on_data_of_other_classes(begun: tuple[Path, Path], name: str) -> None:
    """Class numbers would mean other classes: the figures would be wrong without a word."""
    run, folder = begun
    write_photos(folder, each=2, classes=(name,))
    for split in ("test", "validation"):
        with pytest.raises(ConflictError, match=name):
            lenext.evaluate(run, split)
    assert runs.load_run(run)["test_opened"] == 0


def test_a_run_is_not_judged_on_a_test_split_of_classes_renamed_since(tmp_path: Path) -> None:
    """As many classes, in another order: every number is valid, and means another class."""
    folder = write_folder(tmp_path / "photos", {**photographs(6, prefix="train/"), **photographs(2, prefix="test/")})
    run = begin_on(folder, tmp_path / "run", "data.validation=3", "training.batch_size=6").run
    for split in ("train", "test"):
        (folder / split / "cat").rename(folder / split / "tomcat")
    with pytest.raises(ConflictError, match="tomcat"):
        lenext.evaluate(run)
    assert runs.load_run(run)["test_opened"] == 0


def test_an_added_image_changes_nothing(begun: tuple[Path, Path], tmp_path: Path) -> None:
    run, folder = begun
    whole = finish(resume(copy(run, tmp_path / "whole")))
    for name in ("cat/0.jpg", "dog/99.png"):
        Image.new("L", (50, 30), 200).save(folder / name)
    assert result(finish(resume(run))) == result(whole)
    assert lenext.evaluate(run) == lenext.evaluate(whole)


# --- another machine ------------------------------------------------------------------------------------------------


def test_what_differs_of_the_machine_is_said_and_is_no_conflict(begun: tuple[Path, Path]) -> None:
    run = begun[0]
    assert environment_changes(run) == []
    path = run / runs.ENVIRONMENT_JSON
    stored = json.loads(path.read_text(encoding="utf-8"))
    torch_now, stored["versions"]["torch"] = stored["versions"]["torch"], "1.0"
    stored["processor"] = "another"
    del stored["versions"]["pillow"]
    path.write_text(json.dumps(stored), encoding="utf-8")
    told = environment_changes(run)
    assert [sentence.partition(" was ")[0] for sentence in told] == ["processor", "versions.pillow", "versions.torch"]
    assert told[1].startswith("versions.pillow was unknown, and is ")
    assert told[2].startswith(f"versions.torch was 1.0, and is {torch_now}: ")
    finish(resume(run))
    assert runs.load_run(run)["status"] == "finished"
    with pytest.raises(ConflictError, match=r"environment\.json"):
        runs.verify(run, runs.ENVIRONMENT_JSON)
