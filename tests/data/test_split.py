"""Holding out a validation part, and the file that remembers it."""

from pathlib import Path

import numpy as np
import pytest

from lenext.data.split import hold_out, read_split, split_digest, validation_count, write_split
from lenext.errors import DataError

LABELS = np.random.default_rng(5).choice(10, 997, p=np.arange(1, 11) / 55).astype(np.int64)
IDS = ("train/00000:aa", "train/00001:bb", 'train/a "c", d:cc', "train/00003:dd")


@pytest.mark.parametrize("count", [0, 1, 10, 123, 996])
def test_parts_are_sorted_disjoint_whole_and_of_the_count_asked(count: int) -> None:
    train, validation = hold_out(LABELS, count, seed=0)
    assert len(validation) == count
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(997))
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(validation) > 0)


def test_every_class_gives_its_share_to_within_one_image() -> None:
    _, validation = hold_out(LABELS, 123, seed=0)
    given = np.bincount(LABELS[validation], minlength=10)
    share = 123 * np.bincount(LABELS, minlength=10) / 997
    assert np.all(np.abs(given - share) < 1)


def test_shares_are_rounded_by_largest_remainder() -> None:
    """By hand: shares 10/3 = 3.33, 10/4 = 2.5 and 25/6 = 4.17; the one left over goes to the second class."""
    labels = np.array([0] * 40 + [1] * 30 + [2] * 50)
    _, validation = hold_out(labels, 10, seed=0)
    assert np.bincount(labels[validation]).tolist() == [3, 3, 4]


def test_split_is_a_function_of_the_seed() -> None:
    one, again, other = (hold_out(LABELS, 100, seed)[1] for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("count", [997, 998, -1])
def test_holding_out_everything_is_refused(count: int) -> None:
    with pytest.raises(DataError, match=f"cannot hold out {count} of 997 images"):
        hold_out(LABELS, count, seed=0)


def test_default_validation_shrinks_to_a_fifth_of_a_small_set_and_a_number_asked_for_does_not() -> None:
    assert validation_count(5000, 60_000) == 5000
    assert validation_count(5000, 1437) == 287
    assert validation_count(0, 1437) == 0
    assert validation_count(1000, 1437) == 1000
    with pytest.raises(DataError, match="cannot hold out 1437 of 1437"):
        validation_count(1437, 1437)


def test_split_file_gives_back_what_was_written(tmp_path: Path) -> None:
    write_split(tmp_path / "split.csv", IDS, {"train": np.array([0, 2]), "validation": np.array([3])})
    assert read_split(tmp_path / "split.csv") == {"train": (IDS[0], IDS[2]), "validation": (IDS[3],)}
    assert [path.name for path in tmp_path.iterdir()] == ["split.csv"]


def test_split_file_is_lines_of_id_and_split_in_the_order_of_the_set(tmp_path: Path) -> None:
    write_split(tmp_path / "split.csv", IDS, {"validation": np.array([1]), "train": np.array([3, 0])})
    text = "id,split\ntrain/00000:aa,train\ntrain/00001:bb,validation\ntrain/00003:dd,train\n"
    assert (tmp_path / "split.csv").read_text() == text


def test_image_in_two_parts_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train/00001:bb is in both 'train' and 'validation'"):
        write_split(tmp_path / "split.csv", IDS, {"train": np.array([0, 1]), "validation": np.array([1])})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "its first line is not id,split"),
        ("name,part\na,train\n", "its first line is not id,split"),
        ("id,split\na,train\nb\n", "line 3 has 1 fields"),
        ("id,split\na,train\na,test\n", "line 3 names a again"),
        ("id,split\n\xff", "can't decode"),
    ],
)
def test_damaged_split_file_names_its_fault(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "split.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read_split(tmp_path / "split.csv")
    assert why in caught.value.why


def test_missing_split_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split\.csv"):
        read_split(tmp_path / "split.csv")


def test_digest_of_a_split_is_that_of_a_set() -> None:
    assert split_digest(IDS) == split_digest(IDS[::-1])
    assert split_digest(IDS) != split_digest(IDS[:3])
    assert len(split_digest(())) == 64
