"""`lenext train` with several seeds, weights, limits of time and extensions. Oracle: the same asked for by hand."""

import json
import re
import shlex
import shutil
import statistics
from pathlib import Path

import pytest

from lenext import checkpoint as checkpoints
from lenext import run as runs
from lenext.config import read_toml

from ..conftest import Answer, Lenext
from ..experiment.photos import tree
from ..experiment.pieces import bits, metrics, result, write_digits

SMALL = ("--set", "data.validation=1300", "--set", "training.batch_size=20", "--set", "training.threads=1",
    "--set", "training.precision=float32")  # fmt: skip
TRAIN = ("train", "digits", "--model", "resnet20", *SMALL)


def ok(answer: Answer) -> Answer:
    assert answer.code == 0, answer.err
    return answer


def without_name(run: Path) -> dict[str, object]:
    return {**result(run), "config": read_toml(run / runs.CONFIG_TOML)}


# --- several seeds ----------------------------------------------------------------------------------------------------


def test_seeds_are_whole_runs_equal_to_those_made_one_by_one(lenext: Lenext, tmp_path: Path) -> None:
    answer = ok(lenext(*TRAIN, "--epochs", "1", "--seeds", "2", "--run", "series"))
    assert sorted(path.name for path in (tmp_path / "series").iterdir()) == ["seed-0", "seed-1"]
    for seed in (0, 1):
        ok(lenext(*TRAIN, "--epochs", "1", "--seed", str(seed), "--run", f"alone-{seed}"))
        run = tmp_path / "series" / f"seed-{seed}"
        assert without_name(run) == without_name(tmp_path / f"alone-{seed}")
        assert runs.load_run(run)["command"] == runs.load_run(tmp_path / f"alone-{seed}")["command"]
        ok(lenext("eval", str(run), "--split", "validation"))
        ok(lenext("train", "--resume", str(run)))
    best = [100 * max(line["validation_score"] for line in metrics(tmp_path / f"alone-{seed}")) for seed in (0, 1)]
    line = next(line for line in answer.out.splitlines() if "over the seeds" in line)
    mean, sd = statistics.mean(best), statistics.stdev(best)
    assert line.startswith(f"best validation top-1 over the seeds: {mean:.2f} % +- {sd:.2f} (n = 2")
    assert answer.out.splitlines()[-1] == "next: lenext eval series"
    assert "over the seeds" in ok(lenext("eval", "series")).out


def test_seeds_as_json_are_a_list_and_one_seed_alone_is_a_series_too(lenext: Lenext, tmp_path: Path) -> None:
    both = json.loads(ok(lenext(*TRAIN, "--set", "training.steps=1", "--seeds", "2", "--json")).out)
    assert [run["run"] for run in both] == [f"runs/digits-resnet20/seed-{seed}" for seed in (0, 1)]
    ok(lenext(*TRAIN, "--set", "training.steps=1", "--seeds", "1", "--run", "one"))
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["seed-0"]


def test_seeds_refuse_a_run_that_exists_before_they_train(lenext: Lenext, tmp_path: Path) -> None:
    (tmp_path / "series" / "seed-0").mkdir(parents=True)
    answer = lenext(*TRAIN, "--epochs", "1", "--seeds", "2", "--run", "series")
    assert (answer.code, answer.out) == (3, "")
    assert [path.name for path in (tmp_path / "series").iterdir()] == ["seed-0"]


def test_seeds_are_not_put_into_a_run(lenext: Lenext, finished: Path, tmp_path: Path) -> None:
    """A folder that is a run itself would be both, and judged as one of them."""
    shutil.copytree(finished, tmp_path / "run")
    before = tree(tmp_path / "run")
    answer = lenext(*TRAIN, "--set", "training.steps=1", "--seeds", "2", "--run", "run")
    assert tree(tmp_path / "run") == before
    assert (answer.code, answer.out) == (3, "")


@pytest.mark.usefixtures("even_clock")
def test_seeds_within_a_time_are_one_experiment_but_for_the_seed(lenext: Lenext, tmp_path: Path) -> None:
    ok(lenext(*TRAIN, "--seeds", "2", "--time", "1s", "--run", "series"))
    first, second = (read_toml(tmp_path / "series" / f"seed-{seed}" / runs.CONFIG_TOML) for seed in (0, 1))
    assert first["training"]["steps"] == second["training"]["steps"] > 0
    assert {**first, "seed": 1} == second


# --- extensions -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, read only."""
    from lenext.experiment.opening import train

    settings = [word for word in SMALL if word != "--set"]
    return train("digits", "resnet20", tmp_path_factory.mktemp("finished") / "run", epochs=2, settings=settings)


def test_extend_makes_another_run_and_leaves_the_first_as_it_is(lenext: Lenext, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    before = tree(tmp_path / "run")
    answer = ok(lenext("train", "--extend", "run", "--epochs", "3"))
    assert tree(tmp_path / "run") == before
    assert answer.out.splitlines()[1] == "run-extended"
    assert "run run-extended: from run, after 2 of 3 epochs" in answer.err
    assert [line["epoch"] for line in metrics(tmp_path / "run-extended")] == [1, 2, 3]
    ok(lenext("train", "--extend", "run", "--epochs", "3", "--run", "named"))
    one, other = (checkpoints.load(tmp_path / name / "last") for name in ("named", "run-extended"))
    assert bits(one.weights) == bits(other.weights)


def test_fewer_epochs_are_refused(lenext: Lenext, finished: Path) -> None:
    answer = lenext("train", "--extend", str(finished), "--epochs", "2")
    assert (answer.code, answer.out) == (2, "")
    assert "it has 2" in answer.err


# --- what does not go together ----------------------------------------------------------------------------------------

REFUSED = {
    "resume and data": ("train", "digits", "--resume", "RUN"),
    "resume and epochs": ("train", "--resume", "RUN", "--epochs", "3"),
    "resume and seeds": ("train", "--resume", "RUN", "--seeds", "2"),
    "resume and a run": ("train", "--resume", "RUN", "--run", "other"),
    "resume and weights": ("train", "--resume", "RUN", "--weights", "RUN"),
    "resume and time": ("train", "--resume", "RUN", "--time", "5m"),
    "resume and a dry run": ("train", "--resume", "RUN", "--dry-run"),
    "resume and extend": ("train", "--resume", "RUN", "--extend", "RUN", "--epochs", "3"),
    "extend without epochs": ("train", "--extend", "RUN"),
    "extend and a setting": ("train", "--extend", "RUN", "--epochs", "3", "--set", "seed=2"),
    "extend and a model": ("train", "--extend", "RUN", "--epochs", "3", "--model", "resnet20"),
    "extend and freeze": ("train", "--extend", "RUN", "--epochs", "3", "--freeze", "stem"),
    "no network": ("train", "digits"),
    "another network than that of the weights": ("train", "digits", "--weights", "RUN", "--model", "resnet32"),
    "a place that is none": ("train", "digits", "--weights", "RUN", "--freeze", "stages.conv9_x"),
    "no time": (*TRAIN, "--time", "0s"),
    "time that is none": (*TRAIN, "--time", "ten minutes"),
    "too little time": (*TRAIN, "--time", "0.001s"),
    "seeds below none": (*TRAIN, "--seeds", "-1"),
    "a seed and seeds": (*TRAIN, "--set", "training.steps=1", "--seed", "7", "--seeds", "2"),
}


@pytest.mark.parametrize("words", list(REFUSED.values()), ids=list(REFUSED))
def test_options_that_do_not_go_together_are_refused_and_nothing_is_made(
    lenext: Lenext, finished: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    answer = lenext(*(str(finished) if word == "RUN" else word for word in words))
    assert (answer.code, answer.out) == (2, ""), answer
    pattern = r"lenext: [^\n]+ \(exit 2\)\n  why:  [^\n]+\n  kept: [^\n]+\n  try:  [^\n]+\n\Z"
    assert re.search(pattern, answer.err)
    assert list(tmp_path.iterdir()) == []


def test_freezing_a_place_that_is_none_names_the_nearest(lenext: Lenext) -> None:
    answer = lenext(*TRAIN, "--freeze", "stages.conv2x")
    assert answer.code == 2
    assert "did you mean 'stages.conv2_x'" in answer.err


def test_without_validation_the_last_network_is_kept_and_that_is_said(lenext: Lenext, tmp_path: Path) -> None:
    words = [word.replace("data.validation=1300", "data.validation=0") for word in TRAIN]
    answer = ok(lenext(*words, "--set", "training.steps=2", "--run", "run"))
    assert "nothing is held out: the last epoch's network is kept, and no epoch is chosen" in answer.err
    assert runs.load_run(tmp_path / "run")["chosen"] == "last"
    assert "validation" not in answer.out


def test_a_bad_setting_leaves_nothing(lenext: Lenext, tmp_path: Path) -> None:
    answer = lenext(*TRAIN, "--set", "training.average=1.5")
    assert answer.code == 2
    assert "0 <= average < 1" in answer.err
    assert list(tmp_path.iterdir()) == []


def test_what_differs_of_the_machine_is_said_on_resume(lenext: Lenext, finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    path = run / runs.ENVIRONMENT_JSON
    path.write_text(path.read_text(encoding="utf-8").replace('"python": "', '"python": "2.7 not '), encoding="utf-8")
    answer = ok(lenext("train", "--resume", "run"))
    assert re.search(r"^python was 2\.7 not \S+, and is \S+: the bits may differ", answer.err, re.MULTILINE)


def test_data_found_by_root_is_in_the_recorded_command(lenext: Lenext, tmp_path: Path) -> None:
    """Without it the command finds nothing."""
    root = write_digits(tmp_path / "elsewhere")
    words = [word.replace("digits", "mnist") for word in TRAIN]
    ok(lenext(*words, "--root", str(root), "--set", "training.steps=1", "--run", "run"))
    command = shlex.split(runs.load_run(tmp_path / "run")["command"])
    ok(lenext(*command[1:], "--run", "again"))
    assert result(tmp_path / "again") == result(tmp_path / "run")
