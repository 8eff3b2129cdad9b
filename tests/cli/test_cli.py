"""The command line's contract: results on stdout, four-line errors on stderr, an exit code for each kind."""

import contextlib
import csv
import io
import json
import re
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lenext.cli import VERBS, main
from lenext.data.sources import find_source

from ..conftest import Answer, Lenext

TRAIN = ("train", "digits", "--model", "lenet5_relu", "--epochs", "2", "--set", "training.threads=1")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run; read only."""
    folder = tmp_path_factory.mktemp("trained")
    with contextlib.chdir(folder), pytest.raises(SystemExit) as end:
        main([*TRAIN, "--run", "first"])
    assert end.value.code == 0
    return folder / "first"


@pytest.fixture
def trained(kept: Path, lenext: Lenext) -> Path:
    """A copy in the empty folder, free to be changed."""
    return Path(shutil.copytree(kept, "first"))


def _is_contract(answer: Answer, code: int) -> bool:
    pattern = rf"lenext: [^\n]+ \(exit {code}\)\n  why:  [^\n]+\n  kept: [^\n]+\n  try:  [^\n]+\n"
    return answer.code == code and answer.out == "" and re.search(pattern + r"\Z", answer.err) is not None


ERRORS = {
    "unknown verb": (("trian",), 2, "train"),
    "unknown option": (("train", "digits", "--epohcs", "3"), 2, "--epochs"),
    "option without value": (("train", "digits", "--model"), 2, "--model"),
    "value of another type": (("train", "digits", "--model", "resnet20", "--epochs", "many"), 2, "many"),
    "no data": (("train", "--model", "resnet20"), 2, "lenext train"),
    "unknown network": (("train", "digits", "--model", "resnet21"), 2, "resnet2"),
    "unknown data": (("train", "digit", "--model", "resnet20"), 2, "'digits'"),
    "unknown recipe": ((*TRAIN, "--recipe", "one_cicle"), 2, "'one_cycle'"),
    "unknown key": ((*TRAIN, "--set", "training.epcohs=3"), 2, "'epochs'"),
    "value out of range": ((*TRAIN, "--set", "training.batch_size=0"), 2, "batch_size"),
    "setting without =": ((*TRAIN, "--set", "training.epochs"), 2, "--set"),
    "size too small": (("train", "digits", "--model", "resnet18", "--size", "16"), 2, "64"),
    "batch larger than the data": ((*TRAIN, "--set", "training.batch_size=5000"), 2, "batch_size"),
    "missing data": (("train", "mnist", "--model", "lenet5"), 3, "lenext data get mnist"),
    "no run": (("eval", "nothing"), 3, "lenext train"),
    "no image": (("predict", "nothing", "image.png"), 3, "run.json"),
    "missing extra": (("doctor", "--require", "search"), 6, "pip install 'lenext[search]'"),
    "unknown extra": (("doctor", "--require", "onx"), 2, "onnx"),
    "no network matches": (("models", "vit*"), 2, "lenext models"),
    "no engine": (("predict", "run", "a.png", "--engine", "openvin"), 2, "openvino"),
    "engine without bf16": (
        ("predict", "run", "a.png", "--engine", "onnxruntime", "--precision", "bf16"),
        2,
        "float32",
    ),
    "two forms": (("predict", "run", "a.png", "--json", "--csv"), 2, "one"),
    "resume with other options": (("train", "--resume", "run", "--epochs", "3"), 2, "--resume run"),
}


@pytest.mark.parametrize(("words", "code", "hint"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_four_lines_with_a_hint(lenext: Lenext, words: tuple[str, ...], code: int, hint: str) -> None:
    answer = lenext(*words)
    assert _is_contract(Answer(answer.code, answer.out, answer.err[answer.err.index("lenext: ") :]), code), answer
    assert hint in answer.err
    assert not Path("runs").exists()


def test_an_unwritable_folder_is_a_matter_of_the_environment(lenext: Lenext) -> None:
    Path("file").touch()  # root may write into any folder, but nobody into a file
    answer = lenext(*TRAIN, "--run", "file/run")
    assert answer.code == 6
    assert "cannot create file/run" in answer.err
    assert "--run DIR" in answer.err


def test_wrong_magic_names_the_magic(lenext: Lenext, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "mnist"
    folder.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte").write_bytes(struct.pack(">4I", 0x00000D03, 1, 28, 28) + bytes(784))
    answer = lenext("train", "mnist", "--model", "lenet5")
    assert answer.code == 3
    assert "train-images-idx3-ubyte" in answer.err
    assert "magic number 00 00 0d 03, expected 00 00 08 03" in answer.err


def test_an_existing_run_is_never_overwritten(lenext: Lenext, trained: Path) -> None:
    before = (trained / "run.json").read_bytes()
    answer = lenext(*TRAIN, "--run", "first")
    assert answer.code == 3
    assert "--resume first" in answer.err
    assert (trained / "run.json").read_bytes() == before


def test_runs_without_a_name_get_free_ones(lenext: Lenext) -> None:
    names = [lenext(*TRAIN, "--set", "data.limit=200").out.splitlines()[1] for _ in range(2)]
    assert names == ["runs/digits-lenet5_relu", "runs/digits-lenet5_relu-2"]


def test_a_changed_configuration_on_resume_is_a_conflict_that_names_the_key(lenext: Lenext, trained: Path) -> None:
    answer = lenext("train", "--resume", "first", "--set", "training.optimizer.rate=0.5")
    assert answer.code == 5
    assert "training.optimizer.rate" in answer.err


def test_a_damaged_checkpoint_is_refused(lenext: Lenext, trained: Path) -> None:
    for file in (trained / "best").glob("weights-*"):
        file.write_bytes(file.read_bytes()[:-1])
    answer = lenext("eval", "first")
    assert answer.code == 4
    assert "weights-" in answer.err


def test_a_bug_is_exit_1_and_asks_for_the_traceback(lenext: Lenext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERBS, "report", ("verb_report:no_such_function", ""))
    answer = lenext("report", "first")
    assert answer.code == 1
    assert "a bug" in answer.err
    assert "--debug" in answer.err


def test_debug_adds_the_traceback(lenext: Lenext) -> None:
    answer = lenext("--debug", "eval", "nothing")
    assert answer.code == 3
    assert "Traceback" in answer.err
    assert "lenext: cannot use nothing" in answer.err


def test_eval_json_is_the_metrics_file(lenext: Lenext, trained: Path) -> None:
    answer = lenext("eval", "first", "--json")
    metrics = json.loads(answer.out)
    assert {"top1", "top1_interval", "top5", "n", "nll", "ece", "per_class", "confusion"} <= set(metrics)
    assert metrics == json.loads((trained / "metrics-test.json").read_text(encoding="utf-8"))
    assert metrics["n"] == 360
    assert sum(map(sum, metrics["confusion"])) == 360
    assert "opened 1 time " in answer.err
    assert "opened 2 times" in lenext("eval", "first").err


def test_predict_gives_json_csv_and_a_table_of_the_same(lenext: Lenext, trained: Path) -> None:
    images = find_source("digits").open("test").read(np.arange(2))
    for number, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(f"{number}.png")
    answers = json.loads(lenext("predict", "first", "0.png", "1.png", "--json").out)
    assert [answer["file"] for answer in answers] == ["0.png", "1.png"]
    assert set(answers[0]) == {"file", "class", "index", "probability", "top5"}
    assert answers[0]["top5"][0]["class"] == answers[0]["class"]
    rows = list(csv.DictReader(io.StringIO(lenext("predict", "first", "0.png", "1.png", "--csv").out)))
    assert [row["class"] for row in rows] == [answer["class"] for answer in answers]
    assert float(rows[0]["probability"]) == pytest.approx(answers[0]["probability"])
    assert answers[1]["class"] in lenext("predict", "first", "0.png", "1.png").out.splitlines()[2]


def test_predict_takes_folders_and_says_on_stderr_which_engine_it_was(lenext: Lenext, trained: Path) -> None:
    images = find_source("digits").open("test").read(np.arange(40))
    Path("pictures", "more").mkdir(parents=True)
    for number, image in enumerate(images):
        folder = Path("pictures", "more") if number >= 20 else Path("pictures")
        Image.fromarray(image[0].numpy()).save(folder / f"{number:02}.png")
    Path("pictures", "notes.txt").write_text("no image")
    files = [str(path) for path in sorted(Path("pictures").rglob("*.png"))]
    plain = lenext("predict", "first", *files, "--json")
    assert "by eager (float32" in plain.err
    for engine in ("openvino", "onnxruntime"):
        answer = lenext("predict", "first", "pictures", "--engine", engine, "--precision", "float32", "--json")
        assert f"by {engine} (float32" in answer.err
        rows = json.loads(answer.out)
        assert [row["file"] for row in rows] == files
        expected = json.loads(plain.out)
        assert [row["class"] for row in rows] == [row["class"] for row in expected]
        assert [row["probability"] for row in rows] == pytest.approx([row["probability"] for row in expected], abs=1e-4)
    Path("pictures", "more", "39.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    broken = lenext("predict", "first", "pictures")
    assert (broken.code, broken.out) == (3, "")
    assert "39.png" in broken.err


def test_a_broken_image_is_named(lenext: Lenext, trained: Path) -> None:
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    answer = lenext("predict", "first", "broken.png")
    assert answer.code == 3
    assert "broken.png" in answer.err


def test_train_json_is_the_run_with_its_epochs(lenext: Lenext) -> None:
    answer = lenext(*TRAIN, "--run", "first", "--json")
    run = json.loads(answer.out)
    assert run["status"] == "finished"
    assert [epoch["epoch"] for epoch in run["epochs"]] == [1, 2]
    assert run["run"] == "first"


def test_models_json_has_the_keys_that_readers_rely_on(lenext: Lenext) -> None:
    rows = json.loads(lenext("models", "resnet50*", "--json").out)
    assert [row["name"] for row in rows] == ["resnet50", "resnet50_v1", "resnet50_small"]
    assert set(rows[0]) == {
        "name", "family", "year", "params", "auxiliary_params", "macs", "input_size", "top1_error", "top5_error",
        "protocol", "torchvision", "timm", "original",
    }  # fmt: skip


def test_cost_of_a_network_of_other_classes_and_size(lenext: Lenext, trained: Path) -> None:
    cost = json.loads(lenext("cost", "resnet20", "--classes", "5", "--size", "64", "--json").out)["totals"]
    assert cost["params"] == 269_722 - 5 * 65
    assert cost["macs"] == 4 * 40_550_400 + 5 * 64
    assert cost["flops"] == 2 * cost["macs"]
    assert json.loads(lenext("cost", "first", "--json").out)["totals"]["params"] == 61_706


def test_doctor_knows_where_the_data_is(lenext: Lenext) -> None:
    facts = json.loads(lenext("doctor", "--json").out)["facts"]
    assert facts["data digits"] == "inside lenext"
    assert "lenext data get mnist" in facts["data mnist"]


def test_every_verb_has_help(lenext: Lenext) -> None:
    for verb in VERBS:
        answer = lenext(verb, "--help")
        assert answer.code == 0
        assert answer.out.startswith(f"Usage: lenext {verb}")


def test_ctrl_c_saves_prints_how_to_resume_and_exits_130(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lenext", *TRAIN[:-1], "training.threads=1", "--run", "first"]
    words[words.index("2")] = "500"
    child = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    seen = ""
    while "epoch " not in seen:  # the first epoch is over
        seen = child.stderr.readline()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "lenext train --resume first" in err
    assert out == ""
    assert json.loads((tmp_path / "first" / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"


def test_a_reader_that_goes_away_is_no_bug(tmp_path: Path) -> None:
    program = f"{sys.executable} -m lenext models --json | head -c 10"
    done = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


def test_help_is_fast_because_it_imports_little() -> None:
    """The time itself is measured by benchmarks/startup.py; what is imported decides it."""
    program = "import sys, lenext.cli\ntry:\n    lenext.cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
    program += "assert not {'cyclopts', 'rich', 'numpy', 'torch'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
