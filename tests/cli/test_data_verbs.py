"""`lenext data check` and `lenext data pack`: what they print, in which form, and how they end."""

import json
import os
import re
from pathlib import Path

import pytest

from ..conftest import Lenext
from ..data.image_folders import write_folder
from ..data.sample_crops import crops, saved


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def sound() -> dict[str, bytes]:
    names = [f"train/{label}/{i}.png" for label in ("a", "b") for i in range(10)] + ["test/a/1.png", "test/b/2.png"]
    return {name: saved(crop) for name, crop in zip(names, crops(len(names)), strict=True)}


def faulty() -> dict[str, bytes]:
    files = sound()
    copies = {f"train/a/copy-{i}.png": files["train/a/0.png"] for i in range(4)}
    leaks = {f"test/b/leak-{i}.png": files[f"train/b/{i}.png"] for i in range(5)}
    return files | copies | leaks | {"train/b/line\nbreak.png": b"", "train/notes.txt": b""}


def test_a_sound_set_is_said_to_be_sound_with_exit_0(lenext: Lenext) -> None:
    write_folder(Path("photos"), sound())
    answer = lenext("data", "check", "photos")
    assert answer.code == 0
    assert answer.err == ""
    assert answer.out == (
        "photos: 22 files, 2 classes, 20 train, 2 test\n"
        "\n"
        "22 files listed = 22 decoded whole + 0 refused\n"
        "0 errors, 0 warnings\n"
    )


def test_findings_are_a_table_with_a_few_of_the_files_and_exit_3(lenext: Lenext) -> None:
    write_folder(Path("photos"), faulty())
    answer = lenext("data", "check", "photos")
    assert answer.code == 3
    assert answer.out == (
        "photos: 32 files, 2 classes, 25 train, 7 test\n"
        "ignored: 1 file of other kinds: train/notes.txt\n"
        "\n"
        "severity  count  finding\n"
        "error         1  empty file\n"
        "                 0 bytes: get the file again, or remove it\n"
        '                 - "train/b/line\\nbreak.png"\n'
        "error         5  same image in two splits\n"
        "                 the score would count what was trained on: keep one copy\n"
        "                 - test/b/leak-0.png\n"
        "                   = train/b/0.png\n"
        "                 - test/b/leak-1.png\n"
        "                   = train/b/1.png\n"
        "                 - test/b/leak-2.png\n"
        "                   = train/b/2.png\n"
        "                 - 2 more\n"
        "warning       1  exact duplicates\n"
        "                 the same bytes in several files, which weigh double: keep one\n"
        "                 - train/a/0.png\n"
        "                   = train/a/copy-0.png\n"
        "                   = train/a/copy-1.png\n"
        "                   = 2 more\n"
        "\n"
        "every file: lenext data check photos --list\n"
        "\n"
        "32 files listed = 31 decoded whole + 1 refused\n"
        "2 errors, 1 warning\n"
    )


def test_warnings_alone_are_exit_0(lenext: Lenext) -> None:
    files = sound()
    write_folder(Path("photos"), files | {"train/a/copy.png": files["train/a/0.png"]})
    answer = lenext("data", "check", "photos")
    assert answer.code == 0
    assert "0 errors, 1 warning\n" in answer.out


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_what_a_finding_means_is_broken_at_the_width_of_the_terminal(
    lenext: Lenext, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    write_folder(Path("photos"), {f"{label}/{i}.png": b"" for label in "ab" for i in range(2)})
    out = lenext("data", "check", "photos").out
    assert max(map(len, out.splitlines())) <= columns
    assert "fewer than 10 images to train on: a (2), b (2)" in re.sub(r"\s+", " ", out)


def test_json_has_every_file(lenext: Lenext) -> None:
    write_folder(Path("photos"), faulty())
    answer = lenext("data", "check", "photos", "--json")
    content = json.loads(answer.out)
    assert answer.code == 3
    assert (content["listed"], content["scored"], content["refused"]) == (32, 31, 1)
    assert content["ignored"] == ["1 file of other kinds: train/notes.txt"]
    assert [(one["kind"], one["severity"], one["count"]) for one in content["findings"]] == [
        ("empty file", "error", 1),
        ("same image in two splits", "error", 5),
        ("exact duplicates", "warning", 1),
    ]
    assert content["findings"][0]["items"] == [["train/b/line\nbreak.png"]]
    assert len(content["findings"][1]["items"]) == 5


def test_a_list_has_one_line_a_file_whatever_its_name(lenext: Lenext) -> None:
    write_folder(Path("photos"), faulty() | {"train/a/\udcff.png": b""})
    answer = lenext("data", "check", "photos", "--list")
    rows = [line.split("\t") for line in answer.out.splitlines()]
    assert answer.code == 3
    assert {len(row) for row in rows} == {4}
    assert rows[:4] == [
        ["error", "empty file", "1", "train/a/\\xff.png"],
        ["error", "empty file", "2", '"train/b/line\\nbreak.png"'],
        ["error", "same image in two splits", "1", "test/b/leak-0.png"],
        ["error", "same image in two splits", "1", "train/b/0.png"],
    ]
    assert json.loads(rows[1][3]) == "train/b/line\nbreak.png"
    assert len(rows) == 2 + 10 + 5


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("photos", "--json", "--list"), 2, "choose one"),
        (("photo",), 3, "did you mean 'photos'?"),
        (("photos", "--lsit"), 2, "--list"),
    ],
)
def test_an_error_is_four_lines_with_a_hint(lenext: Lenext, words: tuple[str, ...], code: int, hint: str) -> None:
    write_folder(Path("photos"), sound())
    answer = lenext("data", "check", *words)
    assert (answer.code, answer.out) == (code, "")
    assert re.fullmatch(r"lenext: .+\n  why:  .+\n  kept: .+\n  try:  .+\n", answer.err)
    assert hint in answer.err


def test_a_set_that_cannot_be_used_is_a_finding_and_exit_3(lenext: Lenext) -> None:
    write_folder(Path("photos"), {"notes.txt": b""})
    answer = lenext("data", "check", "photos")
    assert answer.code == 3
    assert "error         1  unusable\n                 cannot use photos as data: there are no images" in answer.out


def test_a_pack_is_told_of_and_checks_alike(lenext: Lenext) -> None:
    write_folder(Path("photos"), faulty())
    answer = lenext("data", "pack", "photos", "photos.tar")
    size = os.stat("photos.tar").st_size  # noqa: PTH116
    assert answer.code == 0
    assert answer.err == "left out: 1 file of other kinds: train/notes.txt\n"
    assert answer.out == f"photos.tar: 32 images, {size:,} bytes, read back and compared\n"
    assert lenext("data", "check", "photos.tar", "--list") == lenext("data", "check", "photos", "--list")


def test_shards_are_told_of_and_check_alike_until_one_is_changed(lenext: Lenext) -> None:
    write_folder(Path("photos"), faulty())
    answer = lenext("data", "pack", "photos", "shards", "--shard-size", "30kB")
    count = len(list(Path("shards").glob("*.tar")))
    assert count > 1
    assert answer.out.startswith(f"shards: 32 images in {count} shards, ")
    assert lenext("data", "check", "shards", "--list") == lenext("data", "check", "photos", "--list")
    with Path("shards/00001.tar").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")  # behind all images
    refused = lenext("data", "check", "shards")
    assert (refused.code, refused.out) == (3, "")
    assert "the shard 00001.tar has another SHA-256" in refused.err


@pytest.mark.parametrize("size", ["1", "many", "12kB", "0MB"])
def test_a_size_that_no_shard_can_have_is_refused(lenext: Lenext, size: str) -> None:
    write_folder(Path("photos"), sound())
    answer = lenext("data", "pack", "photos", "shards", "--shard-size", size)
    assert (answer.code, answer.out) == (2, "")
    assert f"cannot write shards of '{size}'" in answer.err
    assert not Path("shards").exists()


def test_a_pack_never_overwrites(lenext: Lenext) -> None:
    write_folder(Path("photos"), sound())
    assert lenext("data", "pack", "photos", "photos.tar").code == 0
    before = Path("photos.tar").read_bytes()
    answer = lenext("data", "pack", "photos", "photos.tar")
    assert (answer.code, answer.out) == (3, "")
    assert "it exists" in answer.err
    assert Path("photos.tar").read_bytes() == before
