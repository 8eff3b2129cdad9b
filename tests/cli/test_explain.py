"""`lenext explain block`: places, a drawing, and what cannot be drawn."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from .conftest import Lenext


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
