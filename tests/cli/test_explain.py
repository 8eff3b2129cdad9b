"""`lenext explain block` and `explain kernels`: places, drawings, and what cannot be drawn."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..conftest import Lenext


def test_without_a_place_it_lists_those_that_can_be_drawn(lenext: Lenext) -> None:
    answer = lenext("explain", "block", "resnet18")
    assert answer.code == 0
    assert answer.out.splitlines()[0].split() == ["place", "what", "it", "is"]
    assert "stages.conv3_x.0  BasicBlock" in answer.out
    assert answer.err == "draw one: lenext explain block resnet18 PLACE\n"


def test_it_writes_the_drawing_and_prints_where(lenext: Lenext) -> None:
    answer = lenext("explain", "block", "vgg_d", "stages.conv3")
    assert (answer.code, answer.out, answer.err) == (0, "vgg16-stages.conv3.svg\n", "")
    assert "2x2 max pool, /2" in Path("vgg16-stages.conv3.svg").read_text(encoding="utf-8")


def test_size_depth_and_steps_change_what_is_drawn(lenext: Lenext) -> None:
    for out, words in {
        "a.svg": (),
        "b.svg": ("--size", "128"),
        "c.svg": ("--steps",),
        "d.svg": ("--depth", "1"),
    }.items():
        assert lenext("explain", "block", "resnet18", "stages.conv3_x", "--out", out, *words).code == 0
    texts = {name: Path(f"{name}.svg").read_text(encoding="utf-8") for name in "abcd"}
    assert "128x28x28" in texts["a"]
    assert "128x16x16" in texts["b"]
    boxes = {
        name: len(list(ET.fromstring(text).iter("{http://www.w3.org/2000/svg}rect"))) for name, text in texts.items()
    }
    assert boxes["c"] > boxes["a"] == boxes["b"] > boxes["d"] == 2


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("resnet18", "stages.conv9_x"), "did you mean 'stages.conv"),
        (("resnet18", "stages.conv2_x", "--out", "a.png"), "a.svg"),
        (("resnet18", "stem", "--size", "8"), "64 x 64"),
        (("resnet81",), "did you mean 'resnet"),
    ],
)
def test_what_cannot_be_drawn_is_exit_2_and_writes_nothing(lenext: Lenext, words: tuple[str, ...], hint: str) -> None:
    answer = lenext("explain", "block", *words)
    assert (answer.code, answer.out) == (2, "")
    assert hint in answer.err
    assert not list(Path().glob("*.*g"))


NAMES = ["identity", "sobel_x", "sobel_y", "laplacian", "sharpen", "box_blur", "gaussian_blur"]


def saved(name: str, *shape: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(name)
    return Path(name)


def test_kernels_are_listed_and_drawn_on_one_sheet(lenext: Lenext) -> None:
    saved("photo.png", 300, 400, 3)
    answer = lenext("explain", "kernels", "photo.png")
    first, *rows, last = answer.out.splitlines()
    assert (answer.code, last) == (0, "photo-kernels.png")
    assert first.split() == ["kernel", "numbers", "divided", "by", "what", "it", "does"]
    assert [row.split()[0] for row in rows] == NAMES
    assert "sobel_x        -1 0 1; -2 0 2; -1 0 1" in answer.out
    assert answer.err == "reduced from 400x300 to 256x192 pixels; --size decides\n"
    assert Image.open("photo-kernels.png").format == "PNG"


def test_chosen_kernels_are_told_as_json_with_numbers_and_responses(lenext: Lenext) -> None:
    pixels = np.array(Image.open(saved("grey.png", 6, 5)))
    words = ("--kernel", "box_blur", "--kernel", "identity", "--out", "sheet.png", "--json")
    told = json.loads(lenext("explain", "kernels", "grey.png", *words).out)
    assert (told["file"], told["width"], told["height"]) == ("sheet.png", 5, 6)
    box, identity = told["kernels"]
    assert (box["name"], box["numbers"], box["divisor"]) == ("box_blur", [[1, 1, 1]] * 3, 9)
    assert (identity["least"], identity["most"]) == (pixels.min(), pixels.max())


def test_grey_image_gives_a_grey_sheet_beside_its_numbers(lenext: Lenext) -> None:
    saved("grey.png", 64, 64)
    assert lenext("explain", "kernels", "grey.png", "--kernel", "laplacian", "--out", "a.png").code == 0
    image = np.array(Image.open("a.png").convert("RGB"))[50:300, 20:270].astype(int)
    assert (image.max(-1) == image.min(-1)).all()
    assert image.std() > 20


def test_a_sheet_that_is_there_is_replaced(lenext: Lenext) -> None:
    saved("grey.png", 8, 8)
    Path("a.png").write_bytes(b"old")
    assert lenext("explain", "kernels", "grey.png", "--kernel", "identity", "--out", "a.png").code == 0
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("none.png",), 3, "there is no such file"),
        (("text.png",), 3, "no image"),
        (("grey.png", "--kernel", "sobel"), 2, "did you mean 'sobel_"),
        (("grey.png", "--out", "a.jpg"), 2, "a.png"),
        (("grey.png", "--out", "grey.png"), 2, "it is the image itself"),
        (("grey.png", "--size", "0"), 2, "--size 256"),
        (("grey.png", "--out", "none/a.png"), 6, "cannot write none/a.png"),
    ],
)
def test_what_cannot_be_drawn_under_kernels_writes_nothing(
    lenext: Lenext, words: tuple[str, ...], code: int, hint: str
) -> None:
    before = saved("grey.png", 8, 8).read_bytes()
    Path("text.png").write_text("not an image", encoding="utf-8")
    answer = lenext("explain", "kernels", *words)
    assert (answer.code, answer.out) == (code, "")
    assert hint in answer.err
    assert sorted(path.name for path in Path().iterdir()) == ["grey.png", "text.png"]
    assert Path("grey.png").read_bytes() == before
