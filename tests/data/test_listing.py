"""What is found in a folder or an archive of images, and what is refused rather than guessed."""

import os
from pathlib import Path

import pytest

from lenext.data.listing import Listing
from lenext.errors import DataError

from .image_folders import WRITERS, image_bytes, images, listed, write_folder

THREE = ("train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "val/dog/4.png", "test/cat/5.png", "test/dog/6.png")


def refusal(folder: Path, files: dict[str, bytes]) -> DataError:
    with pytest.raises(DataError) as caught:
        listed(write_folder(folder, files))
    return caught.value


def table(listing: Listing) -> list[tuple[str, str, str]]:
    """Name, classes and split of each image."""
    names = listing.task.classes
    return [(item.name, "|".join(names[i] for i in item.labels), item.split) for item in listing.items]


def with_csv(text: str, *names: str) -> dict[str, bytes]:
    return {**images(*names), "metadata.csv": text.encode()}


@pytest.mark.parametrize("kind", WRITERS)
def test_split_folders_are_read_alike_from_a_folder_and_from_archives(tmp_path: Path, kind: str) -> None:
    listing = listed(WRITERS[kind](tmp_path / "set", images(*THREE)))
    assert listing.task.classes == ("cat", "dog")
    assert not listing.task.multi_label
    assert listing.description == "6 files, 2 classes, 2 train, 2 validation, 2 test"
    assert table(listing) == [
        ("test/cat/5.png", "cat", "test"),
        ("test/dog/6.png", "dog", "test"),
        ("train/cat/1.png", "cat", "train"),
        ("train/dog/2.png", "dog", "train"),
        ("val/cat/3.png", "cat", "validation"),
        ("val/dog/4.png", "dog", "validation"),
    ]
    assert listing.ignored == ()
    assert listing.path == tmp_path / "set"


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("training", "train"),
        ("Train", "train"),
        ("val", "validation"),
        ("VALID", "validation"),
        ("validation", "validation"),
        ("TEST", "test"),
        ("testing", "test"),
    ],
)
def test_split_folders_have_many_spellings(tmp_path: Path, folder: str, split: str) -> None:
    names = ("train/a/1.png", "train/b/2.png", f"{folder}/a/3.png")
    assert (f"{folder}/a/3.png", "a", split) in table(listed(write_folder(tmp_path, images(*names))))


def test_two_folders_of_one_split_are_both_read(tmp_path: Path) -> None:
    names = ("training/a/1.png", "train/a/1.png", "train/b/1.png", "training/b/1.png")
    assert listed(write_folder(tmp_path, images(*names))).counts == {"train": 4}


@pytest.mark.parametrize("kind", WRITERS)
def test_flat_class_folders_have_no_splits(tmp_path: Path, kind: str) -> None:
    listing = listed(WRITERS[kind](tmp_path / "set", images("b/1.png", "a/2.png", "a/3.png")))
    assert listing.description == "3 files, 2 classes, no splits"
    assert listing.counts == {"all": 3}
    assert table(listing) == [("a/2.png", "a", "all"), ("a/3.png", "a", "all"), ("b/1.png", "b", "all")]


def test_thousands_have_a_comma(tmp_path: Path) -> None:
    names = [f"{'ab'[i % 2]}/{i}.png" for i in range(1002)]
    assert listed(write_folder(tmp_path, dict.fromkeys(names, b""))).description.startswith("1,002 files, 2 classes")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("wrapper", ["pets/", "a/b/c/"])
def test_lone_folders_around_everything_are_descended_into(tmp_path: Path, kind: str, wrapper: str) -> None:
    files = images(*(wrapper + name for name in THREE)) | {"README.md": b"pets", "__MACOSX/pets/._1.png": b""}
    listing = listed(WRITERS[kind](tmp_path / "set", files))
    assert listing.counts == {"train": 2, "validation": 2, "test": 2}
    assert listing.items[0].name == f"{wrapper}test/cat/5.png"


def test_images_deeper_below_a_class_folder_count_for_the_class(tmp_path: Path) -> None:
    names = ("train/a/2019/may/1.png", "train/a/2.png", "train/b/x/3.png")
    assert [row[1] for row in table(listed(write_folder(tmp_path / "x", images(*names))))] == ["a", "a", "b"]
    names = ("a/2019/may/1.png", "a/2.png", "b/x/3.png")
    assert [row[1] for row in table(listed(write_folder(tmp_path / "y", images(*names))))] == ["a", "a", "b"]


def test_classes_and_images_are_sorted_by_the_bytes_of_their_names(tmp_path: Path) -> None:
    names = [f"{folder}/{file}.png" for folder in ("b", "A", "é", "10", "9", "\U0001f436", "\uff41") for file in "b2a"]
    listing = listed(write_folder(tmp_path, images(*names)))
    assert listing.task.classes == ("10", "9", "A", "b", "é", "\uff41", "\U0001f436")
    assert [item.name for item in listing.items] == sorted(names, key=str.encode)


def test_a_class_name_that_is_no_utf_8_is_shown_with_escapes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff/1.png")
    listing = listed(write_folder(tmp_path, images(name, "a/2.png")))
    assert listing.task.classes == (r"\xff", "a")
    assert {item.name for item in listing.items} == {name, "a/2.png"}


def test_classes_are_those_of_all_splits(tmp_path: Path) -> None:
    names = ("train/a/1.png", "train/b/2.png", "train/c/3.png", "test/c/4.png")
    listing = listed(write_folder(tmp_path, images(*names)))
    assert listing.task.classes == ("a", "b", "c")
    assert listing.items[0].labels == (2,)


def test_every_usual_suffix_is_an_image(tmp_path: Path) -> None:
    suffixes = ["jpg", "jpeg", "png", "gif", "bmp", "webp", "tif", "tiff", "ppm", "pgm", "pbm", "JPG", "Tiff"]
    files = {f"{'ab'[i % 2]}/x.{suffix}": b"" for i, suffix in enumerate(suffixes)}
    assert len(listed(write_folder(tmp_path, files)).items) == len(suffixes)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_a_file_without_a_suffix_is_told_by_how_it_begins(tmp_path: Path, kind: str) -> None:
    files = {"a/1": image_bytes(kind=kind), "b/2": image_bytes(kind=kind), "a/README": b"BMW, P100 and GIF"}
    listing = listed(write_folder(tmp_path, files))
    assert [item.name for item in listing.items] == ["a/1", "b/2"]
    assert listing.ignored == ("1 file of other kinds: a/README",)


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_left_out_is_counted_and_named(tmp_path: Path, kind: str) -> None:
    noise = [".ipynb_checkpoints/1.png", "a/.ipynb_checkpoints/2.png", "__MACOSX/a/3.png", ".git/HEAD"]
    noise += ["a/.DS_Store", "a/Thumbs.db", "b/desktop.ini", "notes.txt", "a/1.txt", "a/2.txt", "a/3.txt", "5.png"]
    files = images("a/1.png", "b/2.png") | dict.fromkeys(noise, b"")
    listing = listed(WRITERS[kind](tmp_path / "set", files))
    assert [item.name for item in listing.items] == ["a/1.png", "b/2.png"]
    assert listing.ignored == (
        "4 files in .git, .ipynb_checkpoints, __MACOSX",
        "3 hidden files: a/.DS_Store, a/Thumbs.db, b/desktop.ini",
        "4 files of other kinds: a/1.txt, a/2.txt, a/3.txt and 1 more",
        "1 image in no class folder: 5.png",
    )


def test_unlabelled_images_of_a_test_folder_are_left_out_and_named(tmp_path: Path) -> None:
    listing = listed(write_folder(tmp_path, images("train/a/1.png", "train/b/2.png", "test/3.png", "test/4.png")))
    assert listing.counts == {"train": 2}
    assert listing.ignored == ("2 images in no class folder: test/3.png, test/4.png",)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "there are no images"),
        ({"a/notes.txt": b"", ".hidden/a/1.png": b""}, "there are no images"),
        (images("1.png", "2.png"), "2 images directly at the top, with no class folder"),
        (images("train/1.png", "test/2.png"), "2 images directly in test, train, with no class folder"),
        (images("cat/1.png", "cat/2.png"), 'there is only one class, "cat"'),
        (images("train/cat/1.png", "test/cat/2.png"), 'there is only one class, "cat"'),
        (images("test/a/1.png", "test/b/2.png"), "there is no train split, only test"),
        (
            images("train/a/1.png", "train/b/2.png", "rest/a/3.png"),
            "beside the split folders (train) there are others with images (rest)",
        ),
        (
            images("train/a/1.png", "train/b/2.png", "test/c/3.png"),
            "no image of train has the class c, which test has",
        ),
        (images("cat/train/1.png", "dog/train/2.png"), "cat/train would be a split inside of a class"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, files: dict[str, bytes], why: str) -> None:
    refused = refusal(tmp_path / "photos", files or {"x/": b""})
    assert refused.why == why
    assert refused.what == f"cannot use {tmp_path / 'photos'} as data"
    assert refused.advice


@pytest.mark.parametrize("kind", WRITERS)
def test_an_empty_class_folder_is_refused(tmp_path: Path, kind: str) -> None:
    files = images("rose/1.png", "tulip/2.png", "tulip/3.png", "tulip/x/4.png") | {"daisy/": b"", ".git/": b""}
    with pytest.raises(DataError) as caught:
        listed(WRITERS[kind](tmp_path / "set", files))
    assert caught.value.why == 'class folder "daisy" is empty; 2 other classes have 1 to 3 files'


def test_an_empty_class_folder_of_a_split_is_refused_and_counted_in_its_split(tmp_path: Path) -> None:
    files = images("s/train/a/1.png", "s/train/a/2.png", "s/train/b/3.png", "s/test/a/4.png") | {"s/test/b/": b""}
    why = 'class folder "test/b" is empty; 1 other class has 1 file'
    assert refusal(tmp_path, files).why == why


def test_a_class_folder_of_hidden_files_only_is_empty(tmp_path: Path) -> None:
    files = images("a/1.png", "b/2.png") | {"c/.DS_Store": b""}
    assert 'class folder "c" is empty' in refusal(tmp_path, files).why


def test_a_folder_of_other_files_is_no_class(tmp_path: Path) -> None:
    files = images("a/1.png", "b/2.png") | {"annotations/1.xml": b""}
    assert listed(write_folder(tmp_path, files)).task.classes == ("a", "b")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("wrapper", ["", "photos/"])
def test_a_csv_gives_labels_groups_and_splits(tmp_path: Path, kind: str, wrapper: str) -> None:
    text = "file_name,label,group,split\r\nx/2.png,dog,p1,train\r\n1.png, cat ,p2,Testing\r\nx/3.png,cat,,training\r\n"
    files = {
        wrapper + name: content for name, content in with_csv(text, "1.png", "x/2.png", "x/3.png", "4.png").items()
    }
    listing = listed(WRITERS[kind](tmp_path / "set", files))
    assert table(listing) == [
        (f"{wrapper}1.png", "cat", "test"),
        (f"{wrapper}x/2.png", "dog", "train"),
        (f"{wrapper}x/3.png", "cat", "train"),
    ]
    assert [item.group for item in listing.items] == ["p2", "p1", ""]
    assert listing.ignored == (f"1 image that no row of metadata.csv names: {wrapper}4.png",)


def test_a_csv_without_splits_leaves_them_open(tmp_path: Path) -> None:
    text = '\ufefflabel,file_name\ndog,./a/../1.png\n\ncat,"2,\n.png"\n'
    listing = listed(write_folder(tmp_path, with_csv(text, "1.png", "2,\n.png")))
    assert table(listing) == [("1.png", "dog", "all"), ("2,\n.png", "cat", "all")]


def test_a_csv_at_the_top_takes_the_splits_of_the_folders_if_all_its_images_lie_in_them(tmp_path: Path) -> None:
    text = "file_name,label\ntrain/1.png,a\ntrain/2.png,b\nvalid/3.png,a\n"
    names = ("train/1.png", "train/2.png", "valid/3.png", "4.png")
    assert listed(write_folder(tmp_path, with_csv(text, *names))).counts == {"train": 2, "validation": 1}
    assert listed(write_folder(tmp_path, with_csv(text + "4.png,a\n", *names))).counts == {"all": 4}


def test_a_csv_in_each_split_folder_speaks_of_its_folder(tmp_path: Path) -> None:
    files = images("train/x/1.png", "train/2.png", "test/1.png")
    files["train/metadata.csv"] = b"file_name,label\nx/1.png,a\n2.png,b\n"
    files["test/metadata.csv"] = b"file_name,label\n1.png,b\n"
    listing = listed(write_folder(tmp_path, files))
    assert table(listing) == [
        ("test/1.png", "b", "test"),
        ("train/2.png", "b", "train"),
        ("train/x/1.png", "a", "train"),
    ]
    assert listing.ignored == ()


def test_a_csv_in_only_some_split_folders_is_refused(tmp_path: Path) -> None:
    files = images("train/1.png", "test/a/1.png") | {"train/metadata.csv": b"file_name,label\n1.png,a\n"}
    assert refusal(tmp_path, files).why == "there is a metadata.csv in train, but none in test"


def test_csvs_of_two_kinds_are_refused(tmp_path: Path) -> None:
    files = images("train/1.png", "test/1.png") | {"train/metadata.csv": b"file_name,label\n1.png,a\n"}
    files["test/metadata.csv"] = b"file_name,labels\n1.png,a\n"
    assert refusal(tmp_path, files).why == "one metadata.csv has label, another has labels"


def test_an_image_may_have_several_labels_or_none(tmp_path: Path) -> None:
    text = "file_name,labels\n1.png,sea|dog\n2.png,\n3.png,dog | dog\n"
    listing = listed(write_folder(tmp_path, with_csv(text, "1.png", "2.png", "3.png")))
    assert listing.task.multi_label
    assert listing.task.classes == ("dog", "sea")
    assert [item.labels for item in listing.items] == [(0, 1), (), (0,)]


def test_a_csv_may_name_files_whose_suffix_is_unusual_and_names_that_are_no_utf_8(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xe9.png")
    listing = listed(write_folder(tmp_path, with_csv("file_name,label\n\\xe9.png,a\n2.jfif,b\n", odd, "2.jfif")))
    assert {item.name for item in listing.items} == {odd, "2.jfif"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"file_name,label\n1.png,a\n9.png,b\n", "line 3: there is no file 9.png"),
        (b"file_name,label\n1.png,a\n../1.png,b\n", "line 3: there is no file ../1.png"),
        (b"file_name,label\n1.png,a\n2.png,b\n./1.png,a\n", "line 4: ./1.png is named twice"),
        (b"file_name,label\n\n1.png, \n", "line 3: the label of 1.png is empty"),
        (b"file_name,labels\n1.png,a||b\n", "line 2: the label of 1.png is empty"),
        (b"file_name,label\n1.png,\xff\n", "line 2: it is no UTF-8"),
        (b'file_name,label\n1.png,"a"b\n', "line 2: it is no CSV: ',' expected after '\"'"),
        (b'file_name,label\n1.png,a\n2.png,"b\n\n', "line 3: it is no CSV: unexpected end of data"),
        (b"file_name,label\n1.png\n", "line 2: it has 1 fields, the first line has 2"),
        (b"file_name,label,split\n1.png,a,dev\n", "line 2: the split 'dev' is none of train, validation, test"),
        (b"file_name,label,file_name\n", "line 1: it names a column twice: file_name, label, file_name"),
        (b"file_name,labels\n1.png,\n", "no image has a label"),
        (b"file_name,label\n", "metadata.csv names no image"),
        (b"file_name,label\n1.png,a\n2.png,a\n", 'there is only one class, "a"'),
    ],
)
def test_a_csv_that_is_wrong_is_refused_by_line(tmp_path: Path, text: bytes, why: str) -> None:
    assert refusal(tmp_path, images("1.png", "2.png") | {"metadata.csv": text}).why == why


@pytest.mark.parametrize("header", ["", "file_name", "name,label", "file_name,label,labels", "file_name,label,box"])
def test_a_csv_of_unknown_columns_is_refused(tmp_path: Path, header: str) -> None:
    why = refusal(tmp_path, with_csv(header + "\n", "1.png")).why
    assert why.startswith(f"line 1: its columns are {', '.join(header.split(',')) or 'none'}; known are file_name")
