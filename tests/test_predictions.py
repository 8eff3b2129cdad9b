import io
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lenext.errors import DataError, MachineError
from lenext.predictions import Predictions, sigmoid, softmax

FIELDS = ("ids", "classes", "split", "split_digest", "preprocessing_digest", "model", "views")


def make(**changes: Any) -> Predictions:
    fields: dict[str, Any] = {
        "ids": ("test/00000:aa", "test/00001:bb", "test/00002:cc", "test/00003:dd"),
        "labels": np.array([0, 2, 1, 2]),
        "scores": np.array([[2.5, 0, -1], [0, 1, 3], [1, 1, 1], [-3.25, 8, 0.1]], dtype=np.float32),
        "classes": ("shirt", "coat", "boot"),
        "split": "test",
        "split_digest": "5f1d",
        "preprocessing_digest": "77e0",
        "model": "resnet20",
    }
    return Predictions(**{**fields, **changes})


def assert_equal(one: Predictions, other: Predictions) -> None:
    for name in FIELDS:
        assert getattr(one, name) == getattr(other, name)
    for name in ("labels", "scores"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "predictions-test.npz"
    make().save(path)
    return path


def rewrite(path: Path, **changes: Any) -> None:
    """Save the file's arrays again with some replaced, or left out where the change is None."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **{name: value for name, value in {**arrays, **changes}.items() if value is not None})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    assert_equal(Predictions.load(saved(tmp_path)), make())


def test_names_in_any_script_survive(tmp_path: Path) -> None:
    ids = (
        "test/läufer.png:aa",
        "test/図 1.png:bb",
        "test/\N{FOX FACE}\N{COMBINING DIAERESIS}:cc",
        "test/\udcff.png:dd",
    )
    predictions = make(ids=ids, classes=("Stövel", "コート", ""), model="", views=10)
    predictions.save(tmp_path / "p.npz")
    assert_equal(Predictions.load(tmp_path / "p.npz"), predictions)


def test_extreme_scores_survive_to_the_bit(tmp_path: Path) -> None:
    limit = np.finfo(np.float32)
    scores = np.array([[limit.max, limit.min, 0], [limit.tiny, -0.0, limit.smallest_subnormal]] * 2, dtype=np.float32)
    make(scores=scores).save(tmp_path / "p.npz")
    assert Predictions.load(tmp_path / "p.npz").scores.tobytes() == scores.tobytes()


def test_a_split_without_samples_can_be_saved(tmp_path: Path) -> None:
    empty = make(ids=(), labels=np.zeros(0, dtype=np.int64), scores=np.zeros((0, 3), dtype=np.float32))
    empty.save(tmp_path / "p.npz")
    assert_equal(Predictions.load(tmp_path / "p.npz"), empty)


def test_equal_content_gives_equal_bytes_whenever_it_is_saved(tmp_path: Path) -> None:
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    make().save(first)
    make(scores=make().scores.astype(np.float64), labels=make().labels.astype(np.uint8)).save(second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}  # no zlib has a say


def test_saving_replaces_the_earlier_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = saved(tmp_path)
    make(model="lenet5").save(path)
    assert Predictions.load(path).model == "lenet5"
    assert list(tmp_path.iterdir()) == [path]


def test_saving_where_no_folder_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="nowhere"):
        make().save(tmp_path / "nowhere" / "p.npz")


def test_arrays_are_read_only_and_the_callers_own_stays_writable() -> None:
    scores = make().scores.copy()
    predictions = make(scores=scores)
    with pytest.raises(ValueError, match="read-only"):
        predictions.scores[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        predictions.labels[0] = 1
    scores[0, 0] = 7


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused_naming_the_first_row(value: float) -> None:
    scores = make().scores.copy()
    scores[1, 2] = scores[3, 0] = value
    with pytest.raises(
        DataError, match=r"row 1 \(test/00001:bb\) has score -?(nan|inf) for class 'boot'.* 2 of 4 rows"
    ):
        make(scores=scores)


def test_a_score_that_float32_cannot_hold_is_refused() -> None:
    with pytest.raises(DataError, match=r"row 2 .* has score 1e\+39"):
        make(scores=np.array([[0, 0, 0], [0, 0, 0], [0, 1e39, 0], [0, 0, 0]]))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_refused_naming_its_row(label: int) -> None:
    with pytest.raises(DataError, match=rf"row 2 \(test/00002:cc\) has label {label}, and there are 3 classes"):
        make(labels=np.array([0, 1, label, 2]))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"labels": np.array([0, 1, 2])}, "labels of shape"),
        ({"labels": np.array([[0], [1], [2], [0]])}, "labels of shape"),
        ({"labels": np.zeros((4, 2), dtype=np.uint8)}, "labels of shape"),
        ({"labels": np.array([0.0, 1.0, 2.0, 0.0])}, "labels are float64"),
        ({"labels": np.full((4, 3), "yes")}, "labels are <U3"),
        ({"scores": np.zeros((4, 2), dtype=np.float32)}, "scores of shape"),
        ({"scores": np.zeros((4, 3), dtype=np.int64)}, "scores are int64"),
        ({"classes": (), "scores": np.zeros((4, 0), dtype=np.float32)}, "0 classes"),
        ({"ids": ("a", "b", "c", "b")}, "rows 1 and 3 have the same id, 'b'"),
        ({"ids": ("a", "b", "c", "d\0")}, "ends with a zero character"),
        ({"classes": ("x", "y", "z\0")}, "ends with a zero character"),
        ({"views": 0}, "0 views"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        make(**changes)


MARKS = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1]])


@pytest.mark.parametrize("width", [np.uint8, np.int64, np.float32, np.bool_])
def test_labels_of_several_classes_are_saved_and_loaded(tmp_path: Path, width: type) -> None:
    predictions = make(labels=MARKS.astype(width))
    assert predictions.multi_label
    assert predictions.labels.dtype == np.uint8
    predictions.save(tmp_path / "p.npz")
    assert_equal(Predictions.load(tmp_path / "p.npz"), predictions)
    np.testing.assert_array_equal(Predictions.load(tmp_path / "p.npz").labels, MARKS)


def test_labels_of_one_class_are_not_multi_label() -> None:
    assert not make().multi_label


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan])
def test_a_mark_that_is_neither_0_nor_1_is_refused_naming_its_place(value: float) -> None:
    marks = MARKS.astype(np.float64)
    marks[2, 1] = value
    with pytest.raises(DataError, match=rf"row 2 \(test/00002:cc\) has label {value:.1f} for class 'coat'|label nan"):
        make(labels=marks)


def test_probabilities_of_several_classes_are_each_for_itself() -> None:
    odds = np.array([[1, 3, 1 / 3], [1, 1, 1], [9, 4, 1], [1, 1, 99]])
    found = make(labels=MARKS, scores=np.log(odds)).probabilities()
    np.testing.assert_allclose(found, [[0.5, 0.75, 0.25], [0.5] * 3, [0.9, 0.8, 0.5], [0.5, 0.5, 0.99]], rtol=1e-6)


@pytest.mark.filterwarnings("error")
def test_sigmoid_of_extreme_scores_is_exact_and_its_halves_mirror_each_other() -> None:
    np.testing.assert_array_equal(sigmoid(np.array([3.4e38, -3.4e38, 0.0, -0.0])), [1, 0, 0.5, 0.5])
    x = np.linspace(-30, 30, 61)
    np.testing.assert_allclose(sigmoid(x) + sigmoid(-x), 1, rtol=1e-15)
    np.testing.assert_allclose(sigmoid(x), 0.5 * (1 + np.tanh(x / 2)), rtol=1e-3, atol=1e-15)


def test_what_the_model_says_has_the_shape_of_the_labels() -> None:
    np.testing.assert_array_equal(make().predicted(), [0, 2, 0, 1])  # the third row is a tie
    np.testing.assert_array_equal(make(labels=MARKS).predicted(), [[1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 1, 1]])


def test_two_classes_may_share_a_name() -> None:
    twins = ("crane", "coat", "crane")  # ImageNet has the bird and the machine
    assert make(classes=twins).classes == twins


def test_probabilities_of_each_row_sum_to_one() -> None:
    rows = make(
        scores=np.array([[3.4e38, -3.4e38, 0], [-3e38, -3e38, -3e38], [88, 89, 90], [0, 0, -104]])
    ).probabilities()
    assert rows.dtype == np.float64
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_array_equal(rows[:2], [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])


def test_softmax_by_hand() -> None:
    np.testing.assert_allclose(softmax(np.log([1, 2, 5])), [0.125, 0.25, 0.625], rtol=1e-15)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*gone\.npz(.|\n)*there is no such file"):
        Predictions.load(tmp_path / "gone.npz")


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="damaged"):
            Predictions.load(path)


def test_a_changed_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    noticed = 0
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            found = Predictions.load(path)
        except DataError:
            noticed += 1
        else:
            assert_equal(found, make())
    assert noticed > len(whole) / 5 / 2


@pytest.mark.parametrize("content", [b"", b"epoch,loss\n1,0.5\n", b"\x93NUMPY\x01\x00", b"PK\x03\x04" + bytes(64)])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no file of predictions"):
        Predictions.load(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file of predictions"):
        Predictions.load(tmp_path)


@pytest.mark.parametrize("key", ["format", "labels", "scores", *FIELDS])
def test_an_archive_without_one_of_the_arrays_is_refused(tmp_path: Path, key: str) -> None:
    path = saved(tmp_path)
    rewrite(path, **{key: None})
    with pytest.raises(DataError, match=f"it has no {key}"):
        Predictions.load(path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": np.int64(2)}, "its format is 2, this lenext reads 1"),
        ({"format": np.array(["1"])}, "format is no whole number"),
        ({"ids": np.arange(4)}, "ids is no list of texts"),
        ({"classes": np.array("shirt")}, "classes is no list of texts"),
        ({"split": np.array(["test"])}, "split is no text"),
        ({"views": np.array([1, 2])}, "views is no whole number"),
        ({"labels": np.array([0, 1, 2, 9])}, "has label 9"),
        ({"scores": np.full((4, 3), np.nan)}, "has score nan"),
    ],
)
def test_an_archive_with_other_content_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    path = saved(tmp_path)
    rewrite(path, **changes)
    with pytest.raises(DataError, match=why) as caught:
        Predictions.load(path)
    assert str(path) in caught.value.what
    assert caught.value.advice


class Payload:
    """Pickled, it creates the file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_inside_is_never_run(tmp_path: Path) -> None:
    path, trace = saved(tmp_path), tmp_path / "trace"
    rewrite(path, labels=np.array([Payload(trace)], dtype=object))
    with zipfile.ZipFile(path) as archive:
        member = io.BytesIO(archive.read("labels.npy"))
    np.lib.format.read_magic(member)
    np.lib.format.read_array_header_1_0(member)
    pickle.load(member)
    assert trace.exists()  # the payload works
    trace.unlink()
    with pytest.raises(DataError, match="damaged"):
        Predictions.load(path)
    assert not trace.exists()


def test_predictions_and_judge_need_no_torch() -> None:
    code = "import sys, lenext.predictions, lenext.judge.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
