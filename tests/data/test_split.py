"""Holding out a validation part, and the file that remembers it."""

from pathlib import Path

import numpy as np
import pytest

from lenext.data.split import (
    hold_out,
    label_names,
    read_split,
    split_digest,
    three_ways,
    validation_count,
    write_split,
)
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


MARKS = (np.random.default_rng(6).random((997, 4)) < (0.5, 0.2, 0.05, 0.02)).astype(np.float32)
GROUPS = tuple(f"patient {i}" for i in np.random.default_rng(7).integers(0, 200, 997))


def test_groups_stay_together_and_the_shares_are_nearly_met() -> None:
    share = 123 * np.bincount(LABELS, minlength=10) / 997

    def distance(rows: np.ndarray) -> float:
        return float((((np.bincount(LABELS[rows], minlength=10) - share) ** 2) / share).sum())

    ours = []
    for seed in range(5):
        train, validation = hold_out(LABELS, 123, seed, GROUPS)
        assert {GROUPS[i] for i in train}.isdisjoint(GROUPS[i] for i in validation)
        assert len(train) + len(validation) == 997
        assert abs(len(validation) - 123) <= 8
        ours.append(distance(validation))
    blind = [np.isin(GROUPS, np.random.default_rng(i).permutation(sorted(set(GROUPS)))[:25]) for i in range(50)]
    assert np.mean(ours) < np.quantile([distance(np.flatnonzero(rows)) for rows in blind], 0.1)


def test_images_without_a_group_are_on_their_own() -> None:
    groups = ("one",) * 500 + ("",) * 497
    train, validation = hold_out(LABELS, 100, seed=0, groups=groups)
    assert len({i < 500 for i in train} & {i < 500 for i in validation}) == 1
    assert abs(len(validation) - 100) <= 3


def test_rare_classes_of_a_multi_label_task_are_shared_out_too() -> None:
    _, validation = hold_out(MARKS, 200, seed=3)
    assert abs(len(validation) - 200) <= 3
    assert np.all(np.abs(MARKS[validation].sum(axis=0) - MARKS.sum(axis=0) * 200 / 997) <= 3)


def test_one_group_of_everything_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="1 groups, none of a fitting size"):
        hold_out(LABELS, 100, seed=0, groups=("one",) * 997)


@pytest.mark.parametrize("labels", [LABELS, MARKS], ids=["single", "multi"])
@pytest.mark.parametrize("groups", [(), GROUPS], ids=["alone", "grouped"])
def test_data_without_splits_is_divided_70_15_15(labels: np.ndarray, groups: tuple[str, ...]) -> None:
    parts = three_ways(labels, 0, groups)
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(997))
    assert abs(len(parts["test"]) - 150) <= (9 if groups else 2)
    assert abs(len(parts["validation"]) - 150) <= (9 if groups else 2)
    if groups:
        names = [{groups[i] for i in rows} for rows in parts.values()]
        assert sum(map(len, names)) == len(set.union(*names))
    again, other = three_ways(labels, 0, groups), three_ways(labels, 1, groups)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    assert not np.array_equal(parts["test"], other["test"])


def test_test_part_does_not_depend_on_how_much_validation_is_asked_for() -> None:
    parts = three_ways(LABELS, 0, validation=10)
    assert len(parts["validation"]) == 10
    assert np.array_equal(parts["test"], three_ways(LABELS, 0)["test"])
    assert len(three_ways(LABELS, 0, validation=0)["validation"]) == 0


def test_labels_are_told_by_name() -> None:
    assert label_names(np.array([1, 0]), ("cat", "dog")) == ["dog", "cat"]
    assert label_names(np.array([[1, 1], [0, 0], [0, 1]], np.float32), ("cat", "dog")) == ["cat|dog", "", "dog"]


def test_split_file_gives_back_what_was_written(tmp_path: Path) -> None:
    parts = {"train": {IDS[0]: "cat", IDS[2]: 'a "dog", or\na wolf'}, "validation": {IDS[3]: ""}}
    write_split(tmp_path / "split.csv", parts)
    assert read_split(tmp_path / "split.csv") == parts
    assert [path.name for path in tmp_path.iterdir()] == ["split.csv"]


def test_split_file_is_lines_of_id_label_and_split_sorted_by_id(tmp_path: Path) -> None:
    write_split(tmp_path / "split.csv", {"validation": {IDS[1]: "x"}, "train": {IDS[3]: "x", IDS[0]: "y"}})
    text = "id,label,split\ntrain/00000:aa,y,train\ntrain/00001:bb,x,validation\ntrain/00003:dd,x,train\n"
    assert (tmp_path / "split.csv").read_text() == text


def test_image_in_two_parts_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train/00001:bb is in both 'train' and 'validation'"):
        write_split(tmp_path / "split.csv", {"train": {IDS[0]: "", IDS[1]: ""}, "validation": {IDS[1]: ""}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "its first line is not id,label,split"),
        ("name,part\na,train\n", "its first line is not id,label,split"),
        ("id,label,split\na,x,train\nb\n", "line 3 has 1 fields"),
        ("id,label,split\na,x,train\na,x,test\n", "line 3 names a again"),
        ("id,label,split\n\xff", "can't decode"),
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
